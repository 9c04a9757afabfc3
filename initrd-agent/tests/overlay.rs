//! Capture and apply beneath a real overlay: what programs see is what comes back.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod tree;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tree::{Session, Site};

/// An overlay as the agent mounts it.
struct Overlay(PathBuf);

impl Overlay {
    fn mount(lower: &Path, session: &Session) -> Self {
        let (work, root) = (session.folder().join("work"), session.folder().join("root"));
        for folder in [&work, &root] {
            fs::create_dir_all(folder).unwrap();
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={},redirect_dir=off,metacopy=off,index=off,xino=auto",
            lower.display(),
            session.tree.upper.display(),
            work.display()
        );
        let options = std::ffi::CString::new(options).unwrap();
        mount(
            "overlay",
            &root,
            "overlay",
            MountFlags::empty(),
            Some(options.as_c_str()),
        )
        .unwrap();
        Self(root)
    }

    fn names(&self, path: &str) -> Vec<String> {
        let names = fs::read_dir(self.0.join(path)).unwrap();
        let mut names: Vec<_> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// Runs a test of this file again in a mount namespace of its own; `false`: this is that run.
fn outer(test: &str) -> bool {
    if std::env::var_os("IN_OWN_MOUNT_NAMESPACE").is_some() {
        return false;
    }
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("IN_OWN_MOUNT_NAMESPACE", "1")
        .status()
        .expect("util-linux has unshare");
    assert!(status.success(), "{test}, in its own mount namespace");
    true
}

#[test]
fn deletions_and_replacements_of_the_baseline_come_back() {
    if outer("deletions_and_replacements_of_the_baseline_come_back") {
        return;
    }
    let lower = tempfile::tempdir().unwrap();
    for folder in ["etc/app", "usr/share/doc/one", "usr/share/doc/two"] {
        fs::create_dir_all(lower.path().join(folder)).unwrap();
        fs::write(lower.path().join(folder).join("file"), folder).unwrap();
    }
    fs::write(lower.path().join("etc/motd"), "of the baseline").unwrap();
    let (session, site) = (Session::new(), Site::default());
    {
        let root = Overlay::mount(lower.path(), &session);
        fs::write(root.0.join("etc/motd"), "of the user").unwrap();
        fs::remove_dir_all(root.0.join("usr/share/doc/one")).unwrap();
        // Deleted and made again: an opaque directory.
        fs::remove_dir_all(root.0.join("etc/app")).unwrap();
        fs::create_dir(root.0.join("etc/app")).unwrap();
        fs::write(root.0.join("etc/app/mine"), "mine").unwrap();
        fs::create_dir(root.0.join("etc/new")).unwrap();
        // While it is mounted, as in a session.
        site.save(&session, None);
    }
    let (after, _) = site.restore();
    let root = Overlay::mount(lower.path(), &after);
    assert_eq!(
        fs::read_to_string(root.0.join("etc/motd")).unwrap(),
        "of the user"
    );
    assert_eq!(root.names("etc"), ["app", "motd", "new"]);
    assert_eq!(root.names("etc/app"), ["mine"]);
    assert_eq!(root.names("usr/share/doc"), ["two"]);
    assert_eq!(root.names("usr/share/doc/two"), ["file"]);
}
