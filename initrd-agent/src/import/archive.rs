//! From blocks to members: pax, GNU and plain ustar, long names and holes in all their ways.
//!
//! The `tar` crate reads the fields of a header. Its iterator is not used: it keeps names and pax records of any
//! length in memory, takes no size from pax records in its raw mode, and does not know GNU's sparse files in pax.
//!
//! Source: docs/formats/tar.md; POSIX.1-2017, pax; GNU tar manual, "Tar Internals".

use std::io::{self, Read};

use snapshot::manifest::{Time, Xattr};
use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

use super::{
    error::{ImportError, Refusal},
    pax::{MAX_RUNS, Malformed, Pax},
};
use crate::export::{Name, header::BLOCK_BYTES};

/// Longest pax header taken, in bytes: more attributes than an entry may have.
const MAX_PAX_BYTES: u64 = 8 << 20;
/// Longest name of GNU tar taken, in bytes.
const MAX_NAME_BYTES: u64 = 64 << 10;
/// Largest file: what ext4 with blocks of 4 KiB holds.
const MAX_FILE_BYTES: u64 = (16 << 40) - 4096;
/// Of what follows the end mark, so much is read, so that whoever writes into a pipe is not cut off.
const MAX_TAIL_BYTES: u64 = 1 << 20;

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    File,
    Hardlink,
    Symlink,
    Directory,
    Fifo,
    CharDevice,
    BlockDevice,
}

/// An entry of the tar, as it says. Only numbers and lengths are checked.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) path: Vec<u8>,
    pub(super) what: What,
    pub(super) link: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Time,
    pub(super) device: (u32, u32),
    pub(super) xattrs: Vec<Xattr>,
    /// Access lists as text.
    pub(super) access: Option<Vec<u8>>,
    pub(super) default: Option<Vec<u8>>,
    /// Bytes of the file, holes counted.
    pub(super) size: u64,
    /// Where the data lies that follows: places and lengths, ascending, without overlap, within `size`.
    pub(super) data: Vec<(u64, u64)>,
}

impl Member {
    pub(super) fn refuse(&self, why: Refusal) -> ImportError {
        refuse(&self.path, why)
    }
}

fn refuse(path: &[u8], why: Refusal) -> ImportError {
    ImportError::Entry {
        entry: Name::new(path),
        why,
    }
}

/// A tar being read from its beginning to its end. As a reader, gives the data of the last member.
pub(super) struct Archive<'a> {
    input: &'a mut dyn Read,
    /// Bytes read so far.
    at: u64,
    global: Pax,
    /// Data of the last member that was not read, and zeros after it.
    left: u64,
    padding: u64,
}

