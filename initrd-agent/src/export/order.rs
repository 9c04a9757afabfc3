//! The order entries have in a tar.

use std::{
    cmp::Ordering,
    collections::{HashMap, HashSet},
};

use snapshot::manifest::{Entry, EntryKind, Manifest};

/// A path of the tree as a tar has it.
pub(super) struct Member<'a> {
    /// Where it lies.
    pub(super) path: &'a [u8],
    /// What lies there: for another name of a file, the entry that has its data.
    pub(super) entry: &'a Entry,
    /// The member before that is the same file.
    pub(super) link_to: Option<&'a [u8]>,
}

/// All paths: each directory, then everything in it, then what follows it.
///
/// A manifest sorts `a-b` between `a` and `a/x`. GNU tar gives a directory its time as soon as a member beside it
/// comes, so that order would lose the times of directories. Which name of a file comes first may differ for the same
/// reason: the first in this order carries the data.
pub(super) fn members(manifest: &Manifest) -> Vec<Member<'_>> {
    let mut entries: Vec<&Entry> = manifest.entries.iter().collect();
    entries.sort_by(|a, b| by_directory(&a.path, &b.path));
    let linked: HashSet<&[u8]> = entries
        .iter()
        .filter_map(|entry| match &entry.kind {
            EntryKind::Hardlink { target } => Some(target.as_slice()),
            _ => None,
        })
        .collect();
    let mut first: HashMap<&[u8], &[u8]> = HashMap::new();
    entries
        .into_iter()
        .map(|own| {
            let entry = match &own.kind {
                // A manifest names no target it does not have.
                EntryKind::Hardlink { target } => manifest.entry(target).unwrap_or(own),
                _ => own,
            };
            let path = own.path.as_slice();
            let link_to = linked
                .contains(entry.path.as_slice())
                .then(|| *first.entry(&entry.path).or_insert(path))
                .filter(|first| *first != path);
            Member {
                path,
                entry,
                link_to,
            }
        })
        .collect()
}

/// Compares paths name by name.
fn by_directory(a: &[u8], b: &[u8]) -> Ordering {
    // No name has a zero byte, so nothing sorts before the end of a name.
    let key = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    a.iter().map(key).cmp(b.iter().map(key))
}

#[cfg(test)]
mod tests {
    use snapshot::{
        id::BaselineId,
        manifest::{FileData, Meta},
    };

    use super::*;

    #[test]
    fn directories_are_whole_and_the_first_name_carries_the_data() {
        let entry = |path: &str, kind| Entry {
            path: path.into(),
            kind,
            meta: Meta::default(),
        };
        let directory = || EntryKind::Directory { opaque: false };
        let manifest = Manifest {
            baseline: BaselineId::new([0; 32]),
            baseline_name: "minimal".into(),
            packs: vec![],
            entries: vec![
                entry("", directory()),
                entry("a", directory()),
                entry("a-b", EntryKind::File(FileData::default())),
                entry(
                    "a/x",
                    EntryKind::Hardlink {
                        target: b"a-b".to_vec(),
                    },
                ),
                entry("a/y", EntryKind::Fifo),
            ],
        };
        manifest.encode().unwrap();
        let have: Vec<_> = members(&manifest)
            .into_iter()
            .map(|member| {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let link = member.link_to.map(text);
                (text(member.path), text(&member.entry.path), link)
            })
            .collect();
        let want = [
            ("", "", None),
            ("a", "a", None),
            ("a/x", "a-b", None),
            ("a/y", "a/y", None),
            ("a-b", "a-b", Some("a/x")),
        ];
        let want =
            want.map(|(path, entry, link)| (path.into(), entry.into(), link.map(Into::into)));
        assert_eq!(have, want);
    }
}
