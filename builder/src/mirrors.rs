//! Mirrors: where an archive that a recipe names by name is fetched on this machine.
//!
//! A recipe says `archive = "debian"`, never an address: the same recipe and lock serve a site with a
//! mirror of its own and one without. What is fetched is checked against signatures and digests, so
//! the address decides nothing but speed.

use std::{
    collections::BTreeMap,
    process::Command,
    time::{Duration, UNIX_EPOCH},
};

use crate::command::{self, CommandError};

/// Why an archive has no address.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// Not `ARCHIVE=ADDRESS`.
    #[error("--mirror {text:?} is not ARCHIVE=http://host/path without a slash at the end")]
    Malformed {
        /// What was typed.
        text: String,
    },
    /// Not `ARCHIVE=ADDRESS` with a place for the time.
    #[error("--snapshot {text:?} is not ARCHIVE=http://host/path with {{time}} in the path")]
    Snapshot {
        /// What was typed.
        text: String,
    },
    /// apt did not say where this machine fetches packages.
    #[error("ask apt for this machine's mirrors; name them with --mirror ARCHIVE=ADDRESS instead")]
    Apt(#[source] CommandError),
    /// Neither the command line nor apt knows one.
    #[error("no mirror of the archive {archive:?} is known; add --mirror {archive}=ADDRESS")]
    Unknown {
        /// The archive.
        archive: String,
    },
}

/// What an address of an archive that keeps old packages has in the place of a time.
const TIME: &str = "{time}";
/// A keeper of old packages has a state of the archive this long after the archive published it, in seconds.
const KEPT_AFTER: u64 = 12 * 60 * 60;

/// Archive names and their base addresses.
#[derive(Debug, Clone, Default)]
pub struct Mirrors {
    now: BTreeMap<String, String>,
    kept: BTreeMap<String, String>,
}

impl Mirrors {
    /// What the command line names (`ARCHIVE=ADDRESS`), then what apt uses on this machine.
    ///
    /// # Errors
    /// [`MirrorError::Malformed`], [`MirrorError::Apt`].
    pub fn of_this_machine(named: &[String]) -> Result<Self, MirrorError> {
        let named = named
            .iter()
            .map(|text| parse(text))
            .collect::<Result<BTreeMap<_, _>, _>>()?;
        let mut targets = Command::new("apt-get");
        targets.args([
            "indextargets",
            "--format",
            "$(SITE)",
            "Created-By: Packages",
        ]);
        let mut all = match command::run(&mut targets, "apt") {
            Ok(said) => from_apt(&said),
            Err(_) if !named.is_empty() => BTreeMap::new(),
            Err(source) => return Err(MirrorError::Apt(source)),
        };
        all.extend(named);
        Ok(all.into())
    }

    /// Adds archives that keep old packages, `ARCHIVE=ADDRESS` with `{time}` in the address, where the time of a lock
    /// goes as snapshot.debian.org writes it (`20261121T125303Z`). They are asked when a mirror has moved on.
    ///
    /// # Errors
    /// [`MirrorError::Snapshot`].
    pub fn add_snapshots(&mut self, named: &[String]) -> Result<(), MirrorError> {
        for text in named {
            match parse(text) {
                Ok((archive, address)) if address.contains(TIME) => {
                    self.kept.insert(archive, address);
                }
                _ => return Err(MirrorError::Snapshot { text: text.clone() }),
            }
        }
        Ok(())
    }

    /// Addresses that may have packages of a lock with this build timestamp (seconds since 1970), in the order in
    /// which they are asked.
    ///
    /// # Errors
    /// [`MirrorError::Unknown`].
    pub fn addresses(
        &self,
        archive: &str,
        build_timestamp: i64,
    ) -> Result<Vec<String>, MirrorError> {
        let mut all = Vec::new();
        all.extend(self.now.get(archive).cloned());
        let kept = self.kept.get(archive);
        all.extend(kept.map(|address| address.replace(TIME, &written(build_timestamp))));
        if all.is_empty() {
            self.address(archive)?;
        }
        Ok(all)
    }

    /// Base address of an archive, without a slash at the end.
    ///
    /// # Errors
    /// [`MirrorError::Unknown`].
    pub fn address(&self, archive: &str) -> Result<&str, MirrorError> {
        let address = self.now.get(archive).map(String::as_str);
        address.ok_or_else(|| MirrorError::Unknown {
            archive: archive.to_owned(),
        })
    }
}

impl From<BTreeMap<String, String>> for Mirrors {
    fn from(addresses: BTreeMap<String, String>) -> Self {
        Self {
            now: addresses,
            kept: BTreeMap::new(),
        }
    }
}

/// A time at which a keeper of old packages has what a lock with this build timestamp names.
fn written(build_timestamp: i64) -> String {
    let seconds = u64::try_from(build_timestamp).unwrap_or(0) + KEPT_AFTER;
    // "Sat, 21 Nov 2026 12:53:03 GMT"
    let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
    let words: Vec<&str> = text.split(' ').collect();
    let [_, day, month, year, clock, _] = words.as_slice() else {
        return String::new();
    };
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let month = months.iter().position(|name| name == month).unwrap_or(0) + 1;
    format!("{year}{month:02}{day}T{}Z", clock.replace(':', ""))
}

fn parse(text: &str) -> Result<(String, String), MirrorError> {
    match text.split_once('=') {
        Some((archive, address))
            if !archive.is_empty() && is_web(address) && !address.ends_with('/') =>
        {
            Ok((archive.to_owned(), address.to_owned()))
        }
        _ => Err(MirrorError::Malformed {
            text: text.to_owned(),
        }),
    }
}

/// Archives by the last part of their address; the security archive lies beside the main one where
/// this machine does not name it.
fn from_apt(said: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for address in said.lines().map(|line| line.trim().trim_end_matches('/')) {
        let archive = address.rsplit('/').next().unwrap_or_default();
        if is_web(address) && archive.starts_with("debian") {
            all.entry(archive.to_owned())
                .or_insert_with(|| address.to_owned());
        }
    }
    if let Some(main) = all.get("debian").cloned() {
        all.entry("debian-security".to_owned())
            .or_insert(format!("{main}-security"));
    }
    all
}

fn is_web(address: &str) -> bool {
    address.starts_with("http://") || address.starts_with("https://")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirrors_of_this_machine_are_taken_by_the_name_of_the_archive() {
        let all = from_apt(
            "http://mirror.test/debian/\nhttp://mirror.test/debian\nfile:/srv/debian\nhttps://apt.test/node\n",
        );
        let all = Mirrors::from(all);
        assert_eq!(all.address("debian").unwrap(), "http://mirror.test/debian");
        let security = all.address("debian-security").unwrap();
        assert_eq!(security, "http://mirror.test/debian-security");
        assert!(matches!(
            all.address("node"),
            Err(MirrorError::Unknown { .. })
        ));
    }

    #[test]
    fn a_security_archive_named_by_the_machine_is_kept() {
        let all = from_apt("http://a.test/debian\nhttp://b.test/debian-security\n");
        assert_eq!(all["debian-security"], "http://b.test/debian-security");
    }

    #[test]
    fn what_is_typed_must_be_a_name_and_an_address() {
        assert!(parse("debian=http://mirror.test/debian").is_ok());
        for bad in [
            "debian",
            "=http://m.test/d",
            "debian=ftp://m.test/d",
            "debian=http://m.test/d/",
        ] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains("ARCHIVE="), "{error}");
        }
    }
}
