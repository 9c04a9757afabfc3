//! What is left out of a snapshot: the recipe's list of paths.

/// A pattern that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "exclusion {pattern:?} must begin with / or ~/ and name something, without empty names, . and .."
)]
pub struct ExclusionError {
    /// As it was given.
    pub pattern: String,
}

/// Paths that are left out, each with everything beneath.
///
/// A pattern is a path from the root (`/var/cache`) or from every user's home (`~/.cache`: in
/// `/home/*` and `/root`). `*` in a name stands for any bytes of that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exclusions {
    patterns: Vec<Vec<Vec<u8>>>,
}

/// Left out unless the recipe says otherwise, and why.
const DEFAULT: [&str; 19] = [
    // Kernel and run-time file systems: whatever lies beneath their mount points is of no session.
    "/dev",
    "/proc",
    "/run",
    "/sys",
    // Made to be lost.
    "/tmp",
    "/var/tmp",
    "/var/cache",
    "~/.cache",
    "~/.thumbnails",
    "~/.local/share/Trash",
    // Of this PC and this session, not of the user.
    "/var/log",
    "/var/lib/systemd/random-seed",
    "/var/lib/systemd/coredump",
    "/var/lib/systemd/timesync",
    "/var/lib/systemd/credential.secret",
    "/etc/ssh/ssh_host_*",
    "/etc/machine-id",
    "/var/lib/dbus/machine-id",
    "/etc/.updated",
];

impl Default for Exclusions {
    fn default() -> Self {
        Self::parse(DEFAULT).expect("the default exclusions are patterns; a test parses them")
    }
}

impl Exclusions {
    /// Leaves out nothing.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            patterns: Vec::new(),
        }
    }

    /// Leaves out what matches one of `patterns`.
    ///
    /// # Errors
    /// [`ExclusionError`]: the first one that is no pattern.
    pub fn parse<'p>(patterns: impl IntoIterator<Item = &'p str>) -> Result<Self, ExclusionError> {
        let mut parsed = Vec::new();
        for pattern in patterns {
            let wrong = || ExclusionError {
                pattern: pattern.to_owned(),
            };
            let names = |path: &str| -> Result<Vec<Vec<u8>>, ExclusionError> {
                path.split('/')
                    .map(|name| match name {
                        "" | "." | ".." => Err(wrong()),
                        _ if name.contains('\0') => Err(wrong()),
                        _ => Ok(name.as_bytes().to_vec()),
                    })
                    .collect()
            };
            if let Some(path) = pattern.strip_prefix("~/") {
                let inside = names(path)?;
                parsed.push([vec![b"home".to_vec(), b"*".to_vec()], inside.clone()].concat());
                parsed.push([vec![b"root".to_vec()], inside].concat());
            } else {
                parsed.push(names(pattern.strip_prefix('/').ok_or_else(wrong)?)?);
            }
        }
        Ok(Self { patterns: parsed })
    }

    /// Whether exactly this path is named by a pattern. A walk that asks for every path on its way
    /// down and does not enter what matches leaves out everything beneath.
    #[must_use]
    pub fn matches(&self, path: &[u8]) -> bool {
        self.patterns.iter().any(|pattern| {
            let mut names = path.split(|&byte| byte == b'/');
            pattern
                .iter()
                .all(|part| names.next().is_some_and(|name| matches(part, name)))
                && names.next().is_none()
        })
    }
}

/// Whether `name` is what `pattern` says, `*` being any bytes.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let mut parts = pattern.split(|&byte| byte == b'*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        let found = (0..=rest.len()).find_map(|at| rest.get(at..)?.strip_prefix(part));
        let Some(after) = found else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_paths_in_every_home() {
        let exclusions = Exclusions::default();
        for out in [
            "tmp",
            "home/ada/.cache",
            "root/.cache",
            "etc/machine-id",
            "var/lib/systemd/random-seed",
        ] {
            assert!(exclusions.matches(out.as_bytes()), "{out}");
        }
        for kept in [
            "",
            "var",
            "home/ada/tmp",
            "home/.cache",
            "home/ada/x/.cache",
            "etc/machine-info",
            "tmpfoo",
        ] {
            assert!(!exclusions.matches(kept.as_bytes()), "{kept}");
        }
    }

    #[test]
    fn stars_stand_for_any_bytes_of_a_name() {
        for (pattern, name, want) in [
            ("*", "anything", true),
            ("*.tmp", "a.tmp", true),
            ("*.tmp", "a.tmpx", false),
            ("a*b*c", "aXXbYYc", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("ab*ba", "aba", false),
            ("x", "x", true),
            ("x", "xx", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                want,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in ["", "/", "tmp", "~", "~/", "/a//b", "/a/../b", "~ada/x"] {
            assert!(Exclusions::parse([bad]).is_err(), "{bad:?}");
        }
    }
}
