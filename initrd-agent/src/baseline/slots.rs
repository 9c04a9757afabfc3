//! The two slots for baselines: which holds what, and which one makes room.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;
use snapshot::{id::Digest, image_index::ImageIndex};

use super::{
    ReleaseKey, RestoreError, SignedManifest, Source, fetch,
    fill::{self, Filled, Seed},
    io as io_error,
};
use crate::{
    disk::{DiskError, Slot},
    esp::Esp,
    screen::Label,
};

/// ESP and slots of one disk.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    pub(crate) esp: Esp,
    devices: [PathBuf; 2],
}

/// A slot whose image was proved and not written to since.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) slot: Slot,
    pub(crate) manifest: SignedManifest,
    /// Whether a session began on it.
    pub(crate) booted: bool,
    index: ImageIndex,
    encoded_index: Vec<u8>,
}

impl Slots {
    pub(crate) fn new(esp: &Path, a: PathBuf, b: PathBuf) -> Self {
        Self {
            esp: Esp::at(esp),
            devices: [a, b],
        }
    }

    /// Partition of a slot.
    pub(crate) fn device(&self, slot: Slot) -> &Path {
        let [a, b] = &self.devices;
        match slot {
            Slot::A => a,
            Slot::B => b,
        }
    }

    /// The slots that hold an image signed by this key. What is on the ESP may have been altered: then it does not
    /// count.
    pub(crate) fn held(&self, key: &ReleaseKey) -> Vec<Held> {
        let held = |slot| {
            let entry = self.esp.read(slot)?;
            let manifest = SignedManifest::signed(entry.manifest, &entry.signature, key).ok()?;
            let described = &manifest.manifest().image.index;
            let index = Some(&entry.index)
                .filter(|bytes| Digest::of(bytes) == described.blake3)
                .and_then(|bytes| ImageIndex::parse(bytes).ok())?;
            Some(Held {
                slot,
                manifest,
                booted: entry.booted,
                index,
                encoded_index: entry.index,
            })
        };
        Slot::ALL.into_iter().filter_map(held).collect()
    }

    /// Makes a slot hold the source's image. The ESP says nothing of the slot until [`Self::proved`].
    ///
    /// Safe to repeat after any failure or power cut: what is in its place stays.
    pub(crate) fn fill(
        &self,
        slot: Slot,
        source: &Source,
        held: &[Held],
    ) -> Result<(Filled, Vec<u8>), RestoreError> {
        let device = self.device(slot);
        let image = &source.manifest.manifest().image;
        let esp = self.esp.path();
        self.esp.clear(slot).map_err(io_error("clear", esp))?;
        let target = open_for_writing(device).map_err(io_error("open", device))?;
        let have_bytes =
            crate::disk::length_bytes(&target).map_err(io_error("read the length of", device))?;
        if have_bytes < image.bytes {
            return Err(RestoreError::SlotTooSmall {
                device: device.into(),
                have_bytes,
                need_bytes: image.bytes,
            });
        }
        let mut others: Vec<&Held> = held.iter().filter(|held| held.slot != slot).collect();
        // The youngest resembles what comes most.
        others.sort_by_key(|held| -held.manifest.manifest().build_timestamp);
        let here = others
            .first()
            .map(|held| (held.manifest.release(), held.encoded_index.as_slice()));
        let own = held
            .iter()
            .find(|held| held.slot == slot && held.manifest.json() == source.manifest.json());
        let label = match own {
            Some(_) => Label::Repair,
            None => Label::Restore,
        };
        let (index, encoded, received) = match own {
            Some(held) => (held.index.clone(), held.encoded_index.clone(), 0),
            None => fetch::index(source, here)?,
        };
        let seed = |held: &&Held| {
            Some(Seed {
                device: File::open(self.device(held.slot)).ok()?,
                index: held.index.clone(),
            })
        };
        let seeds: Vec<Seed> = others.iter().filter_map(seed).collect();
        let mut progress = source.screen.progress(label, image.data_bytes);
        let mut filled = fill::fill(
            image,
            &index,
            &target,
            &seeds,
            &mut |want, bytes, have, had| fetch::chunks(source, want, bytes, have, had),
            &mut progress,
        )
        .map_err(|error| error.at(device, |what| source.altered(what)))?;
        filled.received_bytes += received;
        Ok((filled, encoded))
    }

    /// Writes down that every block of a slot is what the source signed.
    pub(crate) fn proved(
        &self,
        slot: Slot,
        source: &Source,
        encoded_index: &[u8],
    ) -> Result<(), RestoreError> {
        let manifest = &source.manifest;
        self.esp
            .write(slot, manifest.json(), manifest.signature(), encoded_index)
            .map_err(io_error("write the manifest to", self.esp.path()))
    }
}

impl crate::disk::Disk<crate::disk::Wiped> {
    /// ESP and slots of this disk.
    pub(crate) fn slots(&self) -> Result<Slots, DiskError> {
        let esp = self.partition(crate::disk::Part::Esp)?;
        let a = self.partition(Slot::A.part())?;
        let b = self.partition(Slot::B.part())?;
        Ok(Slots::new(&esp, a, b))
    }
}

/// The slot that makes room: one that holds nothing, else one that never booted, else the older one.
pub(crate) fn spare(held: &[Held]) -> Slot {
    let about = |slot| {
        held.iter()
            .find(|held| held.slot == slot)
            .map(|held| (held.booted, held.manifest.manifest().build_timestamp))
    };
    oldest(about)
}

/// The least by (holds something, booted, build timestamp).
fn oldest(about: impl Fn(Slot) -> Option<(bool, i64)>) -> Slot {
    if about(Slot::B) < about(Slot::A) {
        Slot::B
    } else {
        Slot::A
    }
}

/// No baseline of this name built before that starts here any more: the youngest that ran here says so.
pub(crate) fn minimum(held: &[Held], name: &str) -> i64 {
    held.iter()
        .map(|held| (held.booted, held.manifest.manifest()))
        .filter(|(booted, manifest)| *booted && manifest.name == name)
        .map(|(_, manifest)| manifest.minimum_build_timestamp)
        .max()
        .unwrap_or(0)
}

/// Claims a partition for writing.
pub(super) fn open_for_writing(device: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::EXCL.bits().cast_signed())
        .open(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_that_costs_least_makes_room() {
        let with = |a, b| {
            oldest(move |slot| match slot {
                Slot::A => a,
                Slot::B => b,
            })
        };
        assert_eq!(with(None, None), Slot::A);
        assert_eq!(with(Some((true, 5)), None), Slot::B);
        assert_eq!(with(None, Some((true, 5))), Slot::A);
        assert_eq!(with(Some((true, 5)), Some((false, 9))), Slot::B);
        assert_eq!(with(Some((false, 9)), Some((true, 5))), Slot::A);
        assert_eq!(with(Some((true, 9)), Some((true, 5))), Slot::B);
        assert_eq!(with(Some((true, 5)), Some((true, 9))), Slot::A);
    }
}
