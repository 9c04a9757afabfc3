//! The font of the splash: the one file plymouth looks for, with every character the agent shows.
//!
//! Source: plymouth, src/plugins/controls/label-freetype/plugin.c, `FONT_FALLBACK`: what it opens where there is no
//! fontconfig. A character the font has not is drawn as a box, and nobody would notice before a person reads it.

use std::{os::unix::fs::symlink, path::Path};

use ttf_parser::Face;

use super::BootError;
use crate::{
    files::{self, Doing},
    recipe::Font,
};

/// What plymouth opens.
const PLYMOUTH: &str = "usr/share/fonts/Plymouth.ttf";
/// Characters named in an error.
const NAMED: usize = 20;

/// Checks that the font in the tree at `root` has every character of its file of characters.
///
/// # Errors
/// [`BootError::Font`]: which are missing.
pub fn check(font: &Font, root: &Path) -> Result<(), BootError> {
    let wanted = files::read_text(&font.characters)?;
    let bytes = files::read(&root.join(&font.path))?;
    let wrong = |rule: String| BootError::Font {
        path: font.path.clone(),
        rule,
    };
    let face = Face::parse(&bytes, 0).map_err(|error| wrong(format!("{error}; choose another")))?;
    let missing: String = missing(&wanted, |c| face.glyph_index(c).is_some());
    if missing.is_empty() {
        return Ok(());
    }
    Err(wrong(format!(
        "it lacks characters of {}, the first are {missing}; choose another font or other words",
        font.characters.display()
    )))
}

/// Puts it where plymouth looks for it.
///
/// # Errors
/// [`BootError::File`].
pub fn link(font: &Font, root: &Path) -> Result<(), BootError> {
    let link = root.join(PLYMOUTH);
    symlink(Path::new("/").join(&font.path), &link).doing("make link", &link)?;
    Ok(())
}

/// The first characters of `wanted`, without control characters, that a font has not.
fn missing(wanted: &str, has: impl Fn(char) -> bool) -> String {
    let lacks = |c: &char| !c.is_control() && !has(*c);
    wanted.chars().filter(lacks).take(NAMED).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_a_font_lacks_are_named() {
        let kana = |c: char| ('\u{3040}'..'\u{30a0}').contains(&c);
        assert_eq!(missing("はい\nいいえ\t", kana), "");
        assert_eq!(missing("は漢い字", kana), "漢字");
        assert_eq!(missing(&"漢".repeat(99), kana).chars().count(), NAMED);
    }

    #[test]
    fn what_is_no_font_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("characters.txt"), "は").unwrap();
        std::fs::write(dir.path().join("font.ttf"), "text").unwrap();
        let font = Font {
            path: "font.ttf".into(),
            characters: dir.path().join("characters.txt"),
        };
        assert!(matches!(
            check(&font, dir.path()),
            Err(BootError::Font { .. })
        ));
    }
}
