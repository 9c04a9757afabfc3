//! Room on the disk, promised before bytes come: a PC learns that the site is full before it sends 8 MiB.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Stays free for the database, as much as this or a fiftieth of the disk, whichever is less.
const KEEP_BYTES: u64 = 64 << 20;

/// What uploads under way were promised.
#[derive(Debug, Clone, Default)]
pub(crate) struct Space {
    promised: Arc<AtomicU64>,
}

/// A promise, until it goes.
#[derive(Debug)]
pub(crate) struct Reserved {
    bytes: u64,
    promised: Arc<AtomicU64>,
}

impl Space {
    /// Promises `bytes` on the disk of `folder`.
    ///
    /// # Errors
    /// `StorageFull` when it has no room for them beside those promised before; statvfs(3)'s.
    pub(crate) fn reserve(&self, folder: &Path, bytes: u64) -> io::Result<Reserved> {
        let disk = rustix::fs::statvfs(folder)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let all = disk.f_blocks.saturating_mul(disk.f_frsize);
        let before = self.promised.fetch_add(bytes, Ordering::Relaxed);
        let reserved = Reserved {
            bytes,
            promised: self.promised.clone(),
        };
        let wanted = before
            .saturating_add(bytes)
            .saturating_add(KEEP_BYTES.min(all / 50));
        if wanted > free {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(reserved)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.promised.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_promised_is_not_promised_twice() {
        let (space, folder) = (Space::default(), std::env::temp_dir());
        let disk = rustix::fs::statvfs(&folder).unwrap();
        let most = disk.f_bavail * disk.f_frsize / 10 * 6;
        let first = space.reserve(&folder, most).unwrap();
        let full = space.reserve(&folder, most).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        drop(first);
        assert!(space.reserve(&folder, most).is_ok());
    }
}
