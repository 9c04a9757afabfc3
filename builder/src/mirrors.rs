//! Mirrors: where an archive that a recipe names by name is fetched on this machine.
//!
//! A recipe says `archive = "debian"`, never an address: the same recipe and lock serve a site with a
//! mirror of its own and one without. What is fetched is checked against signatures and digests, so
//! the address decides nothing but speed.

use std::{collections::BTreeMap, process::Command};

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

/// Archive names and their base addresses.
#[derive(Debug, Clone, Default)]
pub struct Mirrors(BTreeMap<String, String>);

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
        Ok(Self(all))
    }

    /// Base address of an archive, without a slash at the end.
    ///
    /// # Errors
    /// [`MirrorError::Unknown`].
    pub fn address(&self, archive: &str) -> Result<&str, MirrorError> {
        let address = self.0.get(archive).map(String::as_str);
        address.ok_or_else(|| MirrorError::Unknown {
            archive: archive.to_owned(),
        })
    }
}

impl From<BTreeMap<String, String>> for Mirrors {
    fn from(addresses: BTreeMap<String, String>) -> Self {
        Self(addresses)
    }
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
