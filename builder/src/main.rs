//! Command line of the builder.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use builder::{
    build::{self, Order, SiteOrder},
    cache::Cache,
    diff, exit,
    fetch::Store,
    lock::Lock,
    mirrors::Mirrors,
    progress::{Progress, Reader},
    publish::Publisher,
    rebuild::{self, compare::Artefact},
    recipe::Recipe,
    release_key::ReleaseKey,
    surroundings,
};
use clap::{Args, Parser, Subcommand};

/// Builds what shared PCs boot and are restored to, and puts it on sites.
///
/// Exit codes: 1 failed, 2 wrong arguments, 3 a locked package is gone from the archive (make a new lock with
/// --update-lock), 4 no network, 5 no space, 6 a release was not made again bit by bit.
#[derive(Parser)]
#[command(name = "furoshiki-builder", version)]
struct Cli {
    /// One JSON object a line on standard output, for programs.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
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
    /// Makes the key that signs releases.
    Keygen {
        /// Folder for release.key (secret) and release.pub.
        dir: PathBuf,
    },
    /// Puts a release on sites.
    Publish(PublishArgs),
}

#[derive(Args)]
struct BuildArgs {
    /// Folder with recipe.toml.
    recipe: PathBuf,
    /// Folder the release is written to.
    #[arg(short, long)]
    out: PathBuf,
    #[command(flatten)]
    site: SiteArgs,
    #[command(flatten)]
    from: FromArgs,
    /// Choose the newest packages and write the lock anew.
    #[arg(long)]
    update_lock: bool,
    /// When the archive no longer has a locked package: build from newer ones, say so, and write their lock
    /// to this file. Without it the build fails with exit code 3.
    #[arg(long, conflicts_with = "update_lock")]
    fallback_lock: Option<PathBuf>,
    /// Build timestamp in seconds since 1970, in place of the lock's.
    #[arg(long, env = "SOURCE_DATE_EPOCH")]
    build_timestamp: Option<i64>,
}

#[derive(Args)]
struct FetchArgs {
    /// Folder with recipe.toml.
    recipe: PathBuf,
    /// Folder the package files are copied to.
    #[arg(long)]
    to: PathBuf,
    #[command(flatten)]
    from: FromArgs,
}

#[derive(Args)]
struct VerifyRebuildArgs {
    /// Folder with recipe.toml.
    recipe: PathBuf,
    /// Folder of the release.
    release: PathBuf,
    #[command(flatten)]
    site: SiteArgs,
    #[command(flatten)]
    from: FromArgs,
    /// Folder to build in; everything in it is removed afterwards.
    #[arg(long, default_value = "target/rebuild")]
    work: PathBuf,
}

/// What makes a release a site's own.
#[derive(Args)]
struct SiteArgs {
    /// The furoshiki-agent program that goes into the initrd.
    #[arg(long)]
    agent: PathBuf,
    /// Certificate (PEM) of the CA that signs the sites' certificates; PCs trust no other.
    #[arg(long)]
    site_ca: PathBuf,
    /// Folder made by `keygen`; to verify a rebuild, release.pub in it is enough.
    #[arg(long)]
    release_key: PathBuf,
}

/// What it is made from.
#[derive(Args)]
struct FromArgs {
    /// Folder of things made before.
    #[arg(long, default_value = "target/build-cache")]
    cache: PathBuf,
    /// Lock file to use in place of recipe.lock beside the recipe (to verify a rebuild: in place of the release's).
    #[arg(long)]
    lock: Option<PathBuf>,
    /// Mirror of an archive the recipe names, ARCHIVE=ADDRESS; by default the one apt uses on this machine.
    #[arg(long = "mirror", value_name = "ARCHIVE=ADDRESS")]
    mirrors: Vec<String>,
    /// Archive that keeps old packages, asked when a mirror has moved on: ARCHIVE=ADDRESS with {time} in it, as in
    /// debian=https://snapshot.debian.org/archive/debian/{time}.
    #[arg(long = "snapshot", value_name = "ARCHIVE=ADDRESS")]
    snapshots: Vec<String>,
    /// Folder with package files, asked before any mirror; may be repeated.
    #[arg(long = "packages", value_name = "DIR")]
    packages: Vec<PathBuf>,
}

#[derive(Args)]
struct PublishArgs {
    /// Folder of the release.
    release: PathBuf,
    /// Address of a site, https://…; may be repeated.
    #[arg(long = "site", required = true, num_args = 1..)]
    sites: Vec<String>,
    /// Certificate (PEM) of the CA that signs the sites' certificates.
    #[arg(long)]
    site_ca: PathBuf,
    /// File with the operator's token, as `furoshiki-site init` wrote it; one for each site, in the same
    /// order, or one for all.
    #[arg(long = "operator-token-file", required = true, num_args = 1..)]
    operator_token_files: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    surroundings::settle();
    let progress = Progress::new(Reader::choose(cli.json));
    let result = match cli.command {
        Command::Build(args) => run_build(args, &progress),
        Command::Diff { before, after } => run_diff(&before, &after, &progress),
        Command::Fetch(args) => run_fetch(&args, &progress),
        Command::VerifyRebuild(args) => run_verify_rebuild(args, &progress),
        Command::Keygen { dir } => run_keygen(dir, &progress),
        Command::Publish(args) => run_publish(&args, &progress),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(exit::code(error.as_ref()))
        }
    }
}

