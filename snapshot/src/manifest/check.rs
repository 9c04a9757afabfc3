//! The rules a manifest keeps beyond being well coded. Reader and writer check the same ones.

use std::collections::HashSet;

use super::{
    Entry, EntryKind, FileData, MAX_ALL_XATTRS, MAX_ENTRIES, MAX_FILE_BYTES, MAX_NAME_BYTES,
    MAX_PATH_BYTES, MAX_RUNS, MAX_TARGET_BYTES, MAX_XATTR_BYTES, MAX_XATTRS, Manifest, Meta, Ref,
};
use crate::{baseline::plain_name, bytes::ParseError, frame, pack, record};

type Checked = Result<(), ParseError>;

fn rule(kept: bool, what: &'static str, rule: &'static str) -> Checked {
    if kept {
        Ok(())
    } else {
        Err(ParseError::Invalid { what, rule })
    }
}

fn at_most(have: u64, limit: u64, what: &'static str) -> Checked {
    if have <= limit {
        Ok(())
    } else {
        Err(ParseError::TooLarge { what, have, limit })
    }
}

pub(super) fn check(manifest: &Manifest) -> Checked {
    at_most(
        manifest.packs.len() as u64,
        record::MAX_PACKS as u64,
        "number of packs",
    )?;
    rule(
        plain_name(&manifest.baseline_name),
        "name of the baseline",
        "it has 1 to 64 letters, digits, `.`, `-` and `_`, and does not begin with `.`",
    )?;
    let mut names = HashSet::with_capacity(manifest.packs.len());
    rule(
        manifest.packs.iter().all(|(id, _)| names.insert(id)),
        "packs",
        "none is listed twice",
    )?;
    at_most(
        manifest.entries.len() as u64,
        MAX_ENTRIES as u64,
        "number of entries",
    )?;
    let totals = manifest
        .entries
        .iter()
        .fold((0u64, 0u64), |(runs, xattrs), entry| {
            let own = if let EntryKind::File(data) = &entry.kind {
                data.refs.len()
            } else {
                0
            };
            (runs + own as u64, xattrs + entry.meta.xattrs.len() as u64)
        });
    at_most(totals.0, MAX_RUNS as u64, "number of runs of all files")?;
    at_most(
        totals.1,
        MAX_ALL_XATTRS as u64,
        "number of extended attributes of all entries",
    )?;
    let (root, rest) = manifest.entries.split_first().ok_or(ParseError::Invalid {
        what: "entries",
        rule: "the first is the root",
    })?;
    rule(root.path.is_empty(), "entries", "the first is the root")?;
    rule(
        matches!(root.kind, EntryKind::Directory { .. }),
        "root",
        "it is a directory",
    )?;
    meta(root)?;
    let mut directories = HashSet::from([root.path.as_slice()]);
    let mut before = root;
    for entry in rest {
        rule(
            before.path < entry.path,
            "paths",
            "they are sorted, none twice",
        )?;
        path(&entry.path)?;
        let parent = parent(&entry.path);
        rule(
            directories.contains(parent),
            "path",
            "what holds it is a directory before it",
        )?;
        meta(entry)?;
        kind(entry, manifest)?;
        if matches!(entry.kind, EntryKind::Directory { .. }) {
            directories.insert(&entry.path);
        }
        before = entry;
    }
    Ok(())
}

/// The directory that holds `path`.
fn parent(path: &[u8]) -> &[u8] {
    let slash = path.iter().rposition(|&byte| byte == b'/');
    slash.and_then(|at| path.get(..at)).unwrap_or_default()
}

fn path(path: &[u8]) -> Checked {
    at_most(path.len() as u64, MAX_PATH_BYTES as u64, "length of a path")?;
    rule(!path.contains(&0), "path", "it has no zero byte")?;
    for name in path.split(|&byte| byte == b'/') {
        rule(!name.is_empty(), "path", "no name in it is empty")?;
        rule(
            name != b"." && name != b"..",
            "path",
            "no name in it is . or ..",
        )?;
        at_most(name.len() as u64, MAX_NAME_BYTES as u64, "length of a name")?;
    }
    Ok(())
}

fn meta(entry: &Entry) -> Checked {
    let meta = &entry.meta;
    if !entry.kind.has_meta() {
        return rule(*meta == Meta::default(), "hardlink", "it has no metadata");
    }
    at_most(u64::from(meta.mode), 0o7777, "mode")?;
    at_most(u64::from(meta.mtime.nanos), 999_999_999, "nanoseconds")?;
    at_most(
        meta.xattrs.len() as u64,
        MAX_XATTRS as u64,
        "number of extended attributes",
    )?;
    for xattr in &meta.xattrs {
        at_most(
            xattr.name.len() as u64,
            MAX_NAME_BYTES as u64,
            "length of an attribute's name",
        )?;
        rule(
            !xattr.name.is_empty(),
            "attribute's name",
            "it is not empty",
        )?;
        rule(
            !xattr.name.contains(&0),
            "attribute's name",
            "it has no zero byte",
        )?;
        at_most(
            xattr.value.len() as u64,
            MAX_XATTR_BYTES as u64,
            "length of an attribute",
        )?;
    }
    let sorted = meta.xattrs.is_sorted_by(|a, b| a.name < b.name);
    rule(
        sorted,
        "extended attributes",
        "they are sorted by name, none twice",
    )
}

fn kind(entry: &Entry, manifest: &Manifest) -> Checked {
    match &entry.kind {
        EntryKind::File(data) => file(data, manifest.packs.len()),
        EntryKind::Symlink { target } => {
            at_most(
                target.len() as u64,
                MAX_TARGET_BYTES as u64,
                "length of a symlink's target",
            )?;
            rule(!target.is_empty(), "symlink's target", "it is not empty")?;
            rule(
                !target.contains(&0),
                "symlink's target",
                "it has no zero byte",
            )
        }
        EntryKind::Hardlink { target } => {
            rule(
                *target < entry.path,
                "hardlink",
                "its target comes before it",
            )?;
            let linkable = manifest
                .entry(target)
                .is_some_and(|target| target.kind.may_have_names());
            rule(
                linkable,
                "hardlink",
                "its target is a file, symlink, fifo or device",
            )
        }
        EntryKind::Directory { .. }
        | EntryKind::Fifo
        | EntryKind::CharDevice { .. }
        | EntryKind::BlockDevice { .. }
        | EntryKind::Whiteout => Ok(()),
    }
}

fn file(data: &FileData, packs: usize) -> Checked {
    at_most(data.size, MAX_FILE_BYTES, "size of a file")?;
    let mut size = 0u64;
    for run in &data.refs {
        rule(run.bytes() > 0, "run of a file", "it is not empty")?;
        if let Ref::Data {
            pack,
            frame,
            offset,
            bytes,
        } = *run
        {
            rule(
                usize::try_from(pack).is_ok_and(|pack| pack < packs),
                "run of a file",
                "its pack is listed",
            )?;
            rule(
                usize::try_from(frame).is_ok_and(|frame| frame < pack::MAX_FRAMES),
                "run of a file",
                "its frame is below 4096",
            )?;
            at_most(
                u64::from(offset) + u64::from(bytes),
                frame::MAX_BYTES as u64,
                "end of a run in its frame",
            )?;
        }
        size = size.saturating_add(run.bytes());
    }
    rule(
        size == data.size,
        "runs of a file",
        "they are as long as the file",
    )
}
