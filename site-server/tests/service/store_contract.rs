//! What every store must do, on every database there is.

use std::{path::Path, time::Duration};

use axum::body::Bytes;
use site_api::{HeadInfo, ReleaseFile};
use site_server::{
    config::{Layout, SiteConfig},
    store::{
        Asked, DatabaseConfig, NewHead, ObjectsConfig, Origin, Put, PutHeadOutcome, Store,
        StoreError, WaitingKind,
    },
};
use snapshot::id::{CardId, ObjectId, RecordId, ReleaseId, SiteId, UserId};

use crate::{
    bucket::Cluster,
    postgres::Postgres,
    support::{Person, make, random, random_bytes},
    world::eventually,
};

/// Runs the suite on a store and, where something must survive, on the same store opened again.
pub(crate) async fn contract<F: Future<Output = Store>>(open: impl Fn() -> F) {
    objects_are_whole_or_not_there(&open().await).await;
    the_head_moves_only_from_what_was_expected(&open().await).await;
    a_change_and_its_outbox_rows_are_one(&open().await).await;
    a_release_file_is_replaced_whole(&open().await).await;
    a_challenge_is_answered_once(&open().await).await;
    a_job_is_done_by_one_server_and_taken_over(&open().await, &open().await).await;
    what_was_acknowledged_survives(open).await;
}

async fn put(
    store: &Store,
    user: UserId,
    object: ObjectId,
    bytes: &[u8],
) -> Result<Put, StoreError> {
    let pieces: Vec<_> = bytes
        .chunks(1000)
        .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)))
        .collect();
    store
        .put_object(
            (user, object),
            None,
            Origin::Pc,
            futures_util::stream::iter(pieces),
        )
        .await
}

async fn objects_are_whole_or_not_there(store: &Store) {
    let (user, bytes) = (UserId::new(random()), random_bytes(5500));
    let object = ObjectId::of(&bytes);
    assert!(matches!(
        put(store, user, object, &bytes[..5000]).await,
        Err(StoreError::WrongHash { .. })
    ));
    assert_eq!(store.object_bytes(user, object).await.unwrap(), None);
    assert_eq!(put(store, user, object, &bytes).await.unwrap(), Put::New);
    assert_eq!(
        put(store, user, object, &bytes).await.unwrap(),
        Put::AlreadyThere
    );
    assert_eq!(store.object_bytes(user, object).await.unwrap(), Some(5500));
    assert_eq!(
        store
            .object_bytes(UserId::new(random()), object)
            .await
            .unwrap(),
        None,
        "another user's is not seen"
    );

    let rivals: Vec<_> = (0..8).map(|_| put(store, user, object, &bytes)).collect();
    for put in futures_util::future::join_all(rivals).await {
        assert_eq!(put.unwrap(), Put::AlreadyThere);
    }
}

fn info(seq: u64, site: SiteId) -> HeadInfo {
    HeadInfo {
        epoch: 1,
        seq,
        record: RecordId::new(random()),
        site,
        saved_ms: 1,
        pc: "pc-1".into(),
    }
}

async fn the_head_moves_only_from_what_was_expected(store: &Store) {
    let (user, site) = (UserId::new(random()), SiteId::new(random()));
    let offer = async |expected, info: &HeadInfo| {
        let new = NewHead {
            user,
            expected,
            info: info.clone(),
            bytes: b"record",
            objects: &[],
        };
        store.put_head(&new).await.unwrap()
    };
    let (first, second) = (info(1, site), info(2, site));
    assert_eq!(
        offer(Some(second.record), &first).await,
        PutHeadOutcome::Moved(None)
    );
    assert_eq!(
        offer(None, &second).await,
        PutHeadOutcome::OutOfSequence { want: 1 }
    );
    assert_eq!(
        offer(None, &first).await,
        PutHeadOutcome::New(first.clone())
    );
    assert_eq!(
        offer(None, &first).await,
        PutHeadOutcome::Same(first.clone())
    );
    assert_eq!(
        offer(None, &info(1, site)).await,
        PutHeadOutcome::Moved(Some(first.clone()))
    );
    assert_eq!(
        offer(Some(first.record), &second).await,
        PutHeadOutcome::New(second.clone())
    );
    let lacking = ObjectId::new([1; 32]);
    let new = NewHead {
        user,
        expected: Some(second.record),
        info: info(3, site),
        bytes: b"record",
        objects: &[(lacking, 1)],
    };
    assert_eq!(
        store.put_head(&new).await.unwrap(),
        PutHeadOutcome::ObjectsMissing(vec![lacking])
    );
    assert_eq!(store.head(user).await.unwrap(), Some(second));
}

