//! Random days: what people and programs do to a tree.

use std::{ffi::OsString, fs, os::unix::ffi::OsStringExt as _};

use proptest::prelude::*;
use rustix::fs::FileType;

use super::{Session, noise};

/// Something a person or a program does to a tree. Numbers choose among few names, so that deeds
/// meet one another.
#[derive(Debug, Clone)]
pub enum Deed {
    File {
        at: u8,
        seed: u64,
        len: usize,
    },
    Text {
        at: u8,
        len: usize,
    },
    Append {
        at: u8,
        len: usize,
    },
    Sparse {
        at: u8,
        start: u64,
        len: usize,
        size: u64,
    },
    Directory {
        at: u8,
    },
    Remove {
        at: u8,
    },
    Rename {
        from: u8,
        to: u8,
    },
    Link {
        at: u8,
        to: u8,
    },
    Symlink {
        at: u8,
        target: Vec<u8>,
    },
    Node {
        at: u8,
        kind: u8,
    },
    Whiteout {
        at: u8,
    },
    Opaque {
        at: u8,
    },
    Xattr {
        at: u8,
        name: u8,
        value: Vec<u8>,
    },
    Owner {
        at: u8,
        uid: u32,
        gid: u32,
    },
    Mode {
        at: u8,
        mode: u32,
    },
    Time {
        at: u8,
        seconds: i64,
        nanos: u32,
    },
}

/// One deed.
pub fn deed() -> impl Strategy<Value = Deed> {
    let at = || 0u8..24;
    let len = || {
        prop_oneof![
            Just(0usize),
            1usize..5_000,
            60_000usize..70_000,
            100_000usize..1_500_000
        ]
    };
    prop_oneof![
        4 => (at(), 0u64..8, len()).prop_map(|(at, seed, len)| Deed::File { at, seed, len }),
        2 => (at(), len()).prop_map(|(at, len)| Deed::Text { at, len }),
        1 => (at(), len()).prop_map(|(at, len)| Deed::Append { at, len }),
        1 => (at(), 0u64..1 << 22, 0usize..9000, 0u64..1 << 23)
            .prop_map(|(at, start, len, size)| Deed::Sparse { at, start, len, size }),
        4 => at().prop_map(|at| Deed::Directory { at }),
        2 => at().prop_map(|at| Deed::Remove { at }),
        1 => (at(), at()).prop_map(|(from, to)| Deed::Rename { from, to }),
        2 => (at(), at()).prop_map(|(at, to)| Deed::Link { at, to }),
        1 => (at(), prop::collection::vec(1u8.., 1..50)).prop_map(|(at, target)| Deed::Symlink { at, target }),
        1 => (at(), any::<u8>()).prop_map(|(at, kind)| Deed::Node { at, kind }),
        1 => at().prop_map(|at| Deed::Whiteout { at }),
        1 => at().prop_map(|at| Deed::Opaque { at }),
        2 => (at(), 0u8..3, prop::collection::vec(any::<u8>(), 0..400))
            .prop_map(|(at, name, value)| Deed::Xattr { at, name, value }),
        2 => (at(), 0u32..3000, 0u32..3000).prop_map(|(at, uid, gid)| Deed::Owner { at, uid, gid }),
        2 => (at(), 0u32..=0o7777).prop_map(|(at, mode)| Deed::Mode { at, mode }),
        2 => (at(), -1_000_000i64..4_000_000_000, 0u32..1_000_000_000)
            .prop_map(|(at, seconds, nanos)| Deed::Time { at, seconds, nanos }),
    ]
}

/// A path for a number: half in home, half in the system, up to three names deep, odd names.
pub fn path(at: u8) -> OsString {
    const NAMES: [&[u8]; 4] = [b"a", b"a-b", b"\xff\n ", b"etc"];
    let name = |n: u8| NAMES[usize::from(n % 4)].to_vec();
    let mut names = if at.is_multiple_of(2) {
        vec![b"home".to_vec()]
    } else {
        vec![]
    };
    let at = at / 2;
    names.push(name(at));
    if at >= 4 {
        names.push(name(at / 2));
    }
    if at >= 8 {
        names.push(name(at / 4));
    }
    OsString::from_vec(names.join(&b'/'))
}

