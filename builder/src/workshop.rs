//! The workshop: recipe and lock with everything made from them alone, kept in the cache.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use site_api::ReleaseFile;
use snapshot::{
    baseline::Restore,
    id::{RootHash, VeritySalt},
};

use crate::{
    boot::{
        cpio::Archive,
        initrd,
        modules::{self, Kernel},
    },
    build::BuildError,
    cache::{Cache, Key},
    command::Tree,
    contents::{self, Entry, Kind, Owners},
    fetch::Store,
    files, hardware,
    image::{self, ImageInfo, Making},
    lock::{Lock, Package, Set},
    progress::{Amount, Progress},
    recipe::Recipe,
    sizes::{self, Share},
    space, summary,
    tree::{
        finish, install, prune,
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
/// The archive of microcode in the cache.
const MICROCODE: &str = "microcode.cpio";

/// List of the files of a tree in the cache, and their weights.
const INSIDE: &str = "inside.json.zst";

/// What is in a tree and what weighs how much.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Inside {
    pub(crate) entries: Vec<Entry>,
    pub(crate) weights: Vec<Share>,
}

/// The initrd's shared part.
#[derive(Debug)]
pub(crate) struct InitrdPart {
    pub(crate) tree: PathBuf,
    /// Its archive.
    pub(crate) base: PathBuf,
    pub(crate) inside: Inside,
}

/// The first archive of the initrd.
#[derive(Debug)]
pub(crate) struct MicrocodePart {
    /// Not compressed; empty where the recipe wants none.
    pub(crate) archive: Vec<u8>,
    pub(crate) inside: Inside,
}

/// The baseline's image.
#[derive(Debug)]
pub(crate) struct ImagePart {
    pub(crate) image: PathBuf,
    pub(crate) info: ImageInfo,
    pub(crate) inside: Inside,
}

/// Recipe and lock, opened: packages are fetched, tools and kernel unpacked.
pub(crate) struct Workshop<'a> {
    recipe: &'a Recipe,
    lock: &'a Lock,
    cache: &'a Cache,
    progress: &'a Progress,
    store: Store,
    pub(crate) tools: Tree,
    pub(crate) kernel: Kernel,
    pub(crate) build_timestamp: i64,
}

