//! Surroundings: what of the building machine must not decide a release, and how an ordinary user builds one.
//!
//! The same recipe, lock and build timestamp give the same bits whoever builds them and where. What would
//! leak in otherwise is settled here: the umask, the environment of the programs that are run, the clock,
//! and who may own files. Source: docs/recipes.md §the same bits.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::process::CommandExt,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::fs::Mode;

/// Variables that other programs are given from this one's environment: where programs are, where scratch
/// files go, and the way to archives. Nothing of it reaches a file of a release.
const ENVIRONMENT_KEPT: &[&str] = &[
    "PATH",
    "HOME",
    "TMPDIR",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
];

/// Set in the program that runs inside the user namespace, so that it does not make another.
const INSIDE: &str = "FUROSHIKI_BUILDER_INSIDE_NAMESPACE";

/// Why a build cannot begin here.
#[derive(Debug, thiserror::Error)]
pub enum SurroundingsError {
    /// New files would be older than the release says.
    #[error(
        "this machine's clock ({now} s since 1970) is before the build timestamp {build_timestamp}: new files would \
         keep times of their own; set the clock"
    )]
    Clock {
        /// Seconds since 1970.
        now: u64,
        /// Seconds since 1970.
        build_timestamp: i64,
    },
    /// Neither root nor a user namespace.
    #[error(
        "a baseline has files of many owners: only root can make them, or an ordinary user in a user namespace, and \
         this machine gives none: {said}\nInstall the Debian package uidmap, give the user a line in /etc/subuid and \
         /etc/subgid (adduser does), allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, \
         kernel.apparmor_restrict_unprivileged_userns=0), or run with sudo"
    )]
    NoNamespace {
        /// What `unshare` said, or why it could not be started.
        said: String,
    },
    /// No mount namespace, although root.
    #[error(
        "a build mounts /proc, /sys and /dev below its own folder, which must not be seen by the machine, and this \
         machine gives root no mount namespace: {said}\nInstall the Debian package util-linux; in a container, allow \
         CAP_SYS_ADMIN"
    )]
    NoMounts {
        /// What `unshare` said, or why it could not be started.
        said: String,
    },
}

/// Whether something is mounted at `path`, by `/proc/self/mountinfo`; without it, yes.
fn is_mount_point(path: &str) -> bool {
    std::fs::read_to_string("/proc/self/mountinfo").map_or(true, |table| {
        table
            .lines()
            .any(|line| line.split(' ').nth(4) == Some(path))
    })
}

/// Sets the umask to 022 for this program and all it starts: directories and files that nobody gives a mode
/// get the same one everywhere.
pub fn settle() {
    let _of_the_caller = rustix::process::umask(Mode::WGRP | Mode::WOTH);
}

/// Gives `command` an environment that is the same everywhere, and what was set for it explicitly.
pub fn clean(command: &mut Command) -> &mut Command {
    let own: Vec<(OsString, Option<OsString>)> = command
        .get_envs()
        .map(|(name, value)| (name.to_owned(), value.map(OsStr::to_owned)))
        .collect();
    command.env_clear();
    for name in ENVIRONMENT_KEPT {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
    for (name, value) in own {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// Checks that files made now are not older than `build_timestamp` (seconds since 1970): later times are set
/// to it, earlier ones are kept as those of packages.
///
/// # Errors
/// [`SurroundingsError::Clock`].
pub fn check_clock(build_timestamp: i64) -> Result<(), SurroundingsError> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.as_secs());
    match u64::try_from(build_timestamp) {
        Ok(stamp) if stamp > now => Err(SurroundingsError::Clock {
            now,
            build_timestamp,
        }),
        _ => Ok(()),
    }
}

/// Starts this program again with mounts of its own, and as root of a user namespace unless it is root already.
///
/// mmdebstrap mounts `/proc`, `/sys` and `/dev` into the tree it makes. In a namespace they are gone with the build,
/// also when it is killed: what later empties the folder of that tree never meets the machine's own `/dev`.
/// The user namespace has the ids `/etc/subuid` gives the user. Does not return when it succeeds.
///
/// # Errors
/// [`SurroundingsError::NoNamespace`].
pub fn become_root() -> Result<(), SurroundingsError> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(());
    }
    let root = rustix::process::geteuid().is_root();
    // In a chroot / may be no mount point, and has no propagation to change.
    let propagation = if is_mount_point("/") {
        "private"
    } else {
        "unchanged"
    };
    let namespace = || {
        let mut unshare = Command::new("unshare");
        if !root {
            unshare.args(["--user", "--map-auto", "--map-root-user"]);
        }
        unshare.args(["--mount", "--propagation", propagation]);
        unshare
    };
    let refused = |said: String| {
        if root {
            SurroundingsError::NoMounts { said }
        } else {
            SurroundingsError::NoNamespace { said }
        }
    };
    // Asked first: what is wrong with it is then our error, not a stranger's line.
    let tried = namespace()
        .arg("true")
        .output()
        .map_err(|error| refused(format!("start unshare: {error}")))?;
    if !tried.status.success() {
        return Err(refused(
            String::from_utf8_lossy(&tried.stderr).trim().to_owned(),
        ));
    }
    let start = || -> io::Error {
        match std::env::current_exe() {
            Ok(this) => namespace()
                .arg(this)
                .args(std::env::args_os().skip(1))
                .env(INSIDE, "1")
                .exec(),
            Err(error) => error,
        }
    };
    Err(refused(format!("start this program again: {}", start())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_see_the_same_environment_everywhere_and_what_they_were_given() {
        let mut command = Command::new("env");
        command.env("LANGUAGE_OF_TEST", "ja").env_remove("HOME");
        let said = clean(&mut command).output().unwrap().stdout;
        let said = String::from_utf8(said).unwrap();
        let names: Vec<&str> = said
            .lines()
            .filter_map(|line| line.split('=').next())
            .collect();
        assert!(said.contains("LANGUAGE_OF_TEST=ja\n") && said.contains("TZ=UTC\n"));
        assert!(!names.contains(&"HOME"), "{said}");
        for name in names {
            let known = ENVIRONMENT_KEPT.contains(&name)
                || ["LC_ALL", "TZ", "LANGUAGE_OF_TEST"].contains(&name);
            assert!(known, "{name} came through");
        }
    }

    #[test]
    fn a_clock_before_the_build_timestamp_is_noticed() {
        assert!(check_clock(1_700_000_000).is_ok());
        let error = check_clock(i64::MAX).unwrap_err().to_string();
        assert!(error.contains("set the clock"), "{error}");
    }
}
