//! Is all of it there? Every row against the others and against the bytes it names.

use std::{collections::HashMap, fmt, path::Path};

use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use site_api::ReleaseFile;
use snapshot::{
    baseline::{self, BaselineManifest},
    id::{Digest, ObjectId, RecordId, ReleaseId, SiteId, UserId},
    record,
};

use super::{
    OperateError,
    progress::{Progress, Show},
};
use crate::{
    config::{Layout, SiteConfig},
    routes::releases::described,
    store::{KeptRecord, Listed, Run, Store, StoreError, Wrong, read_runs},
};

/// Objects looked at together.
const TOGETHER: usize = 4;
/// Chunks of an image looked at together: 8 MiB at most.
const CHUNKS: usize = 64;

/// What was looked at, and what is wrong.
#[derive(Debug, Default, Serialize)]
pub struct CheckReport {
    /// Only sizes were looked at, no bytes read.
    pub quick: bool,
    /// Sealed objects that rows name.
    pub objects: u64,
    /// Their bytes.
    pub object_bytes: u64,
    /// Signed records.
    pub records: u64,
    /// Heads of users, at any site.
    pub heads: u64,
    /// Listed releases.
    pub releases: u64,
    /// Uploads that no row names: `gc` deletes them after a day. They are no fault.
    pub unnamed: u64,
    /// Their bytes.
    pub unnamed_bytes: u64,
    /// What is wrong; empty: all is well.
    pub faults: Vec<Finding>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Short stable name: `object-gone`, `object-length`, `object-hash`, `record`, `record-object`, `head`, `counter`,
    /// `release`, `chunk`, `database`.
    pub code: &'static str,
    /// What it is about, by id.
    pub about: String,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.code, self.about, self.what)
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            writeln!(f, "{fault}")?;
        }
        writeln!(
            f,
            "{} objects ({} bytes{}), {} records, {} heads, {} releases; {} uploads without a row",
            self.objects,
            self.object_bytes,
            if self.quick { ", not read" } else { "" },
            self.records,
            self.heads,
            self.releases,
            self.unnamed
        )?;
        match self.faults.len() {
            0 => writeln!(f, "all is well"),
            n => writeln!(f, "{n} faults"),
        }
    }
}

impl CheckReport {
    fn fault(&mut self, code: &'static str, about: impl fmt::Display, what: impl fmt::Display) {
        self.faults.push(Finding {
            code,
            about: about.to_string(),
            what: what.to_string(),
        });
    }
}

/// Checks the site in a data folder; its server may run meanwhile.
///
/// # Errors
/// [`OperateError`]: it could not be looked at. What is wrong is in the report.
pub async fn check(data: &Path, quick: bool, show: Show) -> Result<CheckReport, OperateError> {
    let layout = Layout::new(data);
    let config = SiteConfig::load(&layout)?;
    let store = Store::open(layout, &config.database, &config.objects).await?;
    let checked = check_store(&store, config.site, quick, show).await;
    store.close().await;
    checked
}

/// The same for a store that is open.
///
/// # Errors
/// [`OperateError`].
pub async fn check_store(
    store: &Store,
    site: SiteId,
    quick: bool,
    show: Show,
) -> Result<CheckReport, OperateError> {
    let mut report = CheckReport {
        quick,
        ..CheckReport::default()
    };
    for fault in store.database_faults().await? {
        report.fault("database", "site.db", fault);
    }
    objects(store, show, &mut report).await?;
    for user in store.users_with_records().await? {
        records(store, user, &mut report).await?;
    }
    heads(store, site, &mut report).await?;
    let (counted, sum) = store.stored_bytes_twice().await?;
    if counted != sum {
        let what = format!("counted {counted}, the rows say {sum}");
        report.fault("counter", "furoshiki_stored_object_bytes", what);
    }
    for info in store.releases().await? {
        report.releases += 1;
        if let Err(what) = release(store, info.release, quick).await? {
            let code = if what.starts_with("chunk") {
                "chunk"
            } else {
                "release"
            };
            report.fault(code, info.release, what);
        }
    }
    (report.unnamed, report.unnamed_bytes) = store.unnamed().await?;
    Ok(report)
}

async fn objects(store: &Store, show: Show, report: &mut CheckReport) -> Result<(), StoreError> {
    let listed = store.listed_objects().await?;
    let quick = report.quick;
    report.objects = listed.len() as u64;
    report.object_bytes = listed.iter().map(Listed::bytes).sum();
    let progress = Progress::new(show, "check", report.object_bytes);
    let looked = futures_util::stream::iter(listed).map(async |listed| {
        let wrong = store.look_at(&listed, !quick).await?;
        progress.add(listed.bytes());
        // What was deleted meanwhile is no fault.
        match wrong {
            Some(wrong) if store.is_listed(&listed).await? => Ok(Some((listed, wrong))),
            _ => Ok::<_, StoreError>(None),
        }
    });
    let mut looked = std::pin::pin!(looked.buffer_unordered(TOGETHER));
    while let Some(wrong) = looked.try_next().await? {
        let Some((listed, wrong)) = wrong else {
            continue;
        };
        let (user, object) = listed.name();
        let about = format!("{user}/{object}");
        match wrong {
            Wrong::Gone => report.fault("object-gone", about, "its bytes are not there"),
            Wrong::Length(have) => {
                let what = format!("{have} bytes, {} in its row", listed.bytes());
                report.fault("object-length", about, what);
            }
            Wrong::Hash(have) => {
                report.fault("object-hash", about, format!("its bytes are {have}"))
            }
        }
    }
    Ok(())
}

