//! Publishing and fetching releases.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use site_api::{ChunksRequest, ProblemCode, ReleaseFile, ReleaseInfo, path};
use snapshot::{
    baseline::{
        self, BLOCK_BYTES, BaselineManifest, Boot, BootFile, Files, Image, Restore, baseline_id,
    },
    delta,
    id::{Digest, ReleaseId, RootHash, VeritySalt},
    image_index::{Cutter, ImageIndex},
};

use crate::support::{Answer, Person, TestSite, answer_of, random, random_bytes};

struct Release {
    id: ReleaseId,
    seed: [u8; 32],
    files: Vec<(ReleaseFile, Vec<u8>)>,
    manifest: BaselineManifest,
}

fn digest(bytes: &[u8]) -> Digest {
    Digest::new(*blake3::hash(bytes).as_bytes())
}

impl Release {
    fn new() -> Self {
        Self::built(1_700_000_000)
    }

    fn file(&self, file: ReleaseFile) -> &[u8] {
        let found = self.files.iter().find(|(one, _)| *one == file);
        &found.unwrap().1
    }

    fn built(build_timestamp: i64) -> Self {
        Self::made(random(), random_bytes(2 * 4096), build_timestamp)
    }

    /// A release whose image is this data behind a tree of one block.
    fn of(seed: [u8; 32], data: Vec<u8>) -> Self {
        Self::made(seed, data, 1_700_000_000)
    }

    fn made(seed: [u8; 32], data: Vec<u8>, build_timestamp: i64) -> Self {
        Self::forbidding(seed, data, build_timestamp, 0)
    }

    /// As [`Self::of`], built at a time, which forbids older ones than another.
    fn forbidding(seed: [u8; 32], data: Vec<u8>, build_timestamp: i64, minimum: i64) -> Self {
        let mut cutter = Cutter::default();
        data.chunks(4096).for_each(|block| cutter.block(block));
        let index = cutter.finish().encode();
        let data_bytes = data.len() as u64;
        let image = [data, random_bytes(4096)].concat();
        let (root_hash, salt) = (RootHash::new(random()), VeritySalt::new(random()));
        let boot = [
            ReleaseFile::Uki,
            ReleaseFile::Kernel,
            ReleaseFile::Initrd,
            ReleaseFile::Loader,
        ]
        .map(|file| (file, random_bytes(100)));
        let described = |n: usize| BootFile {
            file: boot[n].0.name().into(),
            bytes: 100,
            blake3: digest(&boot[n].1),
        };
        let manifest = BaselineManifest {
            format: baseline::FORMAT.into(),
            version: baseline::VERSION,
            incompatible: vec![],
            baseline: baseline_id(&root_hash, &salt, data_bytes, build_timestamp, "minimal"),
            name: "minimal".into(),
            build_timestamp,
            minimum_build_timestamp: minimum,
            suite: "trixie".into(),
            architecture: "amd64".into(),
            kernel_release: "6.12.0-amd64".into(),
            cmdline: "console=ttyS0".into(),
            restore: Restore::Verified,
            image: Image {
                file: "baseline.img".into(),
                bytes: image.len() as u64,
                blake3: digest(&image),
                data_bytes,
                root_hash,
                salt,
                block_bytes: BLOCK_BYTES,
                index: BootFile {
                    file: "baseline.index".into(),
                    bytes: index.len() as u64,
                    blake3: digest(&index),
                },
            },
            boot: Boot {
                uki: described(0),
                kernel: described(1),
                initrd: described(2),
                loader: described(3),
            },
            lock_blake3: digest(b"lock"),
            files: Files {
                entries: 1,
                bytes: 1,
            },
        };
        let json = manifest.to_json().unwrap();
        let mut files = vec![
            (
                ReleaseFile::Signature,
                baseline::sign(&json, &seed).to_vec(),
            ),
            (ReleaseFile::Baseline, image),
            (ReleaseFile::Index, index),
        ];
        files.extend(boot);
        let id = ReleaseId::of(&json);
        files.push((ReleaseFile::Manifest, json));
        Self {
            id,
            seed,
            files,
            manifest,
        }
    }

