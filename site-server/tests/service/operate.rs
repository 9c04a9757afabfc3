//! Check, delete, copy, put back, move.

use std::{path::Path, time::Duration};

use site_server::{
    config::{Layout, SiteConfig},
    operate::{self, OperateError, Show, check},
    store::{DatabaseConfig, ObjectsConfig, StoreError},
};
use snapshot::id::ObjectId;

use crate::{
    bucket::objects_of_a_site,
    postgres::{Postgres, database_of_a_site},
    support::{Person, register},
    world::{World, bytes_of, eventually, objects},
};

/// A running site with a user who saved so many times, and what he saved.
async fn saved(times: u64) -> (World, Person, Vec<Vec<u8>>) {
    let world = World::of(1).await;
    let hanako = Person::new("hanako");
    register(world.sites[0].layout.root(), &hanako).await;
    let pc = world.sites[0].sign_in(&hanako).await;
    let (mut all, mut last) = (Vec::new(), None);
    for seq in 1..=times {
        let new = objects(3);
        all.extend(new.iter().cloned());
        let previous = last
            .as_ref()
            .map(|record: &snapshot::record::SignedRecord| record.id());
        let record = hanako.record(seq, previous, &new);
        pc.push(&record, last.as_ref(), &new).await;
        last = Some(record);
    }
    (world, hanako, all)
}

async fn clean(data: &Path) -> operate::CheckReport {
    let report = check(data, false, Show::Nothing).await.unwrap();
    assert!(report.faults.is_empty(), "{report}");
    report
}

/// Every file below the folder of objects, by the name of the object.
fn file_of(layout: &Layout, object: ObjectId) -> std::path::PathBuf {
    walkdir::WalkDir::new(layout.objects())
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .find(|path| path.to_string_lossy().contains(&object.to_string()))
        .unwrap()
}

#[tokio::test]
async fn check_names_every_damage_on_the_disk() {
    let (world, hanako, all) = saved(2).await;
    let layout = world.sites[0].layout.clone();
    let report = clean(layout.root()).await;
    assert_eq!((report.objects, report.records, report.heads), (6, 2, 1));
    assert_eq!(report.object_bytes, bytes_of(&all));
    if !SiteConfig::load(&layout).unwrap().objects.is_default() {
        // Whoever could damage a bucket from here could do so by its own protocol alone.
        return world.stop().await;
    }
    let names: Vec<_> = all.iter().map(|bytes| ObjectId::of(bytes)).collect();
    let flipped = file_of(&layout, names[0]);
    let mut bytes = std::fs::read(&flipped).unwrap();
    bytes[77_777] ^= 1;
    std::fs::write(&flipped, bytes).unwrap();
    std::fs::remove_file(file_of(&layout, names[1])).unwrap();
    let cut = std::fs::File::options()
        .write(true)
        .open(file_of(&layout, names[2]));
    cut.unwrap().set_len(1000).unwrap();
    std::fs::write(file_of(&layout, names[3]).with_extension("stray"), b"x").unwrap();

    let codes = |report: operate::CheckReport| {
        let mut found: Vec<_> = report
            .faults
            .into_iter()
            .map(|f| (f.code, f.about))
            .collect();
        found.sort();
        found
    };
    let about = |n: usize| format!("{}/{}", hanako.user, names[n]);
    let quick = check(layout.root(), true, Show::Nothing).await.unwrap();
    let sizes = [("object-gone", about(1)), ("object-length", about(2))];
    assert_eq!(codes(quick), sizes);
    let whole = check(layout.root(), false, Show::Nothing).await.unwrap();
    let [gone, length] = sizes;
    assert_eq!(codes(whole), [gone, ("object-hash", about(0)), length]);
    world.stop().await;
}