impl<'a> Workshop<'a> {
    pub(crate) fn open(
        recipe: &'a Recipe,
        lock: &'a Lock,
        cache: &'a Cache,
        store: Store,
        progress: &'a Progress,
        build_timestamp: i64,
    ) -> Result<Self, BuildError> {
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
            build_timestamp,
        })
    }

    /// The initrd's shared part.
    pub(crate) fn initrd(&self) -> Result<InitrdPart, BuildError> {
        let mut key = Key::new("initrd", 5);
        key.value(&packages(self.lock, Set::Initrd));
        key.value(&packages(self.lock, Set::Kernel));
        key.value(&packages(self.lock, Set::Tools));
        key.value(&self.recipe.initrd);
        if let Some(font) = &self.recipe.font {
            key.value(&(&font.path, files::read_text(&font.characters)?));
        }
        self.hardware_key(&mut key, &self.recipe.hardware.firmware);
        key.value(&self.build_timestamp);
        for folder in self.recipe.initrd_files() {
            key.folder(&folder)?;
        }
        let place = self.cache.place("initrd", &key.end());
        let result = |dir: &Path| -> Result<InitrdPart, BuildError> {
            Ok(InitrdPart {
                tree: dir.join("tree"),
                base: dir.join(INITRD_BASE),
                inside: inside(dir)?,
            })
        };
        if let Some(dir) = place.found() {
            return result(dir);
        }
        let debs = debs(self.lock, Set::Initrd, &self.store);
        let bytes = debs.iter().map(|deb| deb.bytes).sum();
        let what = "make the initrd";
        let stage = self.progress.stage("initrd", what, Amount::Bytes(bytes));
        let firmware = &self.recipe.hardware.firmware;
        let firmware_from = match firmware.is_empty() {
            true => PathBuf::new(),
            false => self.unpack_hardware()?,
        };
        let dir = place.begin()?;
        let parts = initrd::Parts {
            recipe: &self.recipe.initrd,
            font: self.recipe.font.as_ref(),
            firmware,
            firmware_from: &firmware_from,
            files: self.recipe.initrd_files(),
            debs: &debs,
            kernel: &self.kernel,
            tools: &self.tools,
            build_timestamp: self.build_timestamp,
        };
        let tree = dir.join("tree");
        let made = initrd::make_tree(&tree, &parts, &stage)?;
        self.note_idle("initrd.toml", &made.idle);
        files::write(&dir.join(INITRD_BASE), &initrd::pack(&tree)?)?;
        keep_inside(dir, &tree, made.entries)?;
        let dir = place.finish()?;
        stage.end();
        result(dir)
    }

    /// Microcode, as the kernel looks for it at the beginning of the initrd.
    pub(crate) fn microcode(&self) -> Result<MicrocodePart, BuildError> {
        let groups = &self.recipe.hardware.microcode;
        if groups.is_empty() {
            return Ok(MicrocodePart {
                archive: Vec::new(),
                inside: Inside {
                    entries: Vec::new(),
                    weights: Vec::new(),
                },
            });
        }
        let mut key = Key::new("microcode", 2);
        self.hardware_key(&mut key, groups);
        key.value(&self.build_timestamp);
        let place = self.cache.place("microcode", &key.end());
        let result = |dir: &Path| -> Result<MicrocodePart, BuildError> {
            Ok(MicrocodePart {
                archive: files::read(&dir.join(MICROCODE))?,
                inside: inside(dir)?,
            })
        };
        if let Some(dir) = place.found() {
            return result(dir);
        }
        let from = self.unpack_hardware()?;
        let what = "put microcode together";
        let stage = self.progress.stage("microcode", what, Amount::Unknown);
        let dir = place.begin()?;
        let tree = dir.join("tree");
        let mut owners = Owners::default();
        hardware::make_microcode(groups, &from, &tree, &mut owners)?;
        finish::clamp_times(&tree, self.build_timestamp)?;
        let mut entries = contents::list(&tree, &owners)?;
        entries.retain(|entry| entry.kind == Kind::File);
        let mut archive = Archive::new();
        archive.tree(&tree)?;
        files::write(&dir.join(MICROCODE), &archive.end())?;
        keep_inside(dir, &tree, entries)?;
        let dir = place.finish()?;
        stage.end();
        result(dir)
    }

    /// Everything files of `groups` are made of.
    fn hardware_key(&self, key: &mut Key, groups: &[impl Serialize]) {
        key.value(&groups);
        if !groups.is_empty() {
            key.value(&packages(self.lock, Set::Hardware));
        }
    }

    /// The packages with firmware and microcode, unpacked.
    fn unpack_hardware(&self) -> Result<PathBuf, BuildError> {
        let mut key = Key::new("hardware", 1);
        key.value(&packages(self.lock, Set::Hardware));
        unpacked(
            Set::Hardware,
            None,
            &key.end(),
            self.lock,
            self.cache,
            &self.store,
            self.progress,
        )
    }

    /// The baseline's image, with its index beside it, and what is known of it.
    pub(crate) fn image(&self) -> Result<ImagePart, BuildError> {
        let (key, verified) = self.verified_image()?;
        match self.recipe.main.restore.mode {
            Restore::Verified => Ok(verified),
            Restore::Rewrite => self.image_to_rewrite(&key, &verified),
        }
    }

    /// The image that runs where it is.
    fn verified_image(&self) -> Result<(blake3::Hash, ImagePart), BuildError> {
        let baseline = &self.recipe.main.baseline;
        let mut key = Key::new("baseline", 7);
        key.value(&packages(self.lock, Set::Baseline));
        key.value(&packages(self.lock, Set::Kernel));
        key.value(&packages(self.lock, Set::Tools));
        key.value(&(baseline, &self.recipe.main.suite));
        self.hardware_key(&mut key, &self.recipe.hardware.in_baseline());
        key.value(&self.build_timestamp);
        for folder in self.recipe.baseline_files() {
            key.folder(&folder)?;
        }
        let key = key.end();
        let place = self.cache.place("baseline", &key);
        if let Some(dir) = place.found() {
            return Ok((key, image_part(dir)?));
        }
        let dir = place.begin()?.to_owned();
        let root = dir.join("tree");
        let firmware = self.tree(&dir, &root)?;
        let stage = self
            .progress
            .stage("image", "make the image", Amount::Unknown);
        let count = finish::clamp_times(&root, self.build_timestamp)?;
        let mut owners = Owners::of_installed(&root)?;
        owners.add_tree(initrd::KERNEL, &root, "usr/lib/modules")?;
        owners.add(initrd::KERNEL, modules::ALIASES);
        owners.extend(firmware);
        keep_inside(&dir, &root, contents::list(&root, &owners)?)?;
        let image = dir.join(ReleaseFile::Baseline.name());
        let made = image::make(&root, &image, &self.making(&key))?;
        self.keep_image(&dir, &image, made, count)?;
        // The image has all of it; what made it would only fill the disk.
        files::remove_dir(&root)?;
        let dir = place.finish()?;
        stage.end();
        Ok((key, image_part(dir)?))
    }

    /// The same tree in an image that PCs write to their session volume.
    fn image_to_rewrite(
        &self,
        key: &blake3::Hash,
        verified: &ImagePart,
    ) -> Result<ImagePart, BuildError> {
        let mut rewrite = Key::new("rewrite", 1);
        rewrite.value(&key.to_hex().as_str());
        let key = rewrite.end();
        let place = self.cache.place("rewrite", &key);
        if let Some(dir) = place.found() {
            return image_part(dir);
        }
        let bytes = verified.info.data_bytes * 3;
        space::check(self.cache.dir(), "the image that PCs rewrite", bytes)?;
        let what = "make the image that PCs rewrite";
        let stage = self.progress.stage("image", what, Amount::Unknown);
        let dir = place.begin()?.to_owned();
        let image = dir.join(ReleaseFile::Baseline.name());
        let (erofs, scratch) = (&verified.image, dir.join("tree"));
        let made = image::make_for_rewriting(erofs, &image, &scratch, &self.making(&key))?;
        files::copy(&verified.image.with_file_name(INSIDE), &dir.join(INSIDE))?;
        self.keep_image(&dir, &image, made, verified.info.count)?;
        let dir = place.finish()?;
        stage.end();
        image_part(dir)
    }

    fn making<'m>(&'m self, key: &'m blake3::Hash) -> Making<'m> {
        Making {
            key,
            build_timestamp: self.build_timestamp,
            tools: &self.tools,
        }
    }

    /// Writes index and description of a finished image beside it.
    fn keep_image(
        &self,
        dir: &Path,
        image: &Path,
        (data_bytes, root_hash, salt): (u64, RootHash, VeritySalt),
        count: finish::Count,
    ) -> Result<(), BuildError> {
        let info = ImageInfo {
            data_bytes,
            root_hash,
            salt,
            kernel_release: self.kernel.release.clone(),
            count,
        };
        let json = serde_json::to_vec_pretty(&info).expect("plain values become JSON");
        files::write(&dir.join(IMAGE_INFO), &json)?;
        let index = image::index(image, info.data_bytes)?;
        Ok(files::write(&dir.join(ReleaseFile::Index.name()), &index)?)
    }

    /// Makes the baseline's tree in `root`. Out: whose the firmware in it is.
    fn tree(&self, dir: &Path, root: &Path) -> Result<Owners, BuildError> {
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
        modules::depmod(root, &self.kernel.release, &self.tools)?;
        let mut owners = Owners::default();
        let firmware = self.recipe.hardware.in_baseline();
        if !firmware.is_empty() {
            hardware::copy_firmware(&firmware, &self.unpack_hardware()?, root, &mut owners)?;
        }
        for folder in self.recipe.baseline_files() {
            finish::lay_over(root, &folder)?;
        }
        install::make_first_boot_files(root)?;
        finish::mark_up_to_date(root, self.build_timestamp)?;
        stage.end();
        Ok(owners)
    }

    fn note_idle(&self, file: &str, patterns: &[String]) {
        for pattern in patterns {
            let text = format!("{file}: nothing to remove at {pattern}; take the line out");
            self.progress.note(&text);
        }
    }
}

