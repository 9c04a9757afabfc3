//! What stands before the data of an entry: a pax header with what ustar cannot say, then a ustar header.
//!
//! The `tar` crate writes the ustar header. It does not write pax records whose keys are bytes, GNU's sparse files of
//! version 1.0, or a name for the pax header, so those are here.
//!
//! Source: docs/formats/tar.md; POSIX.1-2017, pax; GNU tar manual, "Storing Sparse Files".

use snapshot::manifest::{Entry, EntryKind, FileData, Meta, Ref, Time, Xattr};
use tar::{EntryType, Header};

use super::{ExportError, Name, Whiteouts, acl, order::Member};
use crate::capture::{
    tree::{Side, side},
    xattr::escaped,
};

/// Bytes of a block.
pub(crate) const BLOCK_BYTES: usize = 512;
/// Longest name in a header.
const NAME_BYTES: usize = 100;
/// Largest value of a field with eight octal digits, and with twelve.
const SHORT_FIELD: u64 = 0o777_7777;
const LONG_FIELD: u64 = 0o777_7777_7777;
/// What tools that do not know pax call a pax header.
const PAX_NAME: &[u8] = b"./PaxHeaders/entry";
/// Beginning of the names of files that are whiteouts.
pub(crate) const OCI_WHITEOUT: &[u8] = b".wh.";
/// The file in a directory that hides what the baseline has in it.
pub(crate) const OCI_OPAQUE: &[u8] = b".wh..wh..opq";

/// An entry ready to be written.
pub(super) struct Head {
    /// Whole blocks, up to where the data begins.
    pub(super) blocks: Vec<u8>,
    /// Bytes of data that follow, and zeros up to a whole block.
    pub(super) data_bytes: u64,
}

impl Head {
    /// Zeros after the data.
    pub(super) fn padding(&self) -> usize {
        let block = BLOCK_BYTES as u64;
        let beyond = self.data_bytes % block;
        usize::try_from((block - beyond) % block).unwrap_or(0)
    }
}

/// The header of a path.
pub(super) fn head(member: &Member<'_>, whiteouts: Whiteouts) -> Result<Head, ExportError> {
    let Member {
        path,
        entry,
        link_to,
    } = *member;
    if whiteouts == Whiteouts::Oci {
        check_oci_name(path)?;
    }
    let name = [b"./", path].concat();
    if let Some(target) = link_to {
        let target = [b"./", target].concat();
        let mut line = Line::new(EntryType::Link, name, &entry.meta);
        line.link = Some(target);
        return Ok(line.finish(0));
    }
    let mut line = match &entry.kind {
        EntryKind::Directory { opaque } => {
            let name = if path.is_empty() {
                name
            } else {
                [&name, &b"/"[..]].concat()
            };
            let mut line = Line::new(EntryType::Directory, name, &entry.meta);
            line.opaque = *opaque && whiteouts == Whiteouts::Overlay && side(path) == Side::Upper;
            line
        }
        EntryKind::File(data) => {
            let mut line = Line::new(EntryType::Regular, name, &entry.meta);
            line.attributes(entry, whiteouts);
            return Ok(line.file(data));
        }
        EntryKind::Symlink { target } => {
            let mut line = Line::new(EntryType::Symlink, name, &entry.meta);
            line.link = Some(target.clone());
            line
        }
        EntryKind::Fifo => Line::new(EntryType::Fifo, name, &entry.meta),
        EntryKind::CharDevice { major, minor } => {
            let mut line = Line::new(EntryType::Char, name, &entry.meta);
            line.device = (*major, *minor);
            line
        }
        EntryKind::BlockDevice { major, minor } => {
            let mut line = Line::new(EntryType::Block, name, &entry.meta);
            line.device = (*major, *minor);
            line
        }
        EntryKind::Whiteout if whiteouts == Whiteouts::Oci => {
            let (holder, name) = split(path);
            let name = [b"./", holder, OCI_WHITEOUT, name].concat();
            Line::new(EntryType::Regular, name, &entry.meta)
        }
        EntryKind::Whiteout => Line::new(EntryType::Char, name, &entry.meta),
        // A hardlink stands for the entry it is another name of.
        EntryKind::Hardlink { .. } => return Err(ExportError::Unlisted),
    };
    line.attributes(entry, whiteouts);
    Ok(line.finish(0))
}

/// The file that makes a directory opaque, where attributes do not.
pub(super) fn oci_opaque(path: &[u8]) -> Head {
    let holder = if path.is_empty() {
        Vec::new()
    } else {
        [path, b"/"].concat()
    };
    let name = [&b"./"[..], &holder, OCI_OPAQUE].concat();
    Line::new(EntryType::Regular, name, &Meta::default()).finish(0)
}

/// Names that mean a whiteout cannot mean themselves.
fn check_oci_name(path: &[u8]) -> Result<(), ExportError> {
    if split(path).1.starts_with(OCI_WHITEOUT) {
        return Err(ExportError::LooksLikeWhiteout {
            entry: Name::new(path),
        });
    }
    Ok(())
}

