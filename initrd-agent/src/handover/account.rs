//! The user's Unix account: JSON user records in `/run/userdb`, nothing in `/etc`.
//!
//! Source: systemd, docs/USER_RECORD.md, docs/GROUP_RECORD.md, nss-systemd(8) "drop-in".

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{HandoverError, at};

/// Everybody is the first ordinary user of their own session.
const ID: u32 = 1000;

/// The account of the signed-in user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    name: String,
    real_name: String,
}

impl Account {
    /// The account for a user name of the sites, on a baseline with this `/etc/passwd`.
    ///
    /// The name is kept when it can be a Unix name and the baseline has no such account; otherwise it is bent until
    /// it is, always the same way.
    #[must_use]
    pub fn of(user: &str, passwd: &str) -> Self {
        let mut name: String = user
            .to_lowercase()
            .chars()
            .map(|c| {
                if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_' {
                    c
                } else {
                    '-'
                }
            })
            .take(28)
            .collect();
        let begins_well = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        let taken = |name: &str| {
            passwd
                .lines()
                .any(|line| line.split(':').next() == Some(name))
        };
        if !begins_well || name.trim_matches('-').is_empty() || taken(&name) {
            name = format!("u-{}", name.trim_start_matches('-'));
        }
        let real_name = user
            .chars()
            .filter(|c| !c.is_control() && !":,\"\\".contains(*c))
            .collect();
        Self { name, real_name }
    }

    /// The Unix name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn files(&self) -> [(String, String); 2] {
        let user = json!({
            "userName": self.name,
            "uid": ID,
            "gid": ID,
            "realName": self.real_name,
            "homeDirectory": format!("/home/{}", self.name),
            "shell": "/bin/bash",
            "disposition": "regular",
        });
        let group = json!({ "groupName": self.name, "gid": ID, "disposition": "regular" });
        [
            (format!("{}.user", self.name), user.to_string()),
            (format!("{}.group", self.name), group.to_string()),
        ]
    }

    /// Writes user and group record, by name and by number.
    pub(super) fn write_records(&self, userdb: &Path) -> Result<(), HandoverError> {
        fs::create_dir_all(userdb).map_err(at("make folder", userdb))?;
        for (file, text) in self.files() {
            let path = userdb.join(&file);
            fs::write(&path, text).map_err(at("write", &path))?;
            let kind = file.rsplit('.').next().unwrap_or_default();
            let link = userdb.join(format!("{ID}.{kind}"));
            match symlink(&file, &link) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(at("link", link)(e));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes the home folder from the skeleton at the first visit; an existing one is the user's and stays as it is.
    pub(super) fn make_home(&self, homes: &Path, skeleton: &Path) -> Result<(), HandoverError> {
        let home = homes.join(&self.name);
        if home.symlink_metadata().is_ok() {
            return Ok(());
        }
        fs::create_dir(&home).map_err(at("make folder", &home))?;
        for entry in walkdir::WalkDir::new(skeleton).min_depth(1) {
            // A baseline without a skeleton gives an empty home.
            let Ok(entry) = entry else { break };
            let Ok(below) = entry.path().strip_prefix(skeleton) else {
                continue;
            };
            copy(entry.path(), &home.join(below)).map_err(at("copy", entry.path()))?;
        }
        chown(&home, Some(ID), Some(ID)).map_err(at("give to the user", &home))?;
        fs::set_permissions(&home, Permissions::from_mode(0o700)).map_err(at("close", &home))
    }
}

fn copy(from: &Path, to: &PathBuf) -> io::Result<()> {
    let meta = from.symlink_metadata()?;
    if meta.is_symlink() {
        symlink(fs::read_link(from)?, to)?;
        return std::os::unix::fs::lchown(to, Some(ID), Some(ID));
    }
    if meta.is_dir() {
        fs::create_dir(to)?;
    } else {
        fs::copy(from, to)?;
    }
    chown(to, Some(ID), Some(ID))?;
    fs::set_permissions(to, Permissions::from_mode(meta.mode() & 0o777))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_user_name_becomes_a_free_unix_name() {
        let passwd = "root:x:0:0::/root:/bin/bash\nmail:x:8:8::/var/mail:/bin/sh\n";
        let cases = [
            ("taro", "taro"),
            ("Taro.Yamada", "taro-yamada"),
            ("root", "u-root"),
            ("mail", "u-mail"),
            ("太郎", "u-"),
            ("9lives", "u-9lives"),
            ("../../etc", "u-etc"),
            (
                "a very long name that goes on and on",
                "a-very-long-name-that-goes-o",
            ),
        ];
        for (user, want) in cases {
            assert_eq!(Account::of(user, passwd).name(), want, "{user}");
        }
    }

    #[test]
    fn records_are_json_and_carry_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let account = Account::of("taro", "");
        account.write_records(folder.path()).unwrap();
        account.write_records(folder.path()).unwrap();
        let text = fs::read_to_string(folder.path().join("1000.user")).unwrap();
        let record: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(record["userName"], "taro");
        assert_eq!(record["uid"], 1000);
        assert_eq!(record["homeDirectory"], "/home/taro");
        assert!(record.get("privileged").is_none());
        let group = fs::read_to_string(folder.path().join("1000.group")).unwrap();
        assert!(group.contains(r#""groupName":"taro""#));
    }
}
