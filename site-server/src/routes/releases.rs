//! Releases: what PCs boot and are restored to. Anybody may read them, only the operator publishes,
//! and only what the release key signed is listed.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use site_api::{ProblemCode, ReleaseFile, ReleaseInfo};
use snapshot::{
    baseline::{self, BaselineManifest},
    id::{BaselineId, ObjectId, ReleaseId},
};

use super::extract::{Ids, Operator};
use crate::{
    app::Site,
    boot::{BootChoice, choose},
    clock::now_ms,
    config::SiteConfig,
    error::{ApiError, ApiResult, chain},
    send::{Answer, Content, FileRequest, Immutable, answer, runs, send},
    store::Counter,
};

const CACHE: &str = "public, max-age=31536000, immutable";

pub(crate) async fn list(State(site): State<Arc<Site>>) -> ApiResult<axum::Json<Vec<ReleaseInfo>>> {
    Ok(axum::Json(site.store.releases().await?))
}

/// The release of a name that PCs should start: the one the operator chose for network boot if it has this name, else
/// the newest build, whatever was published last.
pub(crate) async fn to_start(
    State(site): State<Arc<Site>>,
    Ids(name): Ids<String>,
) -> ApiResult<axum::Json<ReleaseInfo>> {
    // Read again each time: the operator may have chosen another while the server runs.
    let chosen = SiteConfig::load(&site.layout)
        .map_err(ApiError::internal)?
        .boot
        .release;
    let listed = site.store.releases().await?;
    let of_name = |id: &ReleaseId| listed.iter().any(|i| i.release == *id && i.name == name);
    let choice = BootChoice {
        release: chosen.filter(of_name),
        name: Some(name.clone()),
    };
    choose(&choice, &listed)
        .cloned()
        .map(axum::Json)
        .ok_or_else(|| ApiError::not_found("This site lists no release of this name."))
}

pub(crate) async fn of_baseline(
    State(site): State<Arc<Site>>,
    Ids(baseline): Ids<BaselineId>,
) -> ApiResult<axum::Json<ReleaseInfo>> {
    let release = site.store.release_of_baseline(baseline).await?;
    release.map(axum::Json).ok_or_else(|| {
        ApiError::not_found("This site has no release with that baseline. Publish it with furoshiki-builder publish.")
    })
}

pub(crate) async fn get(
    State(site): State<Arc<Site>>,
    Ids((release, name)): Ids<(ReleaseId, String)>,
    asked: FileRequest,
) -> ApiResult<Response> {
    let file = file(&name)?;
    let kind = if file == ReleaseFile::Manifest {
        "application/json"
    } else {
        "application/octet-stream"
    };
    send_file(&site, release, file, kind, CACHE, &asked).await
}

/// A file of a listed release, of this `Content-Type` and `Cache-Control`.
pub(crate) async fn send_file(
    site: &Site,
    release: ReleaseId,
    file: ReleaseFile,
    kind: &'static str,
    cache: &'static str,
    asked: &FileRequest,
) -> ApiResult<Response> {
    let none = || ApiError::not_found("This site lists no such release.");
    site.store.release(release).await?.ok_or_else(none)?;
    if file == ReleaseFile::Baseline {
        return image(site, release, asked).await;
    }
    let found = site
        .store
        .open_release_file(release, file)
        .await?
        .ok_or_else(none)?;
    let what = Immutable {
        bytes: found.bytes(),
        content: Content::Object(Arc::new(found)),
        tag: &format!("{release}-{}", file.name()),
        kind,
        cache,
        line: None,
        counter: Counter::ReleaseBytesSent,
    };
    send(what, asked, site.store.sent()).await
}

/// The image, put together from its chunks.
async fn image(site: &Site, release: ReleaseId, asked: &FileRequest) -> ApiResult<Response> {
    let (manifest, _) = verified(site, release).await?;
    let image = &manifest.image;
    let tag = format!("{release}-{}", ReleaseFile::Baseline.name());
    let kind = "application/octet-stream";
    let (status, headers, start, len) = match answer(image.bytes, &tag, kind, CACHE, asked)? {
        Answer::Done(response) => return Ok(response),
        Answer::Bytes(status, headers, start, len) => (status, headers, start, len),
    };
    let parts = site.store.image_runs(release, image, (start, len)).await?;
    let parts = parts.ok_or_else(|| {
        ApiError::not_found("This site has lost chunks of that image. Publish the release again.")
    })?;
    let body = Body::from_stream(runs(parts, Counter::ReleaseBytesSent, site.store.sent()));
    Ok((status, headers, body).into_response())
}

/// Takes one file. Of a listed release only the same bytes are taken: that repairs a damaged copy.
pub(crate) async fn put(
    State(site): State<Arc<Site>>,
    _: Operator,
    Ids((release, name)): Ids<(ReleaseId, String)>,
    body: Body,
) -> ApiResult<StatusCode> {
    let file = file(&name)?;
    let staged = site
        .store
        .stage_release_file(body.into_data_stream())
        .await?;
    let listed = site.store.release(release).await?.is_some();
    if file == ReleaseFile::Manifest && staged.hash().as_bytes() != release.as_bytes() {
        return Err(ApiError::new(
            ProblemCode::WrongHash,
            "These bytes are the manifest of another release.",
        ));
    }
    if listed && file != ReleaseFile::Manifest {
        let kept = kept(&site, release, file).await?;
        if kept.is_some_and(|kept| kept != staged.hash()) {
            let detail =
                "This release is listed and never changes. Publish the new files as a new release.";
            return Err(ApiError::new(ProblemCode::WrongHash, detail));
        }
    }
    let bytes = staged.bytes();
    site.store.put_release_file((release, file), staged).await?;
    tracing::info!(%release, file = name, bytes, "release file taken");
    Ok(if listed {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    })
}

