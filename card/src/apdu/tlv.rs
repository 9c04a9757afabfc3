//! BER-TLV as cards and certificates have it: definite lengths, tags of up to three bytes.
//!
//! Source: ISO/IEC 7816-4 §5.2.2; ITU-T X.690 §8.1.

/// Bytes that are not TLV.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TlvError {
    /// Ends inside a tag, a length or a value.
    #[error("data ends {0} bytes early")]
    Truncated(usize),
    /// A tag of more than three bytes.
    #[error("a tag has more than three bytes")]
    LongTag,
    /// Indefinite, or more than three length bytes.
    #[error("a length is indefinite or beyond 16 MiB")]
    Length,
}

/// One object: tag, value, and the whole of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tlv<'a> {
    /// The bytes of the tag as a number, `5FC10B` for example.
    pub tag: u32,
    /// What is inside.
    pub value: &'a [u8],
    /// Tag, length and value.
    pub whole: &'a [u8],
}

/// Takes the first object; the second half is what follows it.
///
/// # Errors
/// [`TlvError`].
pub fn take(input: &[u8]) -> Result<(Tlv<'_>, &[u8]), TlvError> {
    let (tag, rest) = take_tag(input)?;
    let (length, rest) = take_length(rest)?;
    let (value, rest) = rest
        .split_at_checked(length)
        .ok_or(TlvError::Truncated(length.saturating_sub(rest.len())))?;
    let (whole, _) = input.split_at(input.len() - rest.len());
    Ok((Tlv { tag, value, whole }, rest))
}

/// The value of the first object with `tag` among the objects in `input`.
///
/// # Errors
/// [`TlvError`] when something before it is not TLV.
pub fn find(mut input: &[u8], tag: u32) -> Result<Option<&[u8]>, TlvError> {
    while !input.is_empty() {
        let (tlv, rest) = take(input)?;
        if tlv.tag == tag {
            return Ok(Some(tlv.value));
        }
        input = rest;
    }
    Ok(None)
}

/// Writes an object of any tag; lengths up to 65535.
#[must_use]
pub fn put(tag: u32, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(length + 8);
    out.extend(tag.to_be_bytes().into_iter().skip_while(|byte| *byte == 0));
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..=0x7F), _) => out.push(short),
        (Ok(byte), _) => out.extend([0x81, byte]),
        (_, Ok(word)) => {
            out.push(0x82);
            out.extend(word.to_be_bytes());
        }
        _ => unreachable!("nothing of ours has 64 KiB"),
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

fn take_tag(input: &[u8]) -> Result<(u32, &[u8]), TlvError> {
    let (first, mut rest) = input.split_first().ok_or(TlvError::Truncated(1))?;
    let mut tag = u32::from(*first);
    if first & 0x1F != 0x1F {
        return Ok((tag, rest));
    }
    for _ in 0..2 {
        let (next, after) = rest.split_first().ok_or(TlvError::Truncated(1))?;
        tag = tag << 8 | u32::from(*next);
        rest = after;
        if next & 0x80 == 0 {
            return Ok((tag, rest));
        }
    }
    Err(TlvError::LongTag)
}

fn take_length(input: &[u8]) -> Result<(usize, &[u8]), TlvError> {
    let (first, rest) = input.split_first().ok_or(TlvError::Truncated(1))?;
    let count = match first {
        short @ ..=0x7F => return Ok((usize::from(*short), rest)),
        0x81..=0x83 => usize::from(first & 0x7F),
        _ => return Err(TlvError::Length),
    };
    let (bytes, rest) = rest
        .split_at_checked(count)
        .ok_or(TlvError::Truncated(count.saturating_sub(rest.len())))?;
    let length = bytes
        .iter()
        .fold(0, |length, byte| length << 8 | usize::from(*byte));
    Ok((length, rest))
}
