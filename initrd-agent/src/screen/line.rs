//! Bytes typed on a console without line discipline → a line. Pure.

use zeroize::Zeroizing;

/// Longest answer, in bytes. What is typed beyond it is not taken.
const MAX_BYTES: usize = 256;

/// A line being typed. Wiped from memory when dropped.
#[derive(Default)]
pub(super) struct Line {
    bytes: Zeroizing<Vec<u8>>,
    /// Bytes of an escape sequence (cursor keys) still to be skipped.
    escape: Escape,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    Begun,
    Control,
}

/// What one byte did.
pub(super) enum Typed {
    /// Nothing to see.
    Nothing,
    /// Show this.
    Echo(String),
    /// The line is complete.
    Done(Zeroizing<String>),
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Line({} bytes)", self.bytes.len())
    }
}

impl Line {
    /// Takes one byte.
    pub(super) fn push(&mut self, byte: u8) -> Typed {
        match (self.escape, byte) {
            (Escape::Begun, b'[' | b'O') => {
                self.escape = Escape::Control;
                return Typed::Nothing;
            }
            (Escape::Begun, _) | (Escape::Control, 0x40..=0x7e) => {
                self.escape = Escape::None;
                return Typed::Nothing;
            }
            (Escape::Control, _) => return Typed::Nothing,
            (Escape::None, _) => {}
        }
        match byte {
            b'\r' | b'\n' => Typed::Done(self.take()),
            0x1b => {
                self.escape = Escape::Begun;
                Typed::Nothing
            }
            0x08 | 0x7f => {
                // A character of several bytes goes whole.
                while self.bytes.pop_if(|b| *b & 0xc0 == 0x80).is_some() {}
                self.bytes
                    .pop()
                    .map_or(Typed::Nothing, |_| Typed::Echo("\x08 \x08".into()))
            }
            0x15 => {
                let erased = "\x08 \x08".repeat(self.as_str().chars().count());
                self.bytes = Zeroizing::default();
                Typed::Echo(erased)
            }
            0..0x20 => Typed::Nothing,
            _ if self.bytes.len() >= MAX_BYTES => Typed::Nothing,
            byte => {
                if self.bytes.capacity() == 0 {
                    // Room at once: growing would leave copies of a secret in freed memory.
                    self.bytes.reserve_exact(MAX_BYTES);
                }
                self.bytes.push(byte);
                self.last_char().map_or(Typed::Nothing, Typed::Echo)
            }
        }
    }

    /// What was typed so far, as far as it is text.
    pub(super) fn as_str(&self) -> &str {
        match std::str::from_utf8(&self.bytes) {
            Ok(text) => text,
            Err(e) => self
                .bytes
                .get(..e.valid_up_to())
                .and_then(|b| std::str::from_utf8(b).ok())
                .unwrap_or_default(),
        }
    }

    /// The last character, once its last byte is there.
    fn last_char(&self) -> Option<String> {
        let text = std::str::from_utf8(&self.bytes).ok()?;
        text.chars().next_back().map(String::from)
    }

    fn take(&mut self) -> Zeroizing<String> {
        let text = Zeroizing::new(String::from_utf8_lossy(&self.bytes).into_owned());
        self.bytes = Zeroizing::default();
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn typed(bytes: &[u8]) -> (Option<String>, String) {
        let mut line = Line::default();
        let mut echo = String::new();
        for byte in bytes {
            match line.push(*byte) {
                Typed::Nothing => {}
                Typed::Echo(text) => echo.push_str(&text),
                Typed::Done(text) => return (Some(text.to_string()), echo),
            }
        }
        (None, echo)
    }

    #[test]
    fn keys_do_what_they_do_everywhere() {
        let cases: [(&[u8], Option<&str>); 8] = [
            (b"taro\n", Some("taro")),
            (b"taro\r", Some("taro")),
            (b"tarp\x7fo\n", Some("taro")),
            (b"\x7f\x08x\n", Some("x")),
            (b"wrong\x15taro\n", Some("taro")),
            (b"ta\x1b[A\x1b[3~ro\n", Some("taro")),
            ("太郎\x7f\n".as_bytes(), Some("太")),
            (b"no end", None),
        ];
        for (bytes, want) in cases {
            assert_eq!(typed(bytes).0.as_deref(), want, "{bytes:?}");
        }
        assert_eq!(typed("太\n".as_bytes()).1, "太");
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_no_line_is_endless(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let (line, _) = typed(&bytes);
            prop_assert!(line.is_none_or(|line| line.len() <= 3 * MAX_BYTES));
        }
    }
}
