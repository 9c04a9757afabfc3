//! Chunks of baseline images, packed for a PC that has similar ones. Anybody may ask, as for releases.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use site_api::{ChunksRequest, MAX_CHUNKS, ProblemCode, ReleaseFile};
use snapshot::{
    delta,
    id::{Digest, ReleaseId},
};
use tokio::sync::Semaphore;

use super::extract::{Ids, Json};
use crate::{
    app::Site,
    error::{ApiError, ApiResult},
    store::{Counter, Run, read_runs},
};

/// Frames packed at once: each takes a processor for up to half a second and 50 MB, and anybody may ask.
static PACKING: Semaphore = Semaphore::const_new(2);

/// The chunks wanted, in one frame.
pub(crate) async fn chunks(
    State(site): State<Arc<Site>>,
    Json(asked): Json<ChunksRequest>,
) -> ApiResult<Response> {
    let want = runs_of(&site, &asked.want)
        .await?
        .ok_or_else(|| ApiError::not_found("This site does not have all of these chunks."))?;
    let have = runs_of(&site, &asked.have).await?.ok_or_else(|| {
        ApiError::new(
            ProblemCode::ObjectsMissing,
            "This site does not have what you have. Ask without it.",
        )
    })?;
    let read = async { Ok((read_runs(&want).await?, read_runs(&have).await?)) };
    packed(&site, read).await
}

/// The index of a release, for a PC that has the index of another.
pub(crate) async fn index_from(
    State(site): State<Arc<Site>>,
    Ids((release, from)): Ids<(ReleaseId, ReleaseId)>,
) -> ApiResult<Response> {
    let none = || ApiError::not_found("This site does not have both indexes. Ask for all of it.");
    let mut files = Vec::new();
    for release in [release, from] {
        site.store.release(release).await?.ok_or_else(none)?;
        let limit = delta::MAX_BYTES as u64;
        let file = site
            .store
            .read_release_file(release, ReleaseFile::Index, limit)
            .await;
        files.push(file.ok().flatten().ok_or_else(none)?);
    }
    difference(&site, files).await
}

/// The chunks of a release's unified kernel image, cut by this site, for a PC that has that of another.
pub(crate) async fn boot_index_from(
    State(site): State<Arc<Site>>,
    Ids((release, from)): Ids<(ReleaseId, ReleaseId)>,
) -> ApiResult<Response> {
    let none = || ApiError::not_found("This site has not cut both boot files. Ask for the file.");
    let mut indexes = Vec::new();
    for release in [release, from] {
        site.store.release(release).await?.ok_or_else(none)?;
        indexes.push(site.store.boot_index(release).await?.ok_or_else(none)?);
    }
    difference(&site, indexes).await
}

/// The first file for whoever has the second.
async fn difference(site: &Site, files: Vec<Vec<u8>>) -> ApiResult<Response> {
    let mut files = files.into_iter();
    let both = (
        files.next().unwrap_or_default(),
        files.next().unwrap_or_default(),
    );
    packed(site, async { Ok(both) }).await
}

/// Where chunks lie; `None` when one is not here.
async fn runs_of(site: &Site, digests: &[Digest]) -> ApiResult<Option<Vec<Run>>> {
    if digests.len() > MAX_CHUNKS {
        return Err(ApiError::bad(format!(
            "At most {MAX_CHUNKS} chunks at once."
        )));
    }
    let runs: Option<Vec<Run>> = site.store.chunk_runs(digests).await?.into_iter().collect();
    let bytes: u64 = runs.iter().flatten().map(|run| run.bytes).sum();
    if bytes > delta::MAX_BYTES as u64 {
        return Err(ApiError::bad("At most 8 MiB of chunks at once."));
    }
    Ok(runs)
}

/// What is read first, for whoever has what is read second.
async fn packed(
    site: &Site,
    read: impl Future<Output = ApiResult<(Vec<u8>, Vec<u8>)>>,
) -> ApiResult<Response> {
    let _permit = PACKING.acquire().await.map_err(ApiError::internal)?;
    let (want, have) = read.await?;
    let frame = tokio::task::spawn_blocking(move || delta::pack(&want, &have))
        .await
        .map_err(ApiError::internal)?
        .map_err(ApiError::internal)?;
    site.store
        .sent()
        .add(Counter::ReleaseBytesSent, frame.len() as u64);
    let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok((kind, Bytes::from(frame)).into_response())
}
