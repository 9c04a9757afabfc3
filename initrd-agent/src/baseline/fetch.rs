//! Bytes of the baseline from a site to the partition.

use std::{
    fs::File, os::unix::fs::FileExt, path::Path, sync::mpsc::sync_channel, thread, time::Duration,
};

use site_api::{ReleaseFile, path as api};

use super::{RestoreError, Source, io};
use crate::{
    screen::Label,
    site::{Site, persist},
};

const MIB: u64 = 1 << 20;
/// One request: small enough that a broken connection costs little, large enough that requests do not count.
const PIECE: u64 = 8 * MIB;
/// Time a piece may take; slower than 70 KB/s is as good as no site.
const PIECE_PATIENCE: Duration = Duration::from_secs(120);

/// Writes the whole image: everything but the first MiB, then, when all of it fits the signed digest, that.
pub(super) fn whole(source: &Source, target: &File, device: &Path) -> Result<u64, RestoreError> {
    let image = &source.manifest.manifest().image;
    let write = |bytes: &[u8], place| {
        target
            .write_all_at(bytes, place)
            .map_err(io("write the baseline to", device))
    };
    let flush = || {
        target
            .sync_data()
            .map_err(io("write the baseline to", device))
    };
    // Power cut from here to the last write: the partition begins with zeroes and dm-verity refuses it.
    let head_bytes = usize::try_from(MIB.min(image.bytes)).unwrap_or(0);
    write(&vec![0; head_bytes], 0)?;
    flush()?;
    let mut progress = source.screen.progress(Label::Restore, image.bytes);
    let mut hasher = blake3::Hasher::new();
    let mut head = Vec::new();
    // One piece is on its way while the one before is hashed and written.
    let mut take = |place: u64, piece: Vec<u8>| -> Result<(), RestoreError> {
        hasher.update(&piece);
        if place == 0 {
            let (first, rest) = piece.split_at(head_bytes.min(piece.len()));
            head = first.to_vec();
            write(rest, head.len() as u64)?;
        } else {
            write(&piece, place)?;
        }
        progress.set(place + piece.len() as u64);
        Ok(())
    };
    let served_by = thread::scope(|scope| {
        let (sender, pieces) = sync_channel(1);
        scope.spawn(move || {
            let mut place = 0;
            while place < image.bytes {
                let fetched = piece(source, place, PIECE.min(image.bytes - place));
                let failed = fetched.is_err();
                // The writer is gone when writing failed.
                if sender.send((place, fetched)).is_err() || failed {
                    return;
                }
                place = (place + PIECE).min(image.bytes);
            }
        });
        let mut served_by = String::new();
        for (place, fetched) in pieces {
            let (piece, site) = fetched?;
            take(place, piece)?;
            served_by = site.base().to_owned();
        }
        Ok::<_, RestoreError>(served_by)
    })?;
    drop(progress);
    flush()?;
    if hasher.finalize().as_bytes() != image.blake3.as_bytes() {
        let (baseline, site) = (source.manifest.manifest().baseline, served_by);
        return Err(RestoreError::SiteAltered {
            baseline,
            site,
            what: "the image does not have the signed digest",
        });
    }
    write(&head, 0)?;
    flush()?;
    Ok(image.bytes)
}

/// Writes single MiB again. What the site sends is not checked here: the proof that follows reads it all.
pub(super) fn repair(
    source: &Source,
    target: &File,
    device: &Path,
    mibs: &[u64],
) -> Result<u64, RestoreError> {
    let image = &source.manifest.manifest().image;
    let mut progress = source
        .screen
        .progress(Label::Repair, mibs.len() as u64 * MIB);
    let mut written = 0;
    for mib in mibs {
        let place = mib * MIB;
        let (bytes, _) = piece(source, place, MIB.min(image.bytes - place))?;
        target
            .write_all_at(&bytes, place)
            .map_err(io("repair the baseline on", device))?;
        written += bytes.len() as u64;
        progress.set(written);
    }
    target
        .sync_data()
        .map_err(io("repair the baseline on", device))?;
    Ok(written)
}

/// One piece of the image; asks again while the site is down.
fn piece(source: &Source, place: u64, bytes: u64) -> Result<(Vec<u8>, Site), RestoreError> {
    let path = api::release_file(source.manifest.release(), ReleaseFile::Baseline);
    let fetched = persist(&source.finder, &source.screen, |site| {
        let piece = site.get_bytes(
            "fetch the baseline",
            &path,
            Some((place, bytes)),
            bytes,
            PIECE_PATIENCE,
        )?;
        Ok((piece, site.clone()))
    })?;
    Ok(fetched)
}
