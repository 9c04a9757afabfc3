//! One byte range of a file (RFC 9110 §14).
//!
//! A site answers a single range. Several, or another unit, get the whole file: §14.2 lets a server
//! ignore the header.

/// What to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// 200: everything.
    Whole,
    /// 206: `len` bytes from `start`; `len` > 0.
    Part {
        /// First byte.
        start: u64,
        /// How many.
        len: u64,
    },
    /// 416: nothing of it is in the file.
    Unsatisfiable,
}

/// Reads a `Range` header for a file of `size` bytes.
#[must_use]
pub fn wanted(header: Option<&str>, size: u64) -> Wanted {
    let Some(header) = header else {
        return Wanted::Whole;
    };
    let Some((unit, spec)) = header.split_once('=') else {
        return Wanted::Whole;
    };
    let Some((first, last)) = spec.trim().split_once('-') else {
        return Wanted::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Wanted::Whole;
    }
    match (number(first), number(last)) {
        // "-n": the last n bytes.
        (Ok(None), Ok(Some(0))) => Wanted::Unsatisfiable,
        (Ok(None), Ok(Some(_))) if size == 0 => Wanted::Unsatisfiable,
        (Ok(None), Ok(Some(n))) => Wanted::Part {
            start: size.saturating_sub(n),
            len: n.min(size),
        },
        (Ok(Some(start)), Ok(last)) => {
            if last.is_some_and(|last| last < start) {
                return Wanted::Whole;
            }
            let Some(room) = size.checked_sub(start).filter(|room| *room > 0) else {
                return Wanted::Unsatisfiable;
            };
            let len = last.map_or(room, |last| (last - start).saturating_add(1).min(room));
            Wanted::Part { start, len }
        }
        _ => Wanted::Whole,
    }
}

/// Digits only: `u64::from_str` would take a sign. More digits than fit mean "beyond any file".
fn number(text: &str) -> Result<Option<u64>, ()> {
    if text.is_empty() {
        return Ok(None);
    }
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(());
    }
    Ok(Some(text.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_single_range_is_understood_and_anything_else_is_the_whole() {
        let part = |start, len| Wanted::Part { start, len };
        let cases = [
            (None, 10, Wanted::Whole),
            (Some("bytes=0-0"), 10, part(0, 1)),
            (Some("bytes=2-5"), 10, part(2, 4)),
            (Some("bytes=2-"), 10, part(2, 8)),
            (Some("bytes=2-99999999999999999999999"), 10, part(2, 8)),
            (Some("bytes=-3"), 10, part(7, 3)),
            (Some("bytes=-30"), 10, part(0, 10)),
            (Some("bytes=-0"), 10, Wanted::Unsatisfiable),
            (Some("bytes=10-"), 10, Wanted::Unsatisfiable),
            (
                Some("bytes=99999999999999999999999-"),
                10,
                Wanted::Unsatisfiable,
            ),
            (Some("bytes=0-"), 0, Wanted::Unsatisfiable),
            (Some("bytes=-1"), 0, Wanted::Unsatisfiable),
            (Some("bytes=5-2"), 10, Wanted::Whole),
            (Some("bytes=1-2,4-5"), 10, Wanted::Whole),
            (Some("bytes=+1-2"), 10, Wanted::Whole),
            (Some("lines=1-2"), 10, Wanted::Whole),
            (Some("bytes"), 10, Wanted::Whole),
            (Some("bytes=-"), 10, Wanted::Whole),
            (Some("Bytes= 1-2"), 10, part(1, 2)),
        ];
        for (header, size, want) in cases {
            assert_eq!(wanted(header, size), want, "{header:?} of {size}");
        }
    }

    proptest! {
        #[test]
        fn a_part_always_lies_within_the_file(header in "(bytes=)?[0-9 ,+-]{0,24}", size in 0..u64::MAX) {
            if let Wanted::Part { start, len } = wanted(Some(&header), size) {
                prop_assert!(len > 0);
                prop_assert!(start.checked_add(len).is_some_and(|end| end <= size));
            }
        }

        #[test]
        fn what_a_client_asks_for_is_what_it_gets(start in 0..1000_u64, len in 1..1000_u64, more in 0..1000_u64) {
            let header = format!("bytes={start}-{}", start + len - 1);
            prop_assert_eq!(wanted(Some(&header), start + len + more), Wanted::Part { start, len });
        }
    }
}
