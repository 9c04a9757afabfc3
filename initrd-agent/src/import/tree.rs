//! From members in any order to a tree: every entry below a directory, names of one file found again.
//!
//! Nothing is written anywhere, so nothing can lead anywhere: a path is looked up in a table.

use std::collections::{BTreeMap, HashMap, btree_map};

use snapshot::manifest::{
    Entry, EntryKind, FileData, MAX_ENTRIES, MAX_NAME_BYTES, MAX_PATH_BYTES, MAX_RUNS,
    MAX_TARGET_BYTES, Meta, Xattr,
};

use super::{
    archive::{Member, What},
    attributes,
    error::{ImportError, Refusal},
};
use crate::{
    capture::{
        stream::{Content, Streamed},
        tree::{HOME, Side, is_root, side},
    },
    export::{
        Whiteouts,
        header::{OCI_OPAQUE, OCI_WHITEOUT},
    },
};

/// Most bytes of paths, attributes and targets of all entries.
const MAX_TEXT_BYTES: usize = 512 << 20;
/// Mode of a directory the tar has something in, and not itself.
const IMPLIED_MODE: u32 = 0o755;

/// What a tar makes up.
pub(super) struct Tree {
    whiteouts: Whiteouts,
    /// Number of the node at each path.
    paths: BTreeMap<Vec<u8>, u32>,
    nodes: Vec<Node>,
    runs: usize,
    text_bytes: usize,
    /// Directories no member said anything about.
    pub(super) implied: u64,
    pub(super) attributes_left_out: u64,
}

/// A file, directory or other thing, whatever number of names it has.
struct Node {
    kind: EntryKind,
    meta: Meta,
    content: Content,
}

/// Where a member goes.
pub(super) enum Place {
    /// A file whose data is read now.
    File(Vec<u8>),
    /// Nothing more to do.
    Done,
}

impl Tree {
    pub(super) fn new(whiteouts: Whiteouts) -> Self {
        Self {
            whiteouts,
            paths: BTreeMap::new(),
            nodes: Vec::new(),
            runs: 0,
            text_bytes: 0,
            implied: 0,
            attributes_left_out: 0,
        }
    }

    /// Puts a member into the tree. For a file the answer is its path; [`Self::file`] has to follow.
    pub(super) fn add(&mut self, member: &Member) -> Result<Place, ImportError> {
        let refuse = |why| member.refuse(why);
        let path = plain_path(&member.path).map_err(refuse)?;
        if self.whiteouts == Whiteouts::Oci
            && let Some(name) = name_of(&path).strip_prefix(OCI_WHITEOUT)
        {
            self.oci(&path, name, member)?;
            return Ok(Place::Done);
        }
        if is_root(&path) && member.what != What::Directory {
            return Err(refuse(Refusal::MustBeADirectory));
        }
        if member.what == What::Hardlink {
            self.link(path, member)?;
            return Ok(Place::Done);
        }
        let overlay = self.whiteouts == Whiteouts::Overlay && side(&path) == Side::Upper;
        let meaning = if overlay { Side::Upper } else { Side::Home };
        let taken = attributes::take(member, member.what, meaning).map_err(refuse)?;
        self.attributes_left_out += taken.left_out;
        let (major, minor) = member.device;
        let kind = match member.what {
            What::Directory => EntryKind::Directory {
                opaque: taken.opaque,
            },
            What::Symlink => EntryKind::Symlink {
                target: target(&member.link).map_err(refuse)?.to_vec(),
            },
            What::Fifo => EntryKind::Fifo,
            What::CharDevice if overlay && (major, minor) == (0, 0) => EntryKind::Whiteout,
            What::CharDevice if (major, minor) == (0, 0) && side(&path) == Side::Upper => {
                return Err(refuse(Refusal::LooksLikeWhiteout));
            }
            What::CharDevice => EntryKind::CharDevice { major, minor },
            What::BlockDevice => EntryKind::BlockDevice { major, minor },
            What::File | What::Hardlink => EntryKind::File(FileData::default()),
        };
        let meta = meta(member, taken.xattrs);
        let is_file = matches!(kind, EntryKind::File(_));
        self.put(&path, kind, meta, member)?;
        Ok(if is_file {
            Place::File(path)
        } else {
            Place::Done
        })
    }

    /// Says what is in the file put last at `path`.
    pub(super) fn file(&mut self, path: &[u8], content: Content) -> Result<(), ImportError> {
        self.runs += content.runs();
        if self.runs > MAX_RUNS {
            return Err(too_many("pieces of files", MAX_RUNS));
        }
        let node = self.paths.get(path).copied();
        if let Some(node) = node.and_then(|node| self.nodes.get_mut(node as usize)) {
            node.content = content;
        }
        Ok(())
    }

