//! Kernel command line → [`Options`]. Pure.
//!
//! | Word | Meaning |
//! |---|---|
//! | `furoshiki.baseline=HEX64` | the one baseline this PC may be restored to; pinned in the signed UKI |
//! | `furoshiki.site=https://…` | a site to ask; repeat for more, asked in this order; without one the PC looks for a site itself ([`crate::site::Source`]) |
//! | `furoshiki.pc=NAME` | name of this PC in records; default: from its network card |
//! | `furoshiki.save-minutes=N` | minutes between two saves, 1 to 1440; default 10 |
//! | `furoshiki.language=en\|ja` | language of the screen; default `en` (the bare Linux console has no kanji) |
//! | `furoshiki.keymap=NAME` | layout of the keyboard, one of the initrd's; default: the kernel's own, `us` |
//! | `furoshiki.timezone=RULE` | time zone of what is shown, as POSIX writes it in `TZ`, as in `JST-9`; default UTC |
//! | `furoshiki.inventory=yes\|no` | show what of this PC has no driver; default `no` |
//! | `furoshiki.disk=/dev/NAME` | look at no other disk; a link such as `/dev/disk/by-id/…` stays the same when disks change places |
//! | `furoshiki.memory=never\|no-disk\|no-usable-disk` | when a session may live in memory; default `no-disk`: the PC shows none, sticks and cards apart |
//! | `furoshiki.removal=ignore\|lock\|end` | what a session does when its card is taken out ([`Removal`]); default `ignore` |
//! | `furoshiki.wipe=discard\|overwrite` | how old blocks go; `overwrite` writes over all of them, which takes as long as it takes; default `discard` |

use std::path::PathBuf;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use site_api::discovery::site_url;
use snapshot::id::{BaselineId, ParseIdError};

use crate::{screen::Language, wipe::Policy};

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The baseline this PC is restored to.
    pub baseline: BaselineId,
    /// Base URLs of sites without trailing slash; empty when the line names none, as on boot media.
    pub sites: Vec<String>,
    /// Name of this PC, if it was given one.
    pub pc: Option<String>,
    /// Minutes between two saves.
    pub save_minutes: u16,
    /// Language of the screen.
    pub language: Language,
    /// Layout of the keyboard, if not the kernel's own.
    pub keymap: Option<String>,
    /// Show what has no driver.
    pub inventory: bool,
    /// The only disk to look at.
    pub disk: Option<PathBuf>,
    /// When a session may live in memory.
    pub memory: InMemory,
    /// How old blocks go.
    pub wipe: Policy,
    /// What a session does when its card is taken out.
    pub removal: Removal,
}

/// What a session does when its card is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Removal {
    /// It goes on.
    #[default]
    Ignore,
    /// Nobody gets at it until the same card and its PIN are there again.
    Lock,
    /// It is saved, and the PC switches off.
    End,
}

/// When a session may live in the PC's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InMemory {
    /// Never: the PC stops.
    Never,
    /// When the PC has no disk built in.
    NoDisk,
    /// Also when none of its disks can be used.
    NoUsableDisk,
}

/// A command line the agent does not start with.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CmdlineError {
    /// The word is missing.
    #[error("kernel command line has no {word}")]
    Missing {
        /// The word.
        word: &'static str,
    },
    /// Not a baseline id.
    #[error("kernel command line, furoshiki.baseline")]
    Baseline(#[source] ParseIdError),
    /// Given twice with different values: an appended word must not override the pinned one.
    #[error("kernel command line names two different baselines")]
    TwoBaselines,
    /// Given twice with different values: an appended word must not soften the pinned one.
    #[error("kernel command line names furoshiki.removal twice, with different values")]
    TwoRemovals,
    /// Not a value this word can have.
    #[error("kernel command line, {word}: {value:?} is not {want}")]
    Value {
        /// The word.
        word: &'static str,
        /// What was there.
        value: String,
        /// What may be there.
        want: &'static str,
    },
}

