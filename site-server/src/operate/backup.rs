//! Taking a copy of a site while it goes on.
//!
//! Rows first, as they were at one moment, then the objects they name. An object that was deleted in between: the rows
//! are read again. What a folder has from the last time is not copied again.

use std::{
    collections::HashSet,
    io::BufWriter,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::Serialize;
use snapshot::id::SiteId;

use super::{
    OperateError,
    backup_form::{Folder, Kept, Manifest, hash_of, other_files, stage},
    flock,
    progress::{Progress, Show},
};
use crate::{
    clock::now_ms,
    config::{Layout, SiteConfig},
    store::{Listed, Staged, Store},
    tls::private_folder,
};

/// How often rows are read again because an object went.
const TRIES: u32 = 5;

/// A backup that was taken.
#[derive(Debug, Clone, Serialize)]
pub struct Backed {
    /// Of which site.
    pub site: SiteId,
    /// Rows in it.
    pub rows: u64,
    /// Objects in it.
    pub objects: u64,
    /// Bytes of those.
    pub object_bytes: u64,
    /// Bytes of objects and files that were copied this time.
    pub copied_bytes: u64,
    /// Objects and files the site no longer has, deleted from the folder.
    pub dropped: u64,
    /// Files with secrets in it.
    pub secrets: Vec<PathBuf>,
}

/// Brings the backup in `folder` up to date. `read_all`: every object that was there is read and hashed once more.
///
/// # Errors
/// [`OperateError`]; the backup that was there before is whole then.
pub async fn backup(
    data: &Path,
    folder: &Path,
    read_all: bool,
    show: Show,
) -> Result<Backed, OperateError> {
    let layout = Layout::new(data);
    let config = SiteConfig::load(&layout)?;
    let to = Folder::new(folder);
    let _lock = take(&to)?;
    let before = to.manifest()?;
    if let Some(before) = &before
        && before.site != config.site
    {
        return Err(OperateError::OtherSite {
            path: folder.to_owned(),
            have: before.site,
            want: config.site,
        });
    }
    let store = Store::open(layout.clone(), &config.database, &config.objects).await?;
    let work = Work {
        store: &store,
        layout: &layout,
        to: &to,
        before: before.as_ref(),
        read_all,
        show,
    };
    let done = work.run(config.site, &config.name).await;
    store.close().await;
    done
}

/// Makes the folder, takes its lock, removes what a backup that was killed left.
fn take(to: &Folder) -> Result<std::fs::File, OperateError> {
    let fresh = !to.root().exists();
    if !fresh && to.manifest()?.is_none() {
        let entries = std::fs::read_dir(to.root()).map_err(OperateError::io("list", to.root()))?;
        let ours = ["backup.lock", "staging", "objects", "files", "backup.new"];
        for entry in entries.flatten() {
            if !ours.contains(&entry.file_name().to_string_lossy().as_ref()) {
                return Err(OperateError::NoBackup {
                    path: to.root().to_owned(),
                    what: "it holds something else; choose an empty folder",
                });
            }
        }
    }
    private_folder(to.root())?;
    let lock = flock(&to.lock())?.ok_or_else(|| OperateError::Busy(to.root().to_owned()))?;
    for folder in [to.staging(), to.objects(), to.files()] {
        std::fs::create_dir_all(&folder).map_err(OperateError::io("make", &folder))?;
    }
    let staging = to.staging();
    for entry in std::fs::read_dir(&staging).map_err(OperateError::io("list", &staging))? {
        let path = entry.map_err(OperateError::io("list", &staging))?.path();
        std::fs::remove_file(&path).map_err(OperateError::io("remove", &path))?;
    }
    Ok(lock)
}

struct Work<'a> {
    store: &'a Store,
    layout: &'a Layout,
    to: &'a Folder,
    before: Option<&'a Manifest>,
    read_all: bool,
    show: Show,
}