    /// Makes the two directories every tree has, unless the tar did.
    pub(super) fn roots(&mut self) -> Result<(), ImportError> {
        self.imply(b"")?;
        self.imply(HOME)
    }

    /// All entries, sorted by path; of the names of one file the first has the data.
    pub(super) fn into_entries(self) -> Vec<Streamed> {
        let mut nodes: Vec<Option<Node>> = self.nodes.into_iter().map(Some).collect();
        let mut first: HashMap<u32, Vec<u8>> = HashMap::new();
        let mut entries = Vec::with_capacity(self.paths.len());
        for (path, number) in self.paths {
            let node = nodes.get_mut(number as usize).and_then(Option::take);
            let (kind, meta, content) = match node {
                Some(node) => {
                    if !matches!(node.kind, EntryKind::Directory { .. }) {
                        first.insert(number, path.clone());
                    }
                    (node.kind, node.meta, node.content)
                }
                None => {
                    let target = first.get(&number).cloned().unwrap_or_default();
                    let kind = EntryKind::Hardlink { target };
                    (kind, Meta::default(), Content::default())
                }
            };
            let entry = Entry { path, kind, meta };
            entries.push(Streamed { entry, content });
        }
        entries
    }

    /// `.wh.NAME` deletes NAME; `.wh..wh..opq` hides all the baseline has in its directory.
    fn oci(&mut self, path: &[u8], name: &[u8], member: &Member) -> Result<(), ImportError> {
        if side(path) == Side::Home {
            return Err(member.refuse(Refusal::WhiteoutInHome));
        }
        let holder = holder_of(path);
        if name_of(path) == OCI_OPAQUE {
            self.hold(path, member)?;
            let node = self.paths.get(holder).copied();
            let node = node.and_then(|node| self.nodes.get_mut(node as usize));
            if let Some(node) = node {
                node.kind = EntryKind::Directory { opaque: true };
            }
            return Ok(());
        }
        let deleted = match holder {
            [] => name.to_vec(),
            _ => [holder, b"/", name].concat(),
        };
        let deleted = plain_path(&deleted).map_err(|why| member.refuse(why))?;
        if is_root(&deleted) {
            return Err(member.refuse(Refusal::MustBeADirectory));
        }
        // It is a file in the tar alone.
        let taken = attributes::take(member, What::CharDevice, Side::Home);
        let taken = taken.map_err(|why| member.refuse(why))?;
        self.attributes_left_out += taken.left_out;
        let meta = meta(member, taken.xattrs);
        self.put(&deleted, EntryKind::Whiteout, meta, member)
    }

    /// Another name of what a member before it put somewhere.
    fn link(&mut self, path: Vec<u8>, member: &Member) -> Result<(), ImportError> {
        let to = plain_path(&member.link).map_err(|_| member.refuse(Refusal::LinkToNothing))?;
        let node = self.paths.get(&to).copied();
        let node = node.ok_or_else(|| member.refuse(Refusal::LinkToNothing))?;
        let kind = self.nodes.get(node as usize).map(|node| &node.kind);
        let other = matches!(
            kind,
            None | Some(EntryKind::Directory { .. } | EntryKind::Whiteout)
        );
        if other || to == path {
            return Err(member.refuse(Refusal::LinkToOther));
        }
        self.hold(&path, member)?;
        self.place(path, node, member)
    }

    /// Puts something new at a path. What was there before goes, as with every tar program: a tar that was appended
    /// to holds the newest last. A directory keeps what is in it.
    fn put(
        &mut self,
        path: &[u8],
        kind: EntryKind,
        meta: Meta,
        member: &Member,
    ) -> Result<(), ImportError> {
        self.hold(path, member)?;
        let directory = matches!(kind, EntryKind::Directory { .. });
        let before = self.paths.get(path).copied();
        if directory && let Some(node) = before.and_then(|node| self.nodes.get_mut(node as usize)) {
            return match (&node.kind, self.whiteouts) {
                // Its `.wh..wh..opq` came before it.
                (EntryKind::Directory { opaque: true }, Whiteouts::Oci) => {
                    node.meta = meta;
                    Ok(())
                }
                (EntryKind::Directory { .. }, _) => {
                    (node.kind, node.meta) = (kind, meta);
                    Ok(())
                }
                _ => Err(member.refuse(Refusal::OtherKind)),
            };
        }
        let text = |xattr: &Xattr| xattr.name.len() + xattr.value.len();
        let more: usize = meta.xattrs.iter().map(text).sum();
        self.charge(more + member.link.len())?;
        let node = self.new_node(kind, meta)?;
        self.place(path.to_vec(), node, member)
    }

