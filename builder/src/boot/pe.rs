//! The unsigned part of an EFI program.
//!
//! A Secure Boot signature carries the time it was made, and only who has the key can make it again. What a
//! rebuild can prove is everything else: the program without its certificate table.
//! Source: Microsoft PE format §optional header, §attribute certificate table; UEFI 2.10 §32.2.

/// Bytes of the DOS header up to and with the offset of the PE header.
const PE_OFFSET_AT: usize = 0x3c;
/// From the PE signature to the optional header: signature and COFF header.
const OPTIONAL_AT: usize = 4 + 20;
/// In the optional header of a 64-bit program: its checksum.
const CHECKSUM_AT: usize = 64;
/// In the optional header of a 64-bit program: address and size of the certificate table (directory 4).
const CERTIFICATES_AT: usize = 112 + 4 * 8;
/// First two bytes of the optional header of a 64-bit program.
const MAGIC_64: [u8; 2] = [0x0b, 0x02];

/// A program with and without its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsigned {
    /// The program with an empty certificate table and no checksum, which covers the table.
    pub bytes: Vec<u8>,
    /// Whether there was a signature.
    pub was_signed: bool,
}

/// Takes the signature off. `None`: not a 64-bit EFI program, or its headers point outside of it.
#[must_use]
pub fn unsigned(program: &[u8]) -> Option<Unsigned> {
    let pe = usize::try_from(number(program, PE_OFFSET_AT)?).ok()?;
    if program.get(pe..pe.checked_add(4)?)? != b"PE\0\0" {
        return None;
    }
    let optional = pe.checked_add(OPTIONAL_AT)?;
    if program.get(optional..optional.checked_add(2)?)? != MAGIC_64 {
        return None;
    }
    let checksum = optional.checked_add(CHECKSUM_AT)?;
    let table = optional.checked_add(CERTIFICATES_AT)?;
    let at = usize::try_from(number(program, table)?).ok()?;
    let length = usize::try_from(number(program, table.checked_add(4)?)?).ok()?;
    let mut bytes = program.to_vec();
    bytes.get_mut(checksum..checksum.checked_add(4)?)?.fill(0);
    bytes.get_mut(table..table.checked_add(8)?)?.fill(0);
    let was_signed = length != 0;
    if was_signed {
        // The table is the end of the file; anything behind it would be neither signed nor looked at.
        if at.checked_add(length)? != program.len() {
            return None;
        }
        bytes.truncate(at);
    }
    // Signing pads the program to a multiple of 8 first.
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    Some(Unsigned { bytes, was_signed })
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(four.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Headers of a 64-bit program with its PE header at 0x40, then `body`.
    fn program(body: &[u8], signature: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 0x40 + OPTIONAL_AT + 240];
        bytes[PE_OFFSET_AT] = 0x40;
        bytes[0x40..0x44].copy_from_slice(b"PE\0\0");
        let optional = 0x40 + OPTIONAL_AT;
        bytes[optional..optional + 2].copy_from_slice(&MAGIC_64);
        bytes.extend_from_slice(body);
        if !signature.is_empty() {
            let put = |bytes: &mut Vec<u8>, at: usize, value: usize| {
                let value = u32::try_from(value).unwrap();
                bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            };
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            let at = bytes.len();
            put(&mut bytes, optional + CERTIFICATES_AT, at);
            put(&mut bytes, optional + CERTIFICATES_AT + 4, signature.len());
            put(&mut bytes, optional + CHECKSUM_AT, 0x1234);
            bytes.extend_from_slice(signature);
        }
        bytes
    }

    #[test]
    fn a_signature_changes_nothing_but_itself() {
        let plain = unsigned(&program(b"kernel", b"")).unwrap();
        let signed = unsigned(&program(b"kernel", b"signed on a Monday")).unwrap();
        let again = unsigned(&program(b"kernel", b"signed on a Tuesday, by another")).unwrap();
        assert!(!plain.was_signed && signed.was_signed);
        assert_eq!(plain.bytes, signed.bytes);
        assert_eq!(signed.bytes, again.bytes);
        let other = unsigned(&program(b"kerneL", b"signed on a Monday")).unwrap();
        assert_ne!(signed.bytes, other.bytes);
    }

    #[test]
    fn bytes_behind_the_signature_are_no_part_of_a_program_that_can_be_compared() {
        let mut bytes = program(b"kernel", b"signature");
        bytes.push(0);
        assert_eq!(unsigned(&bytes), None);
    }

    #[test]
    fn what_is_no_program_is_none() {
        let whole = program(b"kernel", b"signature");
        for length in 0..whole.len() {
            assert_eq!(unsigned(&whole[..length]), None, "{length}");
        }
        let mut far = whole.clone();
        far[PE_OFFSET_AT..PE_OFFSET_AT + 4].fill(0xff);
        assert_eq!(unsigned(&far), None);
    }
}