/// What holds a path, with its slash, and the name in there.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let slash = path.iter().rposition(|&byte| byte == b'/');
    path.split_at(slash.map_or(0, |at| at + 1))
}

/// What is known about a header before it is written.
struct Line<'a> {
    kind: EntryType,
    name: Vec<u8>,
    link: Option<Vec<u8>>,
    meta: &'a Meta,
    device: (u32, u32),
    opaque: bool,
    attributes: Records,
}

impl<'a> Line<'a> {
    fn new(kind: EntryType, name: Vec<u8>, meta: &'a Meta) -> Self {
        Self {
            kind,
            name,
            link: None,
            meta,
            device: (0, 0),
            opaque: false,
            attributes: Records::default(),
        }
    }

    /// Access lists in both ways tools know them, then all attributes.
    ///
    /// With `--acls` GNU tar and bsdtar look at the text alone, and GNU tar then drops a list it finds among the
    /// attributes only. With `--xattrs` alone GNU tar looks at the attributes.
    fn attributes(&mut self, entry: &Entry, whiteouts: Whiteouts) {
        let meta = &entry.meta;
        for (name, key) in [
            (acl::ACCESS, b"SCHILY.acl.access".as_slice()),
            (acl::DEFAULT, b"SCHILY.acl.default".as_slice()),
        ] {
            let value = meta.xattrs.iter().find(|xattr| xattr.name == name);
            if let Some(text) = value.and_then(|xattr| acl::text(&xattr.value)) {
                self.attributes.put(key, text.as_bytes());
            }
        }
        let overlay = whiteouts == Whiteouts::Overlay && side(&entry.path) == Side::Upper;
        let mut all: Vec<_> = meta
            .xattrs
            .iter()
            .map(|xattr| Xattr {
                name: if overlay {
                    escaped(&xattr.name)
                } else {
                    xattr.name.clone()
                },
                value: xattr.value.clone(),
            })
            .collect();
        if self.opaque {
            all.push(Xattr {
                name: crate::capture::xattr::OPAQUE.to_vec(),
                value: b"y".to_vec(),
            });
        }
        all.sort();
        for xattr in all {
            let key = [b"SCHILY.xattr.", encoded(&xattr.name).as_slice()].concat();
            self.attributes.put(&key, &xattr.value);
        }
    }

    fn file(self, data: &FileData) -> Head {
        let stored = data.refs.iter().map(|run| match run {
            Ref::Data { bytes, .. } => u64::from(*bytes),
            Ref::Hole { .. } => 0,
        });
        let stored: u64 = stored.sum();
        if stored == data.size {
            return self.finish(stored);
        }
        let map = sparse_map(data);
        self.sparse(data.size, stored, &map)
    }

    /// Version 1.0: the map comes before the data, so that also a file of many holes has a short header.
    fn sparse(mut self, size: u64, stored: u64, map: &[u8]) -> Head {
        let mut records = Records::default();
        records.put(b"GNU.sparse.major", b"1");
        records.put(b"GNU.sparse.minor", b"0");
        records.put(b"GNU.sparse.name", &self.name);
        records.put(b"GNU.sparse.realsize", size.to_string().as_bytes());
        let binary = std::str::from_utf8(&self.name).is_err();
        let (holder, name) = split(&self.name);
        // What tools that do not know sparse files call what they unpack.
        self.name = [holder, b"GNUSparseFile.0/", name].concat();
        self.name.truncate(NAME_BYTES);
        self.write(stored, map, records, binary)
    }

    fn finish(self, data_bytes: u64) -> Head {
        let plain = self.name.len() <= NAME_BYTES && self.name.is_ascii();
        let mut records = Records::default();
        let mut binary = false;
        if !plain {
            records.put(b"path", &self.name);
            binary = std::str::from_utf8(&self.name).is_err();
        }
        self.write(data_bytes, &[], records, binary)
    }

    fn write(self, data_bytes: u64, map: &[u8], names: Records, mut binary: bool) -> Head {
        let mut header = Header::new_ustar();
        let mut records = names;
        header.set_entry_type(self.kind);
        if let Some(ustar) = header.as_ustar_mut() {
            for (slot, byte) in ustar.name.iter_mut().zip(&self.name) {
                *slot = *byte;
            }
        }
        if let Some(link) = &self.link {
            let fits = link.is_ascii() && header.set_link_name_literal(link).is_ok();
            if !fits {
                records.put(b"linkpath", link);
                binary |= std::str::from_utf8(link).is_err();
            }
        }
        let size = data_bytes + map.len() as u64;
        let meta = self.meta;
        header.set_mode(meta.mode);
        header.set_size(records.field(b"size", size, LONG_FIELD));
        header.set_uid(records.field(b"uid", meta.uid.into(), SHORT_FIELD));
        header.set_gid(records.field(b"gid", meta.gid.into(), SHORT_FIELD));
        let (major, minor) = self.device;
        let major = records.field(b"SCHILY.devmajor", major.into(), SHORT_FIELD);
        let minor = records.field(b"SCHILY.devminor", minor.into(), SHORT_FIELD);
        let number = |number: u64| u32::try_from(number).unwrap_or(0);
        let set = header.set_device_major(number(major));
        set.and_then(|()| header.set_device_minor(number(minor)))
            .expect("a ustar header has numbers of devices");
        header.set_mtime(records.time(meta.mtime));
        header.set_cksum();
        let mut blocks = Vec::new();
        let mut all = Records::default();
        if binary {
            // First, because it says how to read those that follow.
            all.put(b"hdrcharset", b"BINARY");
        }
        all.0.extend(records.0);
        all.0.extend(self.attributes.0);
        all.write(&mut blocks);
        blocks.extend_from_slice(header.as_bytes());
        blocks.extend_from_slice(map);
        Head { blocks, data_bytes }
    }
}

