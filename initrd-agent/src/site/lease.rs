//! What DHCP said: addresses of sites, and who resolves names.
//!
//! systemd-networkd keeps each lease in a file of shell-like assignments below `/run/systemd/netif/leases`
//! (sd-dhcp-lease.c, `dhcp_lease_save`): `DNS=` with addresses, and the private options 224 to 254 as `OPTION_224=`
//! with the payload in hex. Its header calls the format private; the recipe's lock fixes systemd's version, and the
//! tests of network boot fail if a newer one writes it differently. There is no D-Bus in the initrd to ask instead.

use std::{
    fmt::Write as _,
    fs, io,
    io::Read as _,
    net::IpAddr,
    path::{Path, PathBuf},
};

use site_api::discovery::{DHCP_OPTION, MAX_URLS, site_url};

use crate::paths;

const LEASES: &str = "/run/systemd/netif/leases";
/// Files that are read; a PC has one for each network card with a lease.
const MAX_LEASES: usize = 16;
/// Longest lease file, in bytes.
const MAX_BYTES: u64 = 64 << 10;
/// Name servers that the resolver of the C library uses (resolv.conf(5), MAXNS).
const MAX_SERVERS: usize = 3;

/// The leases of this PC.
pub(super) struct Leases {
    folder: PathBuf,
    resolv_conf: PathBuf,
    servers: Vec<IpAddr>,
    any: bool,
}

impl Default for Leases {
    fn default() -> Self {
        Self::below(LEASES.as_ref(), paths::RESOLV_CONF.as_ref())
    }
}

/// What one lease says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) urls: Vec<String>,
    servers: Vec<IpAddr>,
}

impl Leases {
    fn below(folder: &Path, resolv_conf: &Path) -> Self {
        Self {
            folder: folder.into(),
            resolv_conf: resolv_conf.into(),
            servers: Vec::new(),
            any: false,
        }
    }

    /// Whether there was a lease at the last look.
    pub(super) fn any(&self) -> bool {
        self.any
    }

    /// Reads the leases of now: addresses of sites come back, name servers go where the C library looks for them, so
    /// that an address may also be a name.
    pub(super) fn look(&mut self) -> Vec<String> {
        let leases = read(&self.folder);
        self.any = !leases.is_empty();
        let mut servers: Vec<IpAddr> = Vec::new();
        let mut urls: Vec<String> = Vec::new();
        for lease in leases {
            servers.extend(lease.servers);
            urls.extend(lease.urls);
        }
        servers.truncate(MAX_SERVERS);
        if servers != self.servers {
            let mut text = String::from("# From DHCP, by furoshiki-agent.\n");
            for server in &servers {
                // Writing into a string does not fail.
                let _ = writeln!(text, "nameserver {server}");
            }
            match fs::write(&self.resolv_conf, text) {
                Ok(()) => self.servers = servers,
                Err(error) => tracing::warn!(%error, "names of sites cannot be resolved"),
            }
        }
        urls.dedup();
        urls.truncate(MAX_URLS);
        urls
    }
}

fn read(folder: &Path) -> Vec<Lease> {
    let Ok(entries) = fs::read_dir(folder) else {
        // networkd makes the folder with the first lease.
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.truncate(MAX_LEASES);
    paths
        .iter()
        .filter_map(|path| text(path).ok())
        .map(|text| parse(&text))
        .collect()
}

fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?
        .take(MAX_BYTES)
        .read_to_string(&mut text)?;
    Ok(text)
}

pub(crate) fn parse(text: &str) -> Lease {
    let mut lease = Lease::default();
    let option = format!("OPTION_{DHCP_OPTION}");
    for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
        if key == "DNS" {
            let servers = value.split_ascii_whitespace();
            lease
                .servers
                .extend(servers.filter_map(|one| one.parse::<IpAddr>().ok()));
        } else if key == option {
            lease.urls.extend(urls(value));
        }
    }
    lease
}

/// One address of a site, or several with spaces between; some DHCP servers end text with a zero.
fn urls(hex: &str) -> Vec<String> {
    let bytes = hex::decode(hex).unwrap_or_default();
    let text = String::from_utf8(bytes).unwrap_or_default();
    let said: Vec<&str> = text
        .trim_end_matches('\0')
        .split_ascii_whitespace()
        .collect();
    let urls: Vec<String> = said.iter().filter_map(|one| site_url(one)).collect();
    if urls.len() != said.len() || urls.is_empty() {
        tracing::warn!(option = %text.escape_debug(), "DHCP names something that is not the address of a site");
    }
    urls
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lease(option: &str) -> String {
        format!(
            "# This is private data. Do not parse.\nADDRESS=10.0.0.9\nDNS=10.0.0.2 10.0.0.3\nOPTION_224={}\n",
            hex::encode(option)
        )
    }

    #[test]
    fn sites_and_name_servers_are_read() {
        let read = parse(&lease("https://site.example:8443 https://10.0.0.1/\0"));
        assert_eq!(read.urls, ["https://site.example:8443", "https://10.0.0.1"]);
        assert_eq!(
            read.servers,
            ["10.0.0.2", "10.0.0.3"].map(|one| one.parse::<IpAddr>().unwrap())
        );
        for bad in ["", "http://a", "ftp", "https://"] {
            assert!(parse(&lease(bad)).urls.is_empty(), "{bad}");
        }
        assert_eq!(parse("OPTION_224=zz\nDNS=x\n"), Lease::default());
    }

    #[test]
    fn name_servers_reach_the_c_library_when_they_change() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, conf) = (dir.path().join("leases"), dir.path().join("resolv.conf"));
        let mut leases = Leases::below(&folder, &conf);
        assert!(leases.look().is_empty());
        assert!(!leases.any() && !conf.exists());
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("2"), lease("https://a")).unwrap();
        assert_eq!(leases.look(), ["https://a"]);
        assert!(leases.any());
        let text = fs::read_to_string(&conf).unwrap();
        assert!(
            text.ends_with("\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n"),
            "{text}"
        );
    }

    proptest! {
        #[test]
        fn prop_no_lease_panics_or_names_plain_http(text in "(OPTION_224=[0-9a-f]{0,40}\n|.{0,30}\n){0,8}") {
            let read = parse(&text);
            prop_assert!(read.urls.iter().all(|url| url.starts_with("https://")));
        }
    }
}
