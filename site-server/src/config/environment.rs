//! Settings from the environment: `FUROSHIKI_SITE_…` goes before `site.toml`.
//!
//! For containers and units. What is written back to `site.toml` is never taken from here.

use std::path::Path;

use serde::Serialize;
use toml::{Table, Value};

use super::{ConfigError, Layout, SiteConfig, check_url};
use crate::tls::Identity;

const PREFIX: &str = "FUROSHIKI_SITE_";
/// Settings that the environment may give, by their place in `site.toml`. The variable is the same in capitals, with
/// `_` for the dot.
const SETTINGS: [&str; 14] = [
    "name",
    "url",
    "release_key",
    "utc_offset_minutes",
    "retention.newest",
    "retention.days",
    "database.postgres",
    "database.password_file",
    "objects.s3",
    "objects.region",
    "objects.access_key",
    "objects.secret_file",
    "objects.ca_file",
    "boot.name",
];
/// Those of the command line.
const OPTIONS: [&str; 5] = ["DATA", "LISTEN", "BOOT_LISTEN", "ANNOUNCE", "LOG"];

fn variable(setting: &str) -> String {
    format!("{PREFIX}{}", setting.replace('.', "_").to_ascii_uppercase())
}

/// Puts what the environment says over what the file says; whether it says anything.
pub(super) fn overlay(
    table: &mut Table,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<bool, ConfigError> {
    let mut any = false;
    for setting in SETTINGS {
        let name = variable(setting);
        let Some(text) = environment(&name) else {
            continue;
        };
        let number = matches!(
            setting,
            "utc_offset_minutes" | "retention.newest" | "retention.days"
        );
        let value = if number {
            let parsed = text.trim().parse();
            Value::Integer(parsed.map_err(|_| ConfigError::Variable {
                name,
                what: "it must be a whole number",
            })?)
        } else {
            Value::String(text)
        };
        put(table, setting, value);
        any = true;
    }
    Ok(any)
}

fn put(table: &mut Table, setting: &str, value: Value) {
    match setting.split_once('.') {
        None => {
            table.insert(setting.to_owned(), value);
        }
        Some((section, key)) => {
            let section = table
                .entry(section)
                .or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(section) = section {
                section.insert(key.to_owned(), value);
            }
        }
    }
}

fn get<'a>(table: &'a Table, setting: &str) -> Option<&'a Value> {
    match setting.split_once('.') {
        None => table.get(setting),
        Some((section, key)) => table.get(section)?.as_table()?.get(key),
    }
}

/// One setting as it is in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its place in `site.toml`.
    pub setting: String,
    /// What it is, as TOML.
    pub value: String,
    /// `site.toml`, the name of a variable, or `default`.
    pub from: String,
}

/// Every setting in use and where it is from, and what is wrong with them.
///
/// # Errors
/// [`ConfigError`] when they do not read at all.
pub fn effective(layout: &Layout) -> Result<(Vec<Setting>, Vec<String>), ConfigError> {
    let config = SiteConfig::load(layout)?;
    let file = super::read_table(layout)?;
    let mut now = Table::try_from(&config).unwrap_or_default();
    for (setting, value) in [
        ("retention.newest", config.retention.newest),
        ("retention.days", config.retention.days),
    ] {
        put(&mut now, setting, Value::Integer(value.into()));
    }
    let mut found = Vec::new();
    for (key, value) in &now {
        match value {
            Value::Table(section) => {
                let inner = |(name, value)| (format!("{key}.{name}"), value);
                found.extend(section.iter().map(inner));
            }
            value => found.push((key.clone(), value)),
        }
    }
    let settings = found.into_iter().map(|(setting, value)| {
        let name = variable(&setting);
        let known = SETTINGS.contains(&setting.as_str());
        let from = if known && std::env::var_os(&name).is_some() {
            name
        } else if get(&file, &setting).is_some() {
            "site.toml".into()
        } else {
            "default".into()
        };
        let value = value.to_string();
        Setting {
            setting,
            value,
            from,
        }
    });
    Ok((settings.collect(), faults(layout, &config)))
}

