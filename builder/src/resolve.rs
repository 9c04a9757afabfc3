//! Resolve: from what a recipe asks to the exact packages of a lock, by apt itself.
//!
//! apt runs on a root of its own in the cache, with no package installed, so what the building
//! machine has does not matter. It checks the archives' signatures.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::UNIX_EPOCH,
};

use crate::{
    command::{self, CommandError},
    files::{self, Doing, FileError},
    lock::{self, Lock, Package, Set},
    mirrors::{MirrorError, Mirrors},
    progress::{Amount, Progress},
    recipe::Recipe,
};

/// Why no lock could be made.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// apt's own root could not be written.
    #[error("prepare the package resolver")]
    File(#[from] FileError),
    /// An archive has no address.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// The archives could not be read, or their signatures are not good.
    #[error("get the package lists of {suites}; check the network and the recipe's sources")]
    Lists {
        /// Which.
        suites: String,
        /// What apt said.
        #[source]
        source: CommandError,
    },
    /// The recipe names packages the archives do not have.
    #[error("no such package in {suites}: {}; correct the recipe", names.join(", "))]
    NoSuchPackage {
        /// Which archives.
        suites: String,
        /// All of them.
        names: Vec<String>,
    },
    /// What the recipe asks for does not go together.
    #[error("choose packages for {set:?}")]
    Unsolvable {
        /// For what.
        set: Set,
        /// What apt said.
        #[source]
        source: CommandError,
    },
    /// apt said something this program does not understand.
    #[error("understand apt's line {line:?}: {rule}")]
    Line {
        /// The line.
        line: String,
        /// What was expected.
        rule: &'static str,
    },
    /// Neither SHA-256 nor a date where every Debian archive has one.
    #[error("the archives of the recipe give no date; use Debian archives")]
    NoDate,
}

/// Chooses packages for everything `recipe` asks. Nothing but `cache` is written.
///
/// # Errors
/// [`ResolveError`]: names what is missing or does not go together.
pub fn resolve(
    recipe: &Recipe,
    mirrors: &Mirrors,
    cache: &Path,
    progress: &Progress,
) -> Result<Lock, ResolveError> {
    let stage = progress.stage("lock", "choose packages", Amount::Unknown);
    let apt = Apt::new(recipe, mirrors, &cache.join("apt"))?;
    apt.update()?;
    let mut by_file: BTreeMap<(String, String), Package> = BTreeMap::new();
    for set in Set::ALL {
        for package in apt.choose(recipe, set)? {
            let key = (package.name.clone(), package.sha256.clone());
            by_file.entry(key).or_insert(package).sets.push(set);
        }
    }
    let lock = Lock {
        format: lock::FORMAT,
        build_timestamp: apt.newest_list()?,
        asked: lock::asked(recipe),
        packages: by_file.into_values().collect(),
    };
    stage.end();
    Ok(lock)
}

struct Apt {
    root: PathBuf,
    archives: Vec<Archive>,
    suites: String,
}

/// An archive and its base address.
struct Archive {
    name: String,
    address: String,
}