impl Work<'_> {
    async fn run(&self, site: SiteId, name: &str) -> Result<Backed, OperateError> {
        let mut copied = 0;
        let mut manifest = Manifest::new(site, name, now_ms());
        let mut objects = None;
        for _ in 0..TRIES {
            manifest.taken_ms = now_ms();
            let listed = self.rows(site, &mut manifest).await?;
            if self.objects(&listed, &mut copied).await? {
                objects = Some(listed);
                break;
            }
        }
        let objects = objects.ok_or(OperateError::Restless)?;
        manifest.objects = objects.len() as u64;
        manifest.object_bytes = objects.iter().map(Listed::bytes).sum();
        self.files(&mut manifest, &mut copied).await?;
        self.to.finish(&manifest)?;
        let dropped = self.drop_rest(&manifest, &objects)?;
        let secret = |kept: &&Kept| kept.mode & 0o077 == 0;
        Ok(Backed {
            site,
            rows: manifest.tally.rows(),
            objects: manifest.objects,
            object_bytes: manifest.object_bytes,
            copied_bytes: copied,
            dropped,
            secrets: manifest
                .files
                .iter()
                .filter(secret)
                .map(|kept| kept.path.clone())
                .filter(|path| !path.starts_with("releases") && !path.starts_with("chunks"))
                .collect(),
        })
    }

    /// Writes the rows; gives the objects they name.
    async fn rows(
        &self,
        site: SiteId,
        manifest: &mut Manifest,
    ) -> Result<Vec<Listed>, OperateError> {
        let path = self.to.staging().join("rows");
        let file = std::fs::File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(OperateError::io("create", &path))?;
        let mut file = BufWriter::with_capacity(1 << 20, file);
        let (tally, objects) = self.store.write_rows(site, &mut file).await?;
        drop(file);
        let staged = stage(&path, &self.to.staging()).await?;
        std::fs::remove_file(&path).map_err(OperateError::io("remove", &path))?;
        (manifest.rows, manifest.tally) = (staged.hash(), tally);
        staged.commit(&self.to.file(manifest.rows)).await?;
        Ok(objects)
    }

    /// Copies the objects that lack; false when one of them is not there any more.
    async fn objects(&self, listed: &[Listed], copied: &mut u64) -> Result<bool, OperateError> {
        let progress = Progress::new(self.show, "backup", listed.iter().map(Listed::bytes).sum());
        for object in listed {
            let path = self.to.object(object);
            let there = match std::fs::metadata(&path) {
                Ok(about) if about.len() == object.bytes() => {
                    !self.read_all || hash_of(&path)? == object.name().1
                }
                _ => false,
            };
            if !there {
                match self.store.stage_copy(object, &self.to.staging()).await? {
                    Some(staged) => staged.commit(&path).await?,
                    None if self.store.is_listed(object).await? => {
                        return Err(OperateError::Gone(object.name().1));
                    }
                    None => return Ok(false),
                }
                *copied += object.bytes();
            }
            progress.add(object.bytes());
        }
        Ok(true)
    }

    /// Copies settings, certificates, tokens, releases and chunks that lack or changed.
    async fn files(&self, manifest: &mut Manifest, copied: &mut u64) -> Result<(), OperateError> {
        for below in other_files(self.layout)? {
            let path = self.layout.root().join(&below);
            let about = match std::fs::metadata(&path) {
                Ok(about) => about,
                // Taken apart or replaced since it was listed.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(OperateError::io("look at", &path)(error)),
            };
            let changed_ns =
                i128::from(about.mtime()) * 1_000_000_000 + i128::from(about.mtime_nsec());
            if let Some(same) = self.same(&below, about.len(), changed_ns)? {
                manifest.files.push(same);
                continue;
            }
            let staged = stage(&path, &self.to.staging()).await?;
            let mode = about.mode() & 0o777;
            let kept = self.keep(staged, below, (changed_ns, mode)).await?;
            *copied += kept.bytes;
            manifest.files.push(kept);
        }
        // Once there they never change: one of the same name and size is the same.
        for other in self.store.other_files().await? {
            let below = PathBuf::from(&other.name);
            let changed_ns = i128::from(other.since_ms) * 1_000_000;
            let same = self.same(&below, other.bytes, changed_ns)?;
            if let Some(same) = same {
                manifest.files.push(same);
                continue;
            }
            let staging = self.to.staging();
            // Deleted since it was listed, if not.
            if let Some(staged) = self.store.stage_other(&other.name, &staging).await? {
                let kept = self.keep(staged, below, (changed_ns, 0o600)).await?;
                *copied += kept.bytes;
                manifest.files.push(kept);
            }
        }
        Ok(())
    }

    /// What the folder has of a file that did not change.
    fn same(
        &self,
        path: &Path,
        bytes: u64,
        changed_ns: i128,
    ) -> Result<Option<Kept>, OperateError> {
        let known = self.before.map_or(&[][..], |before| &before.files);
        let same = known
            .iter()
            .find(|kept| kept.path == path && kept.bytes == bytes && kept.changed_ns == changed_ns);
        let Some(same) = same else { return Ok(None) };
        let there = self.to.file(same.blake3);
        let whole = std::fs::metadata(&there).is_ok_and(|now| now.len() == same.bytes);
        let right = whole && (!self.read_all || hash_of(&there)? == same.blake3);
        Ok(right.then(|| same.clone()))
    }

    async fn keep(
        &self,
        staged: Staged,
        path: PathBuf,
        (changed_ns, mode): (i128, u32),
    ) -> Result<Kept, OperateError> {
        let kept = Kept {
            path,
            bytes: staged.bytes(),
            blake3: staged.hash(),
            changed_ns,
            mode,
        };
        staged.commit(&self.to.file(kept.blake3)).await?;
        Ok(kept)
    }

    /// Deletes what this backup does not name any more.
    fn drop_rest(&self, manifest: &Manifest, objects: &[Listed]) -> Result<u64, OperateError> {
        let mut named: HashSet<PathBuf> = objects.iter().map(|o| self.to.object(o)).collect();
        named.extend(manifest.files.iter().map(|kept| self.to.file(kept.blake3)));
        named.insert(self.to.file(manifest.rows));
        let mut dropped = 0;
        let mut folders = vec![self.to.objects(), self.to.files()];
        while let Some(folder) = folders.pop() {
            let reading = || OperateError::io("list", &folder);
            for entry in std::fs::read_dir(&folder).map_err(reading())? {
                let path = entry.map_err(reading())?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if !named.contains(&path) {
                    std::fs::remove_file(&path).map_err(OperateError::io("remove", &path))?;
                    dropped += 1;
                }
            }
        }
        Ok(dropped)
    }
}