/// Reads `/proc/cmdline` text. Words that do not start with `furoshiki.` are the kernel's and are skipped.
///
/// # Errors
/// [`CmdlineError`]: the agent must not start; nothing was touched.
pub fn parse(text: &str) -> Result<Options, CmdlineError> {
    let mut baseline = None;
    let mut removal = None;
    let mut options = Options {
        baseline: BaselineId::new([0; BaselineId::BYTES]),
        sites: Vec::new(),
        pc: None,
        save_minutes: 10,
        language: Language::English,
        keymap: None,
        inventory: false,
        disk: None,
        memory: InMemory::NoDisk,
        wipe: Policy::Discard,
        removal: Removal::Ignore,
    };
    for word in words(text) {
        let Some((key, value)) = word
            .strip_prefix("furoshiki.")
            .and_then(|rest| rest.split_once('='))
        else {
            continue;
        };
        match key {
            "baseline" => {
                let id = value.parse().map_err(CmdlineError::Baseline)?;
                if baseline.is_some_and(|before| before != id) {
                    return Err(CmdlineError::TwoBaselines);
                }
                baseline = Some(id);
            }
            "site" => options.sites.push(site(value)?),
            "pc" => options.pc = Some(pc_name(value)?),
            "save-minutes" => {
                options.save_minutes = value
                    .parse()
                    .ok()
                    .filter(|n| (1..=1440).contains(n))
                    .ok_or_else(|| {
                        wrong(
                            "furoshiki.save-minutes",
                            value,
                            "a number of minutes from 1 to 1440",
                        )
                    })?;
            }
            "language" => {
                options.language = match value {
                    "en" => Language::English,
                    "ja" => Language::Japanese,
                    _ => return Err(wrong("furoshiki.language", value, "en or ja")),
                }
            }
            "inventory" => {
                options.inventory = match value {
                    "yes" => true,
                    "no" => false,
                    _ => return Err(wrong("furoshiki.inventory", value, "yes or no")),
                }
            }
            "keymap" => options.keymap = Some(keymap(value)?),
            "disk" => {
                if !value.starts_with("/dev/") || value.contains("..") {
                    return Err(wrong("furoshiki.disk", value, "a path below /dev"));
                }
                options.disk = Some(value.into());
            }
            "memory" => {
                options.memory = match value {
                    "never" => InMemory::Never,
                    "no-disk" => InMemory::NoDisk,
                    "no-usable-disk" => InMemory::NoUsableDisk,
                    _ => {
                        let want = "never, no-disk or no-usable-disk";
                        return Err(wrong("furoshiki.memory", value, want));
                    }
                }
            }
            "removal" => {
                let policy = removal_of(value)?;
                if removal.is_some_and(|before| before != policy) {
                    return Err(CmdlineError::TwoRemovals);
                }
                removal = Some(policy);
            }
            "wipe" => {
                options.wipe = match value {
                    "discard" => Policy::Discard,
                    "overwrite" => Policy::Overwrite,
                    _ => return Err(wrong("furoshiki.wipe", value, "discard or overwrite")),
                }
            }
            // A newer builder may add words; an older agent goes on without them.
            _ => {}
        }
    }
    options.removal = removal.unwrap_or_default();
    options.baseline = baseline.ok_or(CmdlineError::Missing {
        word: "furoshiki.baseline=",
    })?;
    Ok(options)
}

/// Time zone of the command line; UTC where it names none, or none that can be read: a wrong hour keeps no PC from
/// starting.
#[must_use]
pub fn timezone(text: &str) -> TimeZone {
    words(text)
        .into_iter()
        .filter_map(|word| TimeZone::posix(word.strip_prefix("furoshiki.timezone=")?).ok())
        .next_back()
        .unwrap_or(TimeZone::UTC)
}

fn wrong(word: &'static str, value: &str, want: &'static str) -> CmdlineError {
    CmdlineError::Value {
        word,
        value: value.into(),
        want,
    }
}

/// The address of a site, without trailing slash.
///
/// # Errors
/// [`CmdlineError::Value`].
pub(crate) fn site(value: &str) -> Result<String, CmdlineError> {
    site_url(value).ok_or_else(|| wrong("furoshiki.site", value, "an https:// address"))
}

fn removal_of(value: &str) -> Result<Removal, CmdlineError> {
    match value {
        "ignore" => Ok(Removal::Ignore),
        "lock" => Ok(Removal::Lock),
        "end" => Ok(Removal::End),
        _ => Err(wrong("furoshiki.removal", value, "ignore, lock or end")),
    }
}

fn keymap(value: &str) -> Result<String, CmdlineError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if value.is_empty() || !value.chars().all(plain) {
        return Err(wrong(
            "furoshiki.keymap",
            value,
            "the name of a layout, as in jp106 or us",
        ));
    }
    Ok(value.into())
}

