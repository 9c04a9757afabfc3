//! Parsing bytes: every length checked, nothing left over, no panic.
//!
//! Fixed integers are little-endian. A varint is LEB128, at most ten bytes, in its shortest form:
//! there is one way to write a value, so equal things have equal bytes.

/// Length in bytes of the head every binary format begins with.
pub(crate) const HEAD_BYTES: usize = 12;

/// Bytes that are not what their format says.
///
/// Offsets count from the first byte of the object, or of its opened plain text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not this kind of object at all.
    #[error("not a {what}: it begins with other bytes than {magic:?}")]
    WrongMagic {
        /// The kind of object wanted.
        what: &'static str,
        /// What it begins with, as text.
        magic: &'static str,
    },
    /// Written by a later program in a version this one does not read.
    #[error("{what} has version {version}, this program reads version 1; use a newer program")]
    UnknownVersion {
        /// The kind of object.
        what: &'static str,
        /// Its version.
        version: u16,
    },
    /// Written with a feature without which its meaning is lost.
    #[error(
        "{what} needs features {bits:#06x} that this program does not know; use a newer program"
    )]
    UnknownFeatures {
        /// The kind of object.
        what: &'static str,
        /// Unknown bits among the incompatible ones.
        bits: u16,
    },
    /// Fewer bytes than its lengths say.
    #[error("{what} is cut short: {want} bytes wanted, {have} there")]
    Truncated {
        /// The field being read.
        what: &'static str,
        /// Bytes the field needs.
        want: u64,
        /// Bytes left.
        have: u64,
    },
    /// More bytes than its lengths say.
    #[error("{extra} bytes left over after {what}")]
    Trailing {
        /// The last thing read.
        what: &'static str,
        /// How many.
        extra: u64,
    },
    /// A number outside of what the format allows.
    #[error("{what} is {have}, at most {limit} is allowed")]
    TooLarge {
        /// The field.
        what: &'static str,
        /// Its value.
        have: u64,
        /// Largest allowed value.
        limit: u64,
    },
    /// A field whose value breaks a rule of the format.
    #[error("{what}: {rule}")]
    Invalid {
        /// The field.
        what: &'static str,
        /// The rule it breaks.
        rule: &'static str,
    },
}

/// Reads fields one after the other from a slice.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes not read yet.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next `len` bytes.
    pub(crate) fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], ParseError> {
        match self.rest.split_at_checked(len) {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(head)
            }
            None => Err(ParseError::Truncated {
                what,
                want: len as u64,
                have: self.rest.len() as u64,
            }),
        }
    }

    /// The next `N` bytes as an array.
    pub(crate) fn array<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], ParseError> {
        match self.rest.split_first_chunk::<N>() {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(*head)
            }
            None => Err(ParseError::Truncated {
                what,
                want: N as u64,
                have: self.rest.len() as u64,
            }),
        }
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, ParseError> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, ParseError> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, ParseError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, ParseError> {
        self.array(what).map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self, what: &'static str) -> Result<i64, ParseError> {
        self.array(what).map(i64::from_le_bytes)
    }

    /// A varint of at most `limit`.
    pub(crate) fn varint(&mut self, limit: u64, what: &'static str) -> Result<u64, ParseError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(what)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(ParseError::Invalid {
                    what,
                    rule: "a varint holds at most 64 bits",
                });
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(ParseError::Invalid {
                        what,
                        rule: "a varint has its shortest form",
                    });
                }
                return if value <= limit {
                    Ok(value)
                } else {
                    Err(ParseError::TooLarge {
                        what,
                        have: value,
                        limit,
                    })
                };
            }
        }
        Err(ParseError::Invalid {
            what,
            rule: "a varint has at most ten bytes",
        })
    }

    /// A varint of at most `limit` that counts things of at least `each` bytes still to come, so
    /// that the caller may reserve memory for them.
    pub(crate) fn count(
        &mut self,
        limit: usize,
        each: usize,
        what: &'static str,
    ) -> Result<usize, ParseError> {
        let count = self.size(limit, what)?;
        match count.checked_mul(each) {
            Some(want) if want <= self.left() => Ok(count),
            want => Err(ParseError::Truncated {
                what,
                want: want.map_or(u64::MAX, |want| want as u64),
                have: self.left() as u64,
            }),
        }
    }

    /// A varint of at most `limit`, as a size in memory.
    pub(crate) fn size(&mut self, limit: usize, what: &'static str) -> Result<usize, ParseError> {
        let value = self.varint(limit as u64, what)?;
        usize::try_from(value).map_err(|_| ParseError::TooLarge {
            what,
            have: value,
            limit: limit as u64,
        })
    }

    /// A varint that fits 32 bits and is at most `limit`.
    pub(crate) fn varint32(&mut self, limit: u32, what: &'static str) -> Result<u32, ParseError> {
        let value = self.varint(u64::from(limit), what)?;
        u32::try_from(value).map_err(|_| ParseError::TooLarge {
            what,
            have: value,
            limit: u64::from(limit),
        })
    }

    /// A signed varint (zigzag).
    pub(crate) fn zigzag(&mut self, what: &'static str) -> Result<i64, ParseError> {
        let value = self.varint(u64::MAX, what)?;
        Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    /// The head of an object: checks magic, version and incompatible features, of which there are none.
    pub(crate) fn head(
        &mut self,
        magic: &'static str,
        what: &'static str,
    ) -> Result<Features, ParseError> {
        self.head_with(0, magic, what)
    }

    /// The same of an object whose incompatible features `known` this program knows.
    pub(crate) fn head_with(
        &mut self,
        known: u16,
        magic: &'static str,
        what: &'static str,
    ) -> Result<Features, ParseError> {
        if self.take(4, what)? != magic.as_bytes() {
            return Err(ParseError::WrongMagic { what, magic });
        }
        let version = self.u16(what)?;
        if version != 1 {
            return Err(ParseError::UnknownVersion { what, version });
        }
        let incompatible = self.u16(what)?;
        let features = Features {
            incompatible,
            read_only: self.u16(what)?,
            compatible: self.u16(what)?,
        };
        if incompatible & !known != 0 {
            return Err(ParseError::UnknownFeatures {
                what,
                bits: incompatible & !known,
            });
        }
        Ok(features)
    }

    /// Nothing may be left.
    pub(crate) fn end(&self, what: &'static str) -> Result<(), ParseError> {
        match self.left() {
            0 => Ok(()),
            extra => Err(ParseError::Trailing {
                what,
                extra: extra as u64,
            }),
        }
    }
}

