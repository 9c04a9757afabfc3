//! Bytes of a text file → letters.

use encoding_rs::{Encoding, SHIFT_JIS, UTF_8, UTF_16BE, UTF_16LE};
use zeroize::Zeroizing;

use super::{MAX_FILE_BYTES, Reason, Refused};

/// The text of a file: by its byte order mark, else UTF-8 when it is that, else Shift_JIS (Windows-31J).
pub(super) fn decode(bytes: &[u8]) -> Result<Zeroizing<String>, Refused> {
    if bytes.len() > MAX_FILE_BYTES {
        return Err(Refused::whole(Reason::TooLarge));
    }
    let (encoding, rest) = match Encoding::for_bom(bytes) {
        Some((encoding, len)) => (encoding, bytes.get(len..).unwrap_or_default()),
        None if std::str::from_utf8(bytes).is_ok() => (UTF_8, bytes),
        None => (SHIFT_JIS, bytes),
    };
    debug_assert!([UTF_8, UTF_16LE, UTF_16BE, SHIFT_JIS].contains(&encoding));
    let text = match encoding.decode_without_bom_handling_and_without_replacement(rest) {
        Some(text) => Zeroizing::new(text.into_owned()),
        None => {
            let (lossy, _) = encoding.decode_without_bom_handling(rest);
            let before = lossy.split('\u{fffd}').next().unwrap_or_default();
            return Err(Refused::at(
                before.matches('\n').count() + 1,
                Reason::NotText,
            ));
        }
    };
    if let Some((before, _)) = text.split_once('\0') {
        return Err(Refused::at(
            before.matches('\n').count() + 1,
            Reason::NotText,
        ));
    }
    if text.trim().is_empty() {
        return Err(Refused::whole(Reason::Empty));
    }
    Ok(text)
}

/// Lines with their numbers from 1, whatever ends them.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text
        .split('\n')
        .map(|line| line.strip_suffix('\r').unwrap_or(line));
    (1..).zip(lines)
}