/// What headers before a member say about it.
#[derive(Default)]
struct Before {
    pax: Option<Pax>,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl<'a> Archive<'a> {
    pub(super) fn new(input: &'a mut dyn Read) -> Self {
        Self {
            input,
            at: 0,
            global: Pax::default(),
            left: 0,
            padding: 0,
        }
    }

    /// Where the reading is, in bytes.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// The next member; `None`: the tar ended as it should.
    pub(super) fn next(&mut self) -> Result<Option<Member>, ImportError> {
        self.skip(self.left + self.padding)?;
        (self.left, self.padding) = (0, 0);
        let mut before = Before::default();
        loop {
            let from = self.at;
            let damaged = |rule| ImportError::Header { at: from, rule };
            let Some(header) = self.header()? else {
                self.drain();
                return Ok(None);
            };
            let size = field(&header.as_old().size, || header.entry_size());
            let size = size.ok_or(damaged("its size is no number"))?;
            match header.entry_type().as_byte() {
                b'x' | b'X' => {
                    let records = self.small(size, MAX_PAX_BYTES, damaged)?;
                    let mut pax = self.global.clone();
                    pax.add(&records).map_err(|Malformed| damaged(RECORDS))?;
                    before.pax = Some(pax);
                }
                b'g' => {
                    let records = self.small(size, MAX_NAME_BYTES, damaged)?;
                    self.global
                        .add(&records)
                        .map_err(|Malformed| damaged(RECORDS))?;
                }
                b'L' => before.name = Some(self.long_name(size, damaged)?),
                b'K' => before.link = Some(self.long_name(size, damaged)?),
                // The label of a volume.
                b'V' => drop(self.small(size, MAX_NAME_BYTES, damaged)?),
                _ => return self.member(&header, size, before).map(Some),
            }
        }
    }

    fn member(
        &mut self,
        header: &Header,
        header_size: u64,
        before: Before,
    ) -> Result<Member, ImportError> {
        let pax = before.pax.unwrap_or_else(|| self.global.clone());
        let sparse = pax.sparse.major == Some(1);
        let name = pax.sparse.name.or(pax.path).or(before.name);
        let path = name.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = pax.link.or(before.link);
        let link = link.or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
        let link = link.unwrap_or_default();
        let wrong = |why| refuse(&path, why);
        let what = what(header.entry_type(), &path).map_err(wrong)?;
        let stored = pax.size.unwrap_or(header_size);
        let old = header.as_old();
        let number = |from_pax: Option<u64>, bytes: &[u8], read: &dyn Fn() -> io::Result<u64>| {
            let number = from_pax.or_else(|| field(bytes, read));
            let number = number.and_then(|number| u32::try_from(number).ok());
            // The largest means "leave it as it is" to the kernel.
            number
                .filter(|number| *number != u32::MAX)
                .ok_or(wrong(Refusal::Numbers))
        };
        let uid = number(pax.uid, &old.uid, &|| header.uid())?;
        let gid = number(pax.gid, &old.gid, &|| header.gid())?;
        let mode = number(None, &old.mode, &|| header.mode().map(u64::from))? & 0o7777;
        let mtime = match pax.mtime {
            Some(time) => time,
            None => Time {
                // A time before 1970 has its sign in the highest bit of GNU's binary field.
                seconds: field(&old.mtime, || header.mtime())
                    .ok_or(wrong(Refusal::Time))?
                    .cast_signed(),
                nanos: 0,
            },
        };
        let device = match what {
            What::CharDevice | What::BlockDevice => {
                device(header, pax.major, pax.minor).ok_or(wrong(Refusal::Device))?
            }
            _ => (0, 0),
        };
        let (mut size, mut data) = (0, Vec::new());
        match what {
            What::File => {
                self.left = stored;
                let real_size = pax.sparse.real_size;
                (size, data) = if header.entry_type() == EntryType::GNUSparse {
                    self.old_map(header).map_err(|e| e.of(&path))?
                } else if sparse {
                    let data = self.map_in_data().map_err(|e| e.of(&path))?;
                    (real_size.ok_or(wrong(Refusal::SparseMap))?, data)
                } else if let Some(real_size) = real_size {
                    let (pairs, rest) = pax.sparse.map.as_chunks::<2>();
                    if !rest.is_empty() {
                        return Err(wrong(Refusal::SparseMap));
                    }
                    (
                        real_size,
                        pairs.iter().map(|&[at, bytes]| (at, bytes)).collect(),
                    )
                } else {
                    (stored, vec![(0, stored)])
                };
                if size > MAX_FILE_BYTES {
                    return Err(wrong(Refusal::Size));
                }
                check_map(&mut data, size, self.left).map_err(wrong)?;
            }
            What::Hardlink | What::Symlink if stored > 0 => {
                return Err(wrong(Refusal::LinkWithData));
            }
            // The list of names GNU tar writes into an incremental tar.
            What::Directory if header.entry_type().as_byte() == b'D' => {
                if stored > MAX_FILE_BYTES {
                    return Err(wrong(Refusal::Size));
                }
                self.left = stored;
            }
            // For these a size means nothing: no data follows.
            _ => {}
        }
        let block = BLOCK_BYTES as u64;
        // A map in the data is whole blocks.
        self.padding = (block - self.left % block) % block;
        let xattrs = if pax.libarchive.is_empty() {
            pax.xattrs
        } else {
            pax.libarchive
        };
        Ok(Member {
            what,
            link,
            mode,
            uid,
            gid,
            mtime,
            device,
            xattrs,
            access: pax.access,
            default: pax.default,
            size,
            data,
            path,
        })
    }

    /// A header whose checksum is right; `None`: the end mark.
    fn header(&mut self) -> Result<Option<Header>, ImportError> {
        let from = self.at;
        let mut block = [0; BLOCK_BYTES];
        self.fill(&mut block)?;
        if block.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        let mut right = header.clone();
        right.set_cksum();
        if header.cksum().ok() == right.cksum().ok() {
            return Ok(Some(header));
        }
        Err(match from {
            0 => ImportError::NotATar,
            at => ImportError::Header {
                at,
                rule: "its checksum is wrong",
            },
        })
    }

    /// Data of a header that describes another one.
    fn small(
        &mut self,
        size: u64,
        limit: u64,
        damaged: impl Fn(&'static str) -> ImportError,
    ) -> Result<Vec<u8>, ImportError> {
        if size > limit {
            return Err(damaged(
                "it says more about an entry than an entry can have",
            ));
        }
        let length = usize::try_from(size).unwrap_or(usize::MAX);
        let mut data = vec![0; length.next_multiple_of(BLOCK_BYTES)];
        self.fill(&mut data)?;
        data.truncate(length);
        Ok(data)
    }

    fn long_name(
        &mut self,
        size: u64,
        damaged: impl Fn(&'static str) -> ImportError,
    ) -> Result<Vec<u8>, ImportError> {
        let mut name = self.small(size, MAX_NAME_BYTES, damaged)?;
        let end = name.iter().position(|&byte| byte == 0);
        name.truncate(end.unwrap_or(name.len()));
        Ok(name)
    }

    /// The map of GNU's own sparse files: in the header, and in blocks after it.
    fn old_map(&mut self, header: &Header) -> Result<(u64, Vec<(u64, u64)>), MapError> {
        let gnu = header.as_gnu().ok_or(MapError::Map)?;
        let size = field(&gnu.realsize, || gnu.real_size()).ok_or(MapError::Map)?;
        let mut data = Vec::new();
        take_runs(&gnu.sparse, &mut data)?;
        let mut more = gnu.is_extended();
        while more {
            let mut block = GnuExtSparseHeader::new();
            self.fill_anything(block.as_mut_bytes())?;
            take_runs(block.sparse(), &mut data)?;
            more = block.is_extended();
        }
        Ok((size, data))
    }

    /// The map of version 1.0: decimal numbers, one a line, in the first blocks of the data.
    fn map_in_data(&mut self) -> Result<Vec<(u64, u64)>, MapError> {
        let mut numbers = Lines::default();
        let count = self.line(&mut numbers)?;
        if count > MAX_RUNS as u64 {
            return Err(MapError::Map);
        }
        let mut data = Vec::new();
        for _ in 0..count {
            let at = self.line(&mut numbers)?;
            data.push((at, self.line(&mut numbers)?));
        }
        Ok(data)
    }

    fn line(&mut self, lines: &mut Lines) -> Result<u64, MapError> {
        let mut value = 0u64;
        for digits in 0.. {
            let byte = match lines.next() {
                Some(byte) => byte,
                None => {
                    let block = BLOCK_BYTES as u64;
                    self.left = self.left.checked_sub(block).ok_or(MapError::Map)?;
                    self.fill_anything(&mut lines.block)?;
                    lines.at = 0;
                    lines.next().ok_or(MapError::Map)?
                }
            };
            let digit = match byte {
                b'\n' if digits > 0 => return Ok(value),
                b'0'..=b'9' => u64::from(byte - b'0'),
                _ => break,
            };
            let longer = value
                .checked_mul(10)
                .and_then(|value| value.checked_add(digit));
            value = longer.ok_or(MapError::Map)?;
        }
        Err(MapError::Map)
    }

    fn fill_anything(&mut self, block: &mut [u8]) -> Result<(), MapError> {
        self.fill(block)
            .map_err(|error| MapError::Read(Box::new(error)))
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), ImportError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.input.read(rest) {
                Ok(0) if self.at == 0 => return Err(ImportError::NotATar),
                Ok(0) => return Err(ImportError::CutShort { at: self.at }),
                Ok(count) => {
                    filled += count;
                    self.at += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ImportError::Read(error)),
            }
        }
        Ok(())
    }

    fn skip(&mut self, bytes: u64) -> Result<(), ImportError> {
        let mut buffer = [0; 16 * BLOCK_BYTES];
        let mut left = bytes;
        while left > 0 {
            let now = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            self.fill(buffer.get_mut(..now).unwrap_or_default())?;
            left -= now as u64;
        }
        Ok(())
    }

    /// Whatever stands after the end mark is no part of the tar.
    fn drain(&mut self) {
        let tail = io::copy(
            &mut (&mut *self.input).take(MAX_TAIL_BYTES),
            &mut io::sink(),
        );
        if let Err(error) = tail {
            tracing::debug!(%error, "what follows the end of the tar does not read");
        }
    }
}

impl Read for Archive<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let count = self
            .input
            .read(buffer.get_mut(..room).unwrap_or_default())?;
        self.left -= count as u64;
        self.at += count as u64;
        Ok(count)
    }
}

