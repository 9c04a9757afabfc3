//! What a disk can erase by itself, down to cells that no sector leads to.

use std::{io, time::Duration};

use site_api::wipe::{Asked, DiskClass, Step};

use super::{ata::Ata, erase::Target, nvme::Nvme};
use crate::sys;

/// Longest time for an eMMC: JESD84-B51 has no limit, the kernel's own is four minutes.
const EMMC_PATIENCE: Duration = Duration::from_secs(240);

/// A disk that knows ways to erase itself.
trait Erases {
    /// The ways, best first.
    fn ways(&self) -> Vec<Asked>;
    /// Does one; `progress` hears how far it is, in 65 536ths.
    fn erase(&self, way: Asked, progress: &mut dyn FnMut(u16)) -> io::Result<()>;
}

impl Erases for Nvme<'_> {
    fn ways(&self) -> Vec<Asked> {
        self.ways.clone()
    }

    fn erase(&self, way: Asked, progress: &mut dyn FnMut(u16)) -> io::Result<()> {
        self.erase(way, progress)
    }
}

impl Erases for Ata<&std::fs::File> {
    fn ways(&self) -> Vec<Asked> {
        self.ways()
    }

    fn erase(&self, way: Asked, progress: &mut dyn FnMut(u16)) -> io::Result<()> {
        self.erase(way, progress)
    }
}

/// The whole disk by its own means, best first, until one way works. A disk that has none gets no step.
///
/// # Errors
/// It does not read afterwards.
pub(super) fn erase(
    target: Target<'_>,
    class: DiskClass,
    steps: &mut Vec<Step>,
    progress: &mut dyn FnMut(u16),
) -> io::Result<()> {
    let asked: io::Result<Box<dyn Erases + '_>> = match class {
        DiskClass::Nvme => Nvme::ask(target.disk).map(|disk| Box::new(disk) as _),
        DiskClass::Ata => Ata::ask(target.disk).map(|disk| Box::new(disk) as _),
        _ => return Ok(()),
    };
    let disk = match asked {
        Ok(disk) => disk,
        Err(error) => {
            tracing::warn!(%error, "the disk does not say what it can erase");
            return Ok(());
        }
    };
    let ways = disk.ways();
    tracing::info!(?ways, "what the disk can erase by itself");
    for way in ways {
        let answer = disk.erase(way, progress).map(|()| target.bytes);
        let proof = answer.is_ok().then(|| target.zeroes()).transpose()?;
        steps.push(target.step(way, &answer, proof));
        if answer.is_ok() {
            break;
        }
    }
    Ok(())
}

/// Takes what was discarded from the cells of an eMMC too.
///
/// # Errors
/// It does not read afterwards.
pub(super) fn sanitize_emmc(target: Target<'_>) -> io::Result<Step> {
    let answer = sys::mmc_sanitize(target.disk, EMMC_PATIENCE).map(|()| target.bytes);
    let proof = answer.is_ok().then(|| target.zeroes()).transpose()?;
    Ok(target.step(Asked::EmmcSanitize, &answer, proof))
}