impl Apt {
    fn new(recipe: &Recipe, mirrors: &Mirrors, root: &Path) -> Result<Self, ResolveError> {
        for dir in [
            "etc/apt/preferences.d",
            "etc/apt/apt.conf.d",
            "etc/apt/sources.list.d",
            "etc/apt/trusted.gpg.d",
            "var/lib/apt/lists/partial",
            "var/cache/apt/archives/partial",
            "var/lib/dpkg",
        ] {
            files::make_dir(&root.join(dir))?;
        }
        let root = root.canonicalize().doing("find", root)?;
        let sources = &recipe.main.sources;
        let mut list = String::new();
        let mut archives = Vec::new();
        for source in sources {
            let address = mirrors.address(&source.archive)?.to_owned();
            for suite in &source.suites {
                list.push_str(&format!(
                    "deb [signed-by={}] {} {suite} {}\n",
                    source.keyring.display(),
                    address,
                    source.components.join(" ")
                ));
            }
            archives.push(Archive {
                name: source.archive.clone(),
                address,
            });
        }
        let arch = &recipe.main.architecture;
        let config = format!(
            "Dir \"{root}\";\nDir::State::status \"{root}/var/lib/dpkg/status\";\n\
             APT::Architecture \"{arch}\";\nAPT::Architectures {{ \"{arch}\"; }};\n\
             APT::Install-Recommends \"false\";\nAcquire::Languages \"none\";\n\
             Acquire::ForceHash \"SHA256\";\nAcquire::Retries \"3\";\nAPT::Sandbox::User \"\";\n",
            root = root.display()
        );
        files::write(&root.join("etc/apt/sources.list"), list.as_bytes())?;
        files::write(&root.join("apt.conf"), config.as_bytes())?;
        files::write(&root.join("var/lib/dpkg/status"), b"")?;
        let suites = sources.iter().flat_map(|source| source.suites.clone());
        Ok(Self {
            root,
            archives,
            suites: suites.collect::<Vec<_>>().join(", "),
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.env("APT_CONFIG", self.root.join("apt.conf"));
        command
    }

    fn update(&self) -> Result<(), ResolveError> {
        let mut update = self.command();
        update.args(["update", "--error-on=any", "-q"]);
        match command::run(&mut update, "apt") {
            Ok(_) => Ok(()),
            Err(source) => Err(ResolveError::Lists {
                suites: self.suites.clone(),
                source,
            }),
        }
    }

    fn choose(&self, recipe: &Recipe, set: Set) -> Result<Vec<Package>, ResolveError> {
        let mut install = self.command();
        install.args(["install", "--print-uris", "-qq", "-y"]);
        if set == Set::Baseline {
            install.arg("?essential"); // what mmdebstrap begins with
        }
        let Some(asked) = lock::asked(recipe).remove(&set) else {
            return Ok(Vec::new());
        };
        let (left_out, wanted): (Vec<String>, _) =
            asked.into_iter().partition(|name| name.starts_with('!'));
        install.args(&wanted);
        let said = command::run(&mut install, "apt").map_err(|source| self.refused(set, source))?;
        let mut packages = Vec::new();
        for line in said.lines().filter(|line| line.starts_with('\'')) {
            let package = parse_line(line, &self.archives)?;
            let kept = match set {
                // The tree and the initrd have what the kernel's own dependencies would make.
                Set::Kernel => {
                    package.name.starts_with("linux-image-") && !wanted.contains(&package.name)
                }
                // Files alone: what their scripts would call is not needed.
                Set::Hardware => wanted.contains(&package.name),
                Set::Initrd => !left_out.contains(&format!("!{}", package.name)),
                Set::Baseline | Set::Tools => true,
            };
            if kept {
                packages.push(package);
            }
        }
        Ok(packages)
    }

    fn refused(&self, set: Set, source: CommandError) -> ResolveError {
        let CommandError::Failed { messages, .. } = &source else {
            return ResolveError::Unsolvable { set, source };
        };
        let names: Vec<String> = messages.lines().filter_map(missing_package).collect();
        if names.is_empty() {
            return ResolveError::Unsolvable { set, source };
        }
        ResolveError::NoSuchPackage {
            suites: self.suites.clone(),
            names,
        }
    }

    /// Seconds since 1970 of the newest signed package list.
    fn newest_list(&self) -> Result<i64, ResolveError> {
        let lists = self.root.join("var/lib/apt/lists");
        let mut newest = None;
        for entry in fs::read_dir(&lists).doing("list", &lists)? {
            let path = entry.doing("list", &lists)?.path();
            if path.to_string_lossy().ends_with("InRelease") {
                newest = newest.max(release_date(&files::read_text(&path)?));
            }
        }
        newest.ok_or(ResolveError::NoDate)
    }
}

/// `Date:` of a Release file: RFC 5322 with `UTC` where HTTP writes `GMT`.
fn release_date(release: &str) -> Option<i64> {
    let date = release
        .lines()
        .find_map(|line| line.strip_prefix("Date: "))?;
    let date = date.trim().replace("UTC", "GMT");
    let time = httpdate::parse_http_date(&date).ok()?;
    let seconds = time.duration_since(UNIX_EPOCH).ok()?.as_secs();
    i64::try_from(seconds).ok()
}

/// apt's two sentences about a name it does not know.
fn missing_package(line: &str) -> Option<String> {
    let rest = line.strip_prefix("E: ")?;
    if let Some(name) = rest.strip_prefix("Unable to locate package ") {
        return Some(name.trim().to_owned());
    }
    let rest = rest.strip_prefix("Package '")?;
    let (name, why) = rest.split_once('\'')?;
    why.contains("no installation candidate")
        .then(|| name.to_owned())
}

/// One line of `apt-get --print-uris`: `'URI' NAME_VERSION_ARCH.deb BYTES SHA256:HEX`.
fn parse_line(line: &str, archives: &[Archive]) -> Result<Package, ResolveError> {
    let wrong = |rule| ResolveError::Line {
        line: line.to_owned(),
        rule,
    };
    let mut words = line.split_whitespace();
    let uri = words.next().map(|uri| uri.trim_matches('\''));
    let (Some(uri), Some(file), Some(bytes), Some(hash)) =
        (uri, words.next(), words.next(), words.next())
    else {
        return Err(wrong("four words"));
    };
    let from = |archive: &Archive| {
        Some((
            archive.name.clone(),
            uri.strip_prefix(&archive.address)?.strip_prefix('/')?,
        ))
    };
    let (source, path) = archives
        .iter()
        .find_map(from)
        .ok_or_else(|| wrong("an address in one of the recipe's sources"))?;
    let mut parts = file.splitn(3, '_');
    let (Some(name), Some(version)) = (parts.next(), parts.next()) else {
        return Err(wrong("NAME_VERSION_ARCH.deb"));
    };
    let sha256 = hash
        .strip_prefix("SHA256:")
        .ok_or_else(|| wrong("a SHA-256"))?;
    Ok(Package {
        name: name.to_owned(),
        version: version.replace("%3a", ":"),
        source,
        path: path.to_owned(),
        bytes: bytes.parse().map_err(|_| wrong("a length in bytes"))?,
        sha256: sha256.to_owned(),
        sets: vec![],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archives() -> Vec<Archive> {
        ["debian", "debian-security"]
            .map(|name| Archive {
                name: name.into(),
                address: format!("http://mirror.test/{name}"),
            })
            .into()
    }

    #[test]
    fn a_line_of_apt_becomes_a_package() {
        let hash = "ab".repeat(32);
        let line = format!(
            "'http://mirror.test/debian-security/pool/main/libc/libcap2/libcap2_2.75-10%2bb3_amd64.deb' \
             libcap2_1%3a2.75-10+b3_amd64.deb 28988 SHA256:{hash}"
        );
        let package = parse_line(&line, &archives()).unwrap();
        assert_eq!(package.name, "libcap2");
        assert_eq!(package.version, "1:2.75-10+b3");
        assert_eq!(package.source, "debian-security");
        assert_eq!(package.bytes, 28988);
        let uri = "http://mirror.test/debian-security/pool/main/libc/libcap2/libcap2_2.75-10%2bb3_amd64.deb";
        assert_eq!(package.uri("http://mirror.test/debian-security"), uri);
    }

    #[test]
    fn lines_apt_does_not_write_are_refused() {
        for line in [
            "'http://mirror.test/debian/a.deb'",
            "'http://elsewhere/a.deb' a_1_amd64.deb 1 SHA256:00",
            "'http://mirror.test/debian/a.deb' a.deb 1 SHA256:00",
            "'http://mirror.test/debian/a.deb' a_1_amd64.deb x SHA256:00",
            "'http://mirror.test/debian/a.deb' a_1_amd64.deb 1 MD5Sum:00",
        ] {
            assert!(parse_line(line, &archives()).is_err(), "{line}");
        }
    }

    #[test]
    fn missing_packages_are_found_in_what_apt_says() {
        let found = |line| missing_package(line);
        assert_eq!(
            found("E: Unable to locate package nope").as_deref(),
            Some("nope")
        );
        let candidate = "E: Package 'old' has no installation candidate";
        assert_eq!(found(candidate).as_deref(), Some("old"));
        assert_eq!(found("E: Unable to correct problems"), None);
    }

    #[test]
    fn the_date_of_a_release_is_seconds() {
        let release = "Suite: stable\nDate: Sat, 21 Nov 2026 00:53:03 UTC\n";
        assert_eq!(release_date(release), Some(1_795_222_383));
        assert_eq!(release_date("Suite: stable\n"), None);
    }
}