async fn records(store: &Store, user: UserId, report: &mut CheckReport) -> Result<(), StoreError> {
    let (records, objects) = store.kept_records(user).await?;
    for kept in records {
        report.records += 1;
        if let Err(what) = one_record(&kept, user, &objects) {
            let code = if what.starts_with("object") {
                "record-object"
            } else {
                "record"
            };
            report.fault(code, format!("{user}/{}", kept.record), what);
        }
    }
    Ok(())
}

fn one_record(
    kept: &KeptRecord,
    user: UserId,
    objects: &HashMap<ObjectId, u64>,
) -> Result<(), String> {
    if RecordId::of(&kept.bytes) != kept.record {
        return Err("its bytes have another name".into());
    }
    // Its signature was checked when it came; the key may be another since.
    let parsed = record::parse_unverified(&kept.bytes).map_err(|error| error.to_string())?;
    if parsed.user != user || parsed.seq != kept.seq {
        return Err("its row names another user or number".into());
    }
    let mut sum = 0_u64;
    for (object, bytes) in parsed.objects() {
        sum = sum.saturating_add(bytes);
        match objects.get(&object) {
            None => return Err(format!("object {object} that it lists is not here")),
            Some(have) if *have != bytes => {
                return Err(format!(
                    "object {object} has {have} bytes, it lists {bytes}"
                ));
            }
            Some(_) => {}
        }
    }
    if sum == kept.object_bytes {
        Ok(())
    } else {
        Err(format!(
            "{sum} bytes listed, {} in its row",
            kept.object_bytes
        ))
    }
}

async fn heads(store: &Store, site: SiteId, report: &mut CheckReport) -> Result<(), StoreError> {
    for head in store.heads().await? {
        report.heads += 1;
        let ours = head.info.site == site;
        if ours && store.record(head.user, head.info.record).await?.is_none() {
            // It may have moved on meanwhile, and the record been forgotten.
            let now = store.head(head.user).await?;
            if now.is_some_and(|now| now.record == head.info.record) {
                let what = format!("its record {} is not here", head.info.record);
                report.fault("head", head.user, what);
            }
        }
    }
    Ok(())
}

/// What is wrong with a listed release, if something is.
async fn release(
    store: &Store,
    release: ReleaseId,
    quick: bool,
) -> Result<Result<(), String>, StoreError> {
    let limit = baseline::MAX_BYTES as u64;
    let json = store
        .read_release_file(release, ReleaseFile::Manifest, limit)
        .await?;
    let Some(json) = json else {
        return Ok(Err("manifest.json is not there".into()));
    };
    if ReleaseId::of(&json) != release {
        return Ok(Err("manifest.json is of another release".into()));
    }
    let manifest = match baseline::parse_unverified(&json) {
        Ok(manifest) => manifest,
        Err(error) => return Ok(Err(error.to_string())),
    };
    for (file, bytes, want) in described(&manifest) {
        if file == ReleaseFile::Baseline {
            continue;
        }
        let have = if quick {
            let opened = store.open_release_file(release, file).await?;
            opened.map(|found| (found.bytes(), want))
        } else {
            store.digest_release_file(release, file).await?
        };
        match have {
            None => return Ok(Err(format!("{} is not there", file.name()))),
            Some(have) if have != (bytes, want) => {
                return Ok(Err(format!("{} has other bytes", file.name())));
            }
            Some(_) => {}
        }
    }
    image(store, release, &manifest, quick).await
}

/// The image is kept in chunks.
async fn image(
    store: &Store,
    release: ReleaseId,
    manifest: &BaselineManifest,
    quick: bool,
) -> Result<Result<(), String>, StoreError> {
    let Some(index) = store.image_index(release).await? else {
        return Ok(Err("baseline.index does not read".into()));
    };
    if index.data_bytes() != manifest.image.data_bytes {
        return Ok(Err("baseline.index has another length".into()));
    }
    let mut rest = index.chunks();
    while !rest.is_empty() {
        let (some, more) = rest.split_at(rest.len().min(CHUNKS));
        rest = more;
        let digests: Vec<Digest> = some.iter().map(|chunk| chunk.digest).collect();
        let runs = store.chunk_runs(&digests).await?;
        for (digest, run) in digests.iter().zip(runs) {
            if !is_right(store, *digest, run, quick).await? {
                return Ok(Err(format!(
                    "chunk {digest} of its image is damaged or not there; publish the release again"
                )));
            }
        }
    }
    Ok(Ok(()))
}

async fn is_right(
    store: &Store,
    digest: Digest,
    run: Option<Run>,
    quick: bool,
) -> Result<bool, StoreError> {
    let Some(run) = run else { return Ok(false) };
    if quick {
        let bytes = store.other_file_bytes(run.of.name()).await?;
        return Ok(bytes.is_some_and(|bytes| bytes >= run.offset + run.bytes));
    }
    Ok(read_runs(&[run])
        .await
        .is_ok_and(|data| Digest::of(&data) == digest))
}
