//! What the builder is told.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Builds what shared PCs boot and are restored to, and puts it on sites.
///
/// Exit codes: 1 failed, 2 wrong arguments, 3 a locked package is gone from the archive (make a new lock with
/// --update-lock), 4 no network, 5 no space, 6 a release was not made again bit by bit.
#[derive(Parser)]
#[command(name = "furoshiki-builder", version)]
pub(super) struct Cli {
    /// One JSON object a line on standard output, for programs.
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Subcommand)]
pub(super) enum Command {
    /// Builds a release from a recipe.
    Build(BuildArgs),
    /// Builds a release again in a fresh folder and proves that it is the same, bit by bit.
    VerifyRebuild(VerifyRebuildArgs),
    /// Shows what changed between two releases: packages, files, kernel, command line.
    Diff {
        /// Folder of the release before.
        before: PathBuf,
        /// Folder of the release after.
        after: PathBuf,
    },
    /// Fetches every package of a lock into a folder, for builds when no archive has them any more (--packages).
    Fetch(FetchArgs),
    /// Makes the key that signs releases and the keys for Secure Boot; those that are there stay.
    Keygen {
        /// Folder for release.key (secret) and release.pub; the Secure Boot keys go to secure-boot in it.
        dir: PathBuf,
    },
    /// Puts a release on sites.
    Publish(PublishArgs),
    /// Boot media.
    #[command(subcommand)]
    Media(MediaCommand),
}

#[derive(Subcommand)]
pub(super) enum MediaCommand {
    /// Writes a USB stick; without a device, lists the devices and says why some are refused.
    Usb(UsbArgs),
    /// Makes an image of a stick or a disc name other sites.
    Site {
        /// furoshiki-usb.img or furoshiki.iso.
        image: PathBuf,
        /// Address of a site, https://…; may be repeated, PCs ask in this order.
        #[arg(long = "site", value_name = "URL", required = true)]
        sites: Vec<String>,
    },
}

#[derive(Args)]
pub(super) struct UsbArgs {
    /// The stick, such as /dev/sdb. Everything on it is lost; the name must be typed to agree, at a terminal or as a
    /// line on standard input.
    pub(super) device: Option<PathBuf>,
    /// furoshiki-usb.img of a release.
    #[arg(long)]
    pub(super) image: PathBuf,
    /// Address of a site, https://…, that the stick names in place of the image's; may be repeated.
    #[arg(long = "site", value_name = "URL")]
    pub(super) sites: Vec<String>,
    /// Overwrite a disk that is not removable, too. What is mounted or in use is refused all the same.
    #[arg(long)]
    pub(super) force_fixed: bool,
}

#[derive(Args)]
pub(super) struct BuildArgs {
    /// Folder with recipe.toml.
    pub(super) recipe: PathBuf,
    /// Folder the release is written to.
    #[arg(short, long)]
    pub(super) out: PathBuf,
    #[command(flatten)]
    pub(super) site: SiteArgs,
    #[command(flatten)]
    pub(super) from: FromArgs,
    /// Folder secure-boot made by `keygen`: signs the boot image, so that firmware that trusts these keys starts it
    /// and nothing else.
    #[arg(long)]
    pub(super) secure_boot_keys: Option<PathBuf>,
    /// Folder with shimx64.efi.signed and mmx64.efi.signed (/usr/lib/shim): the boot media begin with shim, for PCs
    /// whose firmware keeps its vendor's keys. People enrol db.cer in it at the first start.
    #[arg(long, value_name = "DIR", requires = "secure_boot_keys")]
    pub(super) shim: Option<PathBuf>,
    /// Address of a site, https://…, that the boot media name; may be repeated, PCs ask in this order. `media usb
    /// --site` can do it later.
    #[arg(long = "site", value_name = "URL")]
    pub(super) sites: Vec<String>,
    /// Choose the newest packages and write the lock anew.
    #[arg(long)]
    pub(super) update_lock: bool,
    /// When the archive no longer has a locked package: build from newer ones, say so, and write their lock
    /// to this file. Without it the build fails with exit code 3.
    #[arg(long, conflicts_with = "update_lock")]
    pub(super) fallback_lock: Option<PathBuf>,
    /// Build timestamp in seconds since 1970, in place of the lock's.
    #[arg(long, env = "SOURCE_DATE_EPOCH")]
    pub(super) build_timestamp: Option<i64>,
}

#[derive(Args)]
pub(super) struct FetchArgs {
    /// Folder with recipe.toml.
    pub(super) recipe: PathBuf,
    /// Folder the package files are copied to.
    #[arg(long)]
    pub(super) to: PathBuf,
    #[command(flatten)]
    pub(super) from: FromArgs,
}

#[derive(Args)]
pub(super) struct VerifyRebuildArgs {
    /// Folder with recipe.toml.
    pub(super) recipe: PathBuf,
    /// Folder of the release.
    pub(super) release: PathBuf,
    #[command(flatten)]
    pub(super) site: SiteArgs,
    #[command(flatten)]
    pub(super) from: FromArgs,
    /// Folder to build in; everything in it is removed afterwards.
    #[arg(long, default_value = "target/rebuild")]
    pub(super) work: PathBuf,
}

/// What makes a release a site's own.
#[derive(Args)]
pub(super) struct SiteArgs {
    /// The furoshiki-agent program that goes into the initrd.
    #[arg(long)]
    pub(super) agent: PathBuf,
    /// Certificate (PEM) of the CA that signs the sites' certificates; PCs trust no other.
    #[arg(long)]
    pub(super) site_ca: PathBuf,
    /// Folder made by `keygen`; to verify a rebuild, release.pub in it is enough.
    #[arg(long)]
    pub(super) release_key: PathBuf,
}

/// What it is made from.
#[derive(Args)]
pub(super) struct FromArgs {
    /// Folder of things made before.
    #[arg(long, default_value = "target/build-cache")]
    pub(super) cache: PathBuf,
    /// Lock file to use in place of recipe.lock beside the recipe (to verify a rebuild: in place of the release's).
    #[arg(long)]
    pub(super) lock: Option<PathBuf>,
    /// Mirror of an archive the recipe names, ARCHIVE=ADDRESS; by default the one apt uses on this machine.
    #[arg(long = "mirror", value_name = "ARCHIVE=ADDRESS")]
    pub(super) mirrors: Vec<String>,
    /// Archive that keeps old packages, asked when a mirror has moved on: ARCHIVE=ADDRESS with {time} in it, as in
    /// `debian=https://snapshot.debian.org/archive/debian/{time}`.
    #[arg(long = "snapshot", value_name = "ARCHIVE=ADDRESS")]
    pub(super) snapshots: Vec<String>,
    /// Folder with package files, asked before any mirror; may be repeated.
    #[arg(long = "packages", value_name = "DIR")]
    pub(super) packages: Vec<PathBuf>,
}

#[derive(Args)]
pub(super) struct PublishArgs {
    /// Folder of the release.
    pub(super) release: PathBuf,
    /// Address of a site, https://…; may be repeated.
    #[arg(long = "site", required = true, num_args = 1..)]
    pub(super) sites: Vec<String>,
    /// Certificate (PEM) of the CA that signs the sites' certificates.
    #[arg(long)]
    pub(super) site_ca: PathBuf,
    /// File with the operator's token, as `furoshiki-site init` wrote it; one for each site, in the same
    /// order, or one for all.
    #[arg(long = "operator-token-file", required = true, num_args = 1..)]
    pub(super) operator_token_files: Vec<PathBuf>,
}
