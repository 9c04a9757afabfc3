//! Cutting file data into pieces compared for sameness.
//!
//! A cut depends on the content around it, so an insertion moves the cuts with it and everything
//! after it is found again. The gear table is secret: whoever sees sizes learns nothing from them.
//!
//! Source: docs/formats/chunk.md; FastCDC, Xia et al., IEEE TPDS 31(9), 2020.

use zeroize::ZeroizeOnDrop;

use crate::keys::SnapshotKeys;

/// Shortest chunk that is not the last of its run, in bytes.
pub const MIN_BYTES: usize = 16 << 10;
/// Length around which chunks lie; a rest no longer than this is one chunk. In bytes.
pub const AVG_BYTES: usize = 32 << 10;
/// Longest chunk, in bytes.
pub const MAX_BYTES: usize = 128 << 10;
/// Length of every chunk of a file with pages, in bytes.
pub const PAGE_BYTES: usize = 4 << 10;

/// 17 bits: before [`AVG_BYTES`] a cut is four times less likely than on average.
const MASK_SHORT: u64 = 0x0000_d903_0353_f000;
/// 13 bits: after [`AVG_BYTES`] a cut is four times more likely.
const MASK_LONG: u64 = 0x0000_d903_0353_0000;
const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";

/// How a file is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cutting {
    /// Where the content says.
    Content,
    /// Every [`PAGE_BYTES`]: files that are changed in place, page by page.
    Pages,
}

impl Cutting {
    /// How a file that begins with these bytes is cut (16 are enough).
    #[must_use]
    pub fn of(first_bytes: &[u8]) -> Self {
        if first_bytes.starts_with(SQLITE_MAGIC) {
            Self::Pages
        } else {
            Self::Content
        }
    }
}

/// Whether the bytes at hand end with the run they belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum More {
    /// These are all.
    No,
    /// More may follow.
    Yes,
}

/// Cuts the data of one user.
#[derive(ZeroizeOnDrop)]
pub struct Chunker {
    gear: Box<[u64; 256]>,
    /// `gear`, each number doubled: the hash moves on by two bytes with one shift.
    gear_doubled: Box<[u64; 256]>,
}

impl Chunker {
    /// The chunker with the secret table of this user and epoch.
    #[must_use]
    pub fn new(keys: &SnapshotKeys) -> Self {
        let mut stream = blake3::Hasher::new_keyed(keys.chunker())
            .update(b"furoshiki gear table v1")
            .finalize_xof();
        let mut gear = Box::new([0; 256]);
        let mut gear_doubled = Box::new([0; 256]);
        for (number, doubled) in gear.iter_mut().zip(gear_doubled.iter_mut()) {
            let mut bytes = [0; 8];
            stream.fill(&mut bytes);
            *number = u64::from_le_bytes(bytes);
            *doubled = *number << 1;
        }
        Self { gear, gear_doubled }
    }

    /// Length of the first chunk of `data`; `None` when only more data can tell, or none is left.
    ///
    /// With [`MAX_BYTES`] or more at hand there is always an answer.
    #[must_use]
    pub fn next(&self, data: &[u8], cutting: Cutting, more: More) -> Option<usize> {
        let have = data.len();
        match (cutting, more) {
            (_, More::No) if have == 0 => None,
            (Cutting::Pages, More::Yes) if have < PAGE_BYTES => None,
            (Cutting::Pages, _) => Some(have.min(PAGE_BYTES)),
            (Cutting::Content, More::Yes) if have < MAX_BYTES => None,
            (Cutting::Content, More::No) if have <= AVG_BYTES => Some(have),
            (Cutting::Content, _) => Some(self.cut(data)),
        }
    }

    /// Where the content cuts `data`, which is longer than [`AVG_BYTES`].
    fn cut(&self, data: &[u8]) -> usize {
        let end = data.len().min(MAX_BYTES);
        let mut hash = 0;
        let short = data.get(MIN_BYTES..AVG_BYTES).unwrap_or_default();
        if let Some(at) = self.find(short, MASK_SHORT, &mut hash) {
            return MIN_BYTES + at;
        }
        let long = data.get(AVG_BYTES..end).unwrap_or_default();
        self.find(long, MASK_LONG, &mut hash)
            .map_or(end, |at| AVG_BYTES + at)
    }

    /// Number of bytes up to and with the first one after which `hash & mask` is zero.
    ///
    /// The hash is `hash = (hash << 1) + gear[byte]` for each byte. Two bytes go at once: after the
    /// first the doubled hash meets the doubled mask, which says the same, since the mask's top bit
    /// is not set.
    fn find(&self, data: &[u8], mask: u64, hash: &mut u64) -> Option<usize> {
        let (pairs, odd) = data.as_chunks::<2>();
        for (number, &[first, second]) in pairs.iter().enumerate() {
            *hash = (*hash << 2).wrapping_add(at(&self.gear_doubled, first));
            if *hash & (mask << 1) == 0 {
                return Some(number * 2 + 1);
            }
            *hash = hash.wrapping_add(at(&self.gear, second));
            if *hash & mask == 0 {
                return Some(number * 2 + 2);
            }
        }
        if let [last] = odd {
            *hash = (*hash << 1).wrapping_add(at(&self.gear, *last));
            if *hash & mask == 0 {
                return Some(data.len());
            }
        }
        None
    }
}

