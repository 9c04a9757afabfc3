//! Recipe: the text that says what every PC of a site returns to.
//!
//! A recipe is a folder with `recipe.toml`. It names two files that recipes share: what the initrd
//! is made of and which tools make the image. Source: docs/recipes.md.

mod check;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use snapshot::baseline::Restore;

use crate::{
    files::{self, FileError},
    hardware::{Groups, Hardware, Wanted},
    screen::Screen,
};

/// Version of the recipe format this program reads.
pub const FORMAT: u32 = 1;

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
    /// Folder of the initrd's description.
    pub initrd_dir: PathBuf,
    /// The tools.
    pub tools: Tools,
    /// Firmware and microcode; nothing where the recipe does not say.
    pub hardware: Hardware,
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

/// `recipe.toml` of a variant: another recipe, but for how PCs return to it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Variant {
    /// Always [`FORMAT`].
    format: u32,
    /// Folder of the other recipe, relative to this one. Name, packages, files and lock are its own.
    variant_of: PathBuf,
    /// What differs.
    restore: RestoreChoice,
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
        if let Some(variant) = variant(&path, &text)? {
            let mut recipe = Self::read_whole(&dir.join(&variant.variant_of))?;
            recipe.main.restore = variant.restore;
            return Ok(recipe);
        }
        Self::read_whole(dir)
    }

    fn read_whole(dir: &Path) -> Result<Self, RecipeError> {
        let path = dir.join("recipe.toml");
        let main: Main = parse(&path, &files::read_text(&path)?)?;
        check::main_file(&path, &main)?;
        let initrd_path = dir.join(&main.initrd);
        let initrd: Initrd = parse(&initrd_path, &files::read_text(&initrd_path)?)?;
        check::initrd_file(&initrd_path, &initrd)?;
        check::screen_keys(&path, &main.screen, &initrd)?;
        let tools_path = dir.join(&main.tools);
        let tools: Tools = parse(&tools_path, &files::read_text(&tools_path)?)?;
        for package in &tools.packages {
            check::package_name(&tools_path, "packages", package)?;
        }
        let hardware = main.hardware.as_ref();
        let hardware = hardware.map(|wanted| read_hardware(dir, &path, wanted));
        let hardware = hardware.transpose()?.unwrap_or_default();
        let initrd_dir = initrd_path.parent().unwrap_or(dir).to_owned();
        Ok(Self {
            dir: dir.to_owned(),
            main,
            initrd,
            initrd_dir,
            tools,
            hardware,
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
        let files = &self.initrd.files;
        files
            .iter()
            .map(|path| self.initrd_dir.join(path))
            .collect()
    }
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
mod tests {
    use super::*;

    const GOOD: &str = r#"
        format = 1
        name = "minimal"
        suite = "trixie"
        architecture = "amd64"
        initrd = "initrd.toml"
        tools = "tools.toml"
        [[sources]]
        archive = "debian"
        suites = ["trixie"]
        components = ["main"]
        keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
        [kernel]
        package = "linux-image-amd64"
        cmdline = ["quiet"]
        [baseline]
        packages = ["systemd"]
        files = ["files"]
        [[baseline.remove]]
        paths = ["usr/share/doc/*"]
        reason = "nobody reads them on a shared PC"
    "#;

    fn read(main: &str) -> Result<Recipe, RecipeError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("recipe.toml"), main).unwrap();
        let initrd = "packages = []\nmodules = []\ndlopen = []\nfiles = [\"initrd\"]";
        std::fs::write(dir.path().join("initrd.toml"), initrd).unwrap();
        std::fs::write(dir.path().join("tools.toml"), "packages = []").unwrap();
        let group = "[firmware.nic]\npackage = \"firmware-nic\"\nreason = \"test\"\npaths = ";
        for (file, paths) in [
            ("hardware.toml", "[\"nic\"]"),
            ("climbs.toml", "[\"../etc\"]"),
        ] {
            std::fs::write(dir.path().join(file), format!("{group}{paths}")).unwrap();
        }
        Recipe::read(dir.path())
    }

    #[test]
    fn a_good_recipe_is_read() {
        assert_eq!(read(GOOD).unwrap().main.name, "minimal");
    }

    #[test]
    fn a_variant_is_another_recipe_restored_in_another_way() {
        let whole = tempfile::tempdir().unwrap();
        std::fs::create_dir(whole.path().join("plain")).unwrap();
        std::fs::create_dir(whole.path().join("variant")).unwrap();
        let write = |path: &str, text: &str| std::fs::write(whole.path().join(path), text).unwrap();
        write("plain/recipe.toml", GOOD);
        let initrd = "packages = []\nmodules = []\ndlopen = []\nfiles = []";
        write("plain/initrd.toml", initrd);
        write("plain/tools.toml", "packages = []");
        let variant = "format = 1\nvariant_of = \"../plain\"\n[restore]\nmode = \"rewrite\"";
        write("variant/recipe.toml", variant);
        let recipe = Recipe::read(&whole.path().join("variant")).unwrap();
        assert_eq!(recipe.main.restore.mode, Restore::Rewrite);
        assert_eq!(recipe.main.name, "minimal");
        assert!(recipe.dir.ends_with("plain"));
        let plain = Recipe::read(&whole.path().join("plain")).unwrap();
        assert_eq!(plain.main.restore.mode, Restore::Verified);
        for (from, to) in [
            ("rewrite", "copy"),
            ("[restore]", "name = \"other\"\n[restore]"),
            ("format = 1", "format = 2"),
            ("../plain", "../variant"),
        ] {
            write("variant/recipe.toml", &variant.replace(from, to));
            assert!(Recipe::read(&whole.path().join("variant")).is_err(), "{to}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            ("unknown key", "suite = ", "colour = 1\nsuite = ", "colour"),
            ("missing key", "suite = \"trixie\"", "", "suite"),
            (
                "format of the future",
                "format = 1",
                "format = 2",
                "newer program",
            ),
            ("name with a slash", "\"minimal\"", "\"a/b\"", "name"),
            (
                "other architecture",
                "\"amd64\"",
                "\"riscv64\"",
                "only amd64",
            ),
            (
                "upper case package",
                "[\"systemd\"]",
                "[\"Systemd\"]",
                "Systemd",
            ),
            (
                "option as package",
                "[\"systemd\"]",
                "[\"--force-yes\"]",
                "--force-yes",
            ),
            (
                "remove without reason",
                "nobody reads them on a shared PC",
                " ",
                "reason",
            ),
            (
                "remove that climbs out",
                "usr/share/doc/*",
                "../etc",
                "../etc",
            ),
            ("remove from the root", "usr/share/doc/*", "/etc", "/etc"),
            (
                "layout the initrd has not",
                "[kernel]",
                "[screen]\nkeymap = \"dvorak\"\n[kernel]",
                "keymaps",
            ),
            (
                "language nobody speaks here",
                "[kernel]",
                "[screen]\nlanguage = \"tlh\"\n[kernel]",
                "language",
            ),
            (
                "time zone that climbs out",
                "[kernel]",
                "[screen]\ntimezone = \"../etc\"\n[kernel]",
                "screen.timezone",
            ),
            (
                "group nobody described",
                "[kernel]",
                "[hardware]\ngroups = \"hardware.toml\"\nfirmware = [\"tulip\"]\n[kernel]",
                "hardware.firmware \"tulip\"",
            ),
            (
                "group that climbs out",
                "[kernel]",
                "[hardware]\ngroups = \"climbs.toml\"\n[kernel]",
                "firmware.nic.paths \"../etc\"",
            ),
            (
                "address as archive",
                "archive = \"debian\"",
                "archive = \"http://m.test/debian\"",
                "--mirror",
            ),
        ];
        for (name, from, to, expected) in cases {
            assert!(GOOD.contains(from), "{name}: the table is wrong");
            let error = read(&GOOD.replace(from, to)).unwrap_err();
            let chain = format!("{:#}", anyhow::Error::from(error));
            assert!(chain.contains(expected), "{name}: {chain}");
        }
    }

    #[test]
    fn a_folder_without_recipe_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = Recipe::read(dir.path()).unwrap_err();
        let chain = format!("{:#}", anyhow::Error::from(error));
        assert!(chain.contains("recipe.toml: No such file"), "{chain}");
    }
}
