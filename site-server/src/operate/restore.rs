//! Putting a backup back: into an empty folder, and into whatever database and bucket this machine has.
//!
//! `site.toml` is written last. Until then there is no site, and the same command goes on where it stopped.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use serde::Serialize;
use snapshot::id::SiteId;

use super::{
    OperateError,
    backup_form::{Folder, Kept, stage},
    check::check_store,
    progress::{Progress, Show},
};
use crate::{
    config::{ConfigError, Layout, SiteConfig},
    store::{DatabaseConfig, Listed, ObjectsConfig, Staged, Store},
    tls::private_folder,
};

/// A site that is there again.
#[derive(Debug, Clone, Serialize)]
pub struct Restored {
    /// Which.
    pub site: SiteId,
    /// Its name for people.
    pub name: String,
    /// When the backup was taken, milliseconds since 1970.
    pub taken_ms: i64,
    /// Rows.
    pub rows: u64,
    /// Objects.
    pub objects: u64,
    /// Bytes of those.
    pub object_bytes: u64,
}

/// Makes a site out of a backup, its rows and objects where `database` and `objects` say.
///
/// # Errors
/// [`ConfigError::AlreadyThere`] when the folder has a site; [`crate::store::StoreError::OtherSite`] when the database
/// is in use; otherwise what failed. There is no site then.
pub async fn restore_backup(
    folder: &Path,
    data: &Path,
    database: &DatabaseConfig,
    objects: &ObjectsConfig,
    show: Show,
) -> Result<Restored, OperateError> {
    let layout = Layout::new(data);
    if layout.config().exists() {
        return Err(ConfigError::AlreadyThere(data.to_owned()).into());
    }
    let from = Folder::new(folder);
    let manifest = from.manifest()?.ok_or_else(|| OperateError::NoBackup {
        path: folder.to_owned(),
        what: "it has no backup.json",
    })?;
    private_folder(layout.root())?;
    let mut settings = None;
    let (stored, files): (Vec<_>, Vec<_>) = manifest.files.iter().partition(|kept| is_stored(kept));
    for kept in files {
        if layout.root().join(&kept.path) == layout.config() {
            settings = Some(kept);
        } else {
            put_back(&from, &layout, kept).await?;
        }
    }
    let mut rows = from.rows(&manifest)?;
    let target = (layout.clone(), database, objects);
    let (store, tally) = Store::from_rows(target, &mut rows, None).await?;
    if tally != manifest.tally {
        return Err(OperateError::Damaged(from.file(manifest.rows)));
    }
    store.probe_objects().await?;
    bring(&from, &store, &layout.staging(), show).await?;
    for kept in stored {
        let name = kept.path.to_string_lossy();
        if store.other_file_bytes(&name).await? != Some(kept.bytes) {
            let staged = right(&from, kept, &layout.staging()).await?;
            store.put_other(&name, staged).await?;
        }
    }
    let report = check_store(&store, manifest.site, true, Show::Nothing).await?;
    if let Some(first) = report.faults.first() {
        return Err(OperateError::Faults(report.faults.len(), first.to_string()));
    }
    let settings = settings.ok_or_else(|| OperateError::NoBackup {
        path: folder.to_owned(),
        what: "it has no site.toml",
    })?;
    let mut config = read_settings(&from, settings)?;
    config.database = database.clone();
    config.objects = objects.clone();
    config.save(&layout)?;
    store.claim(config.site).await?;
    store.close().await;
    Ok(Restored {
        site: manifest.site,
        name: manifest.name,
        taken_ms: manifest.taken_ms,
        rows: tally.rows(),
        objects: report.objects,
        object_bytes: report.object_bytes,
    })
}

fn read_settings(from: &Folder, kept: &Kept) -> Result<SiteConfig, OperateError> {
    let path = from.file(kept.blake3);
    let text = std::fs::read_to_string(&path).map_err(OperateError::io("read", &path))?;
    toml::from_str(&text)
        .map_err(|source| ConfigError::Toml { path, source })
        .map_err(Into::into)
}

/// Whether it lies beside objects, in the folder or the bucket.
fn is_stored(kept: &Kept) -> bool {
    kept.path.starts_with("releases") || kept.path.starts_with("chunks")
}

/// A copy whose bytes are those of the backup.
async fn right(from: &Folder, kept: &Kept, staging: &Path) -> Result<Staged, OperateError> {
    let source = from.file(kept.blake3);
    let staged = stage(&source, staging).await?;
    if staged.hash() == kept.blake3 {
        Ok(staged)
    } else {
        Err(OperateError::Damaged(source))
    }
}

async fn put_back(from: &Folder, layout: &Layout, kept: &Kept) -> Result<(), OperateError> {
    let inside = kept
        .path
        .components()
        .all(|part| matches!(part, std::path::Component::Normal(_)));
    if !inside {
        return Err(OperateError::Damaged(kept.path.clone()));
    }
    let target = layout.root().join(&kept.path);
    if let Some(parent) = target.parent() {
        if kept.path.starts_with("tls") {
            private_folder(parent)?;
        } else {
            std::fs::create_dir_all(parent).map_err(OperateError::io("make", parent))?;
        }
    }
    let staging = layout.staging();
    std::fs::create_dir_all(&staging).map_err(OperateError::io("make", &staging))?;
    let staged = right(from, kept, &staging).await?;
    staged.commit(&target).await?;
    let mode = std::fs::Permissions::from_mode(kept.mode);
    std::fs::set_permissions(&target, mode).map_err(OperateError::io("set the mode of", &target))
}

/// Brings every object that is not there yet.
async fn bring(
    from: &Folder,
    store: &Store,
    staging: &Path,
    show: Show,
) -> Result<(), OperateError> {
    let listed = store.listed_objects().await?;
    let progress = Progress::new(show, "restore", listed.iter().map(Listed::bytes).sum());
    for object in listed {
        if store.look_at(&object, false).await?.is_some() {
            let path: PathBuf = from.object(&object);
            let staged = stage(&path, staging).await?;
            if staged.hash() != object.name().1 {
                return Err(OperateError::Damaged(path));
            }
            store.put_listed(&object, staged).await?;
        }
        progress.add(object.bytes());
    }
    Ok(())
}
