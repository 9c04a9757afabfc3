//! Sending ATA commands: wrapped in SCSI's ATA PASS-THROUGH (16).
//!
//! Source: SAT-4 (ANSI INCITS 541), 12.2.2 (the command), 12.2.7 (the descriptor that carries the registers back).

use std::{fs::File, io, time::Duration};

use crate::sys::{self, ScsiAnswer, ScsiData};

/// Length of every block of data that goes with a command here, in bytes.
pub(super) const BLOCK_BYTES: usize = 512;
/// For commands that do nothing long.
pub(super) const SHORT: Duration = Duration::from_secs(15);

const PASS_THROUGH_16: u8 = 0x85;
/// Protocols, in bits 4:1 of byte 1.
const NON_DATA: u8 = 3 << 1;
const PIO_IN: u8 = 4 << 1;
const PIO_OUT: u8 = 5 << 1;
/// The length of the data is in the count, in blocks.
const BLOCKS_IN_COUNT: u8 = 2 | 1 << 2;
const FROM_DISK: u8 = 1 << 3;
/// The registers come back even when all is well.
const CK_COND: u8 = 1 << 5;

/// A command, as it goes into the disk's registers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::wipe) struct Task {
    pub(super) command: u8,
    /// 48-bit: feature, count and LBA have their upper halves.
    pub(super) extended: bool,
    pub(super) feature: u16,
    pub(super) lba: u64,
    pub(super) timeout: Duration,
}

/// What goes with it: nothing, or one block.
#[derive(Debug)]
pub(in crate::wipe) enum Data<'a> {
    None,
    In(&'a mut [u8; BLOCK_BYTES]),
    Out(&'a [u8; BLOCK_BYTES]),
}

/// What the registers say afterwards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::wipe) struct Registers {
    pub(super) status: u8,
    pub(super) error: u8,
    pub(super) count: u16,
    pub(super) lba: u64,
}

/// Where commands go.
pub(in crate::wipe) trait Port {
    /// Sends a command and waits for its end. Registers are zero where the command carries data.
    ///
    /// # Errors
    /// It does not get there, or the disk says no: then the error names status and error register.
    fn send(&self, task: &Task, data: Data<'_>) -> io::Result<Registers>;
}

impl Port for &File {
    fn send(&self, task: &Task, data: Data<'_>) -> io::Result<Registers> {
        let command = wrapped(task, &data);
        let data = match data {
            Data::None => ScsiData::None,
            Data::In(block) => ScsiData::In(block),
            Data::Out(block) => ScsiData::Out(block),
        };
        let answer = sys::scsi_command(self, &command, data, task.timeout)?;
        registers(&answer)
    }
}

/// The command that carries the command.
fn wrapped(task: &Task, data: &Data<'_>) -> [u8; 16] {
    let (protocol, flags) = match data {
        Data::None => (NON_DATA, CK_COND),
        Data::In(_) => (PIO_IN, BLOCKS_IN_COUNT | FROM_DISK),
        Data::Out(_) => (PIO_OUT, BLOCKS_IN_COUNT),
    };
    let count = u8::from(!matches!(data, Data::None));
    let [feature_high, feature] = task.feature.to_be_bytes();
    let [_, _, lba5, lba4, lba3, lba2, lba1, lba0] = task.lba.to_be_bytes();
    let high = |byte: u8| if task.extended { byte } else { 0 };
    // "LBA" is set where there is one.
    let device = if task.extended { 0x40 } else { 0 };
    [
        PASS_THROUGH_16,
        protocol | u8::from(task.extended),
        flags,
        high(feature_high),
        feature,
        0,
        count,
        high(lba3),
        lba0,
        high(lba4),
        lba1,
        high(lba5),
        lba2,
        device,
        task.command,
        0,
    ]
}

/// What came back: the registers of the descriptor, where there is one.
fn registers(answer: &ScsiAnswer) -> io::Result<Registers> {
    let found = match answer.sense.as_slice() {
        [0x72 | 0x73, _, _, _, _, _, _, _, rest @ ..] => descriptor(rest),
        _ => None,
    };
    match (answer.status, found) {
        // ERR, or device fault.
        (_, Some(found)) if found.status & 0x21 != 0 => Err(io::Error::other(format!(
            "ATA status {:02x}, error {:02x}",
            found.status, found.error
        ))),
        (_, Some(found)) => Ok(found),
        (0, None) => Ok(Registers::default()),
        (status, None) => Err(io::Error::other(format!(
            "SCSI status {status:02x}, sense {}",
            hex::encode(&answer.sense)
        ))),
    }
}

/// The ATA Status Return descriptor among the others.
fn descriptor(mut rest: &[u8]) -> Option<Registers> {
    while let [kind, length, tail @ ..] = rest {
        let body = tail.get(..usize::from(*length))?;
        if let (
            9,
            [
                _,
                error,
                c1,
                c0,
                l3,
                l0,
                l4,
                l1,
                l5,
                l2,
                _device,
                status,
                ..,
            ],
        ) = (kind, body)
        {
            return Some(Registers {
                status: *status,
                error: *error,
                count: u16::from_be_bytes([*c1, *c0]),
                lba: u64::from_be_bytes([0, 0, *l5, *l4, *l3, *l2, *l1, *l0]),
            });
        }
        rest = tail.get(usize::from(*length)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn commands_are_wrapped_as_sat_says() {
        let identify = Task {
            command: 0xec,
            ..Task::default()
        };
        assert_eq!(
            hex::encode(wrapped(&identify, &Data::In(&mut [0; BLOCK_BYTES]))),
            "85080e0000000100000000000000ec00"
        );
        let scramble = Task {
            command: 0xb4,
            extended: true,
            feature: 0x0011,
            lba: 0x4372_7970,
            ..Task::default()
        };
        assert_eq!(
            hex::encode(wrapped(&scramble, &Data::None)),
            "85072000110000437000790072 40b400".replace(' ', "")
        );
        let unlock = Task {
            command: 0xf2,
            ..Task::default()
        };
        assert_eq!(
            hex::encode(wrapped(&unlock, &Data::Out(&[0; BLOCK_BYTES]))),
            "850a060000000100000000000000f200"
        );
    }

    /// Sense data with the descriptor of these registers.
    fn answer(status: u8, error: u8) -> ScsiAnswer {
        let mut sense = vec![0x72, 1, 0, 0x1d, 0, 0, 0, 14];
        sense.extend([
            9, 12, 1, error, 0x40, 0, 0, 0x34, 0, 0x12, 0, 0, 0x40, status,
        ]);
        ScsiAnswer { status: 2, sense }
    }

    #[test]
    fn registers_come_back_in_the_sense_data() {
        let good = registers(&answer(0x50, 0)).unwrap();
        assert_eq!((good.count, good.lba), (0x4000, 0x1234));
        let no = registers(&answer(0x51, 4)).unwrap_err();
        assert_eq!(no.to_string(), "ATA status 51, error 04");
        let fixed = ScsiAnswer {
            status: 2,
            sense: vec![0x70, 0, 5],
        };
        assert!(
            registers(&fixed)
                .unwrap_err()
                .to_string()
                .contains("700005")
        );
        assert!(registers(&ScsiAnswer::default()).is_ok());
    }

    proptest! {
        #[test]
        fn prop_no_sense_data_panics(status: u8, sense in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = registers(&ScsiAnswer { status, sense });
        }
    }
}
