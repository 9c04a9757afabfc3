//! Baselines by chunks: stored once, sent to whoever lacks them.

use axum::http::{Method, StatusCode};
use site_api::{ChunksRequest, ProblemCode, ReleaseFile, ReleaseInfo, path};
use snapshot::{
    delta,
    id::{Digest, ReleaseId},
    image_index::{Cutter, ImageIndex},
};

use crate::{
    signed_release::Release,
    support::{Answer, TestSite, random, random_bytes},
};

/// The files the site keeps chunks in.
pub(crate) fn packs(site: &TestSite) -> Vec<std::path::PathBuf> {
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
async fn a_chunk_of_two_releases_is_stored_once_on_the_disk_and_sent_to_whoever_lacks_it() {
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