/// Checks the signature and every digest, then lists the release.
pub(crate) async fn commit(
    State(site): State<Arc<Site>>,
    _: Operator,
    Ids(release): Ids<ReleaseId>,
) -> ApiResult<(StatusCode, axum::Json<ReleaseInfo>)> {
    let known = site.store.release(release).await?;
    let (manifest, _) = verified(&site, release).await?;
    let image = site.store.open_release_file(release, ReleaseFile::Baseline);
    let image = image.await?.is_some();
    for (file, want_bytes, want) in described(&manifest) {
        // Of a listed release the chunks are kept, not the image; one that is there again repairs them.
        if file == ReleaseFile::Baseline && known.is_some() && !image {
            continue;
        }
        let name = file.name();
        let (bytes, digest) = site
            .store
            .digest_release_file(release, file)
            .await?
            .ok_or_else(|| lacking(name))?;
        if bytes != want_bytes || digest != want {
            let detail = format!(
                "{name} is not what the manifest describes ({bytes} bytes, want {want_bytes}). Upload it again."
            );
            return Err(ApiError::new(ProblemCode::WrongHash, detail));
        }
    }
    if image {
        site.store.store_image(release, &manifest.image).await?;
    }
    site.store.store_boot(release).await?;
    let info = ReleaseInfo {
        release,
        baseline: manifest.baseline,
        name: manifest.name,
        build_timestamp: manifest.build_timestamp,
        minimum_build_timestamp: manifest.minimum_build_timestamp,
        published_ms: now_ms(),
    };
    if let Some(known) = known {
        site.store.drop_image(release).await;
        return Ok((StatusCode::OK, axum::Json(known)));
    }
    site.store.list_release(&info).await?;
    site.store.drop_image(release).await;
    tracing::info!(%release, baseline = %info.baseline, build_timestamp = info.build_timestamp, "release listed");
    Ok((StatusCode::CREATED, axum::Json(info)))
}

fn file(name: &str) -> ApiResult<ReleaseFile> {
    ReleaseFile::from_name(name)
        .ok_or_else(|| ApiError::not_found("A release has no file of this name."))
}

fn lacking(name: &str) -> ApiError {
    ApiError::new(
        ProblemCode::ObjectsMissing,
        format!("The release lacks {name}. Upload it, then commit again."),
    )
}

/// The manifest, signed by the release key of this site, and its signature.
pub(crate) async fn verified(
    site: &Site,
    release: ReleaseId,
) -> ApiResult<(BaselineManifest, [u8; 64])> {
    // Read again each time: the operator may have set it while the server runs.
    let key = SiteConfig::load(&site.layout)
        .and_then(|config| config.release_key())
        .map_err(ApiError::internal)?;
    let key = key.ok_or_else(|| {
        let detail = "This site trusts no release key yet. Run furoshiki-site release-key FILE --data DIR, then commit again.";
        ApiError::new(ProblemCode::WrongSignature, detail)
    })?;
    let read = async |file: ReleaseFile| {
        let limit = baseline::MAX_BYTES as u64;
        site.store
            .read_release_file(release, file, limit)
            .await?
            .ok_or_else(|| lacking(file.name()))
    };
    let json = read(ReleaseFile::Manifest).await?;
    let signature: [u8; 64] = read(ReleaseFile::Signature)
        .await?
        .as_slice()
        .try_into()
        .map_err(|_| {
            ApiError::new(
                ProblemCode::WrongSignature,
                "manifest.sig is not an Ed25519 signature of 64 bytes.",
            )
        })?;
    if ReleaseId::of(&json) != release {
        return Err(ApiError::new(
            ProblemCode::WrongHash,
            "manifest.json is of another release. Upload it again.",
        ));
    }
    let manifest = baseline::verify(&json, &signature, &key)
        .map_err(|error| ApiError::new(ProblemCode::WrongSignature, chain(&error)))?;
    Ok((manifest, signature))
}

/// The digest a file of a listed release must have, as far as it can still be known.
async fn kept(site: &Site, release: ReleaseId, file: ReleaseFile) -> ApiResult<Option<ObjectId>> {
    if file == ReleaseFile::Signature {
        return Ok(site
            .store
            .digest_release_file(release, file)
            .await?
            .map(|(_, digest)| digest));
    }
    let (manifest, _) = verified(site, release).await?;
    let described = described(&manifest);
    Ok(described
        .into_iter()
        .find(|(described, ..)| *described == file)
        .map(|(_, _, digest)| digest))
}

/// Every file a manifest describes, with size and BLAKE3.
pub(crate) fn described(manifest: &BaselineManifest) -> [(ReleaseFile, u64, ObjectId); 6] {
    let digest = |digest: &snapshot::id::Digest| ObjectId::new(*digest.as_bytes());
    let (image, boot) = (&manifest.image, &manifest.boot);
    [
        (ReleaseFile::Baseline, image.bytes, digest(&image.blake3)),
        (
            ReleaseFile::Index,
            image.index.bytes,
            digest(&image.index.blake3),
        ),
        (ReleaseFile::Uki, boot.uki.bytes, digest(&boot.uki.blake3)),
        (
            ReleaseFile::Kernel,
            boot.kernel.bytes,
            digest(&boot.kernel.blake3),
        ),
        (
            ReleaseFile::Initrd,
            boot.initrd.bytes,
            digest(&boot.initrd.blake3),
        ),
        (
            ReleaseFile::Loader,
            boot.loader.bytes,
            digest(&boot.loader.blake3),
        ),
    ]
}
