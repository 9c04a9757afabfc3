//! The session volume: dm-crypt under a random key that exists in the kernel's memory only.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
};

use rustix::mount::{MountFlags, mount};
use zeroize::Zeroizing;

use crate::{
    dm::{self, Mapped},
    paths, sys,
};

/// Why there is no session volume.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// No random numbers.
    #[error("make the key of the session volume")]
    Random(#[source] getrandom::Error),
    /// An I/O step failed.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The mapping.
    #[error(transparent)]
    Map(#[from] dm::MapError),
    /// mkfs.ext4 says no.
    #[error("make a file system on {device}: {said}")]
    Mkfs {
        /// The device.
        device: String,
        /// Its last words.
        said: String,
    },
}

/// The session partition under a new key, with nothing on it.
#[derive(Debug)]
pub struct BareVolume {
    bytes: u64,
    mapped: Mapped,
}

fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> VolumeError {
    let path = path.to_owned();
    move |source| VolumeError::Io {
        doing,
        path,
        source,
    }
}

impl BareVolume {
    /// Maps the session partition under a new key.
    ///
    /// The key is made here, handed to dm-crypt through this thread's keyring, revoked there and overwritten: from
    /// then on only the mapping has it.
    ///
    /// # Errors
    /// [`VolumeError`].
    pub fn map(partition: &Path) -> Result<Self, VolumeError> {
        let bytes = fs::File::open(partition)
            .and_then(|file| crate::disk::length_bytes(&file))
            .map_err(at("read the length of", partition))?;
        let mapped = {
            let mut key = Zeroizing::new([0; dm::KEY_BYTES]);
            getrandom::fill(&mut *key).map_err(VolumeError::Random)?;
            let key = sys::add_logon_key(dm::KEY_DESCRIPTION, &*key)
                .map_err(at("hand over the key of", partition))?;
            let mapped = dm::map_crypt(partition, bytes);
            if let Err(error) = sys::revoke_key(key) {
                tracing::warn!(%error, "volume key stays in this thread's keyring until the thread ends");
            }
            mapped?
        };
        Ok(Self { bytes, mapped })
    }

    /// Makes a file system on it and mounts it at [`paths::SESSION`], with the folders of a session.
    ///
    /// `nodev`: device nodes in home folders stay dead; whiteouts are made with mknod, which `nodev` does not forbid.
    /// `nosuid`: the overlay has its own flags, `/home` keeps these.
    ///
    /// # Errors
    /// [`VolumeError`]; nothing is mounted.
    pub fn make(&self) -> Result<(), VolumeError> {
        make_ext4(
            self.node(),
            "furoshiki-sess",
            &["-O", "^has_journal", "-m", "0"],
        )?;
        let target = Path::new(paths::SESSION);
        private_dir(Path::new(paths::RUN)).map_err(at("make folder", Path::new(paths::RUN)))?;
        private_dir(target).map_err(at("make folder", target))?;
        let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOATIME;
        mount(self.node(), target, "ext4", flags, None)
            .map_err(|errno| at("mount the session volume at", target)(errno.into()))?;
        fs::set_permissions(target, Permissions::from_mode(0o700)).map_err(at("close", target))?;
        // The root of the overlay shows the mode of its upper folder.
        let dirs = [
            (paths::SESSION_UPPER, 0o755),
            (paths::SESSION_WORK, 0o700),
            (paths::SESSION_HOME, 0o755),
            (paths::SESSION_STATE, 0o700),
        ];
        for (dir, mode) in dirs {
            let dir = Path::new(dir);
            fs::create_dir_all(dir).map_err(at("make folder", dir))?;
            fs::set_permissions(dir, Permissions::from_mode(mode))
                .map_err(at("set the mode of", dir))?;
        }
        Ok(())
    }

    /// Device node of the volume.
    #[must_use]
    pub fn node(&self) -> &Path {
        self.mapped.node()
    }

    /// Length of the volume in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Makes an ext4 file system without writing more than its headers. Label: at most 16 bytes.
///
/// # Errors
/// [`VolumeError::Mkfs`], [`VolumeError::Io`].
///
/// Source: mke2fs(8).
pub fn make_ext4(device: &Path, label: &str, more: &[&str]) -> Result<(), VolumeError> {
    let output = Command::new("mkfs.ext4")
        .args([
            "-q",
            "-F",
            "-b",
            "4096",
            "-E",
            "nodiscard,lazy_itable_init=1,lazy_journal_init=1",
            "-L",
            label,
        ])
        .args(more)
        .arg(device)
        .output()
        .map_err(|source| VolumeError::Io {
            doing: "run mkfs.ext4 on",
            path: device.into(),
            source,
        })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr)
        .trim()
        .replace('\n', " ");
    Err(VolumeError::Mkfs {
        device: device.display().to_string(),
        said,
    })
}

/// A folder for root alone.
pub(crate) fn private_dir(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o700))
}
