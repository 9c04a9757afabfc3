//! The two bytes that end every answer.

use std::fmt;

/// Status word SW1 SW2. Source: ISO/IEC 7816-4 §5.6; NIST SP 800-73-4 part 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status(u16);

impl Status {
    /// 9000: done.
    pub const OK: Self = Self(0x9000);
    /// 6982: security condition not satisfied.
    pub const NOT_ALLOWED: Self = Self(0x6982);
    /// 6983: authentication method blocked.
    pub const BLOCKED: Self = Self(0x6983);
    /// 6A82: application, file or data object not found.
    pub const NOT_FOUND: Self = Self(0x6A82);

    /// SW1 in the high byte, SW2 in the low one.
    #[must_use]
    pub const fn new(word: u16) -> Self {
        Self(word)
    }

    /// The word.
    #[must_use]
    pub const fn word(self) -> u16 {
        self.0
    }

    /// Whether it says that a PIN, PUK or key is wrong, without a count: 6982, or 6300.
    #[must_use]
    pub const fn is_wrong(self) -> bool {
        matches!(self.0, 0x6982 | 0x6300)
    }

    /// Le of the GET RESPONSE to send next, for 61xx. 0 asks for 256 bytes.
    pub(super) const fn more(self) -> Option<u8> {
        match self.0.to_be_bytes() {
            [0x61, rest] => Some(rest),
            _ => None,
        }
    }

    /// The Le the card wanted, for 6Cxx.
    pub(super) const fn wrong_le(self) -> Option<u8> {
        match self.0.to_be_bytes() {
            [0x6C, le] => Some(le),
            _ => None,
        }
    }

    /// Whether a part of a chain was refused because the card knows no chains.
    pub(super) const fn cannot_chain(self) -> bool {
        // Chaining not supported; class not supported, for the class with the chain's bit.
        matches!(self.0, 0x6884 | 0x6E00)
    }

    /// Tries left, for 63Cx.
    #[must_use]
    pub const fn tries_left(self) -> Option<u8> {
        match self.0.to_be_bytes() {
            [0x63, low @ 0xC0..=0xCF] => Some(low & 0x0F),
            _ => None,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meaning = match self.0 {
            0x9000 => "done",
            0x6300 => "verification failed",
            0x63C0..=0x63CF => "verification failed, tries left in the last digit",
            0x6700 => "wrong length",
            0x6884 => "command chaining not supported",
            0x6982 => "security condition not satisfied",
            0x6983 => "blocked",
            0x6985 => "conditions of use not satisfied",
            0x6A80 => "wrong data",
            0x6A81 => "function not supported",
            0x6A82 => "not found",
            0x6A84 => "no space on the card",
            0x6A86 => "wrong parameter",
            0x6A88 => "reference not found",
            0x6D00 => "instruction not supported",
            0x6E00 => "class not supported",
            0x6F00 => "the card does not say why",
            _ => return write!(f, "{:04X}", self.0),
        };
        write!(f, "{:04X} ({meaning})", self.0)
    }
}
