//! Recipe: the text that says what every PC of a site returns to.
//!
//! A recipe is a folder with `recipe.toml`. It names two files that recipes share: what the initrd
//! is made of and which tools make the image. Source: docs/recipes.md.

mod check;
mod session;
mod splash;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use snapshot::baseline::Restore;

pub use self::{
    session::{Removal, Session},
    splash::Font,
};
use crate::{
    files::{self, FileError},
    hardware::{Groups, Hardware, Wanted},
    screen::Screen,
};

/// Version of the recipe format this program reads.
pub const FORMAT: u32 = 1;

/// Name of a lock, beside its recipe and in each release built from it.
pub const LOCK_FILE: &str = "recipe.lock";

/// What an initrd without graphics may take compressed, in MiB: it is loaded by firmware and over networks before
/// anything is on the screen, and unpacked into the memory of a PC with 1 GiB.
pub const INITRD_BUDGET_MIB: u32 = 48;

const fn initrd_budget_mib() -> u32 {
    INITRD_BUDGET_MIB
}

/// Days a PC may still start what was built before the release it ran.
const ACCEPT_OLDER_DAYS: u32 = 30;

const fn accept_older_days() -> u32 {
    ACCEPT_OLDER_DAYS
}

/// Why a recipe cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// Not there, not readable.
    #[error("open the recipe")]
    File(#[from] FileError),
    /// Not TOML, an unknown key, a missing key.
    #[error("read {}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// Line, column and what was expected there.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A value breaks a rule.
    #[error("{}: {field}: {rule}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Which key.
        field: String,
        /// The rule, and what to write instead.
        rule: &'static str,
    },
}

/// `recipe.toml` with the files it names.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Folder of the recipe.
    pub dir: PathBuf,
    /// `recipe.toml`.
    pub main: Main,
    /// The initrd.
    pub initrd: Initrd,
    /// The tools.
    pub tools: Tools,
    /// Firmware and microcode; nothing where the recipe does not say.
    pub hardware: Hardware,
    /// Font of the splash; `None`: no splash.
    pub font: Option<Font>,
    /// Its lock, where no other is named.
    pub lock: PathBuf,
    /// Folders laid over the initrd, in order.
    initrd_files: Vec<PathBuf>,
}

/// `recipe.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Main {
    /// Always [`FORMAT`].
    pub format: u32,
    /// Name of the baseline: letters, digits, dots, dashes.
    pub name: String,
    /// Debian suite, as in `trixie`.
    pub suite: String,
    /// Debian architecture; only `amd64` today.
    pub architecture: String,
    /// What the initrd may take compressed, in MiB; [`INITRD_BUDGET_MIB`] if the recipe does not say.
    #[serde(default = "initrd_budget_mib")]
    pub initrd_budget_mib: u32,
    /// How many days before this release another may have been built that PCs which ran this one, and sites which
    /// list it, still start; 0 forbids every older one. 30 if the recipe does not say.
    #[serde(default = "accept_older_days")]
    pub accept_older_days: u32,
    /// Where packages come from.
    pub sources: Vec<Source>,
    /// The kernel.
    pub kernel: Kernel,
    /// The tree every PC returns to.
    pub baseline: Baseline,
    /// Language, keyboard and time zone; each has a default.
    #[serde(default)]
    pub screen: Screen,
    /// What devices and processors of the PCs need from their makers; `None`: nothing.
    pub hardware: Option<Wanted>,
    /// How PCs return to it; `verified` if the recipe does not say.
    #[serde(default)]
    pub restore: RestoreChoice,
    /// What sessions do; each key has a default.
    #[serde(default)]
    pub session: Session,
    /// The initrd's description, relative to the recipe.
    pub initrd: PathBuf,
    /// The tools' description, relative to the recipe.
    pub tools: PathBuf,
}

/// One Debian archive.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Name of the archive, `debian` or `debian-security`; [`crate::mirrors`] has its address.
    pub archive: String,
    /// Suites taken from it.
    pub suites: Vec<String>,
    /// Components, `main` and so on.
    pub components: Vec<String>,
    /// Keyring on the building machine that its signatures are checked against.
    pub keyring: PathBuf,
}

/// The kernel that starts initrd and baseline.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// Meta package whose dependency is the kernel.
    pub package: String,
    /// Its command line, without what the builder adds.
    pub cmdline: Vec<String>,
}