#[tokio::test]
async fn a_backup_of_a_running_site_is_that_site_again() {
    let (mut world, hanako, mut all) = saved(3).await;
    let data = world.sites[0].layout.root().to_owned();
    let folder = world.dir.path().join("backup");
    let first = operate::backup(&data, &folder, false, Show::Nothing)
        .await
        .unwrap();
    assert_eq!((first.objects, first.object_bytes), (9, bytes_of(&all)));
    assert!(first.copied_bytes > first.object_bytes);
    assert!(first.secrets.iter().any(|path| path.ends_with("site.key")));
    let nothing = operate::backup(&data, &folder, true, Show::Nothing)
        .await
        .unwrap();
    assert_eq!(nothing.copied_bytes, 0, "nothing is new");

    let pc = world.sites[0].sign_in(&hanako).await;
    let head = pc.head().await;
    let new = objects(2);
    let last = hanako.record(4, Some(head.info.record), &new);
    let put = site_api::PutHead {
        expected: Some(head.info.record),
        record_b64: base64::Engine::encode(&base64::prelude::BASE64_STANDARD, last.as_bytes()),
        pc: "pc-1".into(),
    };
    for bytes in &new {
        let at = world.sites[0].url() + &site_api::path::object(ObjectId::of(bytes));
        let sent = world.sites[0]
            .client
            .put(at)
            .bearer_auth(&pc.token)
            .body(bytes.clone());
        assert!(sent.send().await.unwrap().status().is_success());
    }
    let (_, _): (_, site_api::Head) = pc
        .json(reqwest::Method::PUT, site_api::path::HEAD, &put)
        .await;
    all.extend(new.iter().cloned());
    let second = operate::backup(&data, &folder, false, Show::Nothing)
        .await
        .unwrap();
    assert_eq!(
        (second.objects, second.copied_bytes),
        (11, bytes_of(&new)),
        "only what is new"
    );
    world.sites[0].stop().await;

    // Into what the first site has, and into the data folder alone.
    let homes = [
        (database_of_a_site().await, objects_of_a_site()),
        (DatabaseConfig::default(), ObjectsConfig::default()),
    ];
    for (n, (database, bucket)) in homes.into_iter().enumerate() {
        let again = world.dir.path().join(format!("again-{n}"));
        let restored = operate::restore_backup(&folder, &again, &database, &bucket, Show::Nothing)
            .await
            .unwrap();
        assert_eq!(restored.object_bytes, bytes_of(&all));
        clean(&again).await;
        let refused = operate::restore_backup(&folder, &again, &database, &bucket, Show::Nothing);
        let refused = format!("{:#}", anyhow_of(refused.await.unwrap_err()));
        assert!(refused.contains("already holds a site"), "{refused}");
        world.sites[0].layout = Layout::new(&again);
        world.sites[0].start().await;
        let pc = world.sites[0].sign_in(&hanako).await;
        assert_eq!(pc.head().await.info.record, last.id());
        for bytes in &all {
            assert_eq!(&pc.object(bytes).await, bytes);
        }
        world.sites[0].stop().await;
    }
}

