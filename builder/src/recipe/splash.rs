//! What a graphical screen adds to an initrd. Source: docs/recipes.md.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Initrd, Only, RecipeError, Remove, Without, check, parse};
use crate::files;

/// `splash.toml`. Its keys mean what they mean in `initrd.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Splash {
    packages: Vec<String>,
    #[serde(default)]
    without: Vec<Without>,
    #[serde(default)]
    only: Vec<Only>,
    #[serde(default)]
    remove: Vec<Remove>,
    pub(super) files: Vec<PathBuf>,
    #[serde(default)]
    modules: Vec<String>,
    #[serde(default)]
    dlopen: Vec<String>,
    font: Font,
}

/// The font everything on the screen is drawn with.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Font {
    /// Where its package puts it, relative to the root of the initrd.
    pub path: String,
    /// File with every character it must have, relative to `splash.toml` until it is read.
    pub characters: PathBuf,
}

/// Reads and checks `splash.toml`; gives its path back.
pub(super) fn read(path: &Path) -> Result<(PathBuf, Splash), RecipeError> {
    let splash: Splash = parse(path, &files::read_text(path)?)?;
    check::inside_path(path, "font.path", &splash.font.path)?;
    Ok((path.to_owned(), splash))
}

impl Splash {
    /// Adds itself, read at `path`, to `initrd`, and gives the font.
    ///
    /// # Errors
    /// [`RecipeError`]: what both say together breaks a rule.
    pub(super) fn add_to(self, path: &Path, initrd: &mut Initrd) -> Result<Font, RecipeError> {
        initrd.packages.extend(self.packages);
        initrd.without.extend(self.without);
        initrd.only.extend(self.only);
        initrd.remove.extend(self.remove);
        initrd.modules.extend(self.modules);
        initrd.dlopen.extend(self.dlopen);
        check::initrd_file(path, initrd)?;
        let dir = path.parent().unwrap_or(Path::new(""));
        Ok(Font {
            characters: dir.join(&self.font.characters),
            ..self.font
        })
    }
}