async fn a_change_and_its_outbox_rows_are_one(store: &Store) {
    let (near, far) = (SiteId::new(random()), SiteId::new(random()));
    store.add_site(far, "far", "https://far").await.unwrap();
    let name = format!("outbox-{}", hex::encode(random::<4>()));
    let person = Person::new(&name);
    let phc = "$argon2id$x".to_owned();
    assert_eq!(
        store
            .add_user(person.registration(), phc.clone(), near)
            .await
            .unwrap(),
        1
    );
    let first = store.waiting(far, 10).await.unwrap();
    assert_eq!(
        (first.len(), first[0].user(), first[0].kind),
        (1, person.user, WaitingKind::User)
    );
    // A change while the first is on its way stays in the outbox.
    assert_eq!(
        store
            .add_user(person.registration(), phc.clone(), near)
            .await
            .unwrap(),
        2
    );
    store.told(far, &first).await.unwrap();
    let second = store.waiting(far, 10).await.unwrap();
    assert_eq!(second.len(), 1);
    store.told(far, &second).await.unwrap();
    assert!(store.waiting(far, 10).await.unwrap().is_empty());

    let other = Person {
        card: crate::support::Card::new(),
        ..Person::new(&name)
    };
    assert!(
        store
            .add_user(other.registration(), phc, near)
            .await
            .is_err(),
        "the name is taken"
    );
    assert!(
        store.waiting(far, 10).await.unwrap().is_empty(),
        "what failed tells nobody"
    );
}

async fn a_release_file_is_replaced_whole(store: &Store) {
    let release = ReleaseId::new(random());
    let file = ReleaseFile::Index;
    let read = async || store.read_release_file(release, file, 10_000).await;
    assert_eq!(read().await.unwrap(), None);
    for bytes in [random_bytes(6000), random_bytes(5000)] {
        let pieces = [Ok::<_, std::io::Error>(Bytes::from(bytes.clone()))];
        let staged = store.stage_release_file(futures_util::stream::iter(pieces));
        let staged = staged.await.unwrap();
        store
            .put_release_file((release, file), staged)
            .await
            .unwrap();
        assert_eq!(read().await.unwrap().unwrap(), bytes);
        let found = store.open_release_file(release, file).await.unwrap();
        let found = found.unwrap();
        let parts = found.parts(&[4000..4100, 0..10, 10..20]).await.unwrap();
        assert_eq!(parts.concat(), [&bytes[4000..4100], &bytes[..20]].concat());
        let digest = store.digest_release_file(release, file).await.unwrap();
        let want = (bytes.len() as u64, ObjectId::of(&bytes));
        assert_eq!(digest, Some(want));
    }
    let small = store.read_release_file(release, file, 4999).await;
    assert!(matches!(small, Err(StoreError::TooLarge { limit: 4999 })));
}

async fn a_challenge_is_answered_once(store: &Store) {
    let asked = |expires_ms| Asked {
        card: CardId::new(random()),
        user: UserId::new(random()),
        answer: random(),
        expires_ms,
    };
    let later = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64 + 60_000;
    let [first, second, third] = [later, later + 1, later + 2].map(asked);
    let names: [String; 3] = [(); 3].map(|()| hex::encode(random::<16>()));
    store.add_challenge(&names[0], &first, 9).await.unwrap();
    assert_eq!(store.take_challenge(&names[0]).await.unwrap(), Some(first));
    assert_eq!(store.take_challenge(&names[0]).await.unwrap(), None);
    // Those that die first make room.
    for (name, asked) in names.iter().zip([first, second, third]) {
        store.add_challenge(name, &asked, 1).await.unwrap();
    }
    assert_eq!(store.take_challenge(&names[0]).await.unwrap(), None);
    assert_eq!(store.take_challenge(&names[2]).await.unwrap(), Some(third));
}

