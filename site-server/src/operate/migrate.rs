//! Moving a site to another database, another place for objects, or both.
//!
//! Objects go first, while the server may run. Rows and the objects that came meanwhile go last, when nobody serves:
//! they are few and quick. The new home is read whole before `site.toml` names it, so a move that broke off, or found
//! a fault, leaves the site where it was. What was moved stays at its old home until the operator deletes it.

use std::{
    io::{BufReader, BufWriter},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use serde::Serialize;

use super::{
    OperateError,
    check::check_store,
    flock,
    progress::{Progress, Show},
};
use crate::{
    config::{Layout, SiteConfig, decides_the_store},
    store::{DatabaseConfig, Listed, ObjectsConfig, Rows, Store, StoreError, moving},
};

/// A site that moved.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Migrated {
    /// Rows in the new database; 0 when it stayed.
    pub rows: u64,
    /// Objects at the new place.
    pub objects: u64,
    /// Bytes of those.
    pub object_bytes: u64,
    /// Bytes that were copied this time.
    pub copied_bytes: u64,
}

/// Moves the site of a data folder to `database` and `objects`.
///
/// # Errors
/// [`OperateError::Serving`] when everything that can be copied beside a server is; [`StoreError::OtherSite`] when the
/// new database is another site's; otherwise what failed. The site is where it was then, and what was copied is not
/// copied again.
pub async fn migrate(
    data: &Path,
    database: DatabaseConfig,
    objects: ObjectsConfig,
    show: Show,
) -> Result<Migrated, OperateError> {
    let layout = Layout::new(data);
    if let Some(name) = decides_the_store() {
        return Err(OperateError::Decided(name));
    }
    let mut config = SiteConfig::load_file(&layout)?;
    let (rows_move, bytes_move) = (config.database != database, config.objects != objects);
    if !rows_move && !bytes_move {
        return Ok(Migrated::default());
    }
    let source = Store::open(layout.clone(), &config.database, &config.objects).await?;
    // Any database will do for its shelf: that of the site as it is.
    let shelf = Store::open(layout.clone(), &config.database, &objects).await?;
    shelf.probe_objects().await?;
    let mut done = Migrated::default();
    if bytes_move {
        carry(&source, &shelf, &layout, show, &mut done).await?;
    }
    let lock = flock(&layout.lock())?;
    let Some(_lock) = lock else {
        source.close().await;
        shelf.close().await;
        return Err(OperateError::Serving(
            "all there was is copied; the rest and the switch need a site at rest",
        ));
    };
    if bytes_move {
        carry(&source, &shelf, &layout, Show::Nothing, &mut done).await?;
    }
    shelf.close().await;
    let target = if rows_move {
        let (store, rows) = carry_rows(&source, &layout, &config, &database, &objects).await?;
        done.rows = rows;
        store
    } else {
        Store::open(layout.clone(), &database, &objects).await?
    };
    source.close().await;
    let report = check_store(&target, config.site, !bytes_move, show).await?;
    if let Some(first) = report.faults.first() {
        target.close().await;
        return Err(OperateError::Faults(report.faults.len(), first.to_string()));
    }
    (done.objects, done.object_bytes) = (report.objects, report.object_bytes);
    (config.database, config.objects) = (database, objects);
    target.claim(config.site).await?;
    config.save(&layout)?;
    target.close().await;
    Ok(done)
}

/// Copies every object that is not at the new place yet.
async fn carry(
    source: &Store,
    shelf: &Store,
    layout: &Layout,
    show: Show,
    done: &mut Migrated,
) -> Result<(), OperateError> {
    let listed = source.listed_objects().await?;
    let progress = Progress::new(show, "move", listed.iter().map(Listed::bytes).sum());
    for object in listed {
        if shelf.look_at(&object, false).await?.is_some() {
            match source.stage_copy(&object, &layout.staging()).await? {
                Some(staged) => shelf.put_listed(&object, staged).await?,
                None if source.is_listed(&object).await? => {
                    return Err(OperateError::Gone(object.name().1));
                }
                // Deleted since it was listed.
                None => {}
            }
            done.copied_bytes += object.bytes();
        }
        progress.add(object.bytes());
    }
    for other in source.other_files().await? {
        if shelf.other_file_bytes(&other.name).await? != Some(other.bytes)
            && let Some(staged) = source.stage_other(&other.name, &layout.staging()).await?
        {
            shelf.put_other(&other.name, staged).await?;
            done.copied_bytes += other.bytes;
        }
    }
    Ok(())
}

/// Copies all rows through a file, and compares what both databases hold then.
async fn carry_rows(
    source: &Store,
    layout: &Layout,
    config: &SiteConfig,
    database: &DatabaseConfig,
    objects: &ObjectsConfig,
) -> Result<(Store, u64), OperateError> {
    let path = moving(layout);
    let file = std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .map_err(OperateError::io("create", &path))?;
    let mut file = BufWriter::with_capacity(1 << 20, file);
    source.flush_counters().await?;
    let (was, _) = source.write_rows(config.site, &mut file).await?;
    drop(file);
    let file = std::fs::File::open(&path).map_err(OperateError::io("open", &path))?;
    let mut rows = Rows::open(BufReader::with_capacity(1 << 20, file))?;
    let target = (layout.clone(), database, objects);
    let (store, is) = Store::from_rows(target, &mut rows, Some(config.site)).await?;
    std::fs::remove_file(&path).map_err(OperateError::io("remove", &path))?;
    if is != was {
        return Err(StoreError::Corrupt("rows").into());
    }
    Ok((store, was.rows()))
}
