//! Disks that do not read because they were erasing themselves when the power went.

use std::{collections::BTreeSet, fs::File, io, path::PathBuf};

use site_api::wipe::DiskClass;

use super::{
    ata::{self, Lock},
    record,
};
use crate::disk::{Content, Probe};

/// Which disks were tried: a password that is not ours is tried once a boot.
#[derive(Debug, Default)]
pub struct Locks {
    tried: BTreeSet<PathBuf>,
}

impl Locks {
    /// Takes our own password away from ATA disks that a cut-off erase left locked, and puts the reason to the others.
    ///
    /// A disk that was unlocked reads the next time it is looked at.
    #[must_use]
    pub fn open(&mut self, probes: Vec<Probe>) -> Vec<Probe> {
        probes
            .into_iter()
            .map(|mut probe| {
                if let Content::Unreadable(why) = &mut probe.content
                    && record::disk_info(&probe.path, 0, 0).class == DiskClass::Ata
                    && let Some(better) = self.reason(&probe.path)
                {
                    *why = better;
                }
                probe
            })
            .collect()
    }

    fn reason(&mut self, path: &PathBuf) -> Option<String> {
        let disk = File::open(path).ok()?;
        if let Some(percent) = ata::percent_sanitized(&disk) {
            return Some(format!(
                "it is still erasing itself, {percent} % done; start again later"
            ));
        }
        let first = self.tried.insert(path.clone());
        let lock: io::Result<Lock> = if first {
            ata::unlock(&disk)
        } else {
            ata::lock(&disk)
        };
        match lock {
            Ok(Lock::Open) => None,
            Ok(Lock::Ours) => {
                tracing::info!(disk = %path.display(), "the power went while it erased itself: unlocked");
                None
            }
            Ok(Lock::Foreign) => Some("locked with an ATA password that somebody set".into()),
            Err(error) => {
                tracing::warn!(disk = %path.display(), %error, "does not say whether it is locked");
                None
            }
        }
    }
}
