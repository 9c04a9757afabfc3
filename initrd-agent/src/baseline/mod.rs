//! `Disk<Wiped>` + signed manifest + bytes of a site → `Disk<Restored>`.
//!
//! Nothing is written when the partition already is what was signed. Otherwise the image comes from the site, its
//! first MiB last; then every block is read through dm-verity, whatever wrote it.

mod esp;
mod fetch;
mod manifest;
mod memory;
mod prove;

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;
use snapshot::id::BaselineId;

pub use self::manifest::{ManifestError, ReleaseKey, SignedManifest};
use self::prove::Proof;
use crate::{
    disk::{Disk, DiskError, Part, Restored, Wiped},
    dm::{self, MapError, Mapped, Verity},
    screen::{Code, Label, Notice, Screen},
    site::{Finder, SiteError},
};

/// More altered places than this, and the whole image is fetched again, in MiB.
const MOST_REPAIRS: usize = 64;

/// Why a PC was not restored. The disk does not boot a half-written baseline: its first MiB is zeroes.
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
            Self::Io { .. } | Self::Map(_) | Self::Disk(_) | Self::DiskLies { .. } => {
                Code::RestoreWrite
            }
        }
    }
}

/// What restoring needs.
#[derive(Debug, Clone)]
pub struct Source {
    /// The signed manifest of the baseline pinned on the command line.
    pub manifest: SignedManifest,
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
    /// Bytes written to the disk; 0 when it already was what was signed.
    pub written_bytes: u64,
    /// Bytes read to prove it.
    pub read_bytes: u64,
}

impl Disk<Wiped> {
    /// The manifest of the baseline that was restored to this disk last, if it is the pinned one and still verifies.
    ///
    /// Its presence means more than a copy: it is written after a restore was proved and removed before the
    /// partition is written to.
    #[must_use]
    pub fn last_manifest(&self, key: &ReleaseKey, pinned: BaselineId) -> Option<SignedManifest> {
        let esp = self.partition(Part::Esp).ok()?;
        let (json, signature) = esp::read(&esp)?;
        SignedManifest::check(json, &signature, key, pinned).ok()
    }

    /// Puts the baseline on the disk and reads all of it through dm-verity.
    ///
    /// # Errors
    /// [`RestoreError`]; another try is safe at any point.
    pub fn restore(self, source: &Source) -> Result<(Disk<Restored>, Baseline), RestoreError> {
        let device = self.partition(Part::Baseline)?;
        let esp = self.partition(Part::Esp)?;
        let manifest = &source.manifest;
        let was_restored = esp::read(&esp).is_some_and(|(json, _)| json == manifest.json());
        let mut written_bytes = 0;
        let mut read_bytes = 0;
        let mut write = |bad: Option<&[u64]>| -> Result<(), RestoreError> {
            esp::clear(&esp).map_err(io("clear", &esp))?;
            let target = open_for_writing(&device).map_err(io("open", &device))?;
            written_bytes += match bad {
                Some(mibs) => fetch::repair(source, &target, &device, mibs)?,
                None => fetch::whole(source, &target, &device)?,
            };
            Ok(())
        };
        let proof = if was_restored {
            Some(prove(source, &device, &mut read_bytes)?)
        } else {
            None
        };
        let mut proof = match proof {
            Some(proof) => proof,
            None => {
                write(None)?;
                prove(source, &device, &mut read_bytes)?
            }
        };
        if let Proof::Altered(bad) = &proof {
            let at = bad.first().copied().unwrap_or(0) << 20;
            if !was_restored {
                return Err(RestoreError::DiskLies { device, at });
            }
            let detail = format!(
                "block of {} near byte {at} does not fit the signed root hash",
                device.display()
            );
            source
                .screen
                .message(&Notice::new(Code::AlteredBaseline, detail));
            // An altered place of the tree shows as altered data that is in fact good: then the whole is fetched.
            if bad.len() <= MOST_REPAIRS {
                let bad = bad.clone();
                write(Some(&bad))?;
                proof = prove(source, &device, &mut read_bytes)?;
            }
            if matches!(proof, Proof::Altered(_)) {
                write(None)?;
                proof = prove(source, &device, &mut read_bytes)?;
            }
        }
        match proof {
            Proof::Altered(bad) => Err(RestoreError::DiskLies {
                device,
                at: bad.first().copied().unwrap_or(0) << 20,
            }),
            Proof::Good(mapped) => {
                if written_bytes > 0 || !was_restored {
                    esp::write(&esp, manifest.json(), manifest.signature())
                        .map_err(io("write the manifest to", &esp))?;
                }
                Ok((
                    self.restored(),
                    Baseline {
                        mapped,
                        written_bytes,
                        read_bytes,
                    },
                ))
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

/// Claims a partition for writing.
fn open_for_writing(device: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::EXCL.bits().cast_signed())
        .open(device)
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RestoreError {
    let path = path.to_owned();
    move |source| RestoreError::Io {
        doing,
        path,
        source,
    }
}