/// A finished image in the cache.
fn image_part(dir: &Path) -> Result<ImagePart, BuildError> {
    let path = dir.join(IMAGE_INFO);
    let json = files::read(&path)?;
    let info = serde_json::from_slice(&json).map_err(|source| BuildError::Cache {
        path: path.display().to_string(),
        source,
    })?;
    Ok(ImagePart {
        image: dir.join(ReleaseFile::Baseline.name()),
        info,
        inside: inside(dir)?,
    })
}

/// Writes down what is in a tree, and what weighs how much, beside what is made of it.
fn keep_inside(dir: &Path, root: &Path, entries: Vec<Entry>) -> Result<(), BuildError> {
    let weights = sizes::weigh(root, &entries)?;
    let bytes = summary::pack(&Inside { entries, weights });
    Ok(files::write(&dir.join(INSIDE), &bytes)?)
}

fn inside(dir: &Path) -> Result<Inside, BuildError> {
    let path = dir.join(INSIDE);
    summary::unpack(&files::read(&path)?).map_err(|why| BuildError::Inside {
        path: path.display().to_string(),
        why,
    })
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
        Set::Hardware => ("hardware", "unpack firmware and microcode"),
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

pub(crate) fn tools_key(lock: &Lock) -> blake3::Hash {
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
