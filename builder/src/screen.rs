//! What a recipe says about screens and keyboards, as words of the kernel's command line.
//!
//! Source: docs/recipes.md; initrd-agent, `cmdline`; kernel-command-line(7) for `vconsole.keymap=`.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{
    command::Tree,
    files::{self, FileError},
};

/// `[screen]` of `recipe.toml`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Screen {
    /// Language of the agent's sentences.
    pub language: Option<Language>,
    /// Layout of the keyboard, one of `keymaps` in `initrd.toml`.
    pub keymap: Option<String>,
    /// Time zone of the PCs, as in `Asia/Tokyo`.
    pub timezone: Option<String>,
    /// What a graphical screen adds to the initrd, relative to the recipe; `None`: text only.
    pub splash: Option<PathBuf>,
}

/// A language the agent speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// English.
    En,
    /// Japanese, on screens that can show it.
    Ja,
}

/// Why a recipe's screen cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ScreenError {
    /// The zone's file.
    #[error("read the time zone {zone}; zones are named as in Asia/Tokyo")]
    Zone {
        /// Which.
        zone: String,
        /// Why.
        #[source]
        source: FileError,
    },
    /// It has no rule for times to come.
    #[error("the time zone {zone} has no rule for today")]
    NoRule {
        /// Which.
        zone: String,
    },
}

/// Words for the kernel's command line.
///
/// # Errors
/// [`ScreenError`]: no such time zone in `tools`.
pub fn words(screen: &Screen, tools: &Tree) -> Result<Vec<String>, ScreenError> {
    let mut words = Vec::new();
    if let Some(language) = screen.language {
        let name = match language {
            Language::En => "en",
            Language::Ja => "ja",
        };
        words.push(format!("furoshiki.language={name}"));
    }
    if let Some(keymap) = &screen.keymap {
        words.push(format!("furoshiki.keymap={keymap}"));
        // systemd of the session reads this one, where it has the programs.
        words.push(format!("vconsole.keymap={keymap}"));
    }
    if let Some(zone) = &screen.timezone {
        let path = tools.path("usr/share/zoneinfo").join(zone);
        let rule = rule(zone, &path)?;
        words.push(format!("furoshiki.timezone={rule}"));
    }
    Ok(words)
}

/// The rule of a zone for times to come, as in `JST-9`: the last line of its file.
///
/// Source: RFC 9636 §3.3, footer; POSIX, Environment Variables, `TZ`.
fn rule(zone: &str, path: &Path) -> Result<String, ScreenError> {
    let bytes = files::read(path).map_err(|source| ScreenError::Zone {
        zone: zone.into(),
        source,
    })?;
    footer(&bytes).ok_or_else(|| ScreenError::NoRule { zone: zone.into() })
}

fn footer(bytes: &[u8]) -> Option<String> {
    let body = bytes.strip_prefix(b"TZif")?.strip_suffix(b"\n")?;
    let line = body.rsplit(|byte| *byte == b'\n').next()?;
    let plain = |byte: &u8| byte.is_ascii_graphic() && *byte != b'"';
    let text = std::str::from_utf8(line).ok()?;
    (!line.is_empty() && line.iter().all(plain)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_of_a_zone_is_its_last_line() {
        let cases: [(&[u8], Option<&str>); 5] = [
            (b"TZif2\0\0body\nJST-9\n", Some("JST-9")),
            (b"TZif2\n<+09>-9\n", Some("<+09>-9")),
            (b"TZif2\n\n", None),
            (b"TZif2 no footer", None),
            (b"\nJST-9\n", None),
        ];
        for (bytes, want) in cases {
            assert_eq!(footer(bytes).as_deref(), want, "{bytes:?}");
        }
    }
}
