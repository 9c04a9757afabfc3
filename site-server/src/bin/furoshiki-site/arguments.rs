//! What the operator says on the command line.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    path::PathBuf,
};

use clap::{Parser, Subcommand, ValueEnum};
use site_server::{netboot, store::Anchor};
use snapshot::id::{ReleaseId, SiteId};

use crate::{
    ca::{Ca, Invite, Join},
    desk,
    operate::Operate,
};

/// Stores sealed snapshots of users and hands them to shared PCs and other sites.
#[derive(Parser)]
#[command(version)]
pub(super) struct Arguments {
    /// How lines of the log on standard error look.
    #[arg(long, global = true, value_enum, default_value_t = Log::Json, env = "FUROSHIKI_SITE_LOG")]
    pub(super) log: Log,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Forms of a line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Log {
    /// For programs.
    Json,
    /// For people.
    Text,
}

#[derive(Subcommand)]
pub(super) enum Command {
    /// Makes a site: data folder, certificate, operator token.
    Init {
        /// The data folder.
        #[arg(long)]
        data: PathBuf,
        /// Name of the site for people.
        #[arg(long)]
        name: String,
        /// Where PCs, browsers and other sites reach it, for example <https://site-a.example:8443>.
        #[arg(long)]
        url: String,
        /// Another host name or address for the certificate; may be given again.
        #[arg(long = "also-name", value_name = "HOST_OR_IP")]
        also_names: Vec<String>,
        /// Folder of the CA that all sites share; made when it has none.
        #[arg(long, value_name = "CADIR")]
        ca: PathBuf,
        /// Public key that releases must be signed with (release.pub).
        #[arg(long, value_name = "FILE")]
        release_key: Option<PathBuf>,
        /// Keep rows in this PostgreSQL database and not in the data folder: `postgres://USER@HOST/NAME`.
        #[arg(long, value_name = "URL")]
        postgres: Option<String>,
        /// File with the password of that database; it is read at every start.
        #[arg(long, value_name = "FILE", requires = "postgres")]
        password_file: Option<PathBuf>,
        /// Keep sealed objects in this bucket and not in the data folder: `https://HOST/BUCKET[/PREFIX]` of a server that speaks S3.
        #[arg(long, value_name = "URL", requires_all = ["s3_access_key", "s3_secret_file"])]
        s3: Option<String>,
        /// Name of the key that requests to it are signed with.
        #[arg(long, value_name = "ID", requires = "s3")]
        s3_access_key: Option<String>,
        /// File with the secret of that key; it is read at every start.
        #[arg(long, value_name = "FILE", requires = "s3")]
        s3_secret_file: Option<PathBuf>,
        /// Region of the bucket; us-east-1 when not said.
        #[arg(long, value_name = "REGION", requires = "s3")]
        s3_region: Option<String>,
        /// Certificates of the CA its certificate comes from (PEM); the machine's when not said.
        #[arg(long, value_name = "FILE", requires = "s3")]
        s3_ca: Option<PathBuf>,
    },
    /// Serves a site until SIGTERM.
    Serve {
        /// The data folder.
        #[arg(long, env = "FUROSHIKI_SITE_DATA")]
        data: PathBuf,
        /// Address and port to listen on; not needed when systemd hands over a socket.
        #[arg(long, env = "FUROSHIKI_SITE_LISTEN")]
        listen: Option<SocketAddr>,
        /// Also serve boot files over plain HTTP here, for PCs that boot from the network; port 80 by custom.
        #[arg(long, value_name = "ADDRESS", env = "FUROSHIKI_SITE_BOOT_LISTEN")]
        boot_listen: Option<SocketAddr>,
        /// Also serve the site over plain HTTP here, a loopback address, for a balancer on this machine that ends TLS.
        #[arg(long, value_name = "ADDRESS")]
        plain_listen: Option<SocketAddr>,
        /// Tell PCs of the local network where this site is (DNS-SD over multicast DNS).
        #[arg(long, env = "FUROSHIKI_SITE_ANNOUNCE")]
        announce: bool,
    },
    /// Makes a site that `site invite` of another one invited.
    Join(Join),
    /// The CA of all sites: a folder that belongs on no site.
    #[command(subcommand)]
    Ca(Ca),
    /// Users of the site.
    #[command(subcommand)]
    User(User),
    /// This site and others.
    #[command(subcommand)]
    Site(Site),
    /// Who is signed in where.
    #[command(subcommand)]
    Lease(Lease),
    /// What PCs say they wiped.
    #[command(subcommand)]
    Wipes(Wipes),
    /// Who did what, when.
    #[command(subcommand)]
    Audit(Audit),
    /// People who run the site at its desk (/admin).
    #[command(subcommand)]
    Staff(desk::Staff),
    /// Shared PCs.
    #[command(subcommand)]
    Pc(desk::Pc),
    /// What is decided for this site.
    #[command(subcommand)]
    Policy(desk::Policy),
    /// Releases of the site.
    #[command(subcommand)]
    Release(Release),
    /// Booting PCs from the network.
    #[command(subcommand)]
    Netboot(Netboot),
    /// Chooses how much hashing a password costs on this machine, 50 to 100 ms, and writes it into site.toml; the server takes
    /// it when it starts. Users' hashes follow at their next sign-in.
    Calibrate {
        /// The data folder.
        #[arg(long)]
        data: PathBuf,
    },
    #[command(flatten)]
    Operate(Operate),
    /// Sets the public key that releases must be signed with.
    ReleaseKey {
        /// release.pub: 64 hex digits.
        file: PathBuf,
        /// The data folder.
        #[arg(long)]
        data: PathBuf,
    },
}

#[derive(Subcommand)]
pub(super) enum User {
    #[command(flatten)]
    More(desk::MoreOfUser),
    /// Registers a user, or renews card and password of a known one; the password is one line on standard input.
    Add {
        /// User name.
        name: String,
        /// The data folder.
        #[arg(long)]
        data: PathBuf,
        /// What `furoshiki-agent card issue` wrote.
        #[arg(long, value_name = "FILE")]
        card: PathBuf,
    },
    /// Prints what a user registered, as `furoshiki-agent card add-card` takes it.
    Registration {
        /// User name.
        name: String,
        /// The data folder.
        #[arg(long)]
        data: PathBuf,
    },
    /// Deletes a user here and at every other site; sealed snapshots stay, and nobody can open them.
    Remove {
        /// User name.
        name: String,
        /// The data folder.
        #[arg(long)]
        data: PathBuf,
    },
}

#[derive(Subcommand)]
pub(super) enum Lease {
    /// Lists the sessions of a user that are alive, at any site, the newest first.
    List {
        /// User name.
        name: String,
        /// The data folder.
        #[arg(long)]
        data: PathBuf,
    },
    /// Ends a user's sessions at this site whose PC is gone: nobody is told of them any more. A PC that is alive after
    /// all goes on; nothing it saved is lost.
    Release {
        /// User name.
        name: String,
        /// Only the session at this PC.
        #[arg(long)]
        pc: Option<String>,
        /// The data folder.
        #[arg(long)]
        data: PathBuf,
    },
}

#[derive(Subcommand)]
pub(super) enum Wipes {
    /// Lists the records that came to this site, oldest first. They are the PCs' own claims.
    List {
        /// The data folder.
        #[arg(long)]
        data: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
pub(super) enum Audit {
    /// Writes the whole log to standard output, a line of JSON for each row.
    Export {
        /// The data folder.
        #[arg(long)]
        data: PathBuf,
    },
    /// Finds rows that were altered, taken out or moved; prints the anchor to note elsewhere.
    Verify {
        /// The data folder.
        #[arg(long, required_unless_present = "file")]
        data: Option<PathBuf>,
        /// An exported log instead.
        #[arg(long, value_name = "FILE", conflicts_with = "data")]
        file: Option<PathBuf>,
        /// An anchor noted before, NUMBER:HASH: then a cut end is found too.
        #[arg(long)]
        anchor: Option<Anchor>,
    },
}

#[derive(Subcommand)]
pub(super) enum Site {
    /// Makes another site known to this one.
    Add {
        /// The data folder.
        #[arg(long)]
        data: PathBuf,
        /// Id of the other site, as its `site info` shows it.
        #[arg(long)]
        id: SiteId,
        /// Its name for people.
        #[arg(long)]
        name: String,
        /// Where it is reached.
        #[arg(long)]
        url: String,
    },
    /// Invites a new site: prints the token that its `join` takes, waits until it comes, and signs its certificate.
    Invite(Invite),
    /// Expels a site, at every site and for ever: its certificate is refused everywhere from now on.
    Expel {
        /// The data folder.
        #[arg(long)]
        data: PathBuf,
        /// Id of the site, as `site info` shows it.
        #[arg(long)]
        id: SiteId,
    },
    /// Shows what this site is and has, and how the talk with every other site goes.
    Info {
        /// The data folder.
        #[arg(long)]
        data: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
pub(super) enum Release {
    /// Chooses what PCs boot from the network: a release, or the newest; a running server uses it at once.
    Boot {
        /// This release, whatever is published later. Without it: the newest by build timestamp.
        release: Option<ReleaseId>,
        /// The newest release of the recipe with this name.
        #[arg(long, conflicts_with = "release")]
        name: Option<String>,
        /// The data folder.
        #[arg(long)]
        data: PathBuf,
    },
    /// Lists a release no more.
    Withdraw {
        /// Which.
        release: ReleaseId,
        /// The data folder.
        #[arg(long)]
        data: PathBuf,
    },
    /// Lists releases, the newest build first; a star marks what PCs boot from the network.
    List {
        /// The data folder.
        #[arg(long)]
        data: PathBuf,
    },
}

#[derive(Subcommand)]
pub(super) enum Netboot {
    /// Writes dnsmasq's settings and a TFTP folder with iPXE for one network (see docs/network-boot.md).
    Setup {
        /// The site's data folder.
        #[arg(long)]
        data: PathBuf,
        /// Network interface the PCs are on.
        #[arg(long)]
        interface: String,
        /// Address of the boot service on that network, as PCs reach it; the port is 80 if none is given.
        #[arg(long, value_name = "IP[:PORT]", value_parser = boot_address)]
        boot: SocketAddrV4,
        /// Where the files are written.
        #[arg(long)]
        folder: PathBuf,
        /// Give out these addresses. Only for a network without another DHCP server.
        #[arg(long, value_name = "FIRST,LAST", value_parser = address_range)]
        dhcp_range: Option<(Ipv4Addr, Ipv4Addr)>,
        /// Folder of iPXE's programs.
        #[arg(long, default_value = netboot::IPXE_FOLDER)]
        ipxe: PathBuf,
        /// Then run dnsmasq until it is stopped; needs root.
        #[arg(long)]
        run: bool,
    },
}

fn boot_address(text: &str) -> Result<SocketAddrV4, std::net::AddrParseError> {
    text.parse()
        .or_else(|_| Ok(SocketAddrV4::new(text.parse()?, 80)))
}

fn address_range(text: &str) -> Result<(Ipv4Addr, Ipv4Addr), String> {
    let (first, last) = text.split_once(',').ok_or("give FIRST,LAST")?;
    let address = |text: &str| text.parse().map_err(|error| format!("{text:?}: {error}"));
    Ok((address(first)?, address(last)?))
}
