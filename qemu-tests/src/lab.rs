//! A network of its own for PCs that boot from it: a namespace with a bridge, an ordinary DHCP server beside it, and
//! nothing that reaches this machine's own network. Needs root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::child::{self, Running};
use crate::place;
use crate::site::TestSite;
use crate::wait::{self, Deadline};

/// Address of the site on the network.
pub const SITE: &str = "10.77.0.1";
/// A name of the site that only the network's own DNS server knows.
pub const SITE_NAME: &str = "site.furoshiki.test";
/// Addresses for PCs, as `netboot setup --dhcp-range` takes them.
pub const ADDRESSES: &str = "10.77.0.100,10.77.0.199";
/// Address of the network's DHCP and DNS server.
const SERVER: &str = "10.77.0.2";
/// The bridge PCs are plugged into.
const BRIDGE: &str = "pcs";

/// dnsmasq has started within this, also on a busy machine.
const START: Duration = Duration::from_secs(30);

/// Where a PC's network card is plugged in.
#[derive(Debug, Clone)]
pub struct Wire {
    /// The namespace QEMU runs in.
    pub namespace: String,
    /// Its tap device there.
    pub tap: String,
}

/// The network. Gone when dropped, with everything that runs in it.
#[derive(Debug)]
pub struct Lab {
    name: String,
    logs: PathBuf,
    taps: u32,
    servers: Vec<(Running, &'static str)>,
    files: TempDir,
}

impl Lab {
    /// Makes the network. `logs` takes what its servers say.
    ///
    /// # Errors
    /// This machine gives no network namespace or tap device: the error says what to do.
    pub fn start(logs: &Path) -> Result<Self> {
        if !rustix::process::geteuid().is_root() || !Path::new("/dev/net/tun").exists() {
            bail!(
                "tests of network boot make a network namespace with tap devices: run them as root on a machine with /dev/net/tun (modprobe tun)"
            );
        }
        let files = tempfile::Builder::new()
            .prefix("furoshiki-lab-")
            .tempdir()
            .context("make a folder for the lab")?;
        // dnsmasq gives up root before it serves files.
        fs::set_permissions(files.path(), fs::Permissions::from_mode(0o755))
            .context("open the lab's folder")?;
        let lab = Self {
            name: format!("furoshiki-{}", std::process::id()),
            logs: logs.to_path_buf(),
            taps: 0,
            servers: Vec::new(),
            files,
        };
        let (name, server) = (&lab.name, lab.server());
        ip(&["netns", "add", name]).context(
            "no network namespace: ip(8) must be installed (iproute2) and the kernel must allow namespaces",
        )?;
        ip(&["netns", "add", &server])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        ip(&["-n", name, "link", "add", BRIDGE, "type", "bridge"])?;
        ip(&[
            "-n",
            name,
            "addr",
            "add",
            &format!("{SITE}/24"),
            "dev",
            BRIDGE,
        ])?;
        ip(&["-n", name, "link", "set", BRIDGE, "up"])?;
        ip(&[
            "-n", name, "link", "add", "plug", "type", "veth", "peer", "name", "lan", "netns",
            &server,
        ])?;
        ip(&["-n", name, "link", "set", "plug", "master", BRIDGE, "up"])?;
        ip(&[
            "-n",
            &server,
            "addr",
            "add",
            &format!("{SERVER}/24"),
            "dev",
            "lan",
        ])?;
        ip(&["-n", &server, "link", "set", "lan", "up"])?;
        Ok(lab)
    }

    /// Its namespace.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn server(&self) -> String {
        format!("{}-dhcp", self.name)
    }