    fn place(&mut self, path: Vec<u8>, node: u32, member: &Member) -> Result<(), ImportError> {
        let text = path.len();
        match self.paths.entry(path) {
            btree_map::Entry::Vacant(free) => {
                free.insert(node);
            }
            btree_map::Entry::Occupied(mut taken) => {
                let before = self.nodes.get(*taken.get() as usize);
                let directory = |node: Option<&Node>| {
                    node.is_some_and(|node| matches!(node.kind, EntryKind::Directory { .. }))
                };
                if directory(before) {
                    return Err(member.refuse(Refusal::OtherKind));
                }
                taken.insert(node);
            }
        }
        self.charge(text)
    }

    /// Checks that what holds `path` is a directory, and makes those the tar did not name.
    fn hold(&mut self, path: &[u8], member: &Member) -> Result<(), ImportError> {
        if path.is_empty() {
            return Ok(());
        }
        let mut missing = Vec::new();
        let mut holder = holder_of(path);
        loop {
            let node = self.paths.get(holder).copied();
            match node.and_then(|node| self.nodes.get(node as usize)) {
                Some(node) if matches!(node.kind, EntryKind::Directory { .. }) => break,
                Some(_) => return Err(member.refuse(Refusal::NotInADirectory)),
                None => missing.push(holder),
            }
            if holder.is_empty() {
                break;
            }
            holder = holder_of(holder);
        }
        for directory in missing {
            self.imply(directory)?;
        }
        Ok(())
    }

    /// Makes a directory unless something is there.
    fn imply(&mut self, path: &[u8]) -> Result<(), ImportError> {
        if self.paths.contains_key(path) {
            return Ok(());
        }
        self.charge(path.len())?;
        let meta = Meta {
            mode: IMPLIED_MODE,
            ..Meta::default()
        };
        let node = self.new_node(EntryKind::Directory { opaque: false }, meta)?;
        self.paths.insert(path.to_vec(), node);
        self.implied += 1;
        Ok(())
    }

    fn new_node(&mut self, kind: EntryKind, meta: Meta) -> Result<u32, ImportError> {
        // Entries that replace others count too: each takes memory, and a tar has no end.
        let number = u32::try_from(self.nodes.len()).ok();
        let number = number.filter(|number| (*number as usize) < MAX_ENTRIES);
        let number = number.ok_or_else(|| too_many("entries", MAX_ENTRIES))?;
        if self.paths.len() >= MAX_ENTRIES {
            return Err(too_many("entries", MAX_ENTRIES));
        }
        self.nodes.push(Node {
            kind,
            meta,
            content: Content::default(),
        });
        Ok(number)
    }

    fn charge(&mut self, bytes: usize) -> Result<(), ImportError> {
        self.text_bytes += bytes;
        if self.text_bytes > MAX_TEXT_BYTES || self.paths.len() > MAX_ENTRIES {
            return Err(too_many("bytes of names and attributes", MAX_TEXT_BYTES));
        }
        Ok(())
    }
}

fn too_many(what: &'static str, limit: usize) -> ImportError {
    ImportError::TooMany {
        what,
        limit: limit as u64,
    }
}

/// A path from the root without `.`, double slashes and a slash at the end; the root's is empty.
fn plain_path(path: &[u8]) -> Result<Vec<u8>, Refusal> {
    if path.starts_with(b"/") {
        return Err(Refusal::Absolute);
    }
    if path.contains(&0) {
        return Err(Refusal::ZeroByte);
    }
    let mut plain = Vec::with_capacity(path.len());
    for name in path.split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => continue,
            b".." => return Err(Refusal::DotDot),
            _ if name.len() > MAX_NAME_BYTES => return Err(Refusal::LongName),
            _ => {}
        }
        if !plain.is_empty() {
            plain.push(b'/');
        }
        plain.extend_from_slice(name);
    }
    if plain.len() > MAX_PATH_BYTES {
        return Err(Refusal::LongPath);
    }
    Ok(plain)
}

fn meta(member: &Member, xattrs: Vec<Xattr>) -> Meta {
    Meta {
        mode: member.mode,
        uid: member.uid,
        gid: member.gid,
        mtime: member.mtime,
        xattrs,
    }
}

fn target(target: &[u8]) -> Result<&[u8], Refusal> {
    if target.is_empty() || target.len() > MAX_TARGET_BYTES || target.contains(&0) {
        return Err(Refusal::Target);
    }
    Ok(target)
}

fn holder_of(path: &[u8]) -> &[u8] {
    let slash = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
    path.get(..slash).unwrap_or_default()
}

fn name_of(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
}