fn anyhow_of(error: OperateError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[tokio::test]
async fn a_damaged_backup_is_refused_and_mended_by_the_next() {
    let (world, _, all) = saved(1).await;
    let data = world.sites[0].layout.root().to_owned();
    let folder = world.dir.path().join("backup");
    operate::backup(&data, &folder, false, Show::Nothing)
        .await
        .unwrap();
    let damaged = walkdir::WalkDir::new(folder.join("objects"))
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .find(|path| path.ends_with(ObjectId::of(&all[1]).to_string()))
        .unwrap();
    let mut bytes = all[1].clone();
    bytes[1] ^= 0x80;
    std::fs::write(&damaged, bytes).unwrap();
    let again = world.dir.path().join("again");
    let restore = async || {
        let home = (DatabaseConfig::default(), ObjectsConfig::default());
        operate::restore_backup(&folder, &again, &home.0, &home.1, Show::Nothing).await
    };
    assert!(matches!(restore().await, Err(OperateError::Damaged(path)) if path == damaged));
    assert!(!Layout::new(&again).config().exists(), "no site came of it");
    let mended = operate::backup(&data, &folder, true, Show::Nothing)
        .await
        .unwrap();
    assert_eq!(mended.copied_bytes, all[1].len() as u64);
    // The same folder: it goes on where it stopped.
    restore().await.unwrap();
    clean(&again).await;
    let other = World::of(1).await;
    let theirs = operate::backup(other.sites[0].layout.root(), &folder, false, Show::Nothing).await;
    assert!(matches!(theirs, Err(OperateError::OtherSite { .. })));
    other.stop().await;
    world.stop().await;
}

#[tokio::test]
async fn a_site_moves_to_another_store_and_back() {
    let (mut world, hanako, all) = saved(2).await;
    let data = world.sites[0].layout.root().to_owned();
    let config = SiteConfig::load(&world.sites[0].layout).unwrap();
    let home = (config.database, config.objects);
    let postgres;
    let away = if home.0.is_default() {
        postgres = Postgres::start();
        (postgres.config(), ObjectsConfig::default())
    } else {
        (DatabaseConfig::default(), ObjectsConfig::default())
    };
    let move_to = async |(database, objects): (DatabaseConfig, ObjectsConfig)| {
        operate::migrate(&data, database, objects, Show::Nothing).await
    };
    let refused = move_to(away.clone()).await;
    assert!(
        matches!(refused, Err(OperateError::Serving(_))),
        "its server runs"
    );
    let of = |data: &Path| {
        let config = SiteConfig::load(&Layout::new(data)).unwrap();
        (config.database, config.objects)
    };
    assert_eq!(of(&data), home, "nothing was switched");
    for there in [away, home] {
        world.sites[0].stop().await;
        let moved = move_to(there.clone()).await.unwrap();
        assert!(moved.rows > 0);
        assert_eq!(of(&data), there);
        clean(&data).await;
        world.sites[0].start().await;
        let pc = world.sites[0].sign_in(&hanako).await;
        assert_eq!(pc.head().await.info.seq, 2);
        for bytes in &all {
            assert_eq!(&pc.object(bytes).await, bytes);
        }
    }
    let (other, mut here) = (World::of(1).await, of(&data));
    world.sites[0].stop().await;
    if here.0.is_default() {
        // A database of another site, which must not become this one's.
        here.0 = Postgres::start().config();
        let theirs = operate::restore_backup(
            Path::new("/nowhere"),
            &data,
            &here.0,
            &here.1,
            Show::Nothing,
        );
        assert!(theirs.await.is_err());
    } else {
        here.0 = SiteConfig::load(&other.sites[0].layout).unwrap().database;
        let taken = move_to(here).await.unwrap_err();
        assert!(anyhow_of(taken).contains("is that of site"));
    }
    other.stop().await;
}

#[tokio::test]
async fn gc_by_hand_deletes_what_is_not_needed_and_says_so_before() {
    let (world, hanako, _) = saved(1).await;
    let layout = world.sites[0].layout.clone();
    let pc = world.sites[0].sign_in(&hanako).await;
    let stray = objects(1);
    let at = world.sites[0].url() + &site_api::path::object(ObjectId::of(&stray[0]));
    let sent = world.sites[0]
        .client
        .put(at)
        .bearer_auth(&pc.token)
        .body(stray[0].clone());
    assert!(sent.send().await.unwrap().status().is_success());
    let none = operate::collect(layout.root(), Duration::ZERO, false).await;
    assert!(
        matches!(none, Err(OperateError::Serving(_))),
        "a PC may be pushing"
    );
    let mut world = world;
    world.sites[0].stop().await;
    // The first look notes that nobody needs it, as the server's hourly one does.
    let day = Duration::from_secs(24 * 3600);
    let first = operate::collect(layout.root(), day, false).await.unwrap();
    assert_eq!((first.objects, first.uploads), (0, 0));
    eventually("the clock moved on", async || {
        let dry = operate::collect(layout.root(), Duration::ZERO, true)
            .await
            .unwrap();
        (dry.objects, dry.object_bytes) == (1, 200_000)
    })
    .await;
    assert_eq!(clean(layout.root()).await.objects, 4, "nothing went yet");
    let done = operate::collect(layout.root(), Duration::ZERO, false)
        .await
        .unwrap();
    assert_eq!(done.objects, 1);
    assert_eq!(clean(layout.root()).await.objects, 3);
}

#[test]
fn an_error_says_what_to_do() {
    let text = OperateError::Serving("x").to_string();
    assert!(text.contains("stop furoshiki-site serve"), "{text}");
    let text = OperateError::Store(StoreError::Bucket("y"));
    assert!(anyhow_of(text).contains("[objects]"));
}
