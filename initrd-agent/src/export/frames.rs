//! Bytes of frames in the order of files, while packs lie in another order.

use std::{fs::File, os::unix::fs::FileExt as _, path::Path, rc::Rc};

use rustix::fs::{FallocateFlags, fallocate};
use snapshot::{
    frame::Decompressor,
    id::ObjectId,
    keys::SnapshotKeys,
    manifest::{EntryKind, Manifest, Ref},
    pack::PackReader,
};

use super::ExportError;
use crate::{
    apply::PackSource,
    capture::{Phase, Progress, Progressed},
};

/// Sealed packs kept in memory, in bytes: two of the usual length, at least one of any.
const PACKS_BYTES: usize = 18 << 20;
/// Plain bytes of opened frames kept in memory.
const FRAMES_BYTES: usize = 24 << 20;

/// A sealed pack.
type Sealed = Rc<[u8]>;

/// Opens frames as they are asked for. Every pack is fetched once, when its first byte is needed. What does not fit
/// into memory waits, sealed as it came, in a file without a name until nothing of it is needed any more.
pub(super) struct Frames<'a> {
    keys: &'a SnapshotKeys,
    source: &'a dyn PackSource,
    progress: &'a dyn Progress,
    spill_to: &'a Path,
    packs: Vec<Pack>,
    bytes_total: u64,
    pub(super) fetched_bytes: u64,
    opened: Recent<u32, (PackReader<Sealed>, Sealed)>,
    frames: Recent<(u32, u32), Vec<u8>>,
    spill: Option<File>,
    spill_bytes: u64,
    unzstd: Decompressor,
    scratch: Vec<u8>,
}

/// A pack of the manifest.
struct Pack {
    object: ObjectId,
    bytes: u64,
    /// Runs of files still to come that need it.
    runs_left: u64,
    fetched: bool,
    /// Where it lies in the spill file.
    spilled: Option<u64>,
}

impl<'a> Frames<'a> {
    pub(super) fn new(
        keys: &'a SnapshotKeys,
        manifest: &Manifest,
        source: &'a dyn PackSource,
        progress: &'a dyn Progress,
        spill_to: &'a Path,
    ) -> Result<Self, ExportError> {
        let mut packs: Vec<_> = manifest
            .packs
            .iter()
            .map(|&(object, bytes)| Pack {
                object,
                bytes,
                runs_left: 0,
                fetched: false,
                spilled: None,
            })
            .collect();
        for entry in &manifest.entries {
            let EntryKind::File(data) = &entry.kind else {
                continue;
            };
            for run in &data.refs {
                if let Ref::Data { pack, .. } = run
                    && let Some(pack) = packs.get_mut(*pack as usize)
                {
                    pack.runs_left += 1;
                }
            }
        }
        let needed = packs.iter().filter(|pack| pack.runs_left > 0);
        Ok(Self {
            keys,
            source,
            progress,
            spill_to,
            bytes_total: needed.map(|pack| pack.bytes).sum(),
            packs,
            fetched_bytes: 0,
            opened: Recent::new(PACKS_BYTES),
            frames: Recent::new(FRAMES_BYTES),
            spill: None,
            spill_bytes: 0,
            unzstd: Decompressor::new()?,
            scratch: Vec::new(),
        })
    }

    /// The bytes of one run; each run of the manifest is asked for once.
    pub(super) fn run(
        &mut self,
        pack: u32,
        frame: u32,
        offset: u32,
        bytes: u32,
        use_bytes: &mut dyn FnMut(&[u8]) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        let (key, object) = ((pack, frame), self.object(pack));
        if self.frames.get(key).is_none() {
            let plain = self.open_frame(pack, frame)?;
            let room = plain.capacity();
            self.frames.put(key, plain, room);
        }
        let start = offset as usize;
        let plain = self.frames.get(key);
        let run = plain.and_then(|plain| plain.get(start..start + bytes as usize));
        let run = run.ok_or(ExportError::ShortFrame { object, frame })?;
        use_bytes(run)?;
        self.used(pack)
    }

    fn open_frame(&mut self, number: u32, frame: u32) -> Result<Vec<u8>, ExportError> {
        let object = self.object(number);
        if self.opened.get(number).is_none() {
            let sealed: Sealed = self.sealed(number)?.into();
            let pack = PackReader::open(self.keys, Rc::clone(&sealed))
                .map_err(|source| ExportError::Pack { object, source })?;
            let room = sealed.len();
            for (number, (_, sealed)) in self.opened.put(number, (pack, sealed), room) {
                self.spill(number, &sealed)?;
            }
        }
        let mut plain = Vec::new();
        if let Some((pack, _)) = self.opened.get(number) {
            pack.frame(frame, &mut self.unzstd, &mut self.scratch, &mut plain)
                .map_err(|source| ExportError::Pack { object, source })?;
        }
        Ok(plain)
    }

