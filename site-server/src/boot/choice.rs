//! Which release PCs boot from the network.

use serde::{Deserialize, Serialize};
use site_api::ReleaseInfo;
use snapshot::id::ReleaseId;

/// `[boot]` of `site.toml`. Without either field: the newest release of all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootChoice {
    /// This release, whatever is published later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseId>,
    /// The newest release of the recipe with this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl BootChoice {
    /// Whether nothing was chosen.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The release a choice means among the listed ones: the pinned one, or the one with the latest build timestamp;
/// of two built in the same second the one published last.
#[must_use]
pub fn choose<'a>(choice: &BootChoice, listed: &'a [ReleaseInfo]) -> Option<&'a ReleaseInfo> {
    listed
        .iter()
        .filter(|info| choice.release.is_none_or(|id| id == info.release))
        .filter(|info| choice.name.as_ref().is_none_or(|name| *name == info.name))
        .max_by_key(|info| (info.build_timestamp, info.published_ms, info.release))
}

#[cfg(test)]
mod tests {
    use snapshot::id::BaselineId;

    use super::*;

    fn info(n: u8, name: &str, build_timestamp: i64, published_ms: i64) -> ReleaseInfo {
        ReleaseInfo {
            release: ReleaseId::new([n; 32]),
            baseline: BaselineId::new([n; 32]),
            name: name.into(),
            build_timestamp,
            minimum_build_timestamp: 0,
            published_ms,
        }
    }

    #[test]
    fn the_newest_build_is_booted_whatever_was_published_last() {
        let listed = [
            info(1, "minimal", 100, 9),
            info(2, "minimal", 200, 5),
            info(3, "desktop", 150, 7),
            info(4, "desktop", 150, 8),
        ];
        let booted = |choice: BootChoice| choose(&choice, &listed).map(|info| info.release);
        let id = |n| Some(ReleaseId::new([n; 32]));
        assert_eq!(booted(BootChoice::default()), id(2));
        let name = |name: &str| BootChoice {
            name: Some(name.into()),
            release: None,
        };
        assert_eq!(booted(name("desktop")), id(4));
        assert_eq!(booted(name("other")), None);
        let pinned = |n| BootChoice {
            release: id(n),
            name: None,
        };
        assert_eq!(booted(pinned(1)), id(1));
        assert_eq!(booted(pinned(9)), None);
        assert_eq!(choose(&BootChoice::default(), &[]), None);
    }
}
