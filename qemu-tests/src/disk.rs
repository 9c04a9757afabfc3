//! Raw bytes of a PC's disk, for assertions and for faults.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use walkdir::WalkDir;

/// Bytes read at once.
const CHUNK_BYTES: usize = 4 << 20;
/// Sector of a partition table.
const SECTOR_BYTES: u64 = 512;

/// Whether a file has `needle` anywhere, as UTF-8 or as UTF-16LE. Holes are skipped.
///
/// # Errors
/// The file cannot be read, or the needle is shorter than eight bytes and would be found by chance.
pub fn contains(path: &Path, needle: &str) -> Result<bool> {
    if needle.len() < 8 {
        bail!("`{needle}` is too short to search for");
    }
    let wide: Vec<u8> = needle.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let needles = [needle.as_bytes(), &wide];
    let keep = wide.len() - 1;
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut at = 0;
    // Two strings on both sides of a hole cannot join: the hole is zeroes, the needle has none in it.
    while let Some((begin, end)) =
        next_data(&file, at).with_context(|| format!("look for data in {}", path.display()))?
    {
        let mut window = Vec::with_capacity(CHUNK_BYTES + keep);
        let mut offset = begin;
        while offset < end {
            let kept = window.len();
            let want = CHUNK_BYTES.min(usize::try_from(end - offset).unwrap_or(CHUNK_BYTES));
            window.resize(kept + want, 0);
            let fresh = window.get_mut(kept..).unwrap_or_default();
            file.read_exact_at(fresh, offset)
                .with_context(|| format!("read {} at {offset}", path.display()))?;
            if needles.iter().any(|needle| find(&window, needle)) {
                return Ok(true);
            }
            offset += u64::try_from(want).context("a chunk fits 64 bits")?;
            window.drain(..window.len().saturating_sub(keep));
        }
        at = end;
    }
    Ok(false)
}

/// The next run of bytes that are not a hole, from `at` on.
fn next_data(file: &File, at: u64) -> Result<Option<(u64, u64)>> {
    // lseek(2): SEEK_DATA gives ENXIO behind the last data.
    let begin = match seek(file, SeekFrom::Data(at)) {
        Ok(begin) => begin,
        Err(Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error).context("seek data"),
    };
    let end = seek(file, SeekFrom::Hole(begin)).context("seek a hole")?;
    Ok(Some((begin, end)))
}

fn find(haystack: &[u8], needle: &[u8]) -> bool {
    let Some((first, rest)) = needle.split_first() else {
        return true;
    };
    let mut from = haystack;
    while let Some(at) = from.iter().position(|byte| byte == first) {
        from = from.get(at + 1..).unwrap_or_default();
        if from.starts_with(rest) {
            return true;
        }
    }
    false
}

/// Every file below `folder` whose name or content has one of `needles`, with the needle.
///
/// # Errors
/// A file cannot be read.
pub fn search_tree(folder: &Path, needles: &[&str]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in WalkDir::new(folder) {
        let entry = entry.with_context(|| format!("walk {}", folder.display()))?;
        for needle in needles {
            if entry.path().to_string_lossy().contains(needle) {
                found.push(format!("{needle} in the name {}", entry.path().display()));
            }
            if entry.file_type().is_file() && contains(entry.path(), needle)? {
                found.push(format!("{needle} in {}", entry.path().display()));
            }
        }
    }
    Ok(found)
}

/// Bytes a file really takes on the file system below it.
///
/// # Errors
/// The file cannot be looked at.
pub fn allocated_bytes(path: &Path) -> Result<u64> {
    Ok(std::fs::metadata(path)
        .with_context(|| format!("look at {}", path.display()))?
        .blocks()
        * 512)
}

/// Changes one bit of the byte at `offset`, in place.
///
/// # Errors
/// The file is shorter or cannot be written.
pub fn flip(path: &Path, offset: u64) -> Result<()> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .with_context(|| format!("open {}", path.display()))?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset)
        .with_context(|| format!("read {} at {offset}", path.display()))?;
    file.write_all_at(&byte.map(|b| b ^ 1), offset)
        .with_context(|| format!("write {} at {offset}", path.display()))
}

/// A partition: name, first byte, bytes.
pub type Partition = (String, u64, u64);

/// The partitions of a disk image, by its GPT (UEFI 2.10 §5.3).
///
/// # Errors
/// There is no GPT.
pub fn partitions(path: &Path) -> Result<Vec<Partition>> {
    let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut head = vec![0; 34 * 512];
    match file.read_exact(&mut head) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            bail!("{} is too short for a GPT", path.display())
        }
        other => other.with_context(|| format!("read {}", path.display()))?,
    }
    if head.get(512..520) != Some(b"EFI PART".as_slice()) {
        bail!("{} has no GPT", path.display());
    }
    let number = |bytes: &[u8], at: usize| {
        bytes
            .get(at..at + 8)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u64::from_le_bytes)
    };
    Ok(head
        .get(1024..)
        .unwrap_or_default()
        .chunks_exact(128)
        .filter(|entry| entry.iter().take(16).any(|b| *b != 0))
        .map(|entry| {
            let name: Vec<u16> = entry
                .get(56..)
                .unwrap_or_default()
                .as_chunks::<2>()
                .0
                .iter()
                .map(|pair| u16::from_le_bytes(*pair))
                .take_while(|unit| *unit != 0)
                .collect();
            let first = number(entry, 32);
            let last = number(entry, 40);
            (
                String::from_utf16_lossy(&name),
                first * SECTOR_BYTES,
                (last + 1).saturating_sub(first) * SECTOR_BYTES,
            )
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn sparse(at: u64, text: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(64 << 20).unwrap();
        file.as_file().write_all_at(text, at).unwrap();
        file
    }

    #[test]
    fn a_planted_string_is_found_wherever_it_lies() {
        let chunk = CHUNK_BYTES as u64;
        for at in [0, 5, chunk - 4, chunk, (64 << 20) - 10, 33 << 20] {
            let file = sparse(at, b"tulip-4471");
            assert!(contains(file.path(), "tulip-4471").unwrap(), "at {at}");
            assert!(!contains(file.path(), "tulip-4472").unwrap(), "at {at}");
        }
    }

    #[test]
    fn a_planted_wide_string_is_found() {
        let wide: Vec<u8> = "tulip-4471"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        assert!(contains(sparse(7_654_321, &wide).path(), "tulip-4471").unwrap());
    }

    #[test]
    fn a_flipped_byte_changes_and_changes_back() {
        let file = sparse(100, b"a");
        flip(file.path(), 100).unwrap();
        assert_eq!(fs::read(file.path()).unwrap()[100], b'`');
        flip(file.path(), 100).unwrap();
        assert_eq!(fs::read(file.path()).unwrap()[100], b'a');
    }

    #[test]
    fn names_and_contents_of_a_tree_are_searched() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tulip-4471.txt"), "x").unwrap();
        fs::write(folder.path().join("b"), "say daisy-9902 twice").unwrap();
        let found = search_tree(folder.path(), &["tulip-4471", "daisy-9902", "rose-0000"]).unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
    }
}