    /// The pack from the spill file, or from the source.
    fn sealed(&mut self, number: u32) -> Result<Vec<u8>, ExportError> {
        let Some(pack) = self.packs.get_mut(number as usize) else {
            return Err(ExportError::Unlisted);
        };
        let (object, bytes) = (pack.object, pack.bytes);
        if let (Some(at), Some(spill)) = (pack.spilled, &self.spill) {
            let mut sealed = vec![0; usize::try_from(bytes).unwrap_or(0)];
            spill
                .read_exact_at(&mut sealed, at)
                .map_err(ExportError::Spill)?;
            return Ok(sealed);
        }
        let sealed = self
            .source
            .get(object, bytes)
            .map_err(|source| ExportError::Fetch { object, source })?;
        if sealed.len() as u64 != bytes || ObjectId::of(&sealed) != object {
            return Err(ExportError::WrongName { object });
        }
        pack.fetched = true;
        self.fetched_bytes += bytes;
        self.progress.progress(Progressed {
            phase: Phase::Fetch,
            bytes: self.fetched_bytes,
            bytes_total: self.bytes_total,
            files: self.packs.iter().filter(|pack| pack.fetched).count() as u64,
            files_total: self.packs.len() as u64,
        });
        Ok(sealed)
    }

    /// Keeps a pack that left memory for the files that need it later.
    fn spill(&mut self, number: u32, sealed: &[u8]) -> Result<(), ExportError> {
        let Some(pack) = self.packs.get_mut(number as usize) else {
            return Ok(());
        };
        if pack.runs_left == 0 || pack.spilled.is_some() {
            return Ok(());
        }
        let file = match self.spill.take() {
            Some(file) => file,
            None => tempfile::tempfile_in(self.spill_to).map_err(ExportError::Spill)?,
        };
        let file = self.spill.insert(file);
        file.write_all_at(sealed, self.spill_bytes)
            .map_err(ExportError::Spill)?;
        pack.spilled = Some(self.spill_bytes);
        self.spill_bytes += sealed.len() as u64;
        Ok(())
    }

    /// One run less that needs the pack. After the last one nothing of it is kept.
    fn used(&mut self, number: u32) -> Result<(), ExportError> {
        let Some(pack) = self.packs.get_mut(number as usize) else {
            return Ok(());
        };
        pack.runs_left = pack.runs_left.saturating_sub(1);
        if pack.runs_left > 0 {
            return Ok(());
        }
        self.opened.forget(|key| *key == number);
        self.frames.forget(|(pack, _)| *pack == number);
        if let (Some(at), Some(spill)) = (pack.spilled.take(), &self.spill) {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            // A file system that cannot keeps the space until the end, no longer.
            if let Err(error) = fallocate(spill, flags, at, pack.bytes) {
                tracing::debug!(%error, "space of a finished pack is not given back yet");
            }
        }
        Ok(())
    }

    fn object(&self, pack: u32) -> ObjectId {
        let listed = self.packs.get(pack as usize).map(|pack| pack.object);
        listed.unwrap_or(ObjectId::new([0; 32]))
    }
}

/// The values used last, up to so many bytes of them.
struct Recent<K, V> {
    /// The one used last at the end.
    values: Vec<(K, V, usize)>,
    bytes: usize,
    limit: usize,
}

impl<K: PartialEq + Copy, V> Recent<K, V> {
    const fn new(limit: usize) -> Self {
        Self {
            values: Vec::new(),
            bytes: 0,
            limit,
        }
    }

    fn get(&mut self, key: K) -> Option<&V> {
        let at = self.values.iter().rposition(|(other, ..)| *other == key)?;
        let value = self.values.remove(at);
        self.values.push(value);
        self.values.last().map(|(_, value, _)| value)
    }

    /// Adds a value that is not there and gives those that had to go for it.
    fn put(&mut self, key: K, value: V, bytes: usize) -> Vec<(K, V)> {
        self.bytes += bytes;
        self.values.push((key, value, bytes));
        let mut gone = Vec::new();
        while self.bytes > self.limit && self.values.len() > 1 {
            let (key, value, bytes) = self.values.remove(0);
            self.bytes -= bytes;
            gone.push((key, value));
        }
        gone
    }

    fn forget(&mut self, which: impl Fn(&K) -> bool) {
        let bytes = &mut self.bytes;
        self.values.retain(|(key, _, room)| {
            let gone = which(key);
            if gone {
                *bytes -= room;
            }
            !gone
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_longest_ago_goes_first_and_the_newest_stays_whatever_its_size() {
        let mut recent = Recent::new(10);
        assert!(recent.put(1, "one", 4).is_empty());
        assert!(recent.put(2, "two", 4).is_empty());
        assert_eq!(recent.get(1), Some(&"one"));
        assert_eq!(recent.put(3, "three", 4), [(2, "two")]);
        assert_eq!(recent.put(4, "four", 99), [(1, "one"), (3, "three")]);
        assert_eq!(recent.get(4), Some(&"four"));
        recent.forget(|key| *key == 4);
        assert_eq!(recent.get(4), None);
        assert_eq!(recent.bytes, 0);
    }
}