const RECORDS: &str = "its pax records do not read";

/// Why a map of holes does not read.
enum MapError {
    Map,
    Read(Box<ImportError>),
}

impl MapError {
    fn of(self, path: &[u8]) -> ImportError {
        match self {
            Self::Map => refuse(path, Refusal::SparseMap),
            Self::Read(error) => *error,
        }
    }
}

/// A block of a map, and how far it is read.
struct Lines {
    block: [u8; BLOCK_BYTES],
    at: usize,
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            block: [0; BLOCK_BYTES],
            at: BLOCK_BYTES,
        }
    }
}

impl Lines {
    fn next(&mut self) -> Option<u8> {
        let byte = self.block.get(self.at).copied()?;
        self.at += 1;
        Some(byte)
    }
}

fn take_runs(runs: &[GnuSparseHeader], data: &mut Vec<(u64, u64)>) -> Result<(), MapError> {
    for run in runs.iter().take_while(|run| !run.is_empty()) {
        let both = run.offset().ok().zip(run.length().ok());
        data.push(both.ok_or(MapError::Map)?);
    }
    if data.len() > MAX_RUNS {
        return Err(MapError::Map);
    }
    Ok(())
}

/// Runs of data in order, without empty ones, all of the stored bytes and nothing beyond the file.
fn check_map(data: &mut Vec<(u64, u64)>, size: u64, stored: u64) -> Result<(), Refusal> {
    let (mut end, mut sum) = (0u64, 0u64);
    for &(at, bytes) in &*data {
        let next = at.checked_add(bytes).filter(|next| *next <= size);
        end = next.filter(|_| at >= end).ok_or(Refusal::SparseMap)?;
        // No overflow: the runs lie one after the other within `size`.
        sum += bytes;
    }
    data.retain(|(_, bytes)| *bytes > 0);
    if sum == stored {
        Ok(())
    } else {
        Err(Refusal::OtherSize)
    }
}