/// The tree every PC returns to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// Packages beside Debian's essential ones.
    pub packages: Vec<String>,
    /// Folders laid over the installed tree, in order, relative to the recipe.
    pub files: Vec<PathBuf>,
    /// What no PC uses.
    #[serde(default)]
    pub remove: Vec<Remove>,
    /// Kernel modules no PC uses, below `/usr/lib/modules/VERSION`.
    #[serde(default)]
    pub remove_modules: Vec<Remove>,
}

/// How PCs return to the baseline.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreChoice {
    /// `verified` or `rewrite`.
    pub mode: Restore,
}

/// `recipe.toml` of a variant: another recipe, but for how PCs return to it or what its screen shows.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Variant {
    /// Always [`FORMAT`].
    format: u32,
    /// Folder of the other recipe, relative to this one. Name, packages, files and, without a splash here, lock are
    /// its own.
    variant_of: PathBuf,
    /// What differs, if this does.
    restore: Option<RestoreChoice>,
    /// The same; all of the other recipe's screen is replaced.
    screen: Option<Screen>,
    /// The same.
    session: Option<Session>,
}

/// Paths that are taken out again, and why.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remove {
    /// Relative paths; `*` stands for any part of one name.
    pub paths: Vec<String>,
    /// Why nothing misses them. Not empty.
    #[serde(skip_serializing)]
    pub reason: String,
}

/// `initrd.toml`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Initrd {
    /// Packages whose files it is made of, with what they depend on.
    pub packages: Vec<String>,
    /// Dependencies that only matter to an installed system.
    #[serde(default)]
    pub without: Vec<Without>,
    /// Packages of which a few files are enough.
    #[serde(default)]
    pub only: Vec<Only>,
    /// What nothing in the initrd uses.
    #[serde(default)]
    pub remove: Vec<Remove>,
    /// Folders laid over it, in order, relative to `initrd.toml`.
    pub files: Vec<PathBuf>,
    /// Kernel modules, with what they depend on.
    pub modules: Vec<String>,
    /// Keyboard layouts a recipe may choose from, as in `jp106`.
    #[serde(default)]
    pub keymaps: Vec<String>,
    /// Libraries programs open by name at run time, so no program lists them.
    pub dlopen: Vec<String>,
}

/// Packages left out, and why.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Without {
    /// Their names.
    pub packages: Vec<String>,
    /// Why nothing misses them. Not empty.
    #[serde(skip_serializing)]
    pub reason: String,
}

/// A few files of a package, and why not all.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Only {
    /// The package.
    pub package: String,
    /// Relative paths.
    pub paths: Vec<String>,
    /// Why these. Not empty.
    #[serde(skip_serializing)]
    pub reason: String,
}

/// `tools.toml`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tools {
    /// Packages whose programs make the image, with what they depend on.
    pub packages: Vec<String>,
}

impl Recipe {
    /// Reads `dir/recipe.toml` and the files it names.
    ///
    /// # Errors
    /// [`RecipeError`]: which file, which line or key, and the rule.
    pub fn read(dir: &Path) -> Result<Self, RecipeError> {
        let path = dir.join("recipe.toml");
        let text = files::read_text(&path)?;
        let Some(variant) = variant(&path, &text)? else {
            let recipe = Self::read_whole(dir, None)?;
            check::session_keys(&path, &recipe.main)?;
            return Ok(recipe);
        };
        let screen = variant.screen.map(|screen| (screen, dir));
        let mut recipe = Self::read_whole(&dir.join(&variant.variant_of), screen)?;
        if let Some(restore) = variant.restore {
            recipe.main.restore = restore;
        }
        if let Some(session) = variant.session {
            recipe.main.session = session;
        }
        check::session_keys(&path, &recipe.main)?;
        Ok(recipe)
    }

