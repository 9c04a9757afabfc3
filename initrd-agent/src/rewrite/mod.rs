//! The patent's letter: at every boot the whole baseline is written onto the session's volume, and runs there.
//!
//! The baseline's partition holds an ext4 image, proved like any other. All of it goes through dm-verity and dm-crypt
//! to the start of the session's volume, in order; then the file system is mounted and grows to the end. Its folder
//! `root` is the root of the session, beside it lie the homes and what the agent keeps.
//!
//! A copy that stops half-way is never mounted: nothing but [`Rewrite::run`] mounts it, and no other boot can read it,
//! because its key died with this one.

mod copy;

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::OFlags,
    mount::{MountFlags, UnmountFlags, mount, unmount},
};
use snapshot::baseline::Restore;

use crate::{
    baseline::Baseline,
    capture::SessionTree,
    paths,
    screen::{Label, Screen},
    sys,
    wipe::{BareVolume, private_dir},
};

/// Length of a block of the image's file system.
const BLOCK_BYTES: u64 = snapshot::baseline::BLOCK_BYTES;

/// Why there is no copy to run. The volume is discarded at the next boot.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// The disk leaves too little room beside the baseline.
    #[error("the session's volume has {have_bytes} bytes, the baseline alone needs {need_bytes}")]
    NoRoom {
        /// Length of the volume.
        have_bytes: u64,
        /// Length of the image.
        need_bytes: u64,
    },
    /// A step failed.
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
}

fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RewriteError {
    let path = path.to_owned();
    move |source| RewriteError::Io {
        doing,
        path,
        source,
    }
}

/// A proved image and the session's volume. May be written again, when a user's files did not get onto the copy.
#[derive(Debug, Clone)]
pub struct Rewrite(Copying);

/// An image on one device and the volume it is written to, proved or not.
#[derive(Debug, Clone)]
pub struct Copying {
    /// Device of the image.
    pub image: PathBuf,
    /// Length of the image, whole blocks of 4096 bytes.
    pub image_bytes: u64,
    /// Device of the volume.
    pub volume: PathBuf,
    /// Length of the volume, whole blocks too.
    pub volume_bytes: u64,
}

/// Where the session's tree lies, for who captures and applies.
#[must_use]
pub fn tree(restore: Restore) -> SessionTree {
    let home = paths::SESSION_HOME.into();
    match restore {
        Restore::Verified => SessionTree {
            upper: paths::SESSION_UPPER.into(),
            home,
            baseline: None,
        },
        Restore::Rewrite => SessionTree {
            upper: paths::SESSION_ROOT.into(),
            home,
            baseline: Some(paths::BASELINE.into()),
        },
    }
}

impl Rewrite {
    /// What is to be written where. The image was proved: [`Baseline`] is the proof.
    ///
    /// # Errors
    /// [`RewriteError::NoRoom`].
    pub fn new(
        baseline: &Baseline,
        image_bytes: u64,
        volume: &BareVolume,
    ) -> Result<Self, RewriteError> {
        let volume_bytes = volume.bytes() / BLOCK_BYTES * BLOCK_BYTES;
        if volume_bytes < image_bytes {
            return Err(RewriteError::NoRoom {
                have_bytes: volume_bytes,
                need_bytes: image_bytes,
            });
        }
        Ok(Self(Copying {
            image: baseline.mapped.node().to_owned(),
            image_bytes,
            volume: volume.node().to_owned(),
            volume_bytes,
        }))
    }

    /// Length of what is written, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.image_bytes
    }

    /// Writes the baseline and mounts it at [`paths::SESSION`], with the folders of a session, in place of what is there.
    ///
    /// # Errors
    /// [`RewriteError`]; nothing is mounted, or what is mounted is the whole baseline.
    pub fn run(&self, screen: &Screen) -> Result<(), RewriteError> {
        let session = Path::new(paths::SESSION);
        private_dir(Path::new(paths::RUN)).map_err(at("make folder", Path::new(paths::RUN)))?;
        private_dir(session).map_err(at("make folder", session))?;
        self.0.onto(session, screen)?;
        for (folder, mode) in [(paths::SESSION_HOME, 0o755), (paths::SESSION_STATE, 0o700)] {
            let folder = Path::new(folder);
            fs::create_dir_all(folder).map_err(at("make folder", folder))?;
            fs::set_permissions(folder, Permissions::from_mode(mode))
                .map_err(at("set the mode of", folder))?;
        }
        Ok(())
    }

    /// [`Self::run`] again, over a copy that a user's files were put on.
    ///
    /// # Errors
    /// [`RewriteError`].
    pub fn again(&self, screen: &Screen) -> Result<(), RewriteError> {
        let session = Path::new(paths::SESSION);
        unmount(session, UnmountFlags::NOFOLLOW)
            .map_err(|errno| at("unmount the copy at", session)(errno.into()))?;
        self.run(screen)
    }
}

impl Copying {
    /// Writes the image, mounts what was written at `place` and lets it grow to the end of the volume.
    ///
    /// # Errors
    /// [`RewriteError`]; nothing is mounted, or what is mounted is the whole image.
    pub fn onto(&self, place: &Path, screen: &Screen) -> Result<(), RewriteError> {
        self.write(screen)?;
        let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOATIME;
        mount(&self.volume, place, "ext4", flags, None)
            .map_err(|errno| at("mount the rewritten baseline at", place)(errno.into()))?;
        let root = File::open(place).map_err(at("open", place))?;
        sys::grow_ext4(&root, self.volume_bytes / BLOCK_BYTES)
            .map_err(at("let the file system grow at", place))
    }

    fn write(&self, screen: &Screen) -> Result<(), RewriteError> {
        let image = File::open(&self.image).map_err(at("open", &self.image))?;
        let volume = OpenOptions::new()
            .write(true)
            .custom_flags((OFlags::DIRECT | OFlags::EXCL).bits().cast_signed())
            .open(&self.volume)
            .map_err(at("open", &self.volume))?;
        let mut progress = screen.progress(Label::Rewrite, self.image_bytes);
        copy::all(&image, &volume, self.image_bytes, &mut |bytes| {
            progress.set(bytes);
        })
        .map_err(|error| match error {
            copy::Error::Read(source) => at("read the proved baseline from", &self.image)(source),
            copy::Error::Write(source) => at("write the baseline to", &self.volume)(source),
        })
    }
}
