//! Reading an initrd: the archives it is made of and their entries.
//!
//! Source: Linux `Documentation/driver-api/early-userspace/buffer-format.rst`; RFC 8878 for zstd.

use std::{collections::BTreeMap, io::Read, ops::Range};

use snapshot::id::Digest;

use super::cpio::ALIGNMENT_BYTES;
use crate::contents::{Entry, Kind};

const MAGIC: &[u8] = b"070701";
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const HEADER_BYTES: usize = 110;
const TRAILER: &str = "TRAILER!!!";
/// An archive that becomes longer than this is not one of ours, in bytes.
const LONGEST: u64 = 1 << 30;

/// One archive of an initrd.
#[derive(Debug)]
pub struct Archive {
    /// Its entries, sorted by path.
    pub entries: Vec<Entry>,
    /// Its bytes as the kernel unpacks them.
    bytes: Vec<u8>,
    data: BTreeMap<String, Range<usize>>,
}

impl Archive {
    /// The bytes of a file.
    #[must_use]
    pub fn data(&self, path: &str) -> Option<&[u8]> {
        self.bytes.get(self.data.get(path)?.clone())
    }
}

/// Reads all archives of an initrd. Err: what is wrong with it, and where.
pub fn read(initrd: &[u8]) -> Result<Vec<Archive>, String> {
    let mut archives = Vec::new();
    let mut at = 0;
    while let Some(rest) = initrd.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with(&[0]) {
            at += rest.iter().take_while(|byte| **byte == 0).count();
        } else if rest.starts_with(ZSTD_MAGIC) {
            let (bytes, used) =
                decompress(rest).map_err(|error| format!("zstd at byte {at}: {error}"))?;
            archives.push(archive(bytes, at)?.0);
            at += used;
        } else if rest.starts_with(MAGIC) {
            let (archive, used) = archive(rest.to_vec(), at)?;
            archives.push(archive);
            at += used;
        } else {
            return Err(format!("neither cpio nor zstd at byte {at}"));
        }
    }
    Ok(archives)
}

/// Out: the frame's contents and how many bytes it took.
fn decompress(frame: &[u8]) -> std::io::Result<(Vec<u8>, usize)> {
    let mut reader = zstd::Decoder::with_buffer(frame)?.single_frame();
    let mut bytes = Vec::new();
    reader.by_ref().take(LONGEST).read_to_end(&mut bytes)?;
    Ok((bytes, frame.len() - reader.finish().len()))
}

fn archive(bytes: Vec<u8>, begins: usize) -> Result<(Archive, usize), String> {
    let wrong = |at: usize, what: &str| format!("{what} at byte {at} of the archive at {begins}");
    let mut entries = BTreeMap::new();
    let mut data = BTreeMap::new();
    let mut at = 0;
    loop {
        let header = bytes
            .get(at..at + HEADER_BYTES)
            .filter(|header| header.starts_with(MAGIC))
            .ok_or_else(|| wrong(at, "no cpio header"))?;
        let field = |index: usize| -> Option<u32> {
            let from = MAGIC.len() + index * 8;
            let text = std::str::from_utf8(header.get(from..from + 8)?).ok()?;
            u32::from_str_radix(text, 16).ok()
        };
        let fields: Option<Vec<u32>> = (0..13).map(field).collect();
        let fields = fields.ok_or_else(|| wrong(at, "a cpio header that is not hexadecimal"))?;
        let get = |index: usize| fields.get(index).copied().unwrap_or_default();
        let (mode, length, name_length) = (get(1), get(6) as usize, get(11) as usize);
        let name_at = at + HEADER_BYTES;
        let name = bytes
            .get(name_at..name_at + name_length.saturating_sub(1))
            .ok_or_else(|| wrong(at, "a cut name"))?;
        let name = String::from_utf8_lossy(name).into_owned();
        let from = (name_at + name_length).next_multiple_of(ALIGNMENT_BYTES);
        let content = bytes
            .get(from..from + length)
            .ok_or_else(|| wrong(at, "a cut file"))?;
        at = (from + length).next_multiple_of(ALIGNMENT_BYTES);
        if name == TRAILER {
            break;
        }
        let kind = match mode & 0o170_000 {
            0o040_000 => Kind::Directory,
            0o100_000 => Kind::File,
            0o120_000 => Kind::Link,
            _ => Kind::Special,
        };
        let has_bytes = matches!(kind, Kind::File | Kind::Link);
        let entry = Entry {
            path: name.clone(),
            kind,
            mode: mode & 0o7777,
            uid: get(2),
            gid: get(3),
            mtime: i64::from(get(5)),
            bytes: if kind == Kind::File {
                u64::from(get(6))
            } else {
                0
            },
            blake3: has_bytes.then(|| Digest::new(*blake3::hash(content).as_bytes())),
            attributes: BTreeMap::new(),
            package: None,
        };
        data.insert(name.clone(), from..from + length);
        entries.insert(name, entry);
    }
    let archive = Archive {
        entries: entries.into_values().collect(),
        bytes,
        data,
    };
    Ok((archive, at))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::boot::{cpio, initrd};

    fn plain() -> Vec<u8> {
        let mut archive = cpio::Archive::new();
        archive.directory("usr");
        archive.file("usr/tool", 0o755, b"tulip");
        archive.end()
    }

    #[test]
    fn archives_one_after_another_are_read() {
        let mut bytes = plain();
        bytes.extend_from_slice(&[0; 512]);
        bytes.extend(initrd::compress(&plain(), 3).unwrap());
        bytes.extend(initrd::compress(&cpio::Archive::new().end(), 3).unwrap());
        let archives = read(&bytes).unwrap();
        let paths: Vec<Vec<&str>> = archives
            .iter()
            .map(|archive| archive.entries.iter().map(|e| e.path.as_str()).collect())
            .collect();
        assert_eq!(
            paths,
            [vec!["usr", "usr/tool"], vec!["usr", "usr/tool"], vec![]]
        );
        let tool = &archives[1].entries[1];
        assert_eq!((tool.mode, tool.bytes, tool.kind), (0o755, 5, Kind::File));
        assert_eq!(archives[1].data("usr/tool"), Some(b"tulip".as_slice()));
    }

    #[test]
    fn what_is_cut_is_said() {
        let whole = initrd::compress(&plain(), 3).unwrap();
        assert!(read(&whole[..whole.len() / 2]).is_err());
        assert!(read(&plain()[..112]).unwrap_err().contains("cut"));
        assert!(read(b"something else").unwrap_err().contains("neither"));
    }

    proptest! {
        #[test]
        fn prop_any_bytes_are_an_initrd_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _never_panics = read(&bytes);
            let mut after = MAGIC.to_vec();
            after.extend(bytes);
            let _never_panics = read(&after);
        }
    }
}