async fn a_job_is_done_by_one_server_and_taken_over(one: &Store, other: &Store) {
    let minute = Duration::from_secs(60);
    let job = format!("job {}", hex::encode(random::<4>()));
    assert!(one.take_job(&job, minute).await.unwrap());
    assert!(!other.take_job(&job, minute).await.unwrap());
    assert!(one.take_job(&job, minute).await.unwrap(), "renewed");
    other.leave_job(&job).await.unwrap();
    assert!(!other.take_job(&job, minute).await.unwrap(), "not theirs");
    let while_taken = async { other.alone(&job, async { "theirs" }).await.unwrap() };
    let done = one.alone(&job, while_taken).await.unwrap();
    assert_eq!(done, Some(None), "one works, the other does not");
    let done = other.alone(&job, async { "theirs" }).await.unwrap();
    assert_eq!(done, Some("theirs"), "given back when done");

    // Whoever says nothing for too long has lost it.
    let moment = Duration::from_millis(100);
    assert!(one.take_job(&job, moment).await.unwrap());
    eventually("the job is taken over", async || {
        other.take_job(&job, minute).await.unwrap()
    })
    .await;
    assert!(!one.take_job(&job, minute).await.unwrap());
    other.leave_jobs().await.unwrap();
    assert!(one.take_job(&job, minute).await.unwrap());

    let rivals: Vec<_> = (0..8)
        .map(|n| if n % 2 == 0 { one } else { other })
        .map(|store| store.take_job("a race", minute))
        .collect();
    let taken = futures_util::future::join_all(rivals).await;
    let by_one: Vec<_> = taken
        .iter()
        .step_by(2)
        .map(|t| *t.as_ref().unwrap())
        .collect();
    let by_other: Vec<_> = taken
        .iter()
        .skip(1)
        .step_by(2)
        .map(|t| *t.as_ref().unwrap())
        .collect();
    assert!(
        by_one.iter().all(|t| *t) != by_other.iter().all(|t| *t)
            && by_one.iter().any(|t| *t) != by_other.iter().any(|t| *t),
        "{by_one:?} {by_other:?}"
    );
    one.leave_jobs().await.unwrap();
    other.leave_jobs().await.unwrap();
}

async fn what_was_acknowledged_survives<F: Future<Output = Store>>(open: impl Fn() -> F) {
    let (user, bytes, site) = (
        UserId::new(random()),
        random_bytes(100),
        SiteId::new(random()),
    );
    let head = info(1, site);
    let store = open().await;
    put(&store, user, ObjectId::of(&bytes), &bytes)
        .await
        .unwrap();
    let new = NewHead {
        user,
        expected: None,
        info: head.clone(),
        bytes: b"r",
        objects: &[(ObjectId::of(&bytes), 100)],
    };
    store.put_head(&new).await.unwrap();
    let store = open().await;
    assert_eq!(store.head(user).await.unwrap(), Some(head.clone()));
    assert_eq!(
        store.record(user, head.record).await.unwrap(),
        Some((b"r".to_vec(), 100))
    );
    let object = store.object(user, ObjectId::of(&bytes)).await;
    let object = object.unwrap().unwrap();
    let read = async |part| object.open(part).await.unwrap().bytes().await.unwrap();
    assert_eq!(object.bytes(), 100);
    assert_eq!(read(0..100).await, bytes);
    assert_eq!(read(20..50).await, bytes[20..50]);
}

#[tokio::test]
async fn sqlite_and_files_keep_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let database = DatabaseConfig::default();
    contract(async || open(dir.path(), &database).await.unwrap()).await;
}

#[tokio::test]
async fn postgresql_and_files_keep_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let postgres = Postgres::start();
    let database = postgres.config();
    contract(async || open(dir.path(), &database).await.unwrap()).await;
}

#[tokio::test]
async fn postgresql_and_s3_keep_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let (postgres, mut cluster) = (Postgres::start(), Cluster::start().await);
    let (database, objects) = (postgres.config(), cluster.bucket().await);
    let open = async || {
        let store = Store::open(Layout::new(dir.path()), &database, &objects).await;
        let store = store.unwrap();
        let can = store.probe_objects().await.unwrap();
        assert!(
            can.named().iter().all(|(_, can)| *can),
            "SeaweedFS does all of it: {can:?}"
        );
        store
    };
    contract(&open).await;
    a_big_object_comes_back(&open().await).await;
    assert_eq!(
        std::fs::read_dir(dir.path().join("objects"))
            .unwrap()
            .count(),
        0,
        "nothing but rows and bytes in the bucket"
    );
    // Every promise holds while one volume server is away.
    cluster.kill_volume_server(0);
    contract(&open).await;
}

/// More than leaves in one request.
pub(crate) async fn a_big_object_comes_back(store: &Store) {
    let (user, bytes) = (UserId::new(random()), random_bytes(20 << 20));
    let object = ObjectId::of(&bytes);
    assert_eq!(put(store, user, object, &bytes).await.unwrap(), Put::New);
    let stored = store.object(user, object).await.unwrap().unwrap();
    let back = stored.open(0..stored.bytes()).await.unwrap();
    assert!(back.bytes().await.unwrap() == bytes);
}

async fn open(data: &Path, database: &DatabaseConfig) -> Result<Store, StoreError> {
    Store::open(Layout::new(data), database, &ObjectsConfig::default()).await
}

