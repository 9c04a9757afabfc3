//! Publishing and fetching releases.

use axum::http::{Method, StatusCode};
use site_api::{ProblemCode, ReleaseFile, ReleaseInfo, path};

use crate::{
    chunks::packs,
    signed_release::{Release, operator},
    support::{Person, TestSite, random, random_bytes},
};

#[tokio::test]
async fn a_signed_release_is_listed_and_served_with_ranges() {
    let (site, release) = (TestSite::new().await, Release::new());
    release.trust(&site);
    release.upload(&site).await;
    let at = path::release_file(release.id, ReleaseFile::Baseline);
    site.get(&at, &[]).await.is(404, ProblemCode::NotFound);
    assert!(
        site.get(path::RELEASES, &[])
            .await
            .json::<Vec<ReleaseInfo>>()
            .is_empty()
    );

    assert_eq!(release.commit(&site).await.status, StatusCode::CREATED);
    assert_eq!(
        release.commit(&site).await.status,
        StatusCode::OK,
        "again is harmless"
    );
    let listed: Vec<ReleaseInfo> = site.get(path::RELEASES, &[]).await.json();
    assert_eq!(
        (listed.len(), listed[0].release, listed[0].build_timestamp),
        (1, release.id, 1_700_000_000)
    );
    let of: ReleaseInfo = site
        .get(&path::baseline(release.manifest.baseline), &[])
        .await
        .json();
    assert_eq!(of, listed[0]);

    for (file, bytes) in &release.files {
        let got = site.get(&path::release_file(release.id, *file), &[]).await;
        assert_eq!(got.body.as_ref(), bytes.as_slice(), "{}", file.name());
    }
    let part = site.get(&at, &[("range", "bytes=4096-4099")]).await;
    assert_eq!(
        (part.status, part.body.as_ref()),
        (StatusCode::PARTIAL_CONTENT, &release.files[1].1[4096..4100])
    );
    let had = site
        .get(&at, &[("if-none-match", part.header("etag"))])
        .await;
    assert_eq!(had.status, StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn a_baseline_older_than_a_listed_release_allows_does_not_sign_in() {
    let site = TestSite::new().await;
    let hanako = Person::new("hanako");
    site.add(&hanako).await;
    let seed = random();
    let built = |at, minimum| Release::forbidding(seed, random_bytes(2 * 4096), at, minimum);
    let (old, kept, newest) = (built(1000, 0), built(2000, 500), built(3000, 1500));
    old.trust(&site);
    for release in [&old, &kept] {
        release.upload(&site).await;
        assert_eq!(release.commit(&site).await.status, StatusCode::CREATED);
    }
    let ask = |release: &Release| site.challenge_from(release.manifest.baseline, hanako.card.id);
    assert_eq!(ask(&old).await.status, StatusCode::OK);
    newest.upload(&site).await;
    assert_eq!(newest.commit(&site).await.status, StatusCode::CREATED);
    ask(&old).await.is(403, ProblemCode::OutdatedBaseline);
    for release in [&kept, &newest] {
        assert_eq!(ask(release).await.status, StatusCode::OK);
    }
    // What this site does not list it cannot judge.
    assert_eq!(ask(&built(1, 0)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn only_the_operator_publishes() {
    let (site, release) = (TestSite::new().await, Release::new());
    let at = path::release_file(release.id, ReleaseFile::Uki);
    for header in ["", "Bearer ", &format!("Bearer {}", "0".repeat(64))] {
        let headers = [("authorization", header)];
        site.call(Method::PUT, &at, &headers, "x")
            .await
            .is(401, ProblemCode::NotSignedIn);
        site.call(
            Method::POST,
            &path::release_commit(release.id),
            &headers,
            "",
        )
        .await
        .is(401, ProblemCode::NotSignedIn);
    }
    assert_eq!(site.staged(), 0);
}

#[tokio::test]
async fn a_site_without_a_release_key_trusts_nobody() {
    let (site, release) = (TestSite::new().await, Release::new());
    release.upload(&site).await;
    let refused = release.commit(&site).await;
    refused.is(422, ProblemCode::WrongSignature);
    assert!(
        refused.text().contains("furoshiki-site release-key"),
        "{}",
        refused.text()
    );
    Release::new().trust(&site);
    release
        .commit(&site)
        .await
        .is(422, ProblemCode::WrongSignature);
    release.trust(&site);
    assert_eq!(release.commit(&site).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_release_with_a_file_missing_or_altered_is_not_listed() {
    let (site, release) = (TestSite::new().await, Release::new());
    release.trust(&site);
    release
        .commit(&site)
        .await
        .is(409, ProblemCode::ObjectsMissing);
    release.upload(&site).await;
    let mut bad = release.files[1].1.clone();
    bad[5000] ^= 1;
    assert_eq!(
        release.put(&site, ReleaseFile::Baseline, bad).await.status,
        StatusCode::CREATED
    );
    release.commit(&site).await.is(422, ProblemCode::WrongHash);
    assert_eq!(
        release
            .put(&site, ReleaseFile::Signature, vec![0; 64])
            .await
            .status,
        StatusCode::CREATED
    );
    release
        .commit(&site)
        .await
        .is(422, ProblemCode::WrongSignature);
    assert_eq!(
        release
            .put(&site, ReleaseFile::Signature, vec![0; 63])
            .await
            .status,
        StatusCode::CREATED
    );
    release
        .commit(&site)
        .await
        .is(422, ProblemCode::WrongSignature);
    release
        .put(&site, ReleaseFile::Manifest, b"{}".to_vec())
        .await
        .is(422, ProblemCode::WrongHash);
    assert!(
        site.get(path::RELEASES, &[])
            .await
            .json::<Vec<ReleaseInfo>>()
            .is_empty()
    );
}

#[tokio::test]
async fn a_listed_release_takes_only_its_own_bytes_again_and_repairs_them_on_the_disk() {
    let (site, release) = (TestSite::new().await, Release::new());
    release.trust(&site);
    release.upload(&site).await;
    release.commit(&site).await;
    for file in [
        ReleaseFile::Baseline,
        ReleaseFile::Uki,
        ReleaseFile::Signature,
        ReleaseFile::Manifest,
    ] {
        release
            .put(&site, file, b"other".to_vec())
            .await
            .is(422, ProblemCode::WrongHash);
    }
    // A damaged copy is repaired by publishing again.
    let image = site
        .site
        .store
        .open_release_file(release.id, ReleaseFile::Baseline);
    assert!(
        image.await.unwrap().is_none(),
        "the chunks are kept, not the image"
    );
    for pack in packs(&site) {
        std::fs::write(&pack, vec![7; 8192]).unwrap();
    }
    let at = path::release_file(release.id, ReleaseFile::Baseline);
    assert_ne!(site.get(&at, &[]).await.body.as_ref(), release.files[1].1);
    release.upload(&site).await;
    assert_eq!(release.commit(&site).await.status, StatusCode::OK);
    assert_eq!(site.get(&at, &[]).await.body.as_ref(), release.files[1].1);
}

#[tokio::test]
async fn only_the_files_of_a_release_have_addresses() {
    let (site, release) = (TestSite::new().await, Release::new());
    let bearer = operator(&site);
    for name in ["other.bin", "..", "manifest.json.new", "%2e%2e%2fsite.toml"] {
        let at = format!("/v1/releases/{}/{name}", release.id);
        site.call(Method::PUT, &at, &[("authorization", &bearer)], "x")
            .await
            .is(404, ProblemCode::NotFound);
        site.get(&at, &[]).await.is(404, ProblemCode::NotFound);
    }
    site.get("/v1/releases/zz/vmlinuz", &[])
        .await
        .is(400, ProblemCode::BadRequest);
    site.get("/v1/baselines/zz", &[])
        .await
        .is(400, ProblemCode::BadRequest);
    site.get(&path::baseline(release.manifest.baseline), &[])
        .await
        .is(404, ProblemCode::NotFound);
}