    /// A command that runs on the network, as a machine with the site's address.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        inside(&self.name, program)
    }

    /// A free plug for a PC.
    ///
    /// # Errors
    /// The kernel gives no tap device.
    pub fn wire(&mut self) -> Result<Wire> {
        self.taps += 1;
        let tap = format!("tap{}", self.taps);
        ip(&["-n", &self.name, "tuntap", "add", &tap, "mode", "tap"])?;
        ip(&[
            "-n", &self.name, "link", "set", &tap, "master", BRIDGE, "up",
        ])?;
        Ok(Wire {
            namespace: self.name.clone(),
            tap,
        })
    }

    /// Starts the DHCP and DNS server that was there before us: addresses and names, nothing about booting. PCs whose
    /// network address is in `named` are told the site by option 224.
    ///
    /// # Errors
    /// dnsmasq does not start.
    pub fn ordinary_server(&mut self, site_url: &str, named: &[&str]) -> Result<()> {
        let settings = self.files.path().join("ordinary.conf");
        let mut text = format!(
            "pid-file=\ninterface=lan\nbind-interfaces\nexcept-interface=lo\nno-resolv\nno-hosts\n\
             address=/{SITE_NAME}/{SITE}\n\
             dhcp-range={ADDRESSES},255.255.255.0,1h\n\
             dhcp-leasefile={}\nlog-dhcp\nlog-facility=-\n\
             dhcp-option=tag:named,224,\"{site_url}\"\n",
            self.files.path().join("ordinary.leases").display()
        );
        for card in named {
            text.push_str(&format!("dhcp-host={card},set:named\n"));
        }
        fs::write(&settings, text).context("write the settings of the DHCP server")?;
        let mut server = inside(&self.server(), "dnsmasq");
        server
            .arg("--keep-in-foreground")
            .arg(format!("--conf-file={}", settings.display()));
        self.run(&mut server, "dhcp.log")
    }

    /// Runs `furoshiki-site netboot setup … --run` for the site.
    ///
    /// # Errors
    /// It does not start.
    pub fn set_up(&mut self, site: &TestSite, more: &[&str]) -> Result<()> {
        let folder = self.files.path().join("netboot");
        let mut setup = self.command(place::program("furoshiki-site")?);
        setup.args(["netboot", "setup", "--run", "--interface", BRIDGE]);
        setup.args(["--boot", SITE]).args(more);
        setup.arg("--data").arg(&site.data);
        setup.arg("--folder").arg(&folder);
        self.run(&mut setup, "netboot.log")
    }

    /// Starts a dnsmasq and waits until it says so.
    fn run(&mut self, command: &mut Command, log: &'static str) -> Result<()> {
        let path = self.logs.join(log);
        let mut server = Running::start(command, &path)?;
        let deadline = Deadline::after(START);
        while !fs::read_to_string(&path)
            .unwrap_or_default()
            .contains(": started, ")
        {
            server.still_runs(&path)?;
            if deadline.passed() {
                bail!("{} did not start\n{}", server.what(), child::tail_of(&path));
            }
            wait::pause(deadline)?;
        }
        self.servers.push((server, log));
        Ok(())
    }

    /// Fails if a server of the network has ended.
    ///
    /// # Errors
    /// One has, with what it said.
    pub fn still_runs(&mut self) -> Result<()> {
        for (server, log) in &mut self.servers {
            server.still_runs(&self.logs.join(log))?;
        }
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.servers.clear();
        for name in [self.server(), self.name.clone()] {
            if let Err(error) = ip(&["netns", "del", &name]) {
                eprintln!("network namespace {name} is left over: {error:#}");
            }
        }
    }
}

/// A command in a namespace. ip(8) becomes the program, so that killing it kills the program.
#[must_use]
pub fn inside(namespace: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = ip_command();
    command.args(["netns", "exec", namespace]).arg(program);
    command
}

fn ip_command() -> Command {
    administration("ip")
}

/// A program of the system administrator: sbin is not on everybody's path.
#[must_use]
pub fn administration(program: &str) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

fn ip(arguments: &[&str]) -> Result<()> {
    child::output(ip_command().args(arguments)).map(drop)
}