#[tokio::test]
async fn a_bucket_that_is_none_is_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "very secret\n").unwrap();
    let keys = ObjectsConfig {
        access_key: Some("site".into()),
        secret_file: Some(secret),
        ..ObjectsConfig::default()
    };
    for (address, reason) in [
        ("bucket", "is no URL"),
        ("ftp://host/bucket", "does not begin with https://"),
        ("https://host/", "names no bucket"),
        ("https://key:word@host/bucket", "belongs into"),
    ] {
        let objects = ObjectsConfig {
            s3: Some(address.into()),
            ..keys.clone()
        };
        let refused = refused(dir.path(), &objects).await;
        assert!(refused.contains(reason), "{address}: {refused}");
        assert!(!refused.contains("word"), "{refused}");
    }
    let no_secret = ObjectsConfig {
        s3: Some("https://host/bucket".into()),
        ..ObjectsConfig::default()
    };
    assert!(
        refused(dir.path(), &no_secret)
            .await
            .contains("secret_file")
    );
}

async fn refused(data: &Path, objects: &ObjectsConfig) -> String {
    let store = Store::open(Layout::new(data), &DatabaseConfig::default(), objects).await;
    store.unwrap_err().to_string()
}

#[tokio::test]
async fn a_database_belongs_to_one_site() {
    let dir = tempfile::tempdir().unwrap();
    let postgres = Postgres::start();
    for database in [DatabaseConfig::default(), postgres.config()] {
        let (ours, theirs) = (SiteId::new(random()), SiteId::new(random()));
        let store = open(dir.path(), &database).await.unwrap();
        store.claim(ours).await.unwrap();
        store.claim(ours).await.unwrap();
        let refused = store.claim(theirs).await.unwrap_err();
        assert!(
            matches!(refused, StoreError::OtherSite { have, want } if have == ours && want == theirs),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn a_site_is_made_where_making_one_broke_off() {
    let dir = tempfile::tempdir().unwrap();
    let database = DatabaseConfig::default();
    let before = open(&dir.path().join("site"), &database).await.unwrap();
    assert_eq!(before.owner().await.unwrap(), None);
    before.close().await;
    let layout = make(&dir, "site").await;
    let site = SiteConfig::load(&layout).unwrap().site;
    let store = open(layout.root(), &database).await.unwrap();
    assert_eq!(store.owner().await.unwrap(), Some(site));
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    for (address, reason) in [
        ("mysql://db/site", "does not begin with postgres://"),
        ("site.db", "is no URL"),
        (
            "postgres://site:secret@db/site",
            "belongs into password_file",
        ),
    ] {
        let database = DatabaseConfig {
            postgres: Some(address.into()),
            password_file: None,
        };
        let refused = open(dir.path(), &database).await.unwrap_err().to_string();
        assert!(refused.contains(reason), "{address}: {refused}");
        assert!(!refused.contains("secret"), "{refused}");
    }
    let database = DatabaseConfig {
        postgres: Some("postgres://site@db/site".into()),
        password_file: Some(dir.path().join("nothing")),
    };
    let refused = open(dir.path(), &database).await.unwrap_err().to_string();
    assert!(refused.contains("nothing"), "{refused}");
}

/// A head is written by who was first, whatever connection he has.
#[tokio::test]
async fn of_heads_written_at_once_one_wins() {
    let dir = tempfile::tempdir().unwrap();
    let postgres = Postgres::start();
    for database in [DatabaseConfig::default(), postgres.config()] {
        let mut stores = Vec::new();
        for _ in 0..4 {
            stores.push(open(dir.path(), &database).await.unwrap());
        }
        let (user, site) = (UserId::new(random()), SiteId::new(random()));
        for seq in 1..=5 {
            let before = stores[0].head(user).await.unwrap();
            let rivals = stores.iter().map(|store| async {
                let new = NewHead {
                    user,
                    expected: before.as_ref().map(|head| head.record),
                    info: info(seq, site),
                    bytes: b"record",
                    objects: &[],
                };
                store.put_head(&new).await.unwrap()
            });
            let outcomes = futures_util::future::join_all(rivals).await;
            let won = |outcome: &&PutHeadOutcome| matches!(outcome, PutHeadOutcome::New(_));
            assert_eq!(outcomes.iter().filter(won).count(), 1, "{outcomes:?}");
        }
    }
}

#[tokio::test]
async fn a_database_that_is_damaged_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let database = DatabaseConfig::default();
    let store = open(dir.path(), &database).await.unwrap();
    store.close().await;
    let mut bytes = std::fs::read(layout.database()).unwrap();
    let end = bytes.len().min(40_000);
    bytes[4096..end].fill(0xA5);
    std::fs::write(layout.database(), bytes).unwrap();
    assert!(open(dir.path(), &database).await.is_err());
}
