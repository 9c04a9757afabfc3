//! What firmware gets from the boot service.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use site_api::{ProblemCode, ReleaseFile, path};
use snapshot::id::ReleaseId;
use tower::ServiceExt as _;

use crate::{
    signed_release::Release,
    support::{Answer, TestSite, whole},
};

/// What the boot service answers.
async fn boot(site: &TestSite, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    let router = site_server::boot::router(site.site.clone());
    whole(router.oneshot(request).await.unwrap()).await
}

#[tokio::test]
async fn firmware_gets_boot_files_of_a_listed_release_and_nothing_else() {
    let (site, release) = (TestSite::new().await, Release::new());
    release.trust(&site);
    release.upload(&site).await;
    let get =
        async |path: &str, headers: &[(&str, &str)]| boot(&site, Method::GET, path, headers).await;
    get("/boot/furoshiki.efi", &[])
        .await
        .is(404, ProblemCode::NotFound);
    assert_eq!(release.commit(&site).await.status, StatusCode::CREATED);

    for (file, bytes) in &release.files {
        let name = file.name();
        let chosen = get(&format!("/boot/{name}"), &[]).await;
        let by_id = get(&format!("/boot/{}/{name}", release.id), &[]).await;
        if matches!(
            file,
            ReleaseFile::Uki | ReleaseFile::Kernel | ReleaseFile::Initrd
        ) {
            assert_eq!(
                (&*chosen.body, &*by_id.body),
                (&**bytes, &**bytes),
                "{name}"
            );
        } else {
            chosen.is(404, ProblemCode::NotFound);
            by_id.is(404, ProblemCode::NotFound);
        }
    }
    // Everything the site itself answers is not here.
    for path in [
        path::SITE,
        path::RELEASES,
        path::METRICS,
        "/",
        "/boot/",
        "/boot/../v1/site",
        &path::release_file(release.id, ReleaseFile::Uki),
    ] {
        get(path, &[]).await.is(404, ProblemCode::NotFound);
    }
    let posted = boot(&site, Method::POST, "/boot/furoshiki.efi", &[]).await;
    assert_eq!(posted.status, StatusCode::METHOD_NOT_ALLOWED);

    let script = get("/boot/boot.ipxe", &[]).await;
    let kernel = format!(
        "kernel {}/vmlinuz initrd=initrd.img console=ttyS0\n",
        release.id
    );
    assert!(script.text().contains(&kernel), "{}", script.text());
    let end = get("/boot/boot.ipxe", &[("range", "bytes=-4")]).await;
    assert_eq!(
        (end.status, &*end.body),
        (StatusCode::PARTIAL_CONTENT, &b"yS0\n"[..])
    );

    // A transfer that broke off goes on, unless the release changed meanwhile.
    let uki = get("/boot/furoshiki.efi", &[]).await;
    assert_eq!(uki.header("content-type"), "application/efi");
    let tag = uki.header("etag");
    let rest = get(
        "/boot/furoshiki.efi",
        &[("range", "bytes=60-"), ("if-range", tag)],
    )
    .await;
    assert_eq!(
        (rest.status, &*rest.body),
        (StatusCode::PARTIAL_CONTENT, &uki.body[60..])
    );
    let whole = get(
        "/boot/furoshiki.efi",
        &[("range", "bytes=60-"), ("if-range", "\"another\"")],
    )
    .await;
    assert_eq!((whole.status, &whole.body), (StatusCode::OK, &uki.body));
    let head = boot(&site, Method::HEAD, "/boot/furoshiki.efi", &[]).await;
    assert_eq!((head.header("content-length"), head.body.len()), ("100", 0));
}

#[tokio::test]
async fn a_pinned_release_is_booted_until_the_newest_is_chosen_again() {
    use site_server::{
        admin::{self, AdminError},
        boot::BootChoice,
    };
    let (site, old) = (TestSite::new().await, Release::new());
    let newer = Release::built(1_800_000_000);
    for release in [&newer, &old] {
        release.trust(&site);
        release.upload(&site).await;
        assert_eq!(release.commit(&site).await.status, StatusCode::CREATED);
    }
    let data = site.site.layout.root();
    let booted = async || {
        let uki = boot(&site, Method::GET, "/boot/furoshiki.efi", &[]).await;
        [&old, &newer]
            .into_iter()
            .find(|release| release.file(ReleaseFile::Uki) == &*uki.body)
            .map(|release| release.id)
    };
    assert_eq!(booted().await, Some(newer.id), "the older one came last");
    let pin = |release| BootChoice {
        release: Some(release),
        name: None,
    };
    admin::set_boot(data, pin(old.id)).await.unwrap();
    assert_eq!(booted().await, Some(old.id));
    let unknown = admin::set_boot(data, pin(ReleaseId::new([9; 32]))).await;
    assert!(matches!(unknown, Err(AdminError::NoRelease)), "{unknown:?}");
    assert_eq!(booted().await, Some(old.id), "nothing changed");
    admin::set_boot(data, BootChoice::default()).await.unwrap();
    assert_eq!(booted().await, Some(newer.id));
}