fn pc_name(value: &str) -> Result<String, CmdlineError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if value.is_empty() || value.len() > 63 || !value.chars().all(plain) {
        return Err(wrong(
            "furoshiki.pc",
            value,
            "1 to 63 letters, digits, '-', '.' or '_'",
        ));
    }
    Ok(value.into())
}

/// Splits at spaces outside double quotes; the quotes themselves vanish.
///
/// Source: Linux, Documentation/admin-guide/kernel-parameters.rst ("param="spaces in here"").
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_ascii_whitespace() && !quoted => words.push(String::new()),
            c => {
                if let Some(last) = words.last_mut() {
                    last.push(c);
                }
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    #[test]
    fn a_whole_line_becomes_options() {
        let line = format!(
            "console=ttyS0 quiet furoshiki.baseline={ID} furoshiki.site=https://10.0.2.2:8443/ \
             furoshiki.site=\"https://two.example\" furoshiki.pc=pc-1 furoshiki.save-minutes=3 \
             furoshiki.language=ja furoshiki.disk=/dev/vda furoshiki.wipe=overwrite furoshiki.memory=never \
             furoshiki.keymap=jp106 furoshiki.inventory=yes furoshiki.removal=lock furoshiki.later=x
"
        );
        let options = parse(&line).unwrap();
        assert_eq!(options.baseline.to_string(), ID);
        assert_eq!(
            options.sites,
            ["https://10.0.2.2:8443", "https://two.example"]
        );
        assert_eq!(options.pc.as_deref(), Some("pc-1"));
        assert_eq!(options.save_minutes, 3);
        assert_eq!(options.language, Language::Japanese);
        assert_eq!(options.keymap.as_deref(), Some("jp106"));
        assert!(options.inventory);
        assert_eq!(options.disk, Some("/dev/vda".into()));
        assert_eq!(options.wipe, Policy::Overwrite);
        assert_eq!(options.memory, InMemory::Never);
        assert_eq!(options.removal, Removal::Lock);
    }

    #[test]
    fn wrong_lines_are_refused() {
        let good = format!("furoshiki.baseline={ID} furoshiki.site=https://a");
        let other = ID.replace('0', "1");
        let cases = [
            (
                "furoshiki.site=https://a".to_owned(),
                "kernel command line has no furoshiki.baseline=",
            ),
            (
                "furoshiki.baseline=12 furoshiki.site=https://a".to_owned(),
                "kernel command line, furoshiki.baseline",
            ),
            (
                format!("{good} furoshiki.baseline={other}"),
                "kernel command line names two different baselines",
            ),
            (
                format!("{good} furoshiki.site=http://a"),
                "kernel command line, furoshiki.site: \"http://a\" is not an https:// address",
            ),
            (
                format!("{good} furoshiki.save-minutes=0"),
                "kernel command line, furoshiki.save-minutes: \"0\" is not a number of minutes from 1 to 1440",
            ),
            (
                format!("{good} furoshiki.disk=/etc/passwd"),
                "kernel command line, furoshiki.disk: \"/etc/passwd\" is not a path below /dev",
            ),
            (
                format!("{good} furoshiki.wipe=never"),
                "kernel command line, furoshiki.wipe: \"never\" is not discard or overwrite",
            ),
            (
                format!("{good} furoshiki.keymap=../us"),
                "kernel command line, furoshiki.keymap: \"../us\" is not the name of a layout, as in jp106 or us",
            ),
            (
                format!("{good} furoshiki.removal=maybe"),
                "kernel command line, furoshiki.removal: \"maybe\" is not ignore, lock or end",
            ),
            (
                format!("{good} furoshiki.removal=lock furoshiki.removal=ignore"),
                "kernel command line names furoshiki.removal twice, with different values",
            ),
            (
                format!("{good} furoshiki.pc=a/b"),
                "kernel command line, furoshiki.pc: \"a/b\" is not 1 to 63 letters, digits, '-', '.' or '_'",
            ),
        ];
        for (line, want) in cases {
            assert_eq!(parse(&line).unwrap_err().to_string(), want, "{line}");
        }
        assert!(parse(&good).is_ok());
    }

    proptest! {
        #[test]
        fn no_line_panics_and_no_plain_http_gets_through(line in ".{0,200}") {
            let line = format!("furoshiki.baseline={ID} {line}");
            if let Ok(options) = parse(&line) {
                prop_assert!(options.sites.iter().all(|site| site.starts_with("https://")));
            }
        }
    }
}
