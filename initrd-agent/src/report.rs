//! Wipe records → the site. What does not leave waits in the outbox partition, a file each.
//!
//! No secret is in one. Whoever had the disk may have written those that wait: they are bounded and checked, and
//! the site takes any record for a PC's claim only.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::{
    fs::OFlags,
    mount::{UnmountFlags, unmount},
};
use site_api::{
    path as api,
    wipe::{MAX_BYTES, WipeRecord},
};

use crate::{
    outbox::{Outbox, read_bounded},
    paths,
    screen::chain,
    site::{Finder, Site, SiteClient, SiteError},
    wipe::private_dir,
};

/// Folder of the outbox partition.
const FOLDER: &str = "wipes";
/// More than this wait nowhere: a PC that no site has heard of for that long has other troubles.
const MOST: usize = 1000;
/// The site answers within this, or hears of it at the next boot.
const PATIENCE: Duration = Duration::from_secs(10);

fn tell(site: &Site, record: &WipeRecord) -> Result<(), SiteError> {
    site.tell("tell what was wiped", api::WIPES, record, PATIENCE)
}

/// Writes a record to where it waits; the same record is the same file.
///
/// # Errors
/// The partition does not take it, or a thousand wait already.
fn keep(outbox: &Path, record: &WipeRecord) -> io::Result<PathBuf> {
    let folder = outbox.join(FOLDER);
    private_dir(&folder)?;
    if fs::read_dir(&folder)?.count() >= MOST {
        return Err(io::Error::other("too many records wait"));
    }
    let json = serde_json::to_vec(record)?;
    let name = format!("{}.json", blake3::hash(&json).to_hex());
    let (new, path) = (folder.join("new"), folder.join(name));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(&new)?;
    file.write_all(&json)?;
    file.sync_all()?;
    fs::rename(&new, &path)?;
    File::open(&folder)?.sync_all()?;
    Ok(path)
}

/// Records that wait, with their files. What is not a record is left alone.
fn waiting(outbox: &Path) -> Vec<(PathBuf, WipeRecord)> {
    let Ok(entries) = fs::read_dir(outbox.join(FOLDER)) else {
        return Vec::new();
    };
    entries
        .flatten()
        .take(MOST)
        .filter_map(|entry| {
            let bytes = read_bounded(&entry.path(), MAX_BYTES as u64).ok()?;
            let record: WipeRecord = serde_json::from_slice(&bytes).ok()?;
            record.check().ok()?;
            Some((entry.path(), record))
        })
        .collect()
}

/// Sends every record that waits, until one does not go.
fn send_waiting(outbox: &Path, site: &Site) {
    for (path, record) in waiting(outbox) {
        if let Err(error) = tell(site, &record) {
            tracing::warn!(error = %chain(&error), "wipe records wait for the next boot");
            return;
        }
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(%error, "a wipe record that was sent stays");
        }
    }
}

/// Keeps the record of this boot and sends what waits as soon as a site answers, on a thread of its own.
///
/// Without an outbox the record is sent once, or lost.
pub fn at_boot(record: WipeRecord, outbox: Option<&Outbox>, finder: &Finder) {
    let outbox = outbox.map(|outbox| outbox.root().to_owned());
    let finder = finder.clone();
    thread::spawn(move || {
        let kept = outbox.as_deref().map(|outbox| keep(outbox, &record));
        let site = finder.wait();
        if !matches!(kept, Some(Ok(_))) {
            tracing::info!(?kept, "the wipe record of this boot does not wait");
            if let Err(error) = tell(&site, &record) {
                tracing::warn!(error = %chain(&error), "the wipe record of this boot is lost");
            }
        }
        if let Some(outbox) = outbox {
            send_waiting(&outbox, &site);
        }
    });
}

/// Sends in the session what the boot had no time for.
pub fn in_session(outbox: &Outbox, site: Site) {
    let outbox = outbox.root().to_owned();
    thread::spawn(move || send_waiting(&outbox, &site));
}

/// Tells the site at the end of all; else the record waits on the outbox partition, which nothing holds any more.
///
/// Gives what became of it: `site`, `outbox` or why it is lost.
#[must_use]
pub fn at_power_off(record: &WipeRecord, site: &str, outbox: Option<&Path>) -> String {
    let told = SiteClient::pinned(Path::new(paths::RUN_SITE_CA))
        .map_err(|error| chain(&error))
        .and_then(|client| tell(&client.site(site), record).map_err(|error| chain(&error)));
    let Err(why) = told else {
        return "site".into();
    };
    let Some(outbox) = outbox else {
        return why;
    };
    let target = Path::new(paths::OUTBOX);
    let kept = Outbox::mount(outbox, false, target)
        .map_err(|error| chain(&error))
        .and_then(|_| {
            let kept = keep(target, record).map_err(|error| error.to_string());
            unmount(target, UnmountFlags::NOFOLLOW).map_err(|error| error.to_string())?;
            kept
        });
    match kept {
        Ok(_) => "outbox".into(),
        Err(error) => format!("{why}; {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VECTOR: &str =
        include_str!("../../site-server/api/testdata/wipe-record/v1/power-off-virtio.json");

    #[test]
    fn what_waits_is_found_and_what_somebody_else_wrote_is_not() {
        let outbox = tempfile::tempdir().unwrap();
        let record: WipeRecord = serde_json::from_str(VECTOR).unwrap();
        assert!(waiting(outbox.path()).is_empty());
        let path = keep(outbox.path(), &record).unwrap();
        assert_eq!(keep(outbox.path(), &record).unwrap(), path);
        let folder = outbox.path().join(FOLDER);
        fs::write(folder.join("a.json"), "{}").unwrap();
        fs::write(folder.join("b.json"), vec![b' '; MAX_BYTES + 1]).unwrap();
        fs::create_dir(folder.join("c.json")).unwrap();
        std::os::unix::fs::symlink(&path, folder.join("d.json")).unwrap();
        let found = waiting(outbox.path());
        assert_eq!(found, [(path, record)]);
    }
}
