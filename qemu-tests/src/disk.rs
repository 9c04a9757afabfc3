//! Raw bytes of a PC's disk, for assertions and for faults.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use walkdir::WalkDir;

/// Bytes read at once.
const CHUNK_BYTES: usize = 4 << 20;
/// Sectors of partition tables.
const SECTOR_BYTES: [usize; 2] = [512, 4096];

/// Something to search for, in every form it might be written in.
#[derive(Debug, Clone)]
pub struct Needle {
    /// What reports call it.
    pub name: String,
    forms: Vec<Vec<u8>>,
}

impl Needle {
    /// A text, as UTF-8 and as UTF-16LE.
    ///
    /// # Errors
    /// It is shorter than eight bytes and would be found by chance.
    pub fn text(text: &str) -> Result<Self> {
        if text.len() < 8 {
            bail!("`{text}` is too short to search for");
        }
        let wide = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        Ok(Self {
            name: text.to_owned(),
            forms: vec![text.as_bytes().to_vec(), wide],
        })
    }

    /// A key, as it is, in hex and in base64. Reports have its name only.
    #[must_use]
    pub fn key(name: &str, key: &[u8]) -> Self {
        let base64 = STANDARD
            .encode(key)
            .trim_end_matches('=')
            .as_bytes()
            .to_vec();
        Self {
            name: name.to_owned(),
            forms: vec![key.to_vec(), hex::encode(key).into_bytes(), base64],
        }
    }

    /// The needle as one line, for a search inside a guest.
    #[must_use]
    pub fn line(&self) -> String {
        let forms: Vec<String> = self.forms.iter().map(hex::encode).collect();
        format!("{}\t{}\n", self.name, forms.join(","))
    }

    /// Reads a [`line`](Self::line).
    ///
    /// # Errors
    /// It is none.
    pub fn of_line(line: &str) -> Result<Self> {
        let (name, forms) = line.split_once('\t').context("a needle without forms")?;
        let forms: Result<Vec<_>, _> = forms.trim().split(',').map(hex::decode).collect();
        Ok(Self {
            name: name.to_owned(),
            forms: forms.context("read a needle")?,
        })
    }

    /// Whether it is anywhere in `bytes`.
    #[must_use]
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        self.forms
            .iter()
            .any(|form| memmem::find(bytes, form).is_some())
    }
}

/// Names of the needles that a file has anywhere. Holes are skipped.
///
/// # Errors
/// The file cannot be read.
pub fn search(path: &Path, needles: &[Needle]) -> Result<Vec<String>> {
    let keep = needles
        .iter()
        .flat_map(|needle| &needle.forms)
        .map(Vec::len)
        .max()
        .unwrap_or(1)
        .saturating_sub(1);
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut found: Vec<String> = Vec::new();
    let mut at = 0;
    // What lies on both sides of a hole does not join: the hole is zeroes, and no needle has a run of them.
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
            for needle in needles {
                if !found.contains(&needle.name) && needle.is_in(&window) {
                    found.push(needle.name.clone());
                }
            }
            offset += u64::try_from(want).context("a chunk fits 64 bits")?;
            window.drain(..window.len().saturating_sub(keep));
        }
        at = end;
    }
    Ok(found)
}

/// Whether a file has a text anywhere.
///
/// # Errors
/// As [`search`]; or the text is too short.
pub fn contains(path: &Path, text: &str) -> Result<bool> {
    Ok(!search(path, &[Needle::text(text)?])?.is_empty())
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

/// Every file below `folder` whose name or content has one of `needles`: needle and place.
///
/// # Errors
/// A file cannot be read.
pub fn search_tree(folder: &Path, needles: &[Needle]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in WalkDir::new(folder) {
        let entry = entry.with_context(|| format!("walk {}", folder.display()))?;
        let (path, name) = (entry.path().display(), entry.file_name().as_bytes());
        found.extend(
            needles
                .iter()
                .filter(|needle| needle.is_in(name))
                .map(|needle| format!("{} in the name {path}", needle.name)),
        );
        if entry.file_type().is_file() {
            found.extend(
                search(entry.path(), needles)?
                    .into_iter()
                    .map(|needle| format!("{needle} in {path}")),
            );
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
    let mut head = vec![0; 6 * 4096];
    match file.read_exact(&mut head) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            bail!("{} is too short for a GPT", path.display())
        }
        other => other.with_context(|| format!("read {}", path.display()))?,
    }
    // The header is the second sector, the entries begin in the third; 128 of 128 bytes.
    let sector = SECTOR_BYTES
        .into_iter()
        .find(|at| head.get(*at..at + 8) == Some(b"EFI PART".as_slice()))
        .with_context(|| format!("{} has no GPT", path.display()))?;
    let sector_bytes = u64::try_from(sector).context("a sector fits 64 bits")?;
    let number = |bytes: &[u8], at: usize| {
        bytes
            .get(at..at + 8)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u64::from_le_bytes)
    };
    Ok(head
        .get(2 * sector..2 * sector + 128 * 128)
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
                first * sector_bytes,
                (last + 1).saturating_sub(first) * sector_bytes,
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
    fn a_planted_key_is_found_in_every_form() {
        let key: Vec<u8> = (1..=32).collect();
        let needles = [Needle::key("user key", &key)];
        for form in [
            key.clone(),
            hex::encode(&key).into_bytes(),
            STANDARD.encode(&key).into_bytes(),
        ] {
            assert_eq!(
                search(sparse(CHUNK_BYTES as u64 - 9, &form).path(), &needles).unwrap(),
                ["user key"]
            );
        }
        assert!(
            search(sparse(9, key.get(..31).unwrap()).path(), &needles)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn a_needle_that_travelled_finds_the_same() {
        let key: Vec<u8> = (1..=32).collect();
        for needle in [
            Needle::text("tulip-4471").unwrap(),
            Needle::key("key", &key),
        ] {
            let arrived = Needle::of_line(&needle.line()).unwrap();
            assert_eq!(arrived.name, needle.name);
            assert_eq!(arrived.forms, needle.forms);
        }
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
        let needles =
            ["tulip-4471", "daisy-9902", "rose-0000"].map(|text| Needle::text(text).unwrap());
        let found = search_tree(folder.path(), &needles).unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
    }
}
