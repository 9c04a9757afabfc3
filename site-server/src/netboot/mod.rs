//! One command for a lab network: dnsmasq's settings and a TFTP folder with iPXE, so that PCs of a network boot
//! what this site's [boot service](crate::boot) serves. See `docs/network-boot.md`.

mod dnsmasq;

use std::{
    ffi::OsString,
    fs, io,
    net::{Ipv4Addr, SocketAddrV4},
    path::{Path, PathBuf},
    process::Command,
};

use site_api::discovery::site_url;

use crate::config::{ConfigError, Layout, SiteConfig};

/// Folder of the Debian package `ipxe`.
pub const IPXE_FOLDER: &str = "/usr/lib/ipxe";
/// iPXE for BIOS: uses the network card through the PXE code that loaded it.
const BIOS: &str = "undionly.kpxe";
/// iPXE for UEFI: uses the network card through the firmware's driver.
const UEFI: &str = "snponly.efi";
/// What newer iPXE runs by itself when it was loaded from the TFTP folder.
const AUTOEXEC: &str = "autoexec.ipxe";
/// Settings of dnsmasq.
const SETTINGS: &str = "dnsmasq.conf";

/// What `netboot setup` is told.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The site's data folder.
    pub data: PathBuf,
    /// Where the files are written; made when it is not there.
    pub folder: PathBuf,
    /// Network interface PCs are on.
    pub interface: String,
    /// Address and port of the boot service on that network.
    pub boot: SocketAddrV4,
    /// Addresses to give out, first and last; without it another DHCP server does that.
    pub dhcp_range: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Where iPXE's programs are.
    pub ipxe: PathBuf,
}

/// Why a network is not set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Settings of the site, or a file that cannot be written.
    #[error("set up booting from the network")]
    Config(#[from] ConfigError),
    /// iPXE is not installed.
    #[error("{path} is not there; install the Debian package ipxe, or name the folder of another build with --ipxe", path = .0.display())]
    NoIpxe(PathBuf),
    /// A value that would change the meaning of dnsmasq's settings.
    #[error("{what} {value:?} is not {want}")]
    Value {
        /// Of what.
        what: &'static str,
        /// What was given.
        value: String,
        /// What may be given.
        want: &'static str,
    },
    /// dnsmasq does not start, or ended.
    #[error("run dnsmasq (Debian package dnsmasq-base)")]
    Run(#[source] io::Error),
}

impl Setup {
    /// Where dnsmasq's settings are written.
    #[must_use]
    pub fn settings(&self) -> PathBuf {
        self.folder.join(SETTINGS)
    }

    /// Writes settings, iPXE and its script into the folder. What was there before under these names is replaced.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn write(&self) -> Result<(), SetupError> {
        let config = SiteConfig::load(&Layout::new(&self.data))?;
        let tftp = self.folder.join("tftp");
        let settings = dnsmasq::settings(&dnsmasq::Wanted {
            interface: interface(&self.interface)?,
            boot: self.boot,
            dhcp_range: range(self.dhcp_range)?,
            tftp: folder(&tftp)?,
            leases: folder(&self.folder.join("leases"))?,
            site: &site_url(&config.url).ok_or_else(|| SetupError::Value {
                what: "the site's url",
                value: config.url.clone(),
                want: "one that fits into a DHCP option (https://HOST:PORT, at most 250 bytes)",
            })?,
        });
        fs::create_dir_all(&tftp).map_err(ConfigError::io("make folder", &tftp))?;
        for program in [BIOS, UEFI] {
            let from = self.ipxe.join(program);
            if !from.exists() {
                return Err(SetupError::NoIpxe(from));
            }
            fs::copy(&from, tftp.join(program)).map_err(ConfigError::io("copy", &from))?;
        }
        let write =
            |path: &Path, text: &str| fs::write(path, text).map_err(ConfigError::io("write", path));
        write(
            &tftp.join(AUTOEXEC),
            &format!("#!ipxe\ndhcp\nchain {}\n", dnsmasq::script_url(self.boot)),
        )?;
        write(&self.settings(), &settings)?;
        Ok(())
    }

    /// Runs dnsmasq with the written settings until it ends.
    ///
    /// # Errors
    /// [`SetupError::Run`].
    pub fn run(&self) -> Result<(), SetupError> {
        use std::os::unix::process::CommandExt as _;
        // dnsmasq takes the value of this option only behind an equals sign.
        let mut settings = OsString::from("--conf-file=");
        settings.push(self.settings());
        // The same process, so that a signal to this command ends dnsmasq.
        Err(SetupError::Run(
            Command::new("dnsmasq")
                .env("PATH", search_path())
                .arg("--keep-in-foreground")
                .arg(settings)
                .exec(),
        ))
    }
}

/// sbin is not on everybody's path.
fn search_path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/sbin:/sbin")
}

fn interface(name: &str) -> Result<&str, SetupError> {
    // IFNAMSIZ of <linux/if.h> is 16 with the final zero.
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if name.is_empty() || name.len() > 15 || !name.chars().all(plain) {
        return Err(SetupError::Value {
            what: "the interface",
            value: name.into(),
            want: "the name of a network interface, as `ip link` shows it",
        });
    }
    Ok(name)
}

fn range(range: Option<(Ipv4Addr, Ipv4Addr)>) -> Result<Option<(Ipv4Addr, Ipv4Addr)>, SetupError> {
    match range {
        Some((first, last)) if first > last => Err(SetupError::Value {
            what: "the range of addresses",
            value: format!("{first},{last}"),
            want: "FIRST,LAST with the lower address first",
        }),
        range => Ok(range),
    }
}

/// An absolute path that stays one value in a line of settings.
fn folder(path: &Path) -> Result<String, SetupError> {
    let absolute = std::path::absolute(path).map_err(ConfigError::io("find", path))?;
    match absolute.to_str() {
        Some(text) if !text.contains([',', '\n', '"', '#', '\\']) => Ok(text.to_owned()),
        _ => Err(SetupError::Value {
            what: "the folder",
            value: absolute.display().to_string(),
            want: "a path without comma, quote, backslash or number sign",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_become_a_setting() {
        assert!(interface("eth0").is_ok());
        for bad in ["", "eth0\nuser=root", "eth0,lo", "a-name-that-is-too-long"] {
            assert!(interface(bad).is_err(), "{bad:?}");
        }
        assert!(folder(Path::new("/srv/net boot")).is_ok());
        assert!(folder(Path::new("/srv/a,b")).is_err());
        let (low, high) = (Ipv4Addr::new(10, 0, 0, 9), Ipv4Addr::new(10, 0, 0, 10));
        assert!(range(Some((low, high))).is_ok());
        assert!(range(Some((high, low))).is_err());
    }
}
