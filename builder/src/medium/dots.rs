//! `.` and `..` of a FAT file system as the specification wants them.
//!
//! fatfs 0.3 gives them long names and lets `..` name the cluster of the root. Firmware does not mind; fsck.fat would
//! rename them and cut folders.
//!
//! Source: Microsoft, "FAT32 File System Specification" (2000): boot sector, directory structure.

use std::ops::Range;

/// Length of a directory entry, in bytes.
const ENTRY: usize = 32;
/// Attribute byte of an entry that is a piece of a long name.
const LONG_NAME: u8 = 0x0f;
/// Attribute of a folder.
const FOLDER: u8 = 0x10;
/// Cluster numbers have 28 bits; from here on they end a chain.
const END: u32 = 0x0fff_fff8;
/// First byte of an entry that is free, with others behind it.
const FREE: u8 = 0xe5;

/// Where things are.
struct Geometry {
    table: usize,
    data: usize,
    cluster_bytes: usize,
    root: u32,
}

impl Geometry {
    fn of(disk: &[u8]) -> Option<Self> {
        let sector = number(disk, 11..13)?;
        let reserved = number(disk, 14..16)?;
        let tables = number(disk, 16..17)? * number(disk, 36..40)?;
        Some(Self {
            table: reserved * sector,
            data: (reserved + tables) * sector,
            cluster_bytes: number(disk, 13..14)? * sector,
            root: u32::try_from(number(disk, 44..48)?).ok()?,
        })
    }

    fn place(&self, cluster: u32) -> Option<usize> {
        let index = usize::try_from(cluster).ok()?.checked_sub(2)?;
        Some(self.data + index * self.cluster_bytes)
    }

    /// The cluster after this one.
    fn next(&self, disk: &[u8], cluster: u32) -> Option<u32> {
        let at = self.table + 4 * usize::try_from(cluster).ok()?;
        let next = u32::try_from(number(disk, at..at + 4)?).ok()? & 0x0fff_ffff;
        (next < END).then_some(next)
    }
}

/// Mends every folder of a FAT32 file system; one that is mended stays as it is.
pub(super) fn plain(disk: &mut [u8]) {
    let Some(geometry) = Geometry::of(disk) else {
        return;
    };
    let mut folders = vec![(geometry.root, None)];
    while let Some((folder, parent)) = folders.pop() {
        if let (Some(parent), Some(place)) = (parent, geometry.place(folder)) {
            mend(disk, place, parent == geometry.root);
        }
        let mut cluster = Some(folder);
        while let Some(here) = cluster {
            let place = geometry.place(here).unwrap_or(usize::MAX);
            let end = place.saturating_add(geometry.cluster_bytes);
            let (entries, _) = disk
                .get(place..end)
                .unwrap_or_default()
                .as_chunks::<ENTRY>();
            let inner = entries.iter().filter_map(folder_of);
            folders.extend(inner.map(|inner| (inner, Some(folder))));
            cluster = geometry.next(disk, here);
        }
    }
}

/// First cluster of the folder an entry names.
fn folder_of(entry: &[u8; ENTRY]) -> Option<u32> {
    let named = !matches!(entry[0], 0 | b'.' | FREE);
    let folder = entry[11] != LONG_NAME && entry[11] & FOLDER != 0;
    let cluster = number(entry, 20..22)? << 16 | number(entry, 26..28)?;
    (named && folder).then(|| u32::try_from(cluster).ok())?
}

/// The first four entries of a folder: a long name before `.` and one before `..` make way.
fn mend(disk: &mut [u8], place: usize, in_root: bool) {
    let Some(entries) = disk.get_mut(place..place + 4 * ENTRY) else {
        return;
    };
    let [long, dot, longer, dots] = entries.as_chunks_mut::<ENTRY>().0 else {
        return;
    };
    let is_long = |entry: &[u8; ENTRY]| entry[11] == LONG_NAME;
    if is_long(long) && is_long(longer) && dot.starts_with(b". ") && dots.starts_with(b".. ") {
        *long = *dot;
        *dot = *dots;
        for free in [longer, dots] {
            *free = [0; ENTRY];
            free[0] = FREE;
        }
        if in_root {
            // High and low half of the first cluster; the root is 0 here.
            for half in [20..22, 26..28] {
                dot.get_mut(half).unwrap_or_default().fill(0);
            }
        }
    }
}

/// A number in little-endian bytes.
fn number(bytes: &[u8], at: Range<usize>) -> Option<usize> {
    let bytes = bytes.get(at)?;
    Some(
        bytes
            .iter()
            .rev()
            .fold(0, |n, byte| n << 8 | usize::from(*byte)),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn prop_no_bytes_panic(mut disk in prop::collection::vec(any::<u8>(), 0..2000)) {
            // Clusters that cannot go round in circles.
            if let Some(table) = disk.get_mut(64..) {
                table.fill(0xff);
            }
            plain(&mut disk);
        }
    }
}