/// Features an object uses, none of which keeps this program from reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Features {
    /// Known to this program.
    pub(crate) incompatible: u16,
    /// Known to be safe to read, not to write again.
    pub(crate) read_only: u16,
    /// Safe to ignore.
    pub(crate) compatible: u16,
}

/// Appends the head of an object of version 1 without optional features.
pub(crate) fn put_head(out: &mut Vec<u8>, magic: &'static str) {
    put_head_with(out, 0, magic);
}

/// The same with incompatible features.
pub(crate) fn put_head_with(out: &mut Vec<u8>, incompatible: u16, magic: &'static str) {
    out.extend_from_slice(magic.as_bytes());
    out.extend_from_slice(&1u16.to_le_bytes());
    out.extend_from_slice(&incompatible.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
}

/// Appends a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Appends a signed varint (zigzag).
pub(crate) fn put_zigzag(out: &mut Vec<u8>, value: i64) {
    put_varint(
        out,
        (value << 1).cast_unsigned() ^ (value >> 63).cast_unsigned(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_come_back_and_have_one_form() {
        for value in [
            0,
            1,
            127,
            128,
            300,
            u64::from(u32::MAX),
            u64::MAX - 1,
            u64::MAX,
        ] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            let mut reader = Reader::new(&out);
            assert_eq!(reader.varint(u64::MAX, "value"), Ok(value));
            assert_eq!(reader.end("value"), Ok(()));
        }
        for (bytes, why) in [
            (&[0x80, 0x00][..], "long zero"),
            (&[0xff; 10][..], "more than 64 bits"),
            (&[0x80; 11][..], "no end"),
            (&[0x80][..], "cut"),
            (&[][..], "nothing"),
        ] {
            assert!(
                Reader::new(bytes).varint(u64::MAX, "value").is_err(),
                "{why}"
            );
        }
        assert!(Reader::new(&[9]).varint(8, "value").is_err());
    }

    #[test]
    fn signed_varints_come_back() {
        for value in [0, 1, -1, 63, -64, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            put_zigzag(&mut out, value);
            assert_eq!(Reader::new(&out).zigzag("value"), Ok(value));
        }
    }

    #[test]
    fn counts_never_promise_more_than_there_is() {
        assert!(
            Reader::new(&[200, 1, 0, 0])
                .count(1000, 1, "things")
                .is_err()
        );
        assert_eq!(Reader::new(&[2, 0, 0]).count(1000, 1, "things"), Ok(2));
    }

    #[test]
    fn heads_of_later_programs_are_told_apart() {
        let mut head = Vec::new();
        put_head(&mut head, "FKPK");
        assert_eq!(head.len(), HEAD_BYTES);
        assert_eq!(
            Reader::new(&head).head("FKPK", "pack"),
            Ok(Features::default())
        );
        for (at, error) in [
            (
                0,
                ParseError::WrongMagic {
                    what: "pack",
                    magic: "FKPK",
                },
            ),
            (
                4,
                ParseError::UnknownVersion {
                    what: "pack",
                    version: 0,
                },
            ),
            (
                6,
                ParseError::UnknownFeatures {
                    what: "pack",
                    bits: 1,
                },
            ),
        ] {
            let mut bad = head.clone();
            bad[at] ^= 1;
            assert_eq!(Reader::new(&bad).head("FKPK", "pack"), Err(error));
        }
        let mut later = head;
        (later[8], later[10]) = (4, 8);
        assert_eq!(
            Reader::new(&later).head("FKPK", "pack"),
            Ok(Features {
                incompatible: 0,
                read_only: 4,
                compatible: 8
            })
        );
    }
}
