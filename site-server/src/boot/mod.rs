//! Boot service: the files a PC starts from, over plain HTTP, because firmware and iPXE know nothing else.
//!
//! Whoever sits on the wire can change what passes here. What a PC does with it decides: under Secure Boot the
//! firmware starts only a signed unified kernel image, and from there on everything is pinned (see
//! `docs/threat-model.md`). So this listener serves public boot files of listed releases and nothing else of the
//! site: it has a router of its own, without the site's routes.
//!
//! | Path | Content |
//! |---|---|
//! | `/boot/furoshiki.efi` | unified kernel image of the [chosen](BootChoice) release |
//! | `/boot/vmlinuz`, `/boot/initrd.img` | kernel and initrd alone |
//! | `/boot/boot.ipxe` | iPXE script with the fixed command line of the signed manifest |
//! | `/boot/RELEASE/FILE` | the same files of a listed release by its id; the script names them so that kernel and initrd never come from two releases |

mod choice;
mod listen;
mod script;

use std::sync::Arc;

use axum::{Router, extract::State, http::StatusCode, response::Response, routing::get};
use bytes::Bytes;
use site_api::{ReleaseFile, ReleaseInfo};
use snapshot::id::ReleaseId;

pub use choice::{BootChoice, choose};
pub(crate) use listen::serve;

use crate::{
    app::Site,
    config::SiteConfig,
    error::{ApiError, ApiResult},
    routes::{extract::Ids, releases},
    send::{Content, FileRequest, Immutable, send},
    store::Counter,
};

/// Name of the script in the paths.
const SCRIPT: &str = "boot.ipxe";
/// The chosen release changes under its name: ask again, and use what is there if the tag is the same.
const CHANGES: &str = "no-cache";
/// A release never changes.
const STAYS: &str = "public, max-age=31536000, immutable";

/// Every route of the boot service.
pub fn router(site: Arc<Site>) -> Router {
    Router::new()
        .route("/boot/{file}", get(chosen))
        .route("/boot/{release}/{file}", get(of_release))
        .fallback(|| async { none() })
        .method_not_allowed_fallback(|| async {
            ApiError::bad("The boot service takes GET and HEAD.")
                .with_status(StatusCode::METHOD_NOT_ALLOWED)
        })
        .with_state(site)
}

fn none() -> ApiError {
    ApiError::not_found("There is nothing at this address of the boot service.")
}

/// The release PCs boot now.
///
/// # Errors
/// 404 when none is listed, or not the pinned one.
async fn release(site: &Site) -> ApiResult<ReleaseInfo> {
    // Read again each time: the operator may have pinned another while the server runs.
    let choice = SiteConfig::load(&site.layout)
        .map_err(ApiError::internal)?
        .boot;
    let listed = site.store.releases().await?;
    choose(&choice, &listed).cloned().ok_or_else(|| {
        ApiError::not_found(
            "This site lists no release to boot. Publish one, or run furoshiki-site release boot.",
        )
    })
}

async fn chosen(
    State(site): State<Arc<Site>>,
    Ids(file): Ids<String>,
    asked: FileRequest,
) -> ApiResult<Response> {
    let release = release(&site).await?.release;
    answer(&site, release, &file, CHANGES, &asked).await
}

async fn of_release(
    State(site): State<Arc<Site>>,
    Ids((release, file)): Ids<(ReleaseId, String)>,
    asked: FileRequest,
) -> ApiResult<Response> {
    site.store.release(release).await?.ok_or_else(none)?;
    answer(&site, release, &file, STAYS, &asked).await
}

async fn answer(
    site: &Site,
    release: ReleaseId,
    name: &str,
    cache: &'static str,
    asked: &FileRequest,
) -> ApiResult<Response> {
    if name == SCRIPT {
        let (manifest, _) = releases::verified(site, release).await?;
        let text = script::ipxe(release, &manifest.cmdline).map_err(ApiError::internal)?;
        let text = Bytes::from(text);
        let what = Immutable {
            bytes: text.len() as u64,
            content: Content::Bytes(text),
            tag: &format!("{release}-{SCRIPT}"),
            kind: "text/plain; charset=utf-8",
            cache,
            counter: Counter::ReleaseBytesSent,
            line: None,
        };
        return send(what, asked, site.store.sent()).await;
    }
    // UEFI firmware looks at the type when the name says nothing (UEFI specification, HTTP boot).
    let (file, kind) = match ReleaseFile::from_name(name) {
        Some(ReleaseFile::Uki) => (ReleaseFile::Uki, "application/efi"),
        Some(file @ (ReleaseFile::Kernel | ReleaseFile::Initrd)) => {
            (file, "application/octet-stream")
        }
        _ => return Err(none()),
    };
    releases::send_file(site, release, file, kind, cache, asked).await
}
