//! The data folder of a site and its `site.toml`.

mod environment;

use std::{
    io,
    path::{Path, PathBuf},
};

pub use environment::{Setting, decides_the_store, effective, unknown};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use snapshot::id::SiteId;

use crate::{
    admission::Limits,
    auth::Cost,
    boot::BootChoice,
    retention::Retention,
    store::{DatabaseConfig, ObjectsConfig},
};

/// What went wrong with the data folder.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or folder.
    #[error("{what} {path}", path = path.display())]
    Io {
        /// What we were doing.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// `site.toml` is not one.
    #[error("parse {path}", path = path.display())]
    Toml {
        /// Which file.
        path: PathBuf,
        /// Where it is wrong.
        source: toml::de::Error,
    },
    /// A URL that other sites could not call.
    #[error("url {0:?} must be https://HOST[:PORT] and nothing more")]
    Url(String),
    /// A key that is not one.
    #[error("release key in {0} must be 64 hex digits (an Ed25519 public key, release.pub)")]
    ReleaseKey(String),
    /// A variable of the environment.
    #[error("variable {name}: {what}")]
    Variable {
        /// Which.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// `init` on a folder that has a site.
    #[error("{path} already holds a site; choose another --data or remove it", path = .0.display())]
    AlreadyThere(PathBuf),
}

impl ConfigError {
    /// Names the step and the path of an I/O error.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            what,
            path: path.to_owned(),
            source,
        }
    }
}

/// Where things lie in the data folder.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout below `root`. Nothing is touched.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// The data folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The site's settings.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.root.join("site.toml")
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.root.join("site.db")
    }

    /// Sealed objects, a folder for each user.
    #[must_use]
    pub fn objects(&self) -> PathBuf {
        self.root.join("objects")
    }

    /// Releases, a folder for each.
    #[must_use]
    pub fn releases(&self) -> PathBuf {
        self.root.join("releases")
    }

    /// Chunks of baseline images, in packs.
    #[must_use]
    pub fn chunks(&self) -> PathBuf {
        self.root.join("chunks")
    }

    /// Files that are being written; emptied when the server starts.
    #[must_use]
    pub fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    /// Held by the server that uses the folder.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.root.join("serve.lock")
    }

    /// Token of the operator, who publishes releases.
    #[must_use]
    pub fn operator_token(&self) -> PathBuf {
        self.root.join("operator.token")
    }

    /// Key that second factors of users are sealed with in the database; all servers of a site have the same.
    #[must_use]
    pub fn second_factor_key(&self) -> PathBuf {
        self.root.join("second-factor.key")
    }

    /// Certificate of the site.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.root.join("tls").join("site.pem")
    }

    /// Private key of the site.
    #[must_use]
    pub fn private_key(&self) -> PathBuf {
        self.root.join("tls").join("site.key")
    }

    /// Certificate of the CA that all sites share.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.root.join("tls").join("ca.pem")
    }
}

/// `site.toml`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteConfig {
    /// The site, chosen at random by `init`.
    pub site: SiteId,
    /// Name for people.
    pub name: String,
    /// Where PCs, browsers and other sites reach it.
    pub url: String,
    /// Other host names or addresses in its certificate.
    #[serde(default)]
    pub also_names: Vec<String>,
    /// Ed25519 public key that releases must be signed with, hex. Without it the site takes none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_key: Option<String>,
    /// Minutes east of UTC for the times the portal shows.
    #[serde(default)]
    pub utc_offset_minutes: i16,
    /// Which release PCs boot from the network.
    #[serde(default, skip_serializing_if = "BootChoice::is_default")]
    pub boot: BootChoice,
    /// Which snapshots are kept.
    #[serde(default, skip_serializing_if = "Retention::is_default")]
    pub retention: Retention,
    /// What hashing a password costs; `calibrate` chooses it.
    #[serde(default, skip_serializing_if = "Cost::is_default")]
    pub passwords: Cost,
    /// How much is done at once, and for whom.
    #[serde(default, skip_serializing_if = "Limits::is_default")]
    pub limits: Limits,
    /// Where rows are kept.
    #[serde(default, skip_serializing_if = "DatabaseConfig::is_default")]
    pub database: DatabaseConfig,
    /// Where sealed objects, releases and chunks lie.
    #[serde(default, skip_serializing_if = "ObjectsConfig::is_default")]
    pub objects: ObjectsConfig,
}

impl SiteConfig {
    /// Reads `site.toml`, and what the environment says over it.
    ///
    /// # Errors
    /// [`ConfigError::Io`] when it cannot be read (has `init` run?), [`ConfigError::Toml`], [`ConfigError::Variable`].
    pub fn load(layout: &Layout) -> Result<Self, ConfigError> {
        let mut table = read_table(layout)?;
        if !environment::overlay(&mut table, |name| std::env::var(name).ok())? {
            return Self::load_file(layout);
        }
        let path = layout.config();
        table
            .try_into()
            .map_err(|source| ConfigError::Toml { path, source })
    }