/// What a server could not use.
fn faults(layout: &Layout, config: &SiteConfig) -> Vec<String> {
    let mut faults = unknown();
    let mut note = |error: Option<String>| faults.extend(error);
    note(check_url(&config.url).err().map(|error| error.to_string()));
    note(config.release_key().err().map(|error| error.to_string()));
    let name = crate::init::check_name(&config.name).err();
    note(name.map(|error| error.to_string()));
    let secrets = [
        &config.database.password_file,
        &config.objects.secret_file,
        &config.objects.ca_file,
    ];
    for file in secrets.into_iter().flatten() {
        note(readable(file));
    }
    let tls = Identity::load(layout).and_then(|identity| identity.server());
    note(tls.err().map(|error| crate::error::chain(&error)));
    faults
}

fn readable(file: &Path) -> Option<String> {
    let error = std::fs::File::open(file).err()?;
    Some(format!("read {}: {error}", file.display()))
}

/// Variables of ours that mean nothing: mistyped, most likely.
#[must_use]
pub fn unknown() -> Vec<String> {
    unknown_among(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()))
}

fn unknown_among(names: impl Iterator<Item = String>) -> Vec<String> {
    let known = |name: &str| {
        SETTINGS.iter().any(|setting| variable(setting) == name)
            || name
                .strip_prefix(PREFIX)
                .is_some_and(|rest| OPTIONS.contains(&rest))
    };
    names
        .filter(|name| name.starts_with(PREFIX) && !known(name))
        .map(|name| format!("{name} is no setting of a site; docs/operation.md lists them"))
        .collect()
}

/// The variable that says where rows or objects are, if one does: `site.toml` alone does not decide it then.
#[must_use]
pub fn decides_the_store() -> Option<String> {
    let store = SETTINGS
        .iter()
        .filter(|setting| setting.starts_with("database.") || setting.starts_with("objects."));
    store
        .map(|setting| variable(setting))
        .find(|name| std::env::var_os(name).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_goes_before_the_file() {
        let file = "name = 'A'\n[database]\npassword_file = '/p'\n";
        let mut table: Table = file.parse().unwrap();
        let environment = |name: &str| match name {
            "FUROSHIKI_SITE_NAME" => Some("B".into()),
            "FUROSHIKI_SITE_DATABASE_POSTGRES" => Some("postgres://h/n".into()),
            "FUROSHIKI_SITE_RETENTION_DAYS" => Some("3".into()),
            _ => None,
        };
        assert!(overlay(&mut table, environment).unwrap());
        let text = table.to_string();
        for want in [
            "name = \"B\"",
            "postgres = \"postgres://h/n\"",
            "password_file = \"/p\"",
            "days = 3",
        ] {
            assert!(text.contains(want), "{want}: {text}");
        }
        assert!(!overlay(&mut Table::new(), |_| None).unwrap());
        let wrong = |name: &str| (name == "FUROSHIKI_SITE_RETENTION_DAYS").then(|| "x".into());
        let wrong = overlay(&mut Table::new(), wrong).unwrap_err().to_string();
        assert!(wrong.contains("FUROSHIKI_SITE_RETENTION_DAYS"), "{wrong}");
    }

    #[test]
    fn a_mistyped_variable_is_named() {
        let names = [
            "PATH",
            "FUROSHIKI_SITE_NAME",
            "FUROSHIKI_SITE_LISTEN",
            "FUROSHIKI_SITE_NAMES",
        ];
        let unknown = unknown_among(names.map(str::to_owned).into_iter());
        assert_eq!(unknown.len(), 1);
        assert!(unknown[0].contains("FUROSHIKI_SITE_NAMES"));
    }
}
