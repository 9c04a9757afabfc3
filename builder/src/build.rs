//! Build: the rooms one after another, each kept in the cache where recipe and lock alone decide it.

use std::path::{Path, PathBuf};

use site_api::ReleaseFile;
use snapshot::id::{BaselineId, ReleaseId};

use crate::{
    boot::{
        BootError,
        modules::ModulesError,
        site_part::SitePart,
        uki::{self, Uki},
    },
    cache::Cache,
    command::Tree,
    fetch::{FetchError, Store},
    files::{self, FileError},
    hardware::HardwareError,
    image::{ImageError, ImageInfo},
    lock::{Lock, LockError},
    manifest::{self, About, ManifestError},
    medium::{self, MediumError, shim::Shim},
    mirrors::{MirrorError, Mirrors},
    progress::{Amount, Progress},
    recipe::{LOCK_FILE, Recipe, RecipeError},
    release_key::{ReleaseKey, ReleaseKeyError},
    resolve::{self, ResolveError},
    screen::{self, ScreenError},
    secure_boot::{SecureBootError, authenticode, keys::Signer, variable::Variable},
    sizes::{self, Share},
    space::{self, SpaceError},
    summary::{Contents, Report, Whole},
    surroundings::{self, SurroundingsError},
    tree::TreeError,
    workshop::{ImagePart, Workshop, tools_key},
};

