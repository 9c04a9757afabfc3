//! What is true of any bytes at all, one function for each parser of what others wrote. Built for tests and fuzzing
//! only.
//!
//! `initrd-agent/fuzz` calls these with the bytes libFuzzer makes up, a test with the seeds kept there. Where a
//! checksum would hide a parser, it is made right first.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what does not hold is a finding, and stops the fuzzer"
)]

#[cfg(test)]
mod seeds;

use std::io::Cursor;

use gpt::disk::LogicalBlockSize;
use snapshot::{diff::Stat, manifest::Time};

pub use crate::import::fuzzing::{pax, tar};
use crate::{
    capture::state::{Seen, State},
    cmdline, disk as disks,
    esp::BootEntry,
    export::acl as lists,
    site::{lease, medium as media},
};

/// A parser and what must hold of it.
pub type Target = (&'static str, fn(&[u8]));

/// All of them, by the name of their fuzz target.
pub const TARGETS: [Target; 7] = [
    ("acl", acl),
    ("disk", disk),
    ("medium", medium),
    ("pax", pax),
    ("state", state),
    ("tar", tar),
    ("words", words),
];

/// An access control list, as the kernel has it and as text: one is the other.
pub fn acl(data: &[u8]) {
    if lists::is_list(data) {
        let text = lists::text(data).unwrap();
        // The kernel may keep those named in any order.
        let value = lists::from_text(text.as_bytes()).unwrap();
        assert_eq!(value.len(), data.len());
        assert_eq!(lists::is_mode(&value), lists::is_mode(data));
        let sorted = |text: &str| {
            let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&lists::text(&value).unwrap()), sorted(&text));
    }
    if let Ok(value) = lists::from_text(data) {
        let text = lists::text(&value).unwrap();
        assert_eq!(lists::from_text(text.as_bytes()), Ok(value));
    }
}

/// A whole disk with a partition table, whose checksums are right, and a FAT file system.
pub fn disk(data: &[u8]) {
    let disk = with_right_sums(data);
    for sector in [LogicalBlockSize::Lb512, LogicalBlockSize::Lb4096] {
        if let Ok(table) = disks::table(Cursor::new(disk.clone()), sector) {
            assert!(table.partitions().len() <= disk.len() / 128);
            let layout = disks::Layout::of_table(table.partitions(), sector);
            assert!(layout.is_none_or(|layout| layout.is_apart()));
        }
        let urls = media::of_sectors(Cursor::new(disk.clone()), sector);
        assert!(urls.is_err() || urls.unwrap().iter().all(|url| is_site(url)));
    }
}

/// A disk whose partition table has the checksums of what is in it.
pub(crate) fn with_right_sums(disk: &[u8]) -> Vec<u8> {
    const SECTOR: usize = 512;
    let mut right = disk.to_vec();
    if let Some(header) = disk.get(SECTOR..SECTOR + 92) {
        let number = |at: usize| u32::from_le_bytes(*header[at..].first_chunk().unwrap()) as usize;
        let (start, count, each) = (number(72), number(80), number(84));
        let start = start.saturating_mul(SECTOR);
        let end = start.saturating_add(count.saturating_mul(each));
        if let Some(entries) = disk.get(start..end) {
            right[SECTOR + 88..SECTOR + 92].copy_from_slice(&crc32(entries).to_le_bytes());
        }
        right[SECTOR + 16..SECTOR + 20].fill(0);
        let sum = crc32(&right[SECTOR..SECTOR + 92]);
        right[SECTOR + 16..SECTOR + 20].copy_from_slice(&sum.to_le_bytes());
    }
    right
}

/// CRC-32 of IEEE 802.3, as in partition tables.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc: u32, _| {
            crc >> 1 ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

/// `site.json` of a boot medium.
pub fn medium(data: &[u8]) {
    if let Ok(urls) = media::parse(data) {
        assert!(urls.iter().all(|url| is_site(url)));
        assert_eq!(media::parse(&media::to_json(&urls)).unwrap(), urls);
    }
}

fn is_site(url: &str) -> bool {
    url.starts_with("https://") && cmdline::site(url).as_deref() == Ok(url)
}

/// What follows the head of a capture's state: what is read is written back the same.
pub fn state(data: &[u8]) {
    let length = data.len() as u64;
    assert!(State::body(data, length + 1).is_err());
    let Ok(read) = State::body(data, length) else {
        return;
    };
    let mut written = Vec::new();
    let manifest = read.manifest_bytes().unwrap();
    read.write_body(&mut written, &manifest).unwrap();
    assert_eq!(written, data);
    let inode = read.rows.first().map_or(0, |row| row.inode);
    let now = Stat {
        inode,
        size: 0,
        mtime: Time::default(),
        ctime: Time::default(),
    };
    for entry in &read.manifest.entries {
        let seen = Seen(Some(&read)).file(&entry.path, &now);
        assert!(seen.is_none_or(|seen| seen.stat.inode == inode));
    }
}

/// Text: the kernel's command line, what DHCP said, the name of a boot file.
pub fn words(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(options) = cmdline::parse(&text) {
        assert!(options.sites.iter().all(|url| is_site(url)));
    }
    assert!(lease::parse(&text).urls.iter().all(|url| is_site(url)));
    for line in text.lines() {
        if let Some(entry) = BootEntry::parse(line) {
            assert_eq!(BootEntry::parse(&entry.name()), Some(entry));
        }
    }
}
