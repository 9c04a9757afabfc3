//! Restored baseline + session volume → the system gets the PC.
//!
//! The root is an overlay of the verified baseline and the session's upper folder, or the copy of the baseline that
//! was written to the session volume; `/home` is a plain folder of that volume. Nothing is written into the root for the agent's sake: accounts and units go to `/run`.

mod account;
mod exitrd_tree;
mod units;

use std::{
    ffi::CString,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use rustix::mount::{MountFlags, mount, mount_bind, mount_remount};
use snapshot::baseline::Restore;

pub use self::account::Account;
use crate::{baseline::Baseline, cmdline::Removal, disk::Ground, paths, wipe::private_dir};

/// What could not be prepared. The session volume is discarded at the next boot.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}", path.display())]
pub struct HandoverError {
    doing: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

fn at(doing: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> HandoverError {
    let path = path.as_ref().to_owned();
    move |source| HandoverError {
        doing,
        path,
        source,
    }
}

/// Options of the root overlay. With any of them on, the upper layer alone would not be the whole diff.
const OVERLAY_OPTIONS: &str = "redirect_dir=off,metacopy=off,index=off,xino=auto";

/// Mounts the baseline where its names can be looked up. Comes before [`hand_over`].
///
/// # Errors
/// [`HandoverError`].
pub fn mount_baseline(baseline: &Baseline, restore: Restore) -> Result<(), HandoverError> {
    private_dir(Path::new(paths::BASELINE)).map_err(at("make folder", paths::BASELINE))?;
    let (place, file_system) = match restore {
        Restore::Verified => (paths::BASELINE, "erofs"),
        Restore::Rewrite => (paths::IMAGE, "ext4"),
    };
    private_dir(Path::new(place)).map_err(at("make folder", place))?;
    let flags = MountFlags::RDONLY | MountFlags::NOATIME;
    mount(baseline.mapped.node(), place, file_system, flags, None)
        .map_err(|e| at("mount the baseline at", place)(e.into()))?;
    if restore == Restore::Rewrite {
        let tree = Path::new(place).join("root");
        mount_bind(&tree, paths::BASELINE)
            .map_err(|e| at("mount the baseline's tree at", paths::BASELINE)(e.into()))?;
    }
    Ok(())
}

/// Everything the system needs to take over, in the order in which a failure costs least.
///
/// # Errors
/// [`HandoverError`].
pub fn hand_over(
    _ground: &dyn Ground,
    restore: Restore,
    account: &Account,
    removal: Removal,
) -> Result<(), HandoverError> {
    exitrd_tree::fill(Path::new("/"), Path::new(paths::EXITRD))?;
    account.write_records(Path::new("/run/userdb"))?;
    account.make_home(
        Path::new(paths::SESSION_HOME),
        &Path::new(paths::BASELINE).join("etc/skel"),
    )?;
    write_units(account, removal)?;
    fs::create_dir_all(paths::SYSROOT).map_err(at("make folder", paths::SYSROOT))?;
    match restore {
        Restore::Verified => mount_overlay()?,
        Restore::Rewrite => mount_copy()?,
    }
    let home = Path::new(paths::SYSROOT).join("home");
    mount_bind(paths::SESSION_HOME, &home).map_err(|e| at("mount the homes at", home)(e.into()))
}

/// The root is the copy. The volume's own mount forbids device nodes and set-id programs; the root needs both.
fn mount_copy() -> Result<(), HandoverError> {
    let wrong = |e: rustix::io::Errno| at("mount the root at", paths::SYSROOT)(e.into());
    mount_bind(paths::SESSION_ROOT, paths::SYSROOT).map_err(wrong)?;
    mount_remount(paths::SYSROOT, MountFlags::BIND | MountFlags::NOATIME, c"").map_err(wrong)
}

fn mount_overlay() -> Result<(), HandoverError> {
    let options = format!(
        "lowerdir={},upperdir={},workdir={},{OVERLAY_OPTIONS}",
        paths::BASELINE,
        paths::SESSION_UPPER,
        paths::SESSION_WORK
    );
    let options =
        CString::new(options).map_err(|e| at("mount the root at", paths::SYSROOT)(e.into()))?;
    mount(
        "overlay",
        paths::SYSROOT,
        "overlay",
        MountFlags::empty(),
        Some(options.as_c_str()),
    )
    .map_err(|e| at("mount the root at", paths::SYSROOT)(e.into()))
}

fn write_units(account: &Account, removal: Removal) -> Result<(), HandoverError> {
    for (path, text) in units::files(account, removal) {
        let path = Path::new("/run/systemd").join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(at("make folder", parent))?;
        }
        fs::write(&path, text).map_err(at("write", &path))?;
    }
    let session = (units::SESSION_UNIT, "multi-user.target.wants");
    let card =
        (removal != Removal::Ignore).then_some((units::CARD_UNIT, "multi-user.target.wants"));
    for (unit, wants) in [session].into_iter().chain(card).chain(units::MEANWHILE) {
        let wants = Path::new("/run/systemd/system").join(wants);
        fs::create_dir_all(&wants).map_err(at("make folder", &wants))?;
        let link = wants.join(unit);
        match symlink(Path::new("..").join(unit), &link) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(at("link", link)(e)),
            _ => {}
        }
    }
    Ok(())
}
