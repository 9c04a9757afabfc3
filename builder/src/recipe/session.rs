//! What a recipe says about sessions, as words of the kernel's command line. Source: docs/recipes.md; initrd-agent,
//! `cmdline`.

use serde::Deserialize;

/// `[session]` of `recipe.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// What happens when the card is taken out.
    #[serde(default)]
    pub removal: Removal,
}

/// What a session does when its card is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Removal {
    /// It goes on.
    #[default]
    Ignore,
    /// Nobody gets at it until the same card and its PIN are there again.
    Lock,
    /// It is saved, and the PC switches off.
    End,
}

impl Session {
    /// Words for the kernel's command line; what is said by default needs none.
    #[must_use]
    pub fn words(self) -> Vec<String> {
        let removal = match self.removal {
            Removal::Ignore => return Vec::new(),
            Removal::Lock => "lock",
            Removal::End => "end",
        };
        vec![format!("furoshiki.removal={removal}")]
    }
}
