//! One function for each command: what was asked, told to the library; what came of it, told to the reader.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use builder::{
    build::{self as release, Order, SiteOrder},
    cache::Cache,
    diff as differences, exit,
    fetch::Store,
    lock::Lock,
    mirrors::Mirrors,
    progress::Progress,
    publish::Publisher,
    rebuild::{self, compare::Artefact},
    recipe::{LOCK_FILE, Recipe},
    release_key::{ReleaseKey, ReleaseKeyError},
    secure_boot::{self, SecureBootError},
    surroundings,
};

use super::arguments::{BuildArgs, FetchArgs, FromArgs, PublishArgs, SiteArgs, VerifyRebuildArgs};

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
            secure_boot_keys: None,
            shim: None,
            sites: Vec::new(),
        },
        build_timestamp: None,
    }
}

pub(super) fn build(args: BuildArgs, progress: &Progress) -> anyhow::Result<ExitCode> {
    surroundings::become_root()?;
    let mut order = Order {
        update_lock: args.update_lock,
        fallback_lock: args.fallback_lock,
        build_timestamp: args.build_timestamp,
        ..order(args.recipe, args.out, args.site, args.from)
    };
    order.site.secure_boot_keys = args.secure_boot_keys;
    order.site.shim = args.shim;
    order.site.sites = args.sites;
    let built = release::build(&order, progress)?;
    let (release, baseline, time) = (built.release, built.baseline, built.build_timestamp);
    progress.result(
        &format!("release {release}\nbaseline {baseline}\nbuild timestamp {time}"),
        &serde_json::json!({ "release": release, "baseline": baseline, "build_timestamp": time }),
    );
    Ok(ExitCode::SUCCESS)
}

pub(super) fn verify_rebuild(
    args: VerifyRebuildArgs,
    progress: &Progress,
) -> anyhow::Result<ExitCode> {
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

pub(super) fn diff(before: &Path, after: &Path, progress: &Progress) -> anyhow::Result<ExitCode> {
    let report = differences::diff(before, after)?;
    progress.result(&report.text(), &serde_json::to_value(&report)?);
    Ok(ExitCode::SUCCESS)
}

pub(super) fn fetch(args: &FetchArgs, progress: &Progress) -> anyhow::Result<ExitCode> {
    let recipe = Recipe::read(&args.recipe)?;
    let lock = Lock::read(args.from.lock.as_ref().unwrap_or(&recipe.lock), &recipe)?;
    let cache = Cache::open(&args.from.cache)?;
    let mut mirrors = Mirrors::of_this_machine(&args.from.mirrors)?;
    mirrors.add_snapshots(&args.from.snapshots)?;
    let store = Store::new(cache.dir(), mirrors, &args.from.packages);
    store.fetch(&lock, progress)?;
    store.copy_to(&lock, &args.to)?;
    lock.write(&args.to.join(LOCK_FILE))?;
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

pub(super) fn keygen(dir: PathBuf, progress: &Progress) -> anyhow::Result<ExitCode> {
    let secure_boot = dir.join("secure-boot");
    let made = secure_boot::keys::generate(&secure_boot);
    let key = match (ReleaseKey::generate(&dir), &made) {
        // One of the two may be new; only when both are old there is nothing to do.
        (Err(ReleaseKeyError::Exists { .. }), Ok(())) => ReleaseKey::read(&dir)?.public(),
        (key, _) => key?,
    };
    match made {
        Ok(()) | Err(SecureBootError::Exists { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let (public, folder) = (hex::encode(key), secure_boot.display().to_string());
    progress.result(
        &format!("release key {public}\nSecure Boot keys in {folder}"),
        &serde_json::json!({ "release_key": public, "secure_boot_keys": folder }),
    );
    Ok(ExitCode::SUCCESS)
}

pub(super) fn publish(args: &PublishArgs, progress: &Progress) -> anyhow::Result<ExitCode> {
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
