//! What an ATA disk says of itself, as far as erasing goes.

use std::{io, time::Duration};

use super::port::{BLOCK_BYTES, Data, Port, SHORT, Task};

const IDENTIFY_DEVICE: u8 = 0xec;

/// The words of IDENTIFY DEVICE that matter here.
///
/// Source: ACS-4, 7.13.6: words 59, 89, 90, 128, 255.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Identify {
    /// It has the sanitize feature set.
    pub(super) sanitizes: bool,
    pub(super) sanitize_crypto: bool,
    pub(super) sanitize_block: bool,
    /// It has the security feature set.
    pub(super) security: bool,
    /// A user password is set.
    pub(super) enabled: bool,
    /// It does nothing until it gets that password.
    pub(super) locked: bool,
    /// Firmware forbade changes until the next power-on.
    pub(super) frozen: bool,
    /// SECURITY ERASE UNIT knows its enhanced mode.
    pub(super) enhanced: bool,
    /// How long the two modes take, as the disk believes. `None`: it does not say.
    pub(super) normal_takes: Option<Duration>,
    pub(super) enhanced_takes: Option<Duration>,
}

impl Identify {
    /// Asks a disk.
    ///
    /// # Errors
    /// It does not answer, or with a wrong checksum.
    pub(super) fn ask(port: &impl Port) -> io::Result<Self> {
        let mut block = [0; BLOCK_BYTES];
        let task = Task {
            command: IDENTIFY_DEVICE,
            timeout: SHORT,
            ..Task::default()
        };
        port.send(&task, Data::In(&mut block))?;
        Self::parse(&block).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "what the disk says of itself has a wrong checksum",
            )
        })
    }

    /// `None`: there is a checksum and it is wrong.
    pub(super) fn parse(block: &[u8; BLOCK_BYTES]) -> Option<Self> {
        let (words, _) = block.as_chunks::<2>();
        let word = |at: usize| words.get(at).map_or(0, |word| u16::from_le_bytes(*word));
        let sum = block.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        if word(255) & 0xff == 0xa5 && sum != 0 {
            return None;
        }
        // All ones: the word is not there.
        let bits = |at: usize| Some(word(at)).filter(|word| *word != 0xffff).unwrap_or(0);
        let (sanitize, security) = (bits(59), bits(128));
        let sanitizes = sanitize & 1 << 12 != 0;
        let has_security = security & 1 != 0;
        let state = |bit: u16| has_security && security & 1 << bit != 0;
        Some(Self {
            sanitizes,
            sanitize_crypto: sanitizes && sanitize & 1 << 13 != 0,
            sanitize_block: sanitizes && sanitize & 1 << 15 != 0,
            security: has_security,
            enabled: state(1),
            locked: state(2),
            frozen: state(3),
            enhanced: state(5),
            normal_takes: takes(bits(89)),
            enhanced_takes: takes(bits(90)),
        })
    }
}

/// Two minutes for each unit; bit 15 says that there are fifteen bits of them, not eight.
fn takes(word: u16) -> Option<Duration> {
    let units = if word & 0x8000 == 0 {
        word & 0xff
    } else {
        word & 0x7fff
    };
    (units != 0).then(|| Duration::from_secs(120 * u64::from(units)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(words: &[(usize, u16)]) -> [u8; BLOCK_BYTES] {
        let mut block = [0; BLOCK_BYTES];
        for (at, word) in words {
            block[at * 2..at * 2 + 2].copy_from_slice(&word.to_le_bytes());
        }
        block
    }

    #[test]
    fn a_disk_is_taken_at_its_word() {
        let nothing = Identify::parse(&block(&[(59, 0xe000), (128, 0xfffe)])).unwrap();
        assert_eq!(nothing, Identify::default());
        let ssd = Identify::parse(&block(&[(59, 0xb000), (89, 1), (90, 2), (128, 0x2b)])).unwrap();
        assert!(ssd.sanitize_crypto && ssd.sanitize_block && ssd.security && ssd.enhanced);
        assert!(ssd.enabled && ssd.frozen && !ssd.locked);
        assert_eq!(ssd.normal_takes, Some(Duration::from_secs(120)));
        assert_eq!(ssd.enhanced_takes, Some(Duration::from_secs(240)));
        assert_eq!(takes(0x8000 | 300), Some(Duration::from_secs(36_000)));
        assert_eq!(takes(0), None);
    }

    #[test]
    fn a_wrong_checksum_is_refused() {
        let mut good = block(&[(128, 1), (255, 0xa5)]);
        let sum = good.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        good[511] = 0_u8.wrapping_sub(sum);
        assert!(Identify::parse(&good).is_some());
        good[100] ^= 1;
        assert!(Identify::parse(&good).is_none());
    }

    proptest! {
        #[test]
        fn prop_what_a_disk_says_never_panics(block in prop::collection::vec(any::<u8>(), BLOCK_BYTES)) {
            let _ = Identify::parse(&block.try_into().unwrap());
        }
    }
}