/// What a type flag means. Old tars write directories as files with a slash at the end.
fn what(kind: EntryType, path: &[u8]) -> Result<What, Refusal> {
    Ok(match kind.as_byte() {
        b'\0' | b'0' if path.ends_with(b"/") => What::Directory,
        b'\0' | b'0' | b'7' | b'S' => What::File,
        b'1' => What::Hardlink,
        b'2' => What::Symlink,
        b'3' => What::CharDevice,
        b'4' => What::BlockDevice,
        b'5' | b'D' => What::Directory,
        b'6' => What::Fifo,
        other => return Err(Refusal::Kind(other)),
    })
}

/// A field of a header; one that was left empty is zero.
fn field(bytes: &[u8], read: impl Fn() -> io::Result<u64>) -> Option<u64> {
    if bytes.iter().all(|byte| matches!(byte, 0 | b' ')) {
        return Some(0);
    }
    read().ok()
}

/// Numbers of a device: Linux has 12 bits and 20.
fn device(header: &Header, major: Option<u64>, minor: Option<u64>) -> Option<(u32, u32)> {
    let of_header = |number: io::Result<Option<u32>>| Some(u64::from(number.ok()??));
    let major = major.or_else(|| of_header(header.device_major()))?;
    let minor = minor.or_else(|| of_header(header.device_minor()))?;
    if major >= 1 << 12 || minor >= 1 << 20 {
        return None;
    }
    Some((u32::try_from(major).ok()?, u32::try_from(minor).ok()?))
}