#[expect(
    clippy::indexing_slicing,
    reason = "a byte is less than 256; this is the hottest line"
)]
fn at(table: &[u64; 256], byte: u8) -> u64 {
    table[usize::from(byte)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{id::UserId, keys::UserKey};

    pub(crate) fn chunker(seed: u8) -> Chunker {
        Chunker::new(&SnapshotKeys::derive(
            &UserKey::from_bytes([seed; 32]),
            UserId::new([0; 16]),
            1,
        ))
    }

    fn noise(seed: u8, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        blake3::Hasher::new_keyed(&[seed; 32])
            .finalize_xof()
            .fill(&mut out);
        out
    }

    fn cuts(chunker: &Chunker, data: &[u8], cutting: Cutting) -> Vec<usize> {
        let mut lengths = Vec::new();
        let mut rest = data;
        while let Some(len) = chunker.next(rest, cutting, More::No) {
            lengths.push(len);
            rest = &rest[len..];
        }
        assert!(rest.is_empty());
        lengths
    }

    /// The rule as the format page states it, byte by byte.
    fn slow_cut(chunker: &Chunker, data: &[u8]) -> usize {
        if data.len() <= AVG_BYTES {
            return data.len();
        }
        let end = data.len().min(MAX_BYTES);
        let mut hash = 0u64;
        for (i, byte) in data.iter().enumerate().take(end).skip(MIN_BYTES) {
            hash = (hash << 1).wrapping_add(chunker.gear[usize::from(*byte)]);
            if hash & (if i < AVG_BYTES { MASK_SHORT } else { MASK_LONG }) == 0 {
                return i + 1;
            }
        }
        end
    }

    #[test]
    fn two_bytes_at_once_cut_where_one_at_a_time_does() {
        let (chunker, data) = (chunker(1), noise(1, 3_000_001));
        let mut rest = &data[..];
        let mut lengths = Vec::new();
        while !rest.is_empty() {
            let len = chunker.next(rest, Cutting::Content, More::No).unwrap();
            assert_eq!(len, slow_cut(&chunker, rest));
            lengths.push(len);
            rest = &rest[len..];
        }
        let mean = data.len() / lengths.len();
        assert!((24_000..44_000).contains(&mean), "{mean}");
        assert!(
            lengths
                .iter()
                .rev()
                .skip(1)
                .all(|l| (MIN_BYTES..=MAX_BYTES).contains(l))
        );
    }

    #[test]
    fn an_insertion_changes_few_chunks() {
        let (chunker, data) = (chunker(1), noise(2, 2 << 20));
        let mut edited = data.clone();
        edited.splice(1_000_000..1_000_000, *b"tulip");
        let pieces = |data: &[u8]| {
            let mut at = 0;
            let lengths = cuts(&chunker, data, Cutting::Content);
            lengths
                .iter()
                .map(|len| (data[at..at + len].to_vec(), at += len).0)
                .collect::<Vec<_>>()
        };
        let old: std::collections::HashSet<_> = pieces(&data).into_iter().collect();
        let new = pieces(&edited)
            .into_iter()
            .filter(|piece| !old.contains(piece))
            .count();
        assert!(new <= 4, "{new} chunks changed");
    }

    #[test]
    fn other_users_cut_elsewhere() {
        let data = noise(3, 1 << 20);
        let (ours, theirs) = (chunker(1), chunker(2));
        assert_ne!(
            cuts(&ours, &data, Cutting::Content),
            cuts(&theirs, &data, Cutting::Content)
        );
    }

    #[test]
    fn databases_are_cut_into_pages_and_small_files_are_not_cut() {
        let chunker = chunker(1);
        assert_eq!(Cutting::of(b"SQLite format 3\0\x10\0"), Cutting::Pages);
        assert_eq!(Cutting::of(b"SQLite format 2\0"), Cutting::Content);
        assert_eq!(
            cuts(&chunker, &noise(4, 10_000), Cutting::Pages),
            [4096, 4096, 1808]
        );
        assert_eq!(
            cuts(&chunker, &noise(4, AVG_BYTES), Cutting::Content),
            [AVG_BYTES]
        );
        assert!(cuts(&chunker, &[], Cutting::Content).is_empty());
        assert_eq!(
            cuts(&chunker, &vec![0; 150_000], Cutting::Content)
                .iter()
                .sum::<usize>(),
            150_000
        );
    }

    #[test]
    fn with_more_to_come_no_cut_is_guessed() {
        let (chunker, data) = (chunker(1), noise(5, MAX_BYTES));
        assert_eq!(chunker.next(&data[1..], Cutting::Content, More::Yes), None);
        assert!(chunker.next(&data, Cutting::Content, More::Yes).is_some());
        assert_eq!(chunker.next(&data[..4095], Cutting::Pages, More::Yes), None);
        assert_eq!(chunker.next(&data, Cutting::Pages, More::Yes), Some(4096));
        assert_eq!(chunker.next(&[], Cutting::Pages, More::Yes), None);
    }
}
