//! Filling the exitrd at boot, from the initrd that is about to vanish.
//!
//! On a memory file system that may execute: `/run` often may not, and nothing on the disk may be needed any more
//! when the exitrd runs.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Component, Path, PathBuf},
};

use rustix::mount::{MountFlags, mount};

use super::{HandoverError, at};
use crate::paths;

/// Mounts the tree and copies every file of [`paths::EXITRD_LIST`] to the same path below it, and the name servers
/// in use: a site may be known by its name only, and its record of the wipe is sent from there.
pub(super) fn fill(from: &Path, to: &Path) -> Result<(), HandoverError> {
    fs::create_dir_all(to).map_err(at("make folder", to))?;
    mount(
        "furoshiki-exitrd",
        to,
        "tmpfs",
        MountFlags::NOSUID | MountFlags::NODEV,
        Some(c"mode=755"),
    )
    .map_err(|e| at("mount memory at", to)(e.into()))?;
    copy_listed(from, to)
}

fn copy_listed(from: &Path, to: &Path) -> Result<(), HandoverError> {
    // systemd-shutdown moves these into the new root, and needs the places to be there.
    for dir in ["dev", "proc", "run", "sys", "oldroot", "tmp"] {
        let dir = to.join(dir);
        fs::create_dir_all(&dir).map_err(at("make folder", &dir))?;
    }
    // `/lib64` and friends are links in a merged system; the loader's path in the agent goes through one.
    for link in ["bin", "sbin", "lib", "lib64"] {
        if let Ok(target) = fs::read_link(from.join(link)) {
            let link = to.join(link);
            let relative = target.strip_prefix("/").unwrap_or(&target);
            let place = to.join(relative);
            fs::create_dir_all(&place).map_err(at("make folder", &place))?;
            symlink(relative, &link).map_err(at("link", &link))?;
        }
    }
    let list = from.join(below(Path::new(paths::EXITRD_LIST)));
    let text = fs::read_to_string(&list).map_err(at("read", &list))?;
    for line in text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let path = below(Path::new(line));
        let target = to.join(&path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(at("make folder", parent))?;
        }
        // Through links: the copy must not depend on where a link of the initrd points.
        fs::copy(from.join(&path), &target).map_err(at("copy to the exitrd", &path))?;
    }
    copy_name_servers(from, to)?;
    let shutdown = to.join("shutdown");
    match symlink(below(Path::new(paths::AGENT)), &shutdown) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(at("link", shutdown)(e)),
        _ => Ok(()),
    }
}

/// There are none where DHCP named none.
fn copy_name_servers(from: &Path, to: &Path) -> Result<(), HandoverError> {
    let path = below(Path::new(paths::RESOLV_CONF));
    let target = to.join(&path);
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).map_err(at("make folder", parent))?;
    }
    match fs::copy(from.join(&path), &target) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(at("copy to the exitrd", path)(e)),
        _ => Ok(()),
    }
}

/// `path` without its root and without any `..`.
fn below(path: &Path) -> PathBuf {
    path.components()
        .filter(|c| matches!(c, Component::Normal(_)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_files_arrive_and_shutdown_is_the_agent() {
        let from = tempfile::tempdir().unwrap();
        let to = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = from.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("usr/lib/furoshiki/furoshiki-agent", "agent");
        put("usr/lib64/ld.so", "loader");
        symlink("usr/lib64", from.path().join("lib64")).unwrap();
        put(
            "usr/lib/furoshiki/exitrd.list",
            "/usr/lib/furoshiki/furoshiki-agent\n/lib64/ld.so\n\n# why\n/../../usr/lib64/ld.so\n",
        );
        copy_listed(from.path(), to.path()).unwrap();
        assert!(!to.path().join("etc/resolv.conf").exists());
        put("etc/resolv.conf", "nameserver 10.0.0.2\n");
        let to = tempfile::tempdir().unwrap();
        copy_listed(from.path(), to.path()).unwrap();
        assert_eq!(
            fs::read_to_string(to.path().join("etc/resolv.conf")).unwrap(),
            "nameserver 10.0.0.2\n"
        );
        assert_eq!(
            fs::read_to_string(to.path().join("shutdown")).unwrap(),
            "agent"
        );
        assert_eq!(
            fs::read_to_string(to.path().join("usr/lib64/ld.so")).unwrap(),
            "loader"
        );
        assert_eq!(
            fs::read_to_string(to.path().join("lib64/ld.so")).unwrap(),
            "loader"
        );
        assert!(to.path().join("oldroot").is_dir());
    }
}