    /// With `screen` of a variant in the given folder in place of its own.
    fn read_whole(dir: &Path, screen: Option<(Screen, &Path)>) -> Result<Self, RecipeError> {
        let path = dir.join("recipe.toml");
        let mut main: Main = parse(&path, &files::read_text(&path)?)?;
        check::main_file(&path, &main)?;
        let initrd_path = dir.join(&main.initrd);
        let mut initrd: Initrd = parse(&initrd_path, &files::read_text(&initrd_path)?)?;
        check::initrd_file(&initrd_path, &initrd)?;
        let screen_dir = screen.map_or(dir, |(screen, of_variant)| {
            main.screen = screen;
            of_variant
        });
        check::screen_keys(&screen_dir.join("recipe.toml"), &main.screen, &initrd)?;
        let mut initrd_files = inside(&initrd_path, &initrd.files);
        let mut lock = dir.join(LOCK_FILE);
        let mut font = None;
        if let Some(splash) = &main.screen.splash {
            let (path, splash) = splash::read(&screen_dir.join(splash))?;
            initrd_files.extend(inside(&path, &splash.files));
            font = Some(splash.add_to(&path, &mut initrd)?);
            // Other packages, so another lock.
            lock = screen_dir.join(LOCK_FILE);
        }
        let tools_path = dir.join(&main.tools);
        let tools: Tools = parse(&tools_path, &files::read_text(&tools_path)?)?;
        for package in &tools.packages {
            check::package_name(&tools_path, "packages", package)?;
        }
        let hardware = main.hardware.as_ref();
        let hardware = hardware.map(|wanted| read_hardware(dir, &path, wanted));
        let hardware = hardware.transpose()?.unwrap_or_default();
        Ok(Self {
            dir: dir.to_owned(),
            main,
            initrd,
            tools,
            hardware,
            font,
            lock,
            initrd_files,
        })
    }

    /// Folders laid over the baseline tree, in order.
    #[must_use]
    pub fn baseline_files(&self) -> Vec<PathBuf> {
        let files = &self.main.baseline.files;
        files.iter().map(|path| self.dir.join(path)).collect()
    }

    /// Folders laid over the initrd, in order.
    #[must_use]
    pub fn initrd_files(&self) -> Vec<PathBuf> {
        self.initrd_files.clone()
    }
}

/// Folders that the description at `path` names.
fn inside(path: &Path, folders: &[PathBuf]) -> Vec<PathBuf> {
    let dir = path.parent().unwrap_or(Path::new(""));
    folders.iter().map(|folder| dir.join(folder)).collect()
}

/// A recipe that names another one; a variant of a variant is none.
fn variant(path: &Path, text: &str) -> Result<Option<Variant>, RecipeError> {
    let table: toml::Table = parse(path, text)?;
    if !table.contains_key("variant_of") {
        return Ok(None);
    }
    let variant: Variant = parse(path, text)?;
    check::known_format(path, variant.format)?;
    Ok(Some(variant))
}

fn parse<T: for<'a> Deserialize<'a>>(path: &Path, text: &str) -> Result<T, RecipeError> {
    toml::from_str(text).map_err(|source| RecipeError::Toml {
        path: path.to_owned(),
        source: Box::new(source),
    })
}

fn invalid(path: &Path, field: impl Into<String>, rule: &'static str) -> RecipeError {
    RecipeError::Invalid {
        path: path.to_owned(),
        field: field.into(),
        rule,
    }
}

/// The groups `wanted` names, from the file it names.
fn read_hardware(dir: &Path, recipe: &Path, wanted: &Wanted) -> Result<Hardware, RecipeError> {
    let path = dir.join(&wanted.groups);
    let groups: Groups = parse(&path, &files::read_text(&path)?)?;
    for (name, group) in &groups.firmware {
        check::package_name(&path, &format!("firmware.{name}.package"), &group.package)?;
        check::reason_given(&path, &format!("firmware.{name}.reason"), &group.reason)?;
        for inside in &group.paths {
            check::inside_path(&path, &format!("firmware.{name}.paths"), inside)?;
        }
    }
    for (name, group) in &groups.microcode {
        check::package_name(&path, &format!("microcode.{name}.package"), &group.package)?;
        check::reason_given(&path, &format!("microcode.{name}.reason"), &group.reason)?;
        for inside in group.paths.iter().chain(&group.without) {
            check::inside_path(&path, &format!("microcode.{name}.paths"), inside)?;
        }
    }
    Hardware::choose(wanted, &groups).map_err(|(key, group)| {
        let field = format!("{key} {group:?}");
        invalid(
            recipe,
            field,
            "there is no such group in the file `hardware.groups` names",
        )
    })
}

#[cfg(test)]
mod tests;
