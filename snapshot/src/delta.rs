//! Chunks on their way to a PC that has similar ones: a zstd frame whose dictionary the PC already has.
//!
//! Source: RFC 8878; zstd.h, `ZSTD_CCtx_refPrefix`; docs/formats/image-index.md.

use std::io::{self, Read, Write};

use zstd::stream::{read::Decoder, write::Encoder};

/// Most bytes one frame carries, and most bytes of a dictionary.
pub const MAX_BYTES: usize = 8 << 20;

/// 16 MiB: content and dictionary together.
const WINDOW_LOG: u32 = 24;
/// With a dictionary the bytes count: level 9 finds what 19 finds in a tenth of the time.
const LEVEL_WITH: i32 = 9;
/// Without one a whole image travels: level 3 keeps up with the network.
const LEVEL_WITHOUT: i32 = 3;

/// Packs `content` for a reader that has `had`.
///
/// # Errors
/// zstd has no memory; `content` or `had` is longer than [`MAX_BYTES`].
pub fn pack(content: &[u8], had: &[u8]) -> io::Result<Vec<u8>> {
    bounded(content.len())?;
    bounded(had.len())?;
    let level = if had.is_empty() {
        LEVEL_WITHOUT
    } else {
        LEVEL_WITH
    };
    let mut encoder = Encoder::with_ref_prefix(Vec::new(), level, had)?;
    encoder.window_log(WINDOW_LOG)?;
    encoder.long_distance_matching(!had.is_empty())?;
    encoder.set_pledged_src_size(Some(content.len() as u64))?;
    encoder.include_contentsize(true)?;
    encoder.write_all(content)?;
    encoder.finish()
}

/// Unpacks exactly `bytes` bytes. What they are the caller checks by their digests.
///
/// # Errors
/// Not a frame of this length made with `had`.
pub fn unpack(packed: &[u8], had: &[u8], bytes: usize) -> io::Result<Vec<u8>> {
    let content = unpack_up_to(packed, had, bytes)?;
    if content.len() == bytes {
        Ok(content)
    } else {
        Err(other_length())
    }
}

/// Unpacks at most `limit` bytes, where nobody said how many there are.
///
/// # Errors
/// Not a frame of at most this length made with `had`.
pub fn unpack_up_to(packed: &[u8], had: &[u8], limit: usize) -> io::Result<Vec<u8>> {
    bounded(limit)?;
    bounded(had.len())?;
    let mut decoder = Decoder::with_ref_prefix(packed, had)?;
    decoder.window_log_max(WINDOW_LOG)?;
    let mut content = Vec::new();
    decoder.take(limit as u64 + 1).read_to_end(&mut content)?;
    if content.len() <= limit {
        Ok(content)
    } else {
        Err(other_length())
    }
}

fn other_length() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the frame has another length than the chunks in it",
    )
}

fn bounded(bytes: usize) -> io::Result<()> {
    if bytes <= MAX_BYTES {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "more than 8 MiB at once",
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::image_index::tests::noise;

    #[test]
    fn what_the_reader_has_costs_nothing() {
        let had = noise(1, 1500);
        let mut content = had.clone();
        content[5_000_000] ^= 1;
        let packed = pack(&content, &had).unwrap();
        assert!(packed.len() < 5000, "{}", packed.len());
        assert_eq!(unpack(&packed, &had, content.len()).unwrap(), content);
        // With another dictionary it is an error or something else, which its digest tells.
        assert!(
            unpack(&packed, &noise(2, 1500), content.len()).is_ok_and(|c| c != content) || {
                unpack(&packed, &noise(2, 1500), content.len()).is_err()
            }
        );
        assert!(unpack(&packed, &had, content.len() - 1).is_err());
        let limit = content.len();
        assert_eq!(unpack_up_to(&packed, &had, limit).unwrap(), content);
        assert!(unpack_up_to(&packed, &had, limit - 1).is_err());
        assert!(unpack(&packed, &had, content.len() + 1).is_err());
        assert!(pack(&vec![0; MAX_BYTES + 1], &[]).is_err());
    }

    proptest! {
        #[test]
        fn prop_content_comes_back_and_nothing_else_panics(
            content in prop::collection::vec(any::<u8>(), 0..3000),
            had in prop::collection::vec(any::<u8>(), 0..3000),
            junk in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let packed = pack(&content, &had).unwrap();
            prop_assert_eq!(unpack(&packed, &had, content.len()).unwrap(), content);
            let _ = unpack(&junk, &had, 100);
        }
    }
}
