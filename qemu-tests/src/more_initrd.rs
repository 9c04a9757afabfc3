//! A release whose initrd has more files in it: the kernel unpacks one archive behind the other.
//!
//! Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst (newc).

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};

use crate::release::Release;

/// What is added; its folder is in the initrd already.
#[derive(Debug, Clone, Copy)]
pub enum Added<'a> {
    /// A file with this text.
    File(&'a str),
    /// A link to this path.
    Link(&'a str),
}

/// `release` with more in its initrd, in the new folder `folder`. Only [`crate::machine::Firmware::Direct`] starts it.
///
/// # Errors
/// The folder cannot be made.
pub fn with(release: &Release, folder: &Path, added: &[(&str, Added<'_>)]) -> Result<Release> {
    let context = || format!("make {}", folder.display());
    fs::create_dir_all(folder).with_context(context)?;
    for entry in fs::read_dir(&release.folder).with_context(context)? {
        let entry = entry.with_context(context)?;
        symlink(entry.path(), folder.join(entry.file_name())).with_context(context)?;
    }
    let more = Release {
        folder: folder.to_path_buf(),
        ..release.clone()
    };
    fs::remove_file(more.initrd()).with_context(context)?;
    fs::copy(release.initrd(), more.initrd()).with_context(context)?;
    let mut archive = Vec::new();
    for (path, what) in added {
        let (mode, content) = match what {
            Added::File(text) => (0o100_644, text.as_bytes()),
            Added::Link(target) => (0o120_777, target.as_bytes()),
        };
        entry(&mut archive, path, mode, content);
    }
    entry(&mut archive, "TRAILER!!!", 0, b"");
    File::options()
        .append(true)
        .open(more.initrd())
        .and_then(|mut initrd| initrd.write_all(&archive))
        .with_context(context)?;
    Ok(more)
}

/// One entry of root's, of 1970.
fn entry(archive: &mut Vec<u8>, path: &str, mode: u32, content: &[u8]) {
    archive.extend(b"070701");
    let lengths = (content.len(), path.len() + 1);
    // Inode, mode, owner, group, links, time, length; device and node of it, twice; length of the name, checksum.
    archive.extend(format!("{:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}", 0, 0, 0, 1, 0).bytes());
    archive.extend(format!("{:08x}{:032x}{:08x}{:08x}", lengths.0, 0, lengths.1, 0).bytes());
    archive.extend(path.bytes());
    archive.push(0);
    pad(archive);
    archive.extend(content);
    pad(archive);
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_padded_header_and_content() {
        let mut archive = Vec::new();
        entry(&mut archive, "a/b", 0o100_644, b"hello");
        // 110 bytes of header and 4 of name, padded to 116; 5 of content, padded to 8.
        assert_eq!(archive.len(), 116 + 8);
        assert!(archive.starts_with(b"07070100000000000081a4"));
        assert_eq!(archive.get(116..121), Some(b"hello".as_slice()));
    }
}