/// Records of a pax header.
#[derive(Default)]
struct Records(Vec<u8>);

impl Records {
    /// `length key=value`; the length counts its own digits.
    fn put(&mut self, key: &[u8], value: &[u8]) {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        self.0.extend_from_slice(format!("{length} ").as_bytes());
        self.0.extend_from_slice(key);
        self.0.push(b'=');
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }

    /// What goes into a header's field: the number, or zero and a record that says it.
    fn field(&mut self, key: &[u8], number: u64, limit: u64) -> u64 {
        if number <= limit {
            return number;
        }
        self.put(key, number.to_string().as_bytes());
        0
    }

    /// The same for a time.
    fn time(&mut self, time: Time) -> u64 {
        let whole = u64::try_from(time.seconds).ok();
        let whole = whole.filter(|seconds| *seconds <= LONG_FIELD);
        match whole {
            Some(seconds) if time.nanos == 0 => seconds,
            _ => {
                self.put(b"mtime", decimal(time).as_bytes());
                whole.unwrap_or(0)
            }
        }
    }

    fn write(&self, blocks: &mut Vec<u8>) {
        if self.0.is_empty() {
            return;
        }
        let mut header = Header::new_ustar();
        if let Some(ustar) = header.as_ustar_mut() {
            for (slot, byte) in ustar.name.iter_mut().zip(PAX_NAME) {
                *slot = *byte;
            }
        }
        header.set_entry_type(EntryType::XHeader);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(self.0.len() as u64);
        header.set_cksum();
        blocks.extend_from_slice(header.as_bytes());
        blocks.extend_from_slice(&self.0);
        blocks.resize(blocks.len().next_multiple_of(BLOCK_BYTES), 0);
    }
}

/// Seconds since 1970 as a decimal number: half a second before 1970 is -0.5.
fn decimal(time: Time) -> String {
    let text = if time.seconds < 0 && time.nanos > 0 {
        // The nanoseconds of a time count forward, those of a negative number away from zero.
        let whole = (time.seconds + 1).unsigned_abs();
        format!("-{whole}.{:09}", 1_000_000_000 - time.nanos)
    } else {
        format!("{}.{:09}", time.seconds, time.nanos)
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// GNU tar's way to put an attribute's name before a `=`.
fn encoded(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    for byte in name {
        match byte {
            b'%' => out.extend_from_slice(b"%25"),
            b'=' => out.extend_from_slice(b"%3D"),
            byte => out.push(*byte),
        }
    }
    out
}

/// Number of runs of data, then each one's place and length, filled up to whole blocks. A file that ends with a hole
/// has an empty run at its end.
fn sparse_map(data: &FileData) -> Vec<u8> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    let mut at = 0;
    for run in &data.refs {
        if matches!(run, Ref::Data { .. }) {
            match runs.last_mut() {
                Some((start, bytes)) if *start + *bytes == at => *bytes += run.bytes(),
                _ => runs.push((at, run.bytes())),
            }
        }
        at += run.bytes();
    }
    if runs.last().is_none_or(|(start, bytes)| start + bytes < at) {
        runs.push((at, 0));
    }
    let mut map = format!("{}\n", runs.len());
    for (start, bytes) in runs {
        map += &format!("{start}\n{bytes}\n");
    }
    let mut map = map.into_bytes();
    map.resize(map.len().next_multiple_of(BLOCK_BYTES), 0);
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        for (value, want) in [
            (&b"5.25"[..], "14 mtime=5.25\n"),
            (b"12345678901234567890123456789012345678901234567890123456789012345678901234567890123456789", "99 mtime=12345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\n"),
            (b"123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890", "101 mtime=123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890\n"),
        ] {
            let mut records = Records::default();
            records.put(b"mtime", value);
            assert_eq!(String::from_utf8(records.0).unwrap(), want);
            assert!(want.starts_with(&want.len().to_string()));
        }
    }

    #[test]
    fn times_are_decimal_numbers() {
        for (seconds, nanos, want) in [
            (0, 0, "0"),
            (5, 250_000_000, "5.25"),
            (10, 1, "10.000000001"),
            (-5, 999_999_999, "-4.000000001"),
            (-1, 500_000_000, "-0.5"),
            (-20, 0, "-20"),
        ] {
            assert_eq!(decimal(Time { seconds, nanos }), want);
        }
    }
}