    fn trust(&self, site: &TestSite) {
        let file = site.dir.path().join("release.pub");
        let key = hex::encode(baseline::release_public_key(&self.seed));
        std::fs::write(&file, format!("{key}\n")).unwrap();
        site_server::admin::set_release_key(site.site.layout.root(), &file).unwrap();
    }

    async fn put(&self, site: &TestSite, file: ReleaseFile, bytes: Vec<u8>) -> Answer {
        let bearer = operator(site);
        site.call(
            Method::PUT,
            &path::release_file(self.id, file),
            &[("authorization", &bearer)],
            bytes,
        )
        .await
    }

    async fn upload(&self, site: &TestSite) {
        for (file, bytes) in &self.files {
            let put = self.put(site, *file, bytes.clone()).await;
            assert!(put.status.is_success(), "{}: {}", file.name(), put.text());
        }
    }

    async fn commit(&self, site: &TestSite) -> Answer {
        let bearer = operator(site);
        site.call(
            Method::POST,
            &path::release_commit(self.id),
            &[("authorization", &bearer)],
            "",
        )
        .await
    }
}

fn operator(site: &TestSite) -> String {
    let token = std::fs::read_to_string(site.site.layout.operator_token()).unwrap();
    format!("Bearer {}", token.trim())
}

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
async fn the_boot_file_travels_in_chunks_and_the_newest_build_is_to_start() {
    let site = TestSite::new().await;
    let seed = random();
    let built = |at| Release::forbidding(seed, random_bytes(2 * 4096), at, 0);
    let (newer, older) = (built(3000), built(2000));
    newer.trust(&site);
    let to_start = path::release_to_start("minimal");
    site.get(&to_start, &[])
        .await
        .is(404, ProblemCode::NotFound);
    let boot_index = path::boot_index_from(newer.id, older.id);
    site.get(&boot_index, &[])
        .await
        .is(404, ProblemCode::NotFound);
    for release in [&newer, &older] {
        release.upload(&site).await;
        assert_eq!(release.commit(&site).await.status, StatusCode::CREATED);
    }
    let info: ReleaseInfo = site.get(&to_start, &[]).await.json();
    assert_eq!(info.release, newer.id);
    site.get(&path::release_to_start("other"), &[])
        .await
        .is(404, ProblemCode::NotFound);

    let uki = |release: &Release| {
        let of = |(file, bytes): &(ReleaseFile, Vec<u8>)| {
            (*file == ReleaseFile::Uki).then(|| bytes.clone())
        };
        release.files.iter().find_map(of).unwrap()
    };
    let mut cutter = Cutter::default();
    let mut block = uki(&older);
    block.resize(4096, 0);
    cutter.block(&block);
    let had = cutter.finish().encode();
    let frame = site.get(&boot_index, &[]).await;
    let index = delta::unpack_up_to(&frame.body, &had, 4096).unwrap();
    let index = ImageIndex::parse(&index).unwrap();
    let want: Vec<Digest> = index.chunks().iter().map(|chunk| chunk.digest).collect();
    let frame = ask(&site, &want, &[]).await;
    let bytes = usize::try_from(index.data_bytes()).unwrap();
    let mut content = delta::unpack(&frame.body, &[], bytes).unwrap();
    let uki = uki(&newer);
    assert!(content[uki.len()..].iter().all(|byte| *byte == 0));
    content.truncate(uki.len());
    assert_eq!(content, uki);
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
async fn a_listed_release_takes_only_its_own_bytes_again() {
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
    let on_disk = site
        .site
        .store
        .release_path(release.id, ReleaseFile::Baseline);
    assert!(!on_disk.exists(), "the chunks are kept, not the image");
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

fn packs(site: &TestSite) -> Vec<std::path::PathBuf> {
    let folder = std::fs::read_dir(site.site.layout.chunks()).unwrap();
    folder.map(|entry| entry.unwrap().path()).collect()
}

async fn ask(site: &TestSite, want: &[Digest], have: &[Digest]) -> Answer {
    let body = serde_json::to_vec(&ChunksRequest {
        want: want.to_vec(),
        have: have.to_vec(),
    });
    let json = [("content-type", "application/json")];
    site.call(Method::POST, path::CHUNKS, &json, body.unwrap())
        .await
}

#[tokio::test]
async fn a_chunk_of_two_releases_is_stored_once_and_sent_to_whoever_lacks_it() {
    let site = TestSite::new().await;
    let seed = random();
    let old_data = random_bytes(400 * 4096);
    let mut new_data = old_data.clone();
    new_data[777_777] ^= 1;
    let (old, new) = (
        Release::of(seed, old_data),
        Release::of(seed, new_data.clone()),
    );
    old.trust(&site);
    for release in [&old, &new] {
        release.upload(&site).await;
        assert_eq!(release.commit(&site).await.status, StatusCode::CREATED);
    }
    let stored: u64 = packs(&site)
        .iter()
        .map(|p| p.metadata().unwrap().len())
        .sum();
    assert!(stored < 400 * 4096 + 3 * 131_072, "{stored} bytes stored");
    for release in [&old, &new] {
        let at = path::release_file(release.id, ReleaseFile::Baseline);
        let image = &release.files[1].1;
        assert_eq!(site.get(&at, &[]).await.body.as_ref(), image.as_slice());
        // Over chunk borders, and from the data into the tree.
        for (from, to) in [(100_000, 300_001), (400 * 4096 - 7, 400 * 4096 + 9)] {
            let range = format!("bytes={from}-{to}");
            let part = site.get(&at, &[("range", &range)]).await;
            assert_eq!(part.body.as_ref(), &image[from..=to]);
        }
    }

    let index = |release: &Release| ImageIndex::parse(&release.files[2].1).unwrap();
    let (had, wanted) = (index(&old), index(&new));
    let lack: Vec<_> = wanted
        .chunks()
        .iter()
        .filter(|chunk| !had.digests().contains(&chunk.digest))
        .collect();
    let spare: Vec<_> = had
        .chunks()
        .iter()
        .filter(|chunk| !wanted.digests().contains(&chunk.digest))
        .map(|chunk| chunk.digest)
        .collect();
    let want: Vec<_> = lack.iter().map(|chunk| chunk.digest).collect();
    let bytes: usize = lack.iter().map(|chunk| chunk.bytes).sum();
    let frame = ask(&site, &want, &spare).await;
    assert!(frame.body.len() < 2000, "{} bytes", frame.body.len());
    let dictionary: Vec<u8> = had
        .chunks()
        .iter()
        .filter(|chunk| spare.contains(&chunk.digest))
        .flat_map(|chunk| &old.files[1].1[chunk.offset as usize..][..chunk.bytes])
        .copied()
        .collect();
    let got = delta::unpack(&frame.body, &dictionary, bytes).unwrap();
    let truth: Vec<u8> = lack
        .iter()
        .flat_map(|chunk| &new_data[chunk.offset as usize..][..chunk.bytes])
        .copied()
        .collect();
    assert_eq!(got, truth);

    let index_frame = site.get(&path::index_from(new.id, old.id), &[]).await;
    let (from, whole) = (&old.files[2].1, &new.files[2].1);
    assert!(index_frame.body.len() < whole.len());
    assert_eq!(
        &delta::unpack(&index_frame.body, from, whole.len()).unwrap(),
        whole
    );
    site.get(&path::index_from(new.id, ReleaseId::new(random())), &[])
        .await
        .is(404, ProblemCode::NotFound);

    let nobody = [Digest::new(random())];
    ask(&site, &nobody, &[])
        .await
        .is(404, ProblemCode::NotFound);
    ask(&site, &want, &nobody)
        .await
        .is(409, ProblemCode::ObjectsMissing);
    ask(&site, &vec![want[0]; 1025], &[])
        .await
        .is(400, ProblemCode::BadRequest);
    let large = had.chunks().iter().max_by_key(|chunk| chunk.bytes).unwrap();
    let too_much = vec![large.digest; delta::MAX_BYTES / large.bytes + 1];
    ask(&site, &too_much, &[])
        .await
        .is(400, ProblemCode::BadRequest);
}

/// What the boot service answers.
async fn boot(site: &TestSite, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    answer_of(site_server::boot::router(site.site.clone()), request).await
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
