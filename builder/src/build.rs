//! Build: the rooms one after another, each kept in the cache where recipe and lock alone decide it.

use std::path::{Path, PathBuf};

use site_api::ReleaseFile;
use snapshot::id::{BaselineId, ReleaseId};

use crate::{
    boot::{
        BootError, initrd,
        modules::{Kernel, ModulesError},
        site_part::SitePart,
        uki::{self, Uki},
    },
    cache::{Cache, Key},
    command::Tree,
    fetch::{FetchError, Store},
    files::{self, FileError},
    image::{self, ImageError, ImageInfo, Making},
    lock::{Lock, LockError, Package, Set},
    manifest::{self, About, ManifestError},
    progress::{Amount, Progress},
    recipe::{Recipe, RecipeError},
    release_key::{ReleaseKey, ReleaseKeyError},
    resolve::{self, ResolveError},
    space::{self, SpaceError},
    tree::{
        TreeError, finish, install, prune,
        unpack::{self, Deb},
    },
};

/// A tree, the archive it comes from and its image take this many times the size of its packages.
const TREE_TIMES: u64 = 10;
/// The same for packages that are only unpacked.
const UNPACK_TIMES: u64 = 6;
/// Name of an image's description in the cache.
const IMAGE_INFO: &str = "image.json";
/// The shared part of the initrd in the cache.
const INITRD_BASE: &str = "base.cpio.zst";

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
    #[error("describe the release")]
    Manifest(#[from] ManifestError),
    #[error("sign the release")]
    ReleaseKey(#[from] ReleaseKeyError),
    #[error("look for free space")]
    Space(#[from] SpaceError),
    #[error("keep things in the cache")]
    File(#[from] FileError),
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
    /// What makes it a site's own.
    pub site: SiteOrder,
    /// Build timestamp in place of the lock's (`SOURCE_DATE_EPOCH`), seconds since 1970.
    pub build_timestamp: Option<i64>,
}

/// What makes a release a site's own.
#[derive(Debug)]
pub struct SiteOrder {
    /// The agent.
    pub agent: PathBuf,
    /// Certificate of the CA all sites have.
    pub site_ca: PathBuf,
    /// Folder of the release key.
    pub release_key: PathBuf,
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

/// Builds a release.
///
/// # Errors
/// [`BuildError`]; whole things made so far stay in the cache, and the output folder has no new manifest.
pub fn build(order: &Order, progress: &Progress) -> Result<Built, BuildError> {
    let recipe = Recipe::read(&order.recipe)?;
    // What a person may have got wrong is looked at before the long stages.
    let key = ReleaseKey::read(&order.site.release_key)?;
    let cache = Cache::open(&order.cache)?;
    let lock = lock(order, &recipe, &cache, progress)?;
    let workshop = Workshop::open(&recipe, &lock, &cache, progress, order.build_timestamp)?;
    let (tree, base) = workshop.initrd()?;
    let site_part = SitePart {
        agent: order.site.agent.clone(),
        site_ca: order.site.site_ca.clone(),
        release_public_key: key.public(),
        tree: &tree,
    };
    let site_part = site_part.pack()?;
    let (image, info) = workshop.image()?;
    files::make_dir(&order.out)?;
    let copied = image.metadata().map_or(0, |image| image.len());
    space::check(&order.out, "the release", copied + (256 << 20))?;

    let stage = progress.stage("boot", "write the release", Amount::Unknown);
    let out = |file: ReleaseFile| order.out.join(file.name());
    files::copy(&image, &out(ReleaseFile::Baseline))?;
    files::copy(&workshop.kernel.image(), &out(ReleaseFile::Kernel))?;
    let mut initrd = files::read(&base)?;
    initrd.extend_from_slice(&site_part);
    files::write(&out(ReleaseFile::Initrd), &initrd)?;
    let baseline = manifest::baseline_id(&recipe.main, &info, workshop.build_timestamp);
    let mut cmdline = recipe.main.kernel.cmdline.clone();
    // The image a PC restores is fixed by the file it boots, so by whatever proves that file.
    cmdline.push(format!("furoshiki.baseline={baseline}"));
    let cmdline = cmdline.join(" ");
    let uki = Uki {
        kernel: &out(ReleaseFile::Kernel),
        kernel_release: &info.kernel_release,
        initrd: &out(ReleaseFile::Initrd),
        cmdline: &cmdline,
        name: &recipe.main.name,
    };
    uki::make(&uki, &out(ReleaseFile::Uki), &workshop.tools)?;
    let about = About {
        recipe: &recipe.main,
        image: &info,
        build_timestamp: workshop.build_timestamp,
        cmdline: &cmdline,
        lock: lock.digest(),
    };
    let release = manifest::write(&order.out, &about, &key)?;
    stage.end();
    Ok(Built {
        release,
        baseline,
        build_timestamp: workshop.build_timestamp,
    })
}

fn lock(
    order: &Order,
    recipe: &Recipe,
    cache: &Cache,
    progress: &Progress,
) -> Result<Lock, BuildError> {
    let beside = || recipe.dir.join("recipe.lock");
    let path = order.lock.clone().unwrap_or_else(beside);
    if !order.update_lock {
        return Ok(Lock::read(&path, recipe)?);
    }
    let lock = resolve::resolve(recipe, cache.dir(), progress)?;
    if let Some(dir) = path.parent() {
        files::make_dir(dir)?;
    }
    lock.write(&path)?;
    Ok(lock)
}

/// Recipe and lock, opened: packages are fetched, tools and kernel unpacked.
struct Workshop<'a> {
    recipe: &'a Recipe,
    lock: &'a Lock,
    cache: &'a Cache,
    progress: &'a Progress,
    store: Store,
    tools: Tree,
    kernel: Kernel,
    build_timestamp: i64,
}

impl<'a> Workshop<'a> {
    fn open(
        recipe: &'a Recipe,
        lock: &'a Lock,
        cache: &'a Cache,
        progress: &'a Progress,
        build_timestamp: Option<i64>,
    ) -> Result<Self, BuildError> {
        let bytes = lock
            .packages
            .iter()
            .map(|package| package.bytes)
            .sum::<u64>();
        let store = Store::new(cache.dir());
        if cache.place("tools", &tools_key(lock)).found().is_none() {
            space::check(cache.dir(), "packages and tools", bytes * 2)?;
        }
        store.fetch(lock, progress)?;
        let tools = unpacked(
            Set::Tools,
            None,
            &tools_key(lock),
            lock,
            cache,
            &store,
            progress,
        )?;
        let tools = Tree::new(tools);
        let kernel = unpacked(
            Set::Kernel,
            Some(&tools),
            &kernel_key(lock),
            lock,
            cache,
            &store,
            progress,
        )?;
        let kernel = Kernel::open(&kernel)?;
        Ok(Self {
            recipe,
            lock,
            cache,
            progress,
            store,
            tools,
            kernel,
            build_timestamp: build_timestamp.unwrap_or(lock.build_timestamp),
        })
    }

    /// Tree and archive of the initrd's shared part.
    fn initrd(&self) -> Result<(PathBuf, PathBuf), BuildError> {
        let mut key = Key::new("initrd", 1);
        key.value(&packages(self.lock, Set::Initrd));
        key.value(&packages(self.lock, Set::Kernel));
        key.value(&packages(self.lock, Set::Tools));
        key.value(&self.recipe.initrd);
        key.value(&self.build_timestamp);
        for folder in self.recipe.initrd_files() {
            key.folder(&folder)?;
        }
        let place = self.cache.place("initrd", &key.end());
        let result = |dir: &Path| (dir.join("tree"), dir.join(INITRD_BASE));
        if let Some(dir) = place.found() {
            return Ok(result(dir));
        }
        let debs = debs(self.lock, Set::Initrd, &self.store);
        let bytes = debs.iter().map(|deb| deb.bytes).sum();
        let what = "make the initrd";
        let stage = self.progress.stage("initrd", what, Amount::Bytes(bytes));
        let dir = place.begin()?;
        let parts = initrd::Parts {
            recipe: &self.recipe.initrd,
            files: self.recipe.initrd_files(),
            debs: &debs,
            kernel: &self.kernel,
            tools: &self.tools,
            build_timestamp: self.build_timestamp,
        };
        let (tree, base) = result(dir);
        let idle = initrd::make_tree(&tree, &parts, &stage)?;
        self.note_idle("initrd.toml", &idle);
        files::write(&base, &initrd::pack(&tree)?)?;
        let dir = place.finish()?;
        stage.end();
        Ok(result(dir))
    }

    /// The baseline's image and what is known of it.
    fn image(&self) -> Result<(PathBuf, ImageInfo), BuildError> {
        let baseline = &self.recipe.main.baseline;
        let mut key = Key::new("baseline", 3);
        key.value(&packages(self.lock, Set::Baseline));
        key.value(&packages(self.lock, Set::Kernel));
        key.value(&packages(self.lock, Set::Tools));
        key.value(&(baseline, &self.recipe.main.suite));
        key.value(&self.build_timestamp);
        for folder in self.recipe.baseline_files() {
            key.folder(&folder)?;
        }
        let key = key.end();
        let place = self.cache.place("baseline", &key);
        let result = |dir: &Path| -> Result<(PathBuf, ImageInfo), BuildError> {
            let path = dir.join(IMAGE_INFO);
            let json = files::read(&path)?;
            let info = serde_json::from_slice(&json).map_err(|source| BuildError::Cache {
                path: path.display().to_string(),
                source,
            })?;
            Ok((dir.join(ReleaseFile::Baseline.name()), info))
        };
        if let Some(dir) = place.found() {
            return result(dir);
        }
        let dir = place.begin()?.to_owned();
        let root = dir.join("tree");
        self.tree(&dir, &root)?;
        let stage = self
            .progress
            .stage("image", "make the image", Amount::Unknown);
        let count = finish::clamp_times(&root, self.build_timestamp)?;
        let making = Making {
            key: &key,
            build_timestamp: self.build_timestamp,
            tools: &self.tools,
        };
        let image = dir.join(ReleaseFile::Baseline.name());
        let (data_bytes, root_hash, salt) = image::make(&root, &image, &making)?;
        let info = ImageInfo {
            data_bytes,
            root_hash,
            salt,
            kernel_release: self.kernel.release.clone(),
            count,
        };
        let json = serde_json::to_vec_pretty(&info).expect("plain values become JSON");
        files::write(&dir.join(IMAGE_INFO), &json)?;
        // The image has all of it; what made it would only fill the disk.
        files::remove_dir(&root)?;
        let dir = place.finish()?;
        stage.end();
        result(dir)
    }

    /// Makes the baseline's tree in `root`.
    fn tree(&self, dir: &Path, root: &Path) -> Result<(), BuildError> {
        let baseline = &self.recipe.main.baseline;
        let packages: Vec<&Package> = self.lock.packages(Set::Baseline).collect();
        let bytes = packages.iter().map(|package| package.bytes).sum::<u64>();
        space::check(self.cache.dir(), "the baseline's tree", bytes * TREE_TIMES)?;
        let stage = self
            .progress
            .stage("tree", "install the baseline", Amount::Unknown);
        let with_files: Vec<(&Package, Deb)> = packages
            .iter()
            .map(|package| (*package, deb(package, &self.store)))
            .collect();
        let repository =
            install::make_repository(&dir.join("archive"), &self.recipe.main.suite, &with_files)?;
        let what = install::Install {
            suite: &self.recipe.main.suite,
            packages: &baseline.packages,
            remove: &baseline.remove,
            build_timestamp: self.build_timestamp,
        };
        install::install(root, &repository, &what)?;
        files::remove_dir(&repository)?;
        // Nothing left to remove is no news here: dpkg has not unpacked most of it.
        prune::prune(root, &baseline.remove)?;
        self.kernel.copy_all(root)?;
        let modules = root.join("usr/lib/modules").join(&self.kernel.release);
        let idle = prune::prune(&modules, &baseline.remove_modules)?;
        self.note_idle("recipe.toml", &idle);
        crate::boot::modules::depmod(root, &self.kernel.release, &self.tools)?;
        for folder in self.recipe.baseline_files() {
            finish::lay_over(root, &folder)?;
        }
        install::make_first_boot_files(root)?;
        finish::mark_up_to_date(root, self.build_timestamp)?;
        stage.end();
        Ok(())
    }

    fn note_idle(&self, file: &str, patterns: &[String]) {
        for pattern in patterns {
            let text = format!("{file}: nothing to remove at {pattern}; take the line out");
            self.progress.note(&text);
        }
    }
}

/// A folder in the cache with the packages of `set` unpacked; with `tools`, a kernel whose modules are
/// listed too.
fn unpacked(
    set: Set,
    tools: Option<&Tree>,
    key: &blake3::Hash,
    lock: &Lock,
    cache: &Cache,
    store: &Store,
    progress: &Progress,
) -> Result<PathBuf, BuildError> {
    let (kind, what) = match set {
        Set::Kernel => ("kernel", "unpack the kernel"),
        _ => ("tools", "unpack the tools"),
    };
    let place = cache.place(kind, key);
    if let Some(dir) = place.found() {
        return Ok(dir.to_owned());
    }
    let debs = debs(lock, set, store);
    let bytes = debs.iter().map(|deb| deb.bytes).sum::<u64>();
    space::check(cache.dir(), what, bytes * UNPACK_TIMES)?;
    let stage = progress.stage(kind, what, Amount::Bytes(bytes));
    let part = place.begin()?;
    unpack::unpack(part, &debs, &[], &stage)?;
    if let Some(tools) = tools {
        Kernel::open(part)?.list_modules(tools)?;
    }
    let dir = place.finish()?.to_owned();
    stage.end();
    Ok(dir)
}

fn tools_key(lock: &Lock) -> blake3::Hash {
    let mut key = Key::new("tools", 1);
    key.value(&packages(lock, Set::Tools));
    key.end()
}

fn kernel_key(lock: &Lock) -> blake3::Hash {
    let mut key = Key::new("kernel", 2);
    key.value(&packages(lock, Set::Kernel));
    key.end()
}

/// Names and digests of one set: what decides what is made from it.
fn packages(lock: &Lock, set: Set) -> Vec<(&str, &str)> {
    let packages = lock.packages(set);
    packages
        .map(|package| (package.name.as_str(), package.sha256.as_str()))
        .collect()
}

fn debs(lock: &Lock, set: Set, store: &Store) -> Vec<Deb> {
    lock.packages(set)
        .map(|package| deb(package, store))
        .collect()
}

fn deb(package: &Package, store: &Store) -> Deb {
    Deb {
        name: package.name.clone(),
        path: store.path(package),
        bytes: package.bytes,
    }
}