/// Does it if it can be done: what is not there cannot be changed.
pub fn do_it(session: &Session, deed: &Deed) {
    let there = |at: u8| fs::symlink_metadata(session.path(path(at))).ok();
    let free = |at: u8| {
        let path = session.path(path(at));
        fs::symlink_metadata(&path).is_err() && path.parent().unwrap().is_dir()
    };
    let file = |at: u8| there(at).is_some_and(|seen| seen.is_file());
    match deed {
        Deed::File { at, seed, len } if free(*at) || file(*at) => {
            session.file(path(*at), noise(*seed, *len));
        }
        Deed::Text { at, len } if free(*at) || file(*at) => {
            session.file(path(*at), "lorem ipsum ".repeat(len / 12));
        }
        Deed::Append { at, len } if file(*at) => {
            let old = session.read(path(*at));
            session.file(path(*at), [old, vec![b'+'; *len]].concat());
        }
        Deed::Sparse {
            at,
            start,
            len,
            size,
        } if free(*at) => {
            let file = fs::File::create(session.path(path(*at))).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &noise(1, *len), *start).unwrap();
            file.set_len(*size).unwrap();
        }
        Deed::Directory { at } if free(*at) => _ = session.dir(path(*at)),
        Deed::Remove { at } => match there(*at) {
            Some(seen) if seen.is_dir() => fs::remove_dir_all(session.path(path(*at))).unwrap(),
            Some(_) => _ = session.remove(path(*at)),
            None => {}
        },
        // What a kernel refuses (a directory into itself, over a full one) is not done. Home is another
        // mount for a user: no rename and no link leads out of it or into it.
        Deed::Rename { from, to } if from % 2 == to % 2 => drop(fs::rename(
            session.path(path(*from)),
            session.path(path(*to)),
        )),
        // Whiteouts share inodes in a real upper too.
        Deed::Link { at, to }
            if free(*at) && at % 2 == to % 2 && there(*to).is_some_and(|seen| !seen.is_dir()) =>
        {
            session.link(path(*at), path(*to));
        }
        Deed::Symlink { at, target } if free(*at) => {
            session.symlink(path(*at), OsString::from_vec(target.clone()));
        }
        Deed::Node { at, kind } if free(*at) => {
            let (kind, major) = match kind % 3 {
                0 => (FileType::Fifo, 0),
                1 => (FileType::CharacterDevice, 1),
                _ => (FileType::BlockDevice, 7),
            };
            session.node(path(*at), kind, major, u32::from(*at));
        }
        Deed::Whiteout { at } if free(*at) => _ = session.whiteout(path(*at)),
        Deed::Opaque { at } if there(*at).is_some_and(|seen| seen.is_dir()) => {
            session.xattr(path(*at), "trusted.overlay.opaque", b"y");
        }
        Deed::Xattr { at, name, value } if there(*at).is_some() => {
            session.xattr(path(*at), &format!("trusted.n{name}"), value);
            if file(*at) {
                session.xattr(path(*at), &format!("user.n{name}"), value);
            }
        }
        Deed::Owner { at, uid, gid } if there(*at).is_some() => {
            _ = session.owner(path(*at), *uid, *gid)
        }
        Deed::Mode { at, mode } if there(*at).is_some_and(|seen| !seen.is_symlink()) => {
            session.mode(path(*at), *mode);
        }
        Deed::Time { at, seconds, nanos } if there(*at).is_some() => {
            session.mtime(path(*at), *seconds, *nanos);
        }
        _ => {}
    }
}

/// A day of them.
pub fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    prop::collection::vec(deed(), 0..60)
}