    /// Reads `site.toml` alone: what may be changed and saved.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_file(layout: &Layout) -> Result<Self, ConfigError> {
        let text = read_text(layout)?;
        let path = layout.config();
        toml::from_str(&text).map_err(|source| ConfigError::Toml { path, source })
    }

    /// Replaces `site.toml` in one step.
    ///
    /// # Errors
    /// [`ConfigError::Io`]; the old file is then still there.
    pub fn save(&self, layout: &Layout) -> Result<(), ConfigError> {
        let text = toml::to_string(self).expect("strings, numbers and one table are TOML");
        write_private(&layout.config(), text.as_bytes())
    }

    /// Whether rows and bytes lie where several servers may use them at once.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        self.database.postgres.is_some() && self.objects.s3.is_some()
    }

    /// The release key as bytes, if there is one.
    ///
    /// # Errors
    /// [`ConfigError::ReleaseKey`] when it is not 64 hex digits.
    pub fn release_key(&self) -> Result<Option<[u8; 32]>, ConfigError> {
        self.release_key
            .as_deref()
            .map(|text| parse_release_key(text, "site.toml"))
            .transpose()
    }
}

fn read_text(layout: &Layout) -> Result<String, ConfigError> {
    let path = layout.config();
    let read = std::fs::read_to_string(&path);
    read.map_err(ConfigError::io(
        "read the site's settings (has init run?)",
        &path,
    ))
}

fn read_table(layout: &Layout) -> Result<toml::Table, ConfigError> {
    let text = read_text(layout)?;
    let path = layout.config();
    toml::from_str(&text).map_err(|source| ConfigError::Toml { path, source })
}

/// Reads an Ed25519 public key in hex, as the builder writes `release.pub`.
///
/// # Errors
/// [`ConfigError::Io`], [`ConfigError::ReleaseKey`].
pub fn read_release_key(path: &Path) -> Result<[u8; 32], ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(ConfigError::io("read the release key", path))?;
    parse_release_key(text.trim(), &path.display().to_string())
}

fn parse_release_key(text: &str, from: &str) -> Result<[u8; 32], ConfigError> {
    let mut key = [0; 32];
    hex::decode_to_slice(text, &mut key).map_err(|_| ConfigError::ReleaseKey(from.to_owned()))?;
    Ok(key)
}

/// A URL other sites and PCs can call: `https`, a host, nothing after it.
///
/// # Errors
/// [`ConfigError::Url`].
pub fn check_url(text: &str) -> Result<Url, ConfigError> {
    let wrong = || ConfigError::Url(text.to_owned());
    let url: Url = text.parse().map_err(|_| wrong())?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let anonymous = url.username().is_empty() && url.password().is_none();
    if url.scheme() == "https" && url.host().is_some() && bare && anonymous {
        Ok(url)
    } else {
        Err(wrong())
    }
}

/// Writes a file that only the owner may read, durably and in one step.
///
/// # Errors
/// [`ConfigError::Io`]; a file that was there before is then unchanged.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), ConfigError> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let temp = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temp)
        .map_err(ConfigError::io("create", &temp))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(ConfigError::io("write", &temp))?;
    std::fs::rename(&temp, path).map_err(ConfigError::io("rename to", path))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(ConfigError::io("sync", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bare_https_url_names_a_site() {
        for good in [
            "https://127.0.0.1:8443",
            "https://site-a.example/",
            "https://[::1]:1",
        ] {
            assert!(check_url(good).is_ok(), "{good}");
        }
        for bad in [
            "http://a",
            "https://",
            "https://a/b",
            "https://a?x",
            "https://u:p@a",
            "a",
            "file:///etc",
        ] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn settings_survive_the_disk_and_are_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let config = SiteConfig {
            site: SiteId::new([7; 16]),
            name: "東京".into(),
            url: "https://127.0.0.1:1".into(),
            also_names: vec!["localhost".into()],
            release_key: None,
            utc_offset_minutes: 540,
            boot: BootChoice {
                release: None,
                name: Some("minimal".into()),
            },
            retention: Retention { newest: 2, days: 7 },
            passwords: Cost::default(),
            objects: ObjectsConfig::default(),
            limits: Limits {
                uploads: 3,
                ..Limits::default()
            },
            database: DatabaseConfig {
                postgres: Some("postgres://site@db/furoshiki".into()),
                password_file: Some("/run/credentials/password".into()),
            },
        };
        config.save(&layout).unwrap();
        let back = SiteConfig::load(&layout).unwrap();
        assert_eq!(
            (
                back.name,
                back.utc_offset_minutes,
                back.boot,
                back.retention,
                back.limits,
                back.database
            ),
            (
                "東京".to_owned(),
                540,
                config.boot,
                config.retention,
                config.limits,
                config.database
            )
        );
        let mode = std::fs::metadata(layout.config())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