/// Why there is no release.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each is the error of the room it is named for")]
pub enum BuildError {
    #[error("read the recipe")]
    Recipe(#[from] RecipeError),
    #[error("use the lock")]
    Lock(#[from] LockError),
    #[error("make a new lock")]
    Resolve(#[from] ResolveError),
    #[error("fetch the packages")]
    Fetch(#[from] FetchError),
    #[error("make the baseline's tree")]
    Tree(#[from] TreeError),
    #[error("make the baseline's image")]
    Image(#[from] ImageError),
    #[error("use the kernel")]
    Modules(#[from] ModulesError),
    #[error("make the boot files")]
    Boot(#[from] BootError),
    #[error("make the boot media")]
    Medium(#[from] MediumError),
    #[error("use the recipe's screen")]
    Screen(#[from] ScreenError),
    #[error("take firmware and microcode")]
    Hardware(#[from] HardwareError),
    #[error("describe the release")]
    Manifest(#[from] ManifestError),
    #[error("sign the release")]
    ReleaseKey(#[from] ReleaseKeyError),
    #[error("sign the boot image for Secure Boot")]
    SecureBoot(#[from] SecureBootError),
    #[error("look for free space")]
    Space(#[from] SpaceError),
    #[error("find the package archives")]
    Mirror(#[from] MirrorError),
    #[error("build here")]
    Surroundings(#[from] SurroundingsError),
    #[error("keep things in the cache")]
    File(#[from] FileError),
    #[error("read {path} from the cache ({why}); remove the cache folder and build again")]
    Inside { path: String, why: String },
    #[error(
        "the initrd has {bytes} bytes, the recipe allows {limit}: take out what it does not need, or raise \
         initrd_budget_mib in recipe.toml. Its largest parts:\n{table}"
    )]
    InitrdOverBudget {
        bytes: u64,
        limit: u64,
        table: String,
    },
    #[error("read {path} from the cache; remove the cache folder and build again")]
    Cache {
        path: String,
        #[source]
        source: serde_json::Error,
    },
}

/// What is to be built.
#[derive(Debug)]
pub struct Order {
    /// Folder of the recipe.
    pub recipe: PathBuf,
    /// Where the release goes.
    pub out: PathBuf,
    /// Folder of things made before.
    pub cache: PathBuf,
    /// The lock; `None`: `recipe.lock` beside the recipe.
    pub lock: Option<PathBuf>,
    /// Choose packages anew and write the lock.
    pub update_lock: bool,
    /// `ARCHIVE=ADDRESS` of mirrors to use in place of this machine's.
    pub mirrors: Vec<String>,
    /// `ARCHIVE=ADDRESS` of archives that keep old packages, asked last.
    pub snapshots: Vec<String>,
    /// Folders with package files, asked before any mirror.
    pub packages: Vec<PathBuf>,
    /// Where a new lock goes when the archive no longer has a package of the lock; `None`: that is an error.
    pub fallback_lock: Option<PathBuf>,
    /// What makes it a site's own.
    pub site: SiteOrder,
    /// Build timestamp in place of the lock's (`SOURCE_DATE_EPOCH`), seconds since 1970.
    pub build_timestamp: Option<i64>,
}

impl Order {
    /// Where archives are fetched.
    pub(crate) fn mirrors(&self) -> Result<Mirrors, MirrorError> {
        let mut mirrors = Mirrors::of_this_machine(&self.mirrors)?;
        mirrors.add_snapshots(&self.snapshots)?;
        Ok(mirrors)
    }
}

/// What makes a release a site's own.
#[derive(Debug, Clone)]
pub struct SiteOrder {
    /// The agent.
    pub agent: PathBuf,
    /// Certificate of the CA all sites have.
    pub site_ca: PathBuf,
    /// Folder of the release key.
    pub release_key: PathBuf,
    /// Folder of Secure Boot keys; `None`: the boot image is not signed.
    pub secure_boot_keys: Option<PathBuf>,
    /// Folder of shim and MokManager, which the boot media begin with; `None`: they begin with the release.
    pub shim: Option<PathBuf>,
    /// Addresses of sites the boot media name, in the order PCs ask them.
    pub sites: Vec<String>,
}

/// What was built.
#[derive(Debug, Clone, Copy)]
pub struct Built {
    /// The release.
    pub release: ReleaseId,
    /// Its baseline.
    pub baseline: BaselineId,
    /// Seconds since 1970.
    pub build_timestamp: i64,
}

/// A release without its manifest.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) recipe: Recipe,
    pub(crate) lock: Lock,
    pub(crate) image: ImageInfo,
    pub(crate) build_timestamp: i64,
    pub(crate) cmdline: String,
    /// Programs that made it.
    pub(crate) tools: Tree,
}

impl Made {
    /// What the manifest says of it.
    pub(crate) fn about(&self) -> About<'_> {
        About {
            recipe: &self.recipe.main,
            image: &self.image,
            build_timestamp: self.build_timestamp,
            cmdline: &self.cmdline,
            lock: self.lock.digest(),
        }
    }
}

/// Builds a release.
///
/// # Errors
/// [`BuildError`]; whole things made so far stay in the cache, and the output folder has no new manifest.
pub fn build(order: &Order, progress: &Progress) -> Result<Built, BuildError> {
    // What a person may have got wrong is looked at before the long stages.
    let key = ReleaseKey::read(&order.site.release_key)?;
    medium::site::to_json(&order.site.sites)?;
    let shim = order.site.shim.as_deref().map(Shim::read).transpose()?;
    let secure_boot = order.site.secure_boot_keys.as_deref();
    let signer = secure_boot
        .map(|dir| Signer::read(dir, Variable::Db))
        .transpose()?;
    let made = make(order, key.public(), progress)?;
    let uki = order.out.join(ReleaseFile::Uki.name());
    if let Some(signer) = &signer {
        authenticode::sign(&uki, signer)?;
        authenticode::sign(&order.out.join(ReleaseFile::Loader.name()), signer)?;
    }
    let baseline = manifest::baseline_id(&made.recipe.main, &made.image, made.build_timestamp);
    let stage = progress.stage("media", "make the boot media", Amount::Unknown);
    let making = medium::Making {
        uki: &uki,
        baseline,
        build_timestamp: made.build_timestamp,
        sites: &order.site.sites,
        files: &enrolment(secure_boot)?,
        shim: shim.as_ref(),
        tools: &made.tools,
    };
    medium::make(&making, &order.out)?;
    stage.end();
    let release = manifest::write(&order.out, &made.about(), &key)?;
    Ok(Built {
        release,
        baseline,
        build_timestamp: made.build_timestamp,
    })
}

/// Makes everything but media, manifest and signatures, for PCs that trust `release_public_key`.
///
/// # Errors
/// As [`build`].
pub(crate) fn make(
    order: &Order,
    release_public_key: [u8; 32],
    progress: &Progress,
) -> Result<Made, BuildError> {
    let recipe = Recipe::read(&order.recipe)?;
    let cache = Cache::open(&order.cache)?;
    let mirrors = order.mirrors()?;
    let store = Store::new(cache.dir(), mirrors, &order.packages);
    let lock = lock(order, &recipe, &cache, &store, progress)?;
    let build_timestamp = order.build_timestamp.unwrap_or(lock.build_timestamp);
    surroundings::check_clock(build_timestamp)?;
    let workshop = Workshop::open(&recipe, &lock, &cache, store, progress, build_timestamp)?;
    let part = workshop.initrd()?;
    let microcode = workshop.microcode()?;
    let site_part = SitePart {
        agent: order.site.agent.clone(),
        site_ca: order.site.site_ca.clone(),
        release_public_key,
        tree: &part.tree,
    };
    let site_part = site_part.pack()?;
    let mut initrd = microcode.archive;
    let microcode_bytes = initrd.len();
    initrd.extend(files::read(&part.base)?);
    initrd.extend_from_slice(&site_part);
    let parts = Parts {
        microcode: microcode_bytes as u64,
        site: site_part.len() as u64,
        whole: initrd.len() as u64,
    };
    let initrd_shares = initrd_shares(
        &recipe,
        part.inside.weights,
        &microcode.inside.weights,
        &parts,
    )?;
    let ImagePart {
        image,
        info,
        inside,
    } = workshop.image()?;
    files::make_dir(&order.out)?;
    let copied = image.metadata().map_or(0, |image| image.len());
    space::check(&order.out, "the release", copied + (512 << 20))?;

    let stage = progress.stage("boot", "write the release", Amount::Unknown);
    let out = |file: ReleaseFile| order.out.join(file.name());
    files::copy(&image, &out(ReleaseFile::Baseline))?;
    let index = image.with_file_name(ReleaseFile::Index.name());
    files::copy(&index, &out(ReleaseFile::Index))?;
    files::copy(&workshop.kernel.image(), &out(ReleaseFile::Kernel))?;
    files::write(&out(ReleaseFile::Initrd), &initrd)?;
    // What it was built from stays with it: enough to build it again when the recipe has moved on.
    lock.write(&order.out.join(LOCK_FILE))?;
    let baseline = manifest::baseline_id(&recipe.main, &info, build_timestamp);
    let mut cmdline = recipe.main.kernel.cmdline.clone();
    // The image a PC restores is fixed by the file it boots, so by whatever proves that file.
    cmdline.push(format!("furoshiki.baseline={baseline}"));
    cmdline.extend(screen::words(&recipe.main.screen, &workshop.tools)?);
    cmdline.extend(recipe.main.session.words());
    let cmdline = cmdline.join(" ");
    let uki = Uki {
        kernel: &out(ReleaseFile::Kernel),
        kernel_release: &info.kernel_release,
        initrd: &out(ReleaseFile::Initrd),
        cmdline: &cmdline,
        name: &recipe.main.name,
    };
    uki::make(&uki, &out(ReleaseFile::Uki), &workshop.tools)?;
    let loader = workshop.tools.path(uki::LOADER);
    files::copy(&loader, &out(ReleaseFile::Loader))?;
    let mut initrd_entries = part.inside.entries;
    initrd_entries.extend(microcode.inside.entries);
    initrd_entries.sort_by(|a, b| a.path.cmp(&b.path));
    Contents::new(baseline, inside.entries, initrd_entries).write(&order.out)?;
    let image_shares = Whole {
        bytes: info.data_bytes,
        limit: None,
        packages: sizes::shares(&inside.weights, info.data_bytes),
    };
    let report = Report::new(initrd_shares, image_shares);
    report.write(&order.out)?;
    stage.end();
    for (name, whole) in [("initrd", &report.initrd), ("baseline", &report.baseline)] {
        let table = sizes::table(&whole.packages);
        progress.note(&format!(
            "{name}: {} KiB\n{}",
            whole.bytes.div_ceil(1024),
            table.trim_end()
        ));
    }
    let tools = workshop.tools.clone();
    drop(workshop);
    Ok(Made {
        image: info,
        build_timestamp,
        cmdline,
        tools,
        recipe,
        lock,
    })
}

/// Lengths of the initrd's archives, in bytes.
struct Parts {
    microcode: u64,
    site: u64,
    /// With the shared part.
    whole: u64,
}

/// Shares of the initrd, if it is within what the recipe allows.
fn initrd_shares(
    recipe: &Recipe,
    shared: Vec<Share>,
    microcode: &[Share],
    parts: &Parts,
) -> Result<Whole, BuildError> {
    let bytes = parts.whole;
    let limit = u64::from(recipe.main.initrd_budget_mib) << 20;
    let rest = bytes.saturating_sub(parts.site + parts.microcode);
    let mut weights = sizes::shares(&shared, rest);
    // Not compressed: what its files take is what it takes.
    let as_it_is = |share: &Share| Share {
        bytes: share.files,
        ..share.clone()
    };
    let microcode: Vec<Share> = microcode.iter().map(as_it_is).collect();
    weights.extend(sizes::shares(&microcode, parts.microcode));
    weights.push(Share {
        package: "(agent, CA and release key)".into(),
        files: parts.site,
        bytes: parts.site,
    });
    let packages = sizes::shares(&weights, bytes);
    if bytes > limit {
        return Err(BuildError::InitrdOverBudget {
            bytes,
            limit,
            table: sizes::table(&packages),
        });
    }
    Ok(Whole {
        bytes,
        limit: Some(limit),
        packages,
    })
}

/// What a medium holds so that firmware can enrol the keys: no secrets.
fn enrolment(keys: Option<&Path>) -> Result<Vec<(String, Vec<u8>)>, BuildError> {
    let mut found = Vec::new();
    for variable in Variable::ALL {
        for ending in ["auth", "cer"] {
            let Some(keys) = keys else { continue };
            let file = format!("{}.{ending}", variable.name());
            found.push((
                format!("furoshiki/keys/{file}"),
                files::read(&keys.join(&file))?,
            ));
        }
    }
    Ok(found)
}

/// The lock, with all its packages in the store.
fn lock(
    order: &Order,
    recipe: &Recipe,
    cache: &Cache,
    store: &Store,
    progress: &Progress,
) -> Result<Lock, BuildError> {
    let path = order.lock.as_ref().unwrap_or(&recipe.lock);
    let lock = if order.update_lock {
        new_lock(path, recipe, cache, store, progress)?
    } else {
        Lock::read(path, recipe)?
    };
    if cache.place("tools", &tools_key(&lock)).found().is_none() {
        let bytes = lock.packages.iter().map(|package| package.bytes);
        space::check(cache.dir(), "packages and tools", bytes.sum::<u64>() * 2)?;
    }
    let gone = match store.fetch(&lock, progress) {
        Ok(()) => return Ok(lock),
        Err(FetchError::Gone { packages, tried }) => (packages, tried),
        Err(error) => return Err(error.into()),
    };
    let Some(fallback) = &order.fallback_lock else {
        let (packages, tried) = gone;
        return Err(FetchError::Gone { packages, tried }.into());
    };
    progress.note(&format!(
        "the archive no longer has {}; this build is NOT the baseline of {}: it takes newer packages, \
         named in {}",
        gone.0.join(", "),
        path.display(),
        fallback.display()
    ));
    // A fallback made before serves until the archive has moved on from it too.
    if let Ok(lock) = Lock::read(fallback, recipe)
        && store.fetch(&lock, progress).is_ok()
    {
        return Ok(lock);
    }
    let lock = new_lock(fallback, recipe, cache, store, progress)?;
    store.fetch(&lock, progress)?;
    Ok(lock)
}

fn new_lock(
    path: &Path,
    recipe: &Recipe,
    cache: &Cache,
    store: &Store,
    progress: &Progress,
) -> Result<Lock, BuildError> {
    let lock = resolve::resolve(recipe, store.mirrors(), cache.dir(), progress)?;
    if let Some(dir) = path.parent() {
        files::make_dir(dir)?;
    }
    lock.write(path)?;
    Ok(lock)
}
