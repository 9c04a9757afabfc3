//! Releases as an operator publishes them, small and random.

use axum::http::Method;
use site_api::{ReleaseFile, path};
use snapshot::{
    baseline::{
        self, BLOCK_BYTES, BaselineManifest, Boot, BootFile, Files, Image, Restore, baseline_id,
    },
    id::{Digest, ReleaseId, RootHash, VeritySalt},
    image_index::Cutter,
};

use crate::support::{Answer, TestSite, random, random_bytes};

pub(crate) struct Release {
    pub(crate) id: ReleaseId,
    pub(crate) seed: [u8; 32],
    pub(crate) files: Vec<(ReleaseFile, Vec<u8>)>,
    pub(crate) manifest: BaselineManifest,
}

fn digest(bytes: &[u8]) -> Digest {
    Digest::new(*blake3::hash(bytes).as_bytes())
}

impl Release {
    pub(crate) fn new() -> Self {
        Self::built(1_700_000_000)
    }

    pub(crate) fn file(&self, file: ReleaseFile) -> &[u8] {
        let found = self.files.iter().find(|(one, _)| *one == file);
        &found.unwrap().1
    }

    pub(crate) fn built(build_timestamp: i64) -> Self {
        Self::made(random(), random_bytes(2 * 4096), build_timestamp)
    }

    /// A release whose image is this data behind a tree of one block.
    pub(crate) fn of(seed: [u8; 32], data: Vec<u8>) -> Self {
        Self::made(seed, data, 1_700_000_000)
    }

    fn made(seed: [u8; 32], data: Vec<u8>, build_timestamp: i64) -> Self {
        Self::forbidding(seed, data, build_timestamp, 0)
    }

    /// As [`Self::of`], built at a time, which forbids older ones than another.
    pub(crate) fn forbidding(
        seed: [u8; 32],
        data: Vec<u8>,
        build_timestamp: i64,
        minimum: i64,
    ) -> Self {
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

    pub(crate) fn trust(&self, site: &TestSite) {
        let file = site.dir.path().join("release.pub");
        let key = hex::encode(baseline::release_public_key(&self.seed));
        std::fs::write(&file, format!("{key}\n")).unwrap();
        let second = site.second.as_ref().map(|second| second.data());
        for data in [Some(site.site.layout.root()), second]
            .into_iter()
            .flatten()
        {
            site_server::admin::set_release_key(data, &file).unwrap();
        }
    }

    pub(crate) async fn put(&self, site: &TestSite, file: ReleaseFile, bytes: Vec<u8>) -> Answer {
        let bearer = operator(site);
        site.call(
            Method::PUT,
            &path::release_file(self.id, file),
            &[("authorization", &bearer)],
            bytes,
        )
        .await
    }

    pub(crate) async fn upload(&self, site: &TestSite) {
        for (file, bytes) in &self.files {
            let put = self.put(site, *file, bytes.clone()).await;
            assert!(put.status.is_success(), "{}: {}", file.name(), put.text());
        }
    }

    pub(crate) async fn commit(&self, site: &TestSite) -> Answer {
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

pub(crate) fn operator(site: &TestSite) -> String {
    let token = std::fs::read_to_string(site.site.layout.operator_token()).unwrap();
    format!("Bearer {}", token.trim())
}
