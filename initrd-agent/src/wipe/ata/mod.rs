//! ATA disks: what they can erase by themselves, and asking them to.
//!
//! Source: ACS-4 (ANSI INCITS 529), IDENTIFY DEVICE (7.13), SANITIZE DEVICE (7.36), SECURITY ERASE UNIT and the others
//! of its feature set (4.20, 7.37 to 7.42).

mod identify;
mod port;
mod security;
#[cfg(test)]
mod simulated;

use std::{
    fs::File,
    io,
    time::{Duration, Instant},
};

use site_api::wipe::Asked;

pub(super) use self::security::{Lock, lock, unlock};
use self::{
    identify::Identify,
    port::{Data, Port, SHORT, Task},
};
use crate::clock;

const SANITIZE: u8 = 0xb4;
/// Features of [`SANITIZE`], and the words in their LBA that stand against mistakes.
const STATUS: (u16, u64) = (0x0000, 0);
const CRYPTO_SCRAMBLE: (u16, u64) = (0x0011, 0x4372_7970);
const BLOCK_ERASE: (u16, u64) = (0x0012, 0x426b_4572);
/// A sanitize that is not done by then is told as failed; it goes on in the disk.
const PATIENCE: Duration = Duration::from_secs(2 * 3600);

/// State of a sanitize, from what SANITIZE STATUS EXT leaves in the registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sanitize {
    /// The last one ended well.
    Done,
    /// So far, of 65 536.
    Running(u16),
    /// There was none, or it failed.
    Idle,
}

impl Sanitize {
    fn of(count: u16, lba: u64) -> Self {
        match count {
            n if n & 0x4000 != 0 => Self::Running((lba & 0xffff) as u16),
            n if n & 0x8000 != 0 => Self::Done,
            _ => Self::Idle,
        }
    }
}

/// An ATA disk that can be asked.
pub(super) struct Ata<P> {
    /// Where commands go.
    port: P,
    identify: Identify,
}

impl<'d> Ata<&'d File> {
    /// Asks the disk what it can do.
    ///
    /// # Errors
    /// The disk does not answer.
    pub(super) fn ask(disk: &'d File) -> io::Result<Self> {
        Self::at(disk)
    }
}

impl<P: Port> Ata<P> {
    fn at(port: P) -> io::Result<Self> {
        let identify = Identify::ask(&port)?;
        Ok(Self { port, identify })
    }

    /// What it can do, best first. A sanitize outlives a power cut by itself and needs no password.
    pub(super) fn ways(&self) -> Vec<Asked> {
        let able = &self.identify;
        let all = [
            (able.sanitize_crypto, Asked::AtaSanitizeCrypto),
            (able.sanitize_block, Asked::AtaSanitizeBlock),
            (
                able.security && able.enhanced,
                Asked::AtaSecureEraseEnhanced,
            ),
            (able.security, Asked::AtaSecureErase),
        ];
        all.into_iter()
            .filter_map(|(can, asked)| can.then_some(asked))
            .collect()
    }

    /// Does one of the ways; `progress` hears how far it is, in 65 536ths.
    ///
    /// # Errors
    /// The disk's answer, or why it is not asked. A sanitize that was begun goes on in the disk.
    pub(super) fn erase(&self, way: Asked, progress: &mut dyn FnMut(u16)) -> io::Result<()> {
        match way {
            Asked::AtaSanitizeCrypto => self.sanitize(CRYPTO_SCRAMBLE, progress),
            Asked::AtaSanitizeBlock => self.sanitize(BLOCK_ERASE, progress),
            Asked::AtaSecureErase => security::erase(&self.port, false),
            Asked::AtaSecureEraseEnhanced => security::erase(&self.port, true),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn sanitize(&self, what: (u16, u64), progress: &mut dyn FnMut(u16)) -> io::Result<()> {
        self.port.send(&sanitize_task(what), Data::None)?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match sanitize_state(&self.port)? {
                Sanitize::Done => return Ok(()),
                Sanitize::Running(done) => progress(done),
                Sanitize::Idle => return Err(io::Error::other("the disk gave the sanitize up")),
            }
            clock::pause(Duration::from_secs(1));
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

fn sanitize_task((feature, lba): (u16, u64)) -> Task {
    Task {
        command: SANITIZE,
        extended: true,
        feature,
        lba,
        timeout: SHORT,
    }
}

fn sanitize_state(port: &impl Port) -> io::Result<Sanitize> {
    let registers = port.send(&sanitize_task(STATUS), Data::None)?;
    Ok(Sanitize::of(registers.count, registers.lba))
}

/// Percent a sanitize has done that is running in the disk, for instance since before a power cut.
pub(super) fn percent_sanitized(disk: &File) -> Option<u32> {
    let able = Identify::ask(&disk).ok()?;
    if !able.sanitizes {
        return None;
    }
    match sanitize_state(&disk).ok()? {
        Sanitize::Running(done) => Some(u32::from(done) * 100 / 65_536),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{simulated::Simulated, *};

    #[test]
    fn a_sanitize_is_preferred_and_followed_to_its_end() {
        let disk = Simulated {
            sanitize: true,
            ..Simulated::default()
        };
        let ata = Ata::at(&disk).unwrap();
        assert_eq!(
            ata.ways(),
            [
                Asked::AtaSanitizeCrypto,
                Asked::AtaSanitizeBlock,
                Asked::AtaSecureEraseEnhanced,
                Asked::AtaSecureErase
            ]
        );
        let mut heard = Vec::new();
        ata.erase(Asked::AtaSanitizeBlock, &mut |done| heard.push(done))
            .unwrap();
        assert_eq!(heard, [0x8000]);
        assert!(disk.is_erased());
    }

    #[test]
    fn what_a_disk_cannot_do_is_not_asked() {
        let disk = Simulated::default();
        let ata = Ata::at(&disk).unwrap();
        assert_eq!(
            ata.ways(),
            [Asked::AtaSecureEraseEnhanced, Asked::AtaSecureErase]
        );
        assert!(ata.erase(Asked::AtaSanitizeBlock, &mut |_| ()).is_err());
        assert!(ata.erase(Asked::NvmeFormat, &mut |_| ()).is_err());
    }

    #[test]
    fn a_sanitize_s_state_is_read_from_the_registers() {
        let cases = [
            (0x4000, 0x1234, Sanitize::Running(0x1234)),
            (0x8000, 0xffff, Sanitize::Done),
            (0x2000, 0, Sanitize::Idle),
            (0, 0, Sanitize::Idle),
        ];
        for (count, lba, want) in cases {
            assert_eq!(Sanitize::of(count, lba), want);
        }
    }
}
