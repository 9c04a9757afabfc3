//! The part of the initrd with the agent and what it trusts: a second archive after the shared part,
//! so that a new agent costs seconds.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::{BootError, cpio::Archive, elf, initrd};
use crate::files;

/// The agent in the initrd; units start it there.
pub const AGENT_PATH: &str = "usr/lib/furoshiki/furoshiki-agent";
/// What the agent copies into `/run/initramfs`, one absolute path a line.
pub const EXITRD_LIST_PATH: &str = "usr/lib/furoshiki/exitrd.list";
/// The CA that signs the sites' certificates.
pub const SITE_CA_PATH: &str = "etc/furoshiki/site-ca.pem";
/// The public release key, 64 hex digits.
pub const RELEASE_KEY_PATH: &str = "etc/furoshiki/release.pub";

/// zstd level: fast, because a developer waits for it.
const LEVEL: i32 = 3;
/// pcscd's client library is a stub that opens this one by name.
const PCSC_LIBRARY: &str = "libpcsclite_real.so.1";

/// What the site's part is made of.
#[derive(Debug)]
pub struct SitePart<'a> {
    /// The agent, a program of this machine.
    pub agent: PathBuf,
    /// PEM of the CA.
    pub site_ca: PathBuf,
    /// The public release key.
    pub release_public_key: [u8; 32],
    /// Tree of the shared part: the agent's libraries must be in it.
    pub tree: &'a Path,
}

impl SitePart<'_> {
    /// The archive, compressed and aligned.
    ///
    /// # Errors
    /// [`BootError::SitePart`]: not a PEM certificate, not a program; [`BootError::Elf`]: a library the
    /// initrd lacks.
    pub fn pack(&self) -> Result<Vec<u8>, BootError> {
        let agent = files::read(&self.agent)?;
        if !elf::is_elf(&agent) {
            return Err(BootError::SitePart {
                what: self.agent.display().to_string(),
                rule: "the agent must be a Linux program (ELF)",
            });
        }
        let ca = files::read(&self.site_ca)?;
        check_ca(&self.site_ca, &ca)?;
        let mut archive = Archive::new();
        for path in [AGENT_PATH, SITE_CA_PATH] {
            for dir in parents(path) {
                archive.directory(dir);
            }
        }
        archive.file(AGENT_PATH, 0o755, &agent);
        archive.file(EXITRD_LIST_PATH, 0o644, self.exitrd_list()?.as_bytes());
        archive.file(SITE_CA_PATH, 0o644, &ca);
        let key = format!("{}\n", hex::encode(self.release_public_key));
        archive.file(RELEASE_KEY_PATH, 0o644, key.as_bytes());
        initrd::compress(&archive.end(), LEVEL)
    }

    /// Agent, loader, libraries: after switch-root nothing else of the initrd is left.
    fn exitrd_list(&self) -> Result<String, BootError> {
        let pcsc = elf::find_library(self.tree, PCSC_LIBRARY).map(|_| PCSC_LIBRARY.to_owned());
        let also: Vec<String> = pcsc.into_iter().collect();
        let libraries: BTreeSet<String> =
            elf::closure(self.tree, std::slice::from_ref(&self.agent), &also)?;
        let mut list = format!("/{AGENT_PATH}\n/{}\n", elf::LOADER_PATH);
        for library in libraries {
            list.push_str(&format!("/{library}\n"));
        }
        Ok(list)
    }
}

fn check_ca(path: &Path, pem: &[u8]) -> Result<(), BootError> {
    let rule = |rule| BootError::SitePart {
        what: path.display().to_string(),
        rule,
    };
    let text = std::str::from_utf8(pem).map_err(|_| rule("the site CA must be PEM text"))?;
    if text.contains("PRIVATE KEY") {
        return Err(rule(
            "this file has a private key; give the CA's certificate only",
        ));
    }
    if !text.contains("-----BEGIN CERTIFICATE-----") {
        return Err(rule("the site CA must be a certificate in PEM"));
    }
    Ok(())
}

/// `a/b/c` → `a`, `a/b`.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').filter_map(|(at, _)| path.get(..at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_certificate_is_pinned() {
        let good = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
        let key = format!("{good}-----BEGIN PRIVATE KEY-----\n");
        assert!(check_ca(Path::new("ca.pem"), good.as_bytes()).is_ok());
        for bad in [b"".as_slice(), b"\xff", key.as_bytes()] {
            assert!(check_ca(Path::new("ca.pem"), bad).is_err());
        }
    }

    #[test]
    fn parents_come_outermost_first() {
        assert_eq!(
            parents("usr/lib/x/y").collect::<Vec<_>>(),
            ["usr", "usr/lib", "usr/lib/x"]
        );
    }
}
