//! The image of a baseline that is rewritten at every boot: from the erofs image to ext4 that can be written to.
//!
//! A PC copies all of it to its session volume, so it is as short as its contents allow, and grows there. It is made
//! from the finished erofs image: both ways to restore have the same tree.
//! Source: fsck.erofs(1), mke2fs(8), ext4 on-disk format (Linux, `Documentation/filesystems/ext4`).

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use snapshot::baseline::BLOCK_BYTES;
use walkdir::WalkDir;

use crate::{
    command,
    files::{self, Doing, FileError},
    image::{ImageError, Making},
};

/// Folder of the image with the tree. Beside it the agent keeps what is the session's and not the tree's.
const ROOT: &str = "root";
/// Bytes of an inode on disk.
const INODE_BYTES: u64 = 256;
/// It keeps room for the descriptors of as many blocks: 2 TiB. Beyond, the kernel finds other places.
const LONGEST_VOLUME: u64 = (2 << 40) / BLOCK_BYTES;
/// A group of blocks has one bitmap block for all of them.
const GROUP_BLOCKS: u64 = 8 * BLOCK_BYTES;
/// All that programs of the last years expect, no journal: a session volume that lost power is never mounted again.
const FEATURES: &str = "none,ext_attr,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,\
                        dir_nlink,extra_isize,metadata_csum,resize_inode";

/// Writes the tree of the erofs image at `erofs` to the new file `out` as ext4, below the folder `root`, with `uuid`.
/// `scratch` is a folder that does not exist.
///
/// # Errors
/// [`ImageError`]; `out` is left half made.
pub fn make(
    erofs: &Path,
    out: &Path,
    scratch: &Path,
    uuid: &str,
    making: &Making<'_>,
) -> Result<(), ImageError> {
    files::make_dir(scratch)?;
    // The mode becomes that of the file system's root: nothing of it is reached around the mounts.
    fs::set_permissions(scratch, fs::Permissions::from_mode(0o700)).doing("close", scratch)?;
    let root = scratch.join(ROOT);
    let mut fsck = making.tools.command("usr/bin/fsck.erofs");
    fsck.arg("-d0")
        .args(["--preserve", "--xattrs"])
        .arg(format!("--extract={}", root.display()))
        .arg(erofs);
    run(&mut fsck, "erofs-utils", "take the tree out of the image")?;
    let Size { blocks, inodes } = measure(scratch)?;
    let mut mkfs = making.tools.command("usr/sbin/mke2fs");
    // Everything is said here: no file of the machine or of the tools adds to it.
    mkfs.env("MKE2FS_CONFIG", "/dev/null")
        // The file system's own times; and no time in it is later (e2fsprogs 1.47.1 and newer).
        .env("SOURCE_DATE_EPOCH", making.build_timestamp.to_string())
        .args(["-q", "-F", "-b", &BLOCK_BYTES.to_string()])
        .args(["-I", &INODE_BYTES.to_string(), "-N", &inodes.to_string()])
        .args(["-m", "0", "-L", "furoshiki-base", "-U", uuid])
        .args(["-O", FEATURES])
        .arg("-E")
        .arg(format!(
            "hash_seed={uuid},lazy_itable_init=0,nodiscard,root_owner=0:0,resize={LONGEST_VOLUME}"
        ))
        .arg("-d")
        .arg(scratch)
        .arg(out)
        .arg(blocks.to_string());
    run(&mut mkfs, "e2fsprogs", "make the file system")?;
    Ok(files::remove_dir(scratch)?)
}

fn run(
    command: &mut std::process::Command,
    package: &'static str,
    doing: &'static str,
) -> Result<(), ImageError> {
    command::run(command, package)
        .map(drop)
        .map_err(|source| ImageError::Command { doing, source })
}

/// How large a file system must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    blocks: u64,
    inodes: u64,
}

/// Measures what is below `scratch`, and makes its times of access the same everywhere: mke2fs copies them, and
/// none is before the build timestamp now.
fn measure(scratch: &Path) -> Result<Size, FileError> {
    let (mut blocks, mut entries) = (0, 0);
    for entry in WalkDir::new(scratch) {
        let entry = entry.doing("list", scratch)?;
        let metadata = entry.metadata().doing("look at", entry.path())?;
        entries += 1;
        // Names of hundreds of files fit into what a directory takes here too. A symlink may need a block.
        blocks += metadata.len().div_ceil(BLOCK_BYTES);
        let time = |nsec| Timespec {
            tv_sec: 0,
            tv_nsec: nsec,
        };
        let times = Timestamps {
            last_access: time(UTIME_NOW),
            last_modification: time(UTIME_OMIT),
        };
        rustix::fs::utimensat(CWD, entry.path(), &times, AtFlags::SYMLINK_NOFOLLOW)
            .doing("set time of", entry.path())?;
    }
    Ok(size(blocks, entries))
}

/// Room for `blocks` of contents, `entries` and what the file system needs itself.
fn size(blocks: u64, entries: u64) -> Size {
    // One inode for 16 KiB, as mke2fs has it: groups that are added later have as many as the first ones.
    let inodes = (entries + entries / 32 + 64).max(blocks / 4);
    let contents = blocks + (inodes * INODE_BYTES).div_ceil(BLOCK_BYTES);
    // Bitmaps and copies of the superblock with what lets it grow: less than a hundredth of a group.
    let groups = contents.div_ceil(GROUP_BLOCKS) + 1;
    // Extents of large files and directories that need more than they did: a hundredth.
    let blocks = contents + contents / 100 + groups * (GROUP_BLOCKS / 100) + 256;
    Size { blocks, inodes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_has_room_for_its_contents_and_little_more() {
        for (blocks, entries) in [(0, 1), (36_000, 6_700), (1_600_000, 150_000), (10, 90_000)] {
            let Size {
                blocks: all,
                inodes,
            } = size(blocks, entries);
            assert!(inodes > entries && inodes < entries + entries / 16 + 65 + blocks / 4);
            let itself = inodes / 16 + 1;
            assert!(all > blocks + itself, "{blocks} {entries}: {all}");
            assert!(
                all < (blocks + itself) * 104 / 100 + 1_000,
                "{blocks} {entries}: {all}"
            );
        }
    }
}
