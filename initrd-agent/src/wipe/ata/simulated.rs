//! A disk with the states of ACS-4's security feature set (figure 10), for cutting its power between any two commands.

use std::{cell::RefCell, io};

use super::port::{BLOCK_BYTES, Data, Port, Registers, Task};

/// What it is in; for nobody but itself.
#[derive(Debug, Default)]
pub(super) struct State {
    password: Option<[u8; 32]>,
    locked: bool,
    frozen: bool,
    prepared: bool,
    erased: bool,
    sanitizing: u32,
    /// Commands left until the power goes.
    left: Option<u32>,
}

/// The disk. Its erase modes take `units` of two minutes, in its own words.
#[derive(Debug)]
pub(super) struct Simulated {
    pub(super) sanitize: bool,
    pub(super) units: u16,
    /// SECURITY ERASE UNIT ends in an error.
    pub(super) breaks: bool,
    pub(super) state: RefCell<State>,
}

impl Default for Simulated {
    fn default() -> Self {
        Self {
            sanitize: false,
            units: 1,
            breaks: false,
            state: RefCell::default(),
        }
    }
}

impl Simulated {
    pub(super) fn is_erased(&self) -> bool {
        self.state.borrow().erased
    }

    pub(super) fn is_locked(&self) -> bool {
        self.state.borrow().locked
    }

    pub(super) fn has_password(&self) -> bool {
        self.state.borrow().password.is_some()
    }

    pub(super) fn freeze(&self) {
        self.state.borrow_mut().frozen = true;
    }

    pub(super) fn set_foreign_password(&self) {
        self.state.borrow_mut().password = Some([7; 32]);
    }

    /// The power goes while command number `commands`, counted from 0, is carried out.
    pub(super) fn cut_after(&self, commands: u32) {
        self.state.borrow_mut().left = Some(commands);
    }

    pub(super) fn power_on(&self) {
        let mut state = self.state.borrow_mut();
        state.locked = state.password.is_some();
        state.prepared = false;
        state.frozen = false;
        state.left = None;
    }

    fn identify(&self, state: &State) -> [u8; BLOCK_BYTES] {
        let mut security = 1 | 1 << 5;
        for (bit, set) in [
            (1, state.password.is_some()),
            (2, state.locked),
            (3, state.frozen),
        ] {
            security |= u16::from(set) << bit;
        }
        let mut block = [0; BLOCK_BYTES];
        for (at, word) in [
            (59, if self.sanitize { 0xb000 } else { 0 }),
            (89, self.units),
            (90, self.units),
            (128, security),
        ] {
            block[at * 2..at * 2 + 2].copy_from_slice(&u16::to_le_bytes(word));
        }
        block
    }
}

fn no() -> io::Result<Registers> {
    Err(io::Error::other("ATA status 51, error 04"))
}

impl Port for &Simulated {
    fn send(&self, task: &Task, data: Data<'_>) -> io::Result<Registers> {
        let mut state = self.state.borrow_mut();
        let gone = || Err(io::Error::other("no power"));
        match state.left.as_mut() {
            // An erase that is cut off has destroyed nobody knows what, and the password stays.
            Some(0) => return gone(),
            Some(left) => *left -= 1,
            None => {}
        }
        let prepared = std::mem::take(&mut state.prepared);
        let shown = match &data {
            Data::Out(block) => Some(<[u8; 32]>::try_from(&block[2..34]).unwrap()),
            _ => None,
        };
        let right = state.password.is_none() || state.password == shown;
        match (task.command, data) {
            (0xec, Data::In(block)) => *block = self.identify(&state),
            _ if state.frozen => return no(),
            (0xf1, Data::Out(_)) if !state.locked => state.password = shown,
            (0xf2, Data::Out(_)) if right => state.locked = false,
            (0xf3, Data::None) => state.prepared = true,
            (0xf4, Data::Out(_)) if right && prepared && !self.breaks => {
                state.erased = true;
                state.password = None;
                state.locked = false;
            }
            (0xf6, Data::Out(_)) if right && !state.locked => state.password = None,
            (0xb4, Data::None) if self.sanitize => match (task.feature, task.lba) {
                (0, 0) if state.sanitizing == 1 => {
                    state.sanitizing = 0;
                    state.erased = true;
                    return Ok(Registers {
                        count: 0x8000,
                        ..Registers::default()
                    });
                }
                (0, 0) if state.sanitizing > 1 => {
                    state.sanitizing -= 1;
                    return Ok(Registers {
                        count: 0x4000,
                        lba: 0x8000,
                        ..Registers::default()
                    });
                }
                (0x11, 0x4372_7970) | (0x12, 0x426b_4572) => state.sanitizing = 2,
                (0, 0) => {}
                _ => return no(),
            },
            _ => return no(),
        }
        Ok(Registers::default())
    }
}
