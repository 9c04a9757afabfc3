//! `Disk<Wiped>` + signed manifest + bytes of a site → `Disk<Restored>`.
//!
//! Nothing is written when a slot already holds what was signed. Otherwise the other slot is filled: with what is in
//! its place, what the first slot has, and what the site sends; then every block is read through dm-verity, whatever
//! wrote it. The ESP names a slot only while all of this is so: a half-written baseline never boots.

pub(crate) mod fetch;
pub(crate) mod fill;
mod manifest;
mod memory;
mod prove;
pub(crate) mod slots;

use std::{
    io,
    path::{Path, PathBuf},
};

use snapshot::id::BaselineId;

pub use self::manifest::{ManifestError, ReleaseKey, SignedManifest};
use self::{fill::Filled, prove::Proof};
use crate::{
    clock,
    disk::{Disk, DiskError, Restored, Slot, Wiped},
    dm::{self, MapError, Mapped, Verity},
    screen::{Code, Label, Notice, Screen},
    site::{Finder, SiteError},
};

/// Why a PC was not restored. A half-written baseline does not boot: the ESP does not name it.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Reading or writing the disk.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What the site serves is not the baseline that was signed.
    #[error("baseline {baseline} from {site}: {what}")]
    SiteAltered {
        /// The baseline asked for.
        baseline: BaselineId,
        /// The site that served it.
        site: String,
        /// What does not fit.
        what: &'static str,
    },
    /// The site says no for good.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The manifest is not the signed one.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Device-mapper.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The baseline outgrew the disk's layout.
    #[error("{} has {} MiB, the baseline needs {}; start with an empty disk", device.display(), have_bytes >> 20, need_bytes.div_ceil(1 << 20))]
    SlotTooSmall {
        /// The slot.
        device: PathBuf,
        /// Its length.
        have_bytes: u64,
        /// What the image needs.
        need_bytes: u64,
    },
    /// A younger baseline ran on this disk and forbids this one.
    #[error("this baseline was built {}, this disk takes none from before {}", clock::when(build_timestamp * 1000, 0), clock::when(minimum * 1000, 0))]
    Outdated {
        /// When it was built, seconds since 1970.
        build_timestamp: i64,
        /// The earliest that may be, seconds since 1970.
        minimum: i64,
    },
    /// Freshly written from a good image, and still not what was signed.
    #[error("{} does not keep what is written to it (block at byte {at})", device.display())]
    DiskLies {
        /// The partition.
        device: PathBuf,
        /// First byte that differs.
        at: u64,
    },
}

impl RestoreError {
    /// What to tell the user.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::SiteAltered { .. } | Self::Manifest(_) => Code::RestoreRefused,
            Self::Site(error) => crate::site::code_of(error),
            Self::Outdated { .. } => Code::BootOutdated,
            Self::SlotTooSmall { .. }
            | Self::Io { .. }
            | Self::Map(_)
            | Self::Disk(_)
            | Self::DiskLies { .. } => Code::RestoreWrite,
        }
    }
}

/// What restoring needs.
#[derive(Debug, Clone)]
pub struct Source {
    /// The signed manifest of the baseline wanted.
    pub manifest: SignedManifest,
    /// Who signs manifests.
    pub key: ReleaseKey,
    /// Where the image comes from, if it must.
    pub finder: Finder,
    /// Where the user sees it.
    pub screen: Screen,
}

/// A restored baseline, mapped and proved.
#[derive(Debug)]
pub struct Baseline {
    /// The verified device.
    pub mapped: Mapped,
    /// The slot it is in; none in memory.
    pub slot: Option<Slot>,
    /// Bytes written to the disk; 0 when it already was what was signed.
    pub written_bytes: u64,
    /// Bytes received from the site.
    pub received_bytes: u64,
    /// Bytes read to prove it.
    pub read_bytes: u64,
}

impl Source {
    /// What the site serves is not what was signed.
    pub(crate) fn altered(&self, what: &'static str) -> RestoreError {
        RestoreError::SiteAltered {
            baseline: self.manifest.manifest().baseline,
            site: self.finder.wait().base().to_owned(),
            what,
        }
    }
}

impl Disk<Wiped> {
    /// The manifest of the pinned baseline, if a slot of this disk holds it.
    ///
    /// Its presence means more than a copy: it is written after a restore was proved and removed before the
    /// partition is written to.
    #[must_use]
    pub fn last_manifest(&self, key: &ReleaseKey, pinned: BaselineId) -> Option<SignedManifest> {
        let held = self.slots().ok()?.held(key);
        held.into_iter()
            .find_map(|held| held.manifest.pinned(pinned).ok())
    }

    /// Finds the baseline in a slot, or fills one with it, and reads all of it through dm-verity.
    ///
    /// # Errors
    /// [`RestoreError`]; another try is safe at any point.
    pub fn restore(self, source: &Source) -> Result<(Disk<Restored>, Baseline), RestoreError> {
        let slots = self.slots()?;
        let held = slots.held(&source.key);
        let manifest = source.manifest.manifest();
        let minimum = slots::minimum(&held, &manifest.name);
        if manifest.build_timestamp < minimum {
            return Err(RestoreError::Outdated {
                build_timestamp: manifest.build_timestamp,
                minimum,
            });
        }
        let there = held
            .iter()
            .find(|held| held.manifest.json() == source.manifest.json());
        let slot = there.map_or_else(|| slots::spare(&held), |held| held.slot);
        let device = slots.device(slot);
        let mut read_bytes = 0;
        let ready = |mapped, filled: Filled, read_bytes| Baseline {
            mapped,
            slot: Some(slot),
            written_bytes: filled.written_bytes,
            received_bytes: filled.received_bytes,
            read_bytes,
        };
        if there.is_some() {
            match prove(source, device, &mut read_bytes)? {
                Proof::Good(mapped) => {
                    let baseline = ready(mapped, Filled::default(), read_bytes);
                    return Ok((self.restored(), baseline));
                }
                Proof::Altered(bad) => {
                    let at = bad.first().copied().unwrap_or(0) << 20;
                    let detail = format!(
                        "block of {} near byte {at} does not fit the signed root hash",
                        device.display()
                    );
                    let notice = Notice::new(Code::AlteredBaseline, detail);
                    source.screen.message(&notice);
                }
            }
        }
        let (filled, index) = slots.fill(slot, source, &held)?;
        match prove(source, device, &mut read_bytes)? {
            Proof::Altered(bad) => Err(RestoreError::DiskLies {
                device: device.into(),
                at: bad.first().copied().unwrap_or(0) << 20,
            }),
            Proof::Good(mapped) => {
                slots.proved(slot, source, &index)?;
                Ok((self.restored(), ready(mapped, filled, read_bytes)))
            }
        }
    }
}

fn prove(source: &Source, device: &Path, read_bytes: &mut u64) -> Result<Proof, RestoreError> {
    let image = &source.manifest.manifest().image;
    let verity = Verity {
        data_bytes: image.data_bytes,
        root_hash: image.root_hash.to_string(),
        salt: image.salt.to_string(),
    };
    let mapped = dm::map_verity(device, &verity)?;
    let mut progress = source.screen.progress(Label::Verify, image.data_bytes);
    let proof =
        prove::read_all(mapped, image.data_bytes, &mut progress).map_err(io("read", device))?;
    *read_bytes += image.data_bytes;
    Ok(proof)
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RestoreError {
    let path = path.to_owned();
    move |source| RestoreError::Io {
        doing,
        path,
        source,
    }
}
