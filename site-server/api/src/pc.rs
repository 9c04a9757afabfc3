//! What an enrolled PC says of itself, signed with its key.

use serde::{Deserialize, Serialize};
use snapshot::id::{SiteId, UserId};

/// Longest name of an enrolled PC, in bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// Longest error of a report, in bytes.
pub const MAX_ERROR_BYTES: usize = 128;
/// What every signed report begins with.
const CONTEXT: &[u8] = b"furoshiki pc stage v1\0";

/// What a PC does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// It starts.
    Booting,
    /// It makes the last session unreadable.
    Wiping,
    /// It puts the baseline back.
    Restoring,
    /// Somebody signs in.
    SigningIn,
    /// It puts the user's diff on.
    Applying,
    /// A session goes on.
    InUse,
    /// It saves.
    Saving,
    /// It brings a snapshot of an earlier session.
    Delivering,
    /// It powers off.
    PoweringOff,
    /// It stopped with an error.
    Failed,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Booting,
        Self::Wiping,
        Self::Restoring,
        Self::SigningIn,
        Self::Applying,
        Self::InUse,
        Self::Saving,
        Self::Delivering,
        Self::PoweringOff,
        Self::Failed,
    ];

    /// Its name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Booting => "booting",
            Self::Wiping => "wiping",
            Self::Restoring => "restoring",
            Self::SigningIn => "signing-in",
            Self::Applying => "applying",
            Self::InUse => "in-use",
            Self::Saving => "saving",
            Self::Delivering => "delivering",
            Self::PoweringOff => "powering-off",
            Self::Failed => "failed",
        }
    }

    /// The stage of this name, if it is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.name() == name)
    }
}

/// Body of `POST /v1/pcs/{pc}/stage`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StageReport {
    /// What it does.
    pub stage: Stage,
    /// When, by its clock, milliseconds since 1970: later than every report before, within ten minutes of the site's clock.
    pub at_ms: i64,
    /// Who is there.
    #[serde(default)]
    pub user: Option<UserId>,
    /// What went wrong; at most [`MAX_ERROR_BYTES`], nothing of the user's.
    #[serde(default)]
    pub error: String,
    /// Ed25519 signature over [`StageReport::signed_bytes`].
    pub signature_b64: String,
}

impl StageReport {
    /// What the key of the PC signs: the context, the site, the PC's name, the stage, the time, the user (or zeroes), the
    /// error; texts with their length before them (8 bytes, little endian).
    #[must_use]
    pub fn signed_bytes(&self, site: SiteId, pc: &str) -> Vec<u8> {
        let mut bytes = CONTEXT.to_vec();
        bytes.extend_from_slice(site.as_bytes());
        for text in [pc, self.stage.name(), &self.error] {
            bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes.extend_from_slice(&self.at_ms.to_le_bytes());
        let user = self.user.map_or([0; 16], |user| *user.as_bytes());
        bytes.extend_from_slice(&user);
        bytes
    }
}

/// Whether an enrolled PC may have this name: it becomes part of an address.
#[must_use]
pub fn good_name(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.bytes().all(good)
        && name.bytes().any(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_has_the_name_it_has_in_json() {
        for stage in Stage::ALL {
            let json = serde_json::to_string(&stage).unwrap();
            assert_eq!(json, format!("\"{}\"", stage.name()));
            assert_eq!(Stage::from_name(stage.name()), Some(stage));
        }
    }

    #[test]
    fn names_of_enrolled_pcs_fit_into_an_address() {
        for good in ["pc-1", "Room.3_PC7"] {
            assert!(good_name(good), "{good}");
        }
        for bad in ["", "..", "a b", "a/b", "<b>", &"a".repeat(65)] {
            assert!(!good_name(bad), "{bad}");
        }
    }
}
