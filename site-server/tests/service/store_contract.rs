//! What every store must do. There is one so far; another back end runs the same suite.

use axum::body::Bytes;
use site_api::HeadInfo;
use site_server::{
    config::Layout,
    store::{NewHead, Origin, Put, PutHeadOutcome, Store, StoreError, WaitingKind},
};
use snapshot::id::{ObjectId, RecordId, SiteId, UserId};

use crate::support::{Person, random, random_bytes};

/// Runs the suite on a store and, where something must survive, on the same store opened again.
async fn contract<F: Future<Output = Store>>(open: impl Fn() -> F) {
    objects_are_whole_or_not_there(&open().await).await;
    the_head_moves_only_from_what_was_expected(&open().await).await;
    a_change_and_its_outbox_rows_are_one(&open().await).await;
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
    let person = Person::new("outbox");
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
        (first.len(), first[0].user, first[0].kind),
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
        ..Person::new("outbox")
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
    let (mut file, len) = store
        .open_object(user, ObjectId::of(&bytes))
        .await
        .unwrap()
        .unwrap();
    let mut back = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut file, &mut back)
        .await
        .unwrap();
    assert_eq!((back, len), (bytes, 100));
}

#[tokio::test]
async fn sqlite_and_files_keep_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    contract(async || Store::open(Layout::new(dir.path())).await.unwrap()).await;
}

#[tokio::test]
async fn a_database_that_is_damaged_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    Store::open(layout.clone()).await.unwrap().close().await;
    let mut bytes = std::fs::read(layout.database()).unwrap();
    let end = bytes.len().min(40_000);
    bytes[4096..end].fill(0xA5);
    std::fs::write(layout.database(), bytes).unwrap();
    assert!(Store::open(layout).await.is_err());
}