fn order(recipe: PathBuf, out: PathBuf, site: SiteArgs, from: FromArgs) -> Order {
    Order {
        recipe,
        out,
        cache: from.cache,
        lock: from.lock,
        update_lock: false,
        mirrors: from.mirrors,
        snapshots: from.snapshots,
        packages: from.packages,
        fallback_lock: None,
        site: SiteOrder {
            agent: site.agent,
            site_ca: site.site_ca,
            release_key: site.release_key,
        },
        build_timestamp: None,
    }
}

fn run_build(args: BuildArgs, progress: &Progress) -> anyhow::Result<ExitCode> {
    surroundings::become_root()?;
    let order = Order {
        update_lock: args.update_lock,
        fallback_lock: args.fallback_lock,
        build_timestamp: args.build_timestamp,
        ..order(args.recipe, args.out, args.site, args.from)
    };
    let built = build::build(&order, progress)?;
    let (release, baseline, time) = (built.release, built.baseline, built.build_timestamp);
    progress.result(
        &format!("release {release}\nbaseline {baseline}\nbuild timestamp {time}"),
        &serde_json::json!({ "release": release, "baseline": baseline, "build_timestamp": time }),
    );
    Ok(ExitCode::SUCCESS)
}

fn run_verify_rebuild(args: VerifyRebuildArgs, progress: &Progress) -> anyhow::Result<ExitCode> {
    surroundings::become_root()?;
    let order = order(args.recipe, args.release, args.site, args.from);
    let report = rebuild::verify(&order, &args.work, progress)?;
    let mut text: Vec<String> = report.artefacts.iter().map(Artefact::text).collect();
    text.push(format!(
        "release {} {}",
        report.release,
        if report.reproduced {
            "was made again bit by bit"
        } else {
            "was NOT made again bit by bit"
        }
    ));
    progress.result(&text.join("\n"), &serde_json::to_value(&report)?);
    Ok(if report.reproduced {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(exit::NOT_REPRODUCED)
    })
}

fn run_diff(before: &Path, after: &Path, progress: &Progress) -> anyhow::Result<ExitCode> {
    let report = diff::diff(before, after)?;
    progress.result(&report.text(), &serde_json::to_value(&report)?);
    Ok(ExitCode::SUCCESS)
}

fn run_fetch(args: &FetchArgs, progress: &Progress) -> anyhow::Result<ExitCode> {
    let recipe = Recipe::read(&args.recipe)?;
    let beside = || args.recipe.join(build::LOCK_FILE);
    let lock = Lock::read(&args.from.lock.clone().unwrap_or_else(beside), &recipe)?;
    let cache = Cache::open(&args.from.cache)?;
    let mut mirrors = Mirrors::of_this_machine(&args.from.mirrors)?;
    mirrors.add_snapshots(&args.from.snapshots)?;
    let store = Store::new(cache.dir(), mirrors, &args.from.packages);
    store.fetch(&lock, progress)?;
    store.copy_to(&lock, &args.to)?;
    lock.write(&args.to.join(build::LOCK_FILE))?;
    let count = lock.packages.len();
    progress.result(
        &format!(
            "{count} packages and their lock are in {}",
            args.to.display()
        ),
        &serde_json::json!({ "packages": count, "to": args.to }),
    );
    Ok(ExitCode::SUCCESS)
}

fn run_keygen(dir: PathBuf, progress: &Progress) -> anyhow::Result<ExitCode> {
    let public = hex::encode(ReleaseKey::generate(&dir)?);
    progress.result(
        &format!("release key {public}"),
        &serde_json::json!({ "release_key": public }),
    );
    Ok(ExitCode::SUCCESS)
}

fn run_publish(args: &PublishArgs, progress: &Progress) -> anyhow::Result<ExitCode> {
    let tokens = &args.operator_token_files;
    anyhow::ensure!(
        tokens.len() == 1 || tokens.len() == args.sites.len(),
        "{} sites need one operator token file or {}, not {}",
        args.sites.len(),
        args.sites.len(),
        tokens.len()
    );
    let mut code = ExitCode::SUCCESS;
    for (site, token) in args.sites.iter().zip(tokens.iter().cycle()) {
        let publisher = Publisher::open(&args.release, &args.site_ca, token)?;
        match publisher.publish(site, progress) {
            Ok(info) => progress.result(
                &format!("{site}: release {} recorded, build timestamp {}", info.release, info.build_timestamp),
                &serde_json::json!({ "site": site, "release": info.release, "build_timestamp": info.build_timestamp }),
            ),
            Err(error) => {
                let failed = exit::code(&error);
                let error = anyhow::Error::from(error);
                eprintln!("error: {site}: {error:#}");
                code = ExitCode::from(failed);
            }
        }
    }
    Ok(code)
}
