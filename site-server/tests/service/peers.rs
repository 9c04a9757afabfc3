//! What a site answers other sites, and nobody else.

use axum::http::{Method, StatusCode};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use site_api::{
    HeadInfo, ProblemCode, PutHead, Transfer, TransferState, path,
    peer::{
        Digest, DigestAnswer, DigestRow, HeadRecord, Records, TransferRequest, UserRecord,
        path as peer_path,
    },
};
use snapshot::id::{ObjectId, RecordId, SiteId, UserId};

use crate::support::{Person, TestSite, random_bytes};

const FRIEND: SiteId = SiteId::new([9; 16]);
const STRANGER: SiteId = SiteId::new([8; 16]);

async fn site() -> TestSite {
    let site = TestSite::new().await;
    site.site
        .store
        .add_site(FRIEND, "Friend", "https://127.0.0.1:1")
        .await
        .unwrap();
    site
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

fn user_record(person: &Person, version: u64) -> UserRecord {
    UserRecord {
        registration: person.registration(),
        password_phc: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA".into(),
        deleted: false,
        version,
        origin: FRIEND,
        sign_in_epoch: 0,
        second_factor: None,
    }
}

fn head(person: &Person, seq: u64) -> HeadRecord {
    let info = HeadInfo {
        epoch: 1,
        seq,
        record: RecordId::new([3; 32]),
        site: FRIEND,
        saved_ms: 5,
        pc: "pc-9".into(),
    };
    HeadRecord {
        user: person.user,
        info,
    }
}

#[tokio::test]
async fn every_address_between_sites_is_closed_to_pcs_and_to_unknown_sites() {
    let site = site().await;
    let (user, object, record) = (
        UserId::new([1; 16]),
        ObjectId::new([2; 32]),
        RecordId::new([3; 32]),
    );
    for (method, at) in [
        (Method::POST, peer_path::RECORDS.to_owned()),
        (Method::POST, peer_path::DIGEST.to_owned()),
        (Method::POST, peer_path::TRANSFERS.to_owned()),
        (Method::GET, peer_path::transfer(user)),
        (Method::GET, peer_path::record(user, record)),
        (Method::GET, peer_path::object(user, object)),
    ] {
        site.call(method.clone(), &at, &[], "{}")
            .await
            .is(403, ProblemCode::UnknownSite);
        site.as_peer(STRANGER, method.clone(), &at, b"{}".to_vec())
            .await
            .is(403, ProblemCode::UnknownSite);
        let friend = site.as_peer(FRIEND, method, &at, b"{}".to_vec()).await;
        assert_ne!(friend.status, StatusCode::FORBIDDEN, "{at}");
    }
}

#[tokio::test]
async fn the_newer_record_wins_whatever_comes_first() {
    let (site, hanako) = (site().await, Person::new("hanako"));
    for (version, name) in [(2, "hanako"), (1, "old"), (2, "hanako")] {
        let mut record = user_record(&hanako, version);
        record.registration.name = name.into();
        let records = Records {
            users: vec![record],
            heads: vec![head(&hanako, version)],
            ..Records::default()
        };
        let sent = site
            .as_peer(FRIEND, Method::POST, peer_path::RECORDS, json(&records))
            .await;
        assert_eq!(sent.status, StatusCode::NO_CONTENT);
    }
    assert!(site.site.store.user_by_name("old").await.unwrap().is_none());
    assert_eq!(
        site.site
            .store
            .head(hanako.user)
            .await
            .unwrap()
            .unwrap()
            .seq,
        2
    );
    let counters = site.site.store.counters().await.unwrap();
    assert!(
        counters.contains(&("furoshiki_records_received_total".into(), 2)),
        "{counters:?}"
    );

    let mut gone = user_record(&hanako, 3);
    gone.deleted = true;
    let records = Records {
        users: vec![gone],
        ..Records::default()
    };
    site.as_peer(FRIEND, Method::POST, peer_path::RECORDS, json(&records))
        .await;
    site.challenge(hanako.card.id)
        .await
        .is(404, ProblemCode::UnknownCard);
}

#[tokio::test]
async fn a_broken_record_does_not_hold_back_the_others() {
    let (site, hanako, taro) = (site().await, Person::new("hanako"), Person::new("taro"));
    let mut broken = user_record(&taro, 1);
    broken.password_phc = "tulip-4471".into();
    let records = Records {
        users: vec![broken, user_record(&hanako, 1)],
        ..Records::default()
    };
    let sent = site
        .as_peer(FRIEND, Method::POST, peer_path::RECORDS, json(&records))
        .await;
    assert_eq!(sent.status, StatusCode::NO_CONTENT);
    assert!(site.site.store.user(hanako.user).await.unwrap().is_some());
    assert!(site.site.store.user(taro.user).await.unwrap().is_none());
}

#[tokio::test]
async fn digests_say_what_each_side_lacks() {
    let (site, hanako) = (site().await, Person::new("hanako"));
    site.add(&hanako).await;
    let empty = site
        .as_peer(
            FRIEND,
            Method::POST,
            peer_path::DIGEST,
            json(&Digest::default()),
        )
        .await;
    let answer: DigestAnswer = empty.json();
    assert_eq!((answer.newer.users.len(), answer.wanted.len()), (1, 0));
    let newer = DigestRow {
        user: hanako.user,
        version: Some((1, 7, FRIEND)),
        deleted: false,
        head: None,
        settings: [None; 3],
    };
    let other = DigestRow {
        user: UserId::new([1; 16]),
        version: Some((1, 1, FRIEND)),
        deleted: false,
        head: None,
        settings: [None; 3],
    };
    let theirs = Digest {
        rows: vec![other, newer],
        ..Digest::default()
    };
    let answer: DigestAnswer = site
        .as_peer(FRIEND, Method::POST, peer_path::DIGEST, json(&theirs))
        .await
        .json();
    assert!(answer.newer.users.is_empty());
    assert_eq!(answer.wanted.len(), 2);
}

#[tokio::test]
async fn a_transfer_needs_a_known_user_and_a_known_source() {
    let (site, hanako) = (site().await, Person::new("hanako"));
    let mut asked = TransferRequest {
        user: hanako.user,
        head: head(&hanako, 1).info,
        from: STRANGER,
        arrives_ms: None,
    };
    let at = peer_path::TRANSFERS;
    site.as_peer(FRIEND, Method::POST, at, json(&asked))
        .await
        .is(404, ProblemCode::NotFound);
    site.as_peer(
        FRIEND,
        Method::GET,
        &peer_path::transfer(hanako.user),
        vec![],
    )
    .await
    .is(404, ProblemCode::NotFound);
    site.add(&hanako).await;
    site.as_peer(FRIEND, Method::POST, at, json(&asked))
        .await
        .is(403, ProblemCode::UnknownSite);
    asked.from = FRIEND;
    for _ in 0..2 {
        let taken = site.as_peer(FRIEND, Method::POST, at, json(&asked)).await;
        assert_eq!(
            taken.status,
            StatusCode::ACCEPTED,
            "asking again is the same transfer"
        );
    }
    let stands: Transfer = site
        .as_peer(
            FRIEND,
            Method::GET,
            &peer_path::transfer(hanako.user),
            vec![],
        )
        .await
        .json();
    assert_eq!(
        (stands.state, stands.from),
        (TransferState::Waiting, FRIEND)
    );
    assert_eq!(
        site.site
            .store
            .head(hanako.user)
            .await
            .unwrap()
            .unwrap()
            .seq,
        1
    );
}

#[tokio::test]
async fn a_site_hands_out_records_and_objects_it_has_whole() {
    let (site, hanako) = (site().await, Person::new("hanako"));
    site.add(&hanako).await;
    let token = site.sign_in(&hanako).await.token;
    let bytes = random_bytes(4000);
    site.put_object(&token, &bytes).await;
    let record = hanako.record(1, None, std::slice::from_ref(&bytes));
    let at = peer_path::record(hanako.user, record.id());
    site.as_peer(FRIEND, Method::GET, &at, vec![])
        .await
        .is(404, ProblemCode::NotFound);
    let put = PutHead {
        expected: None,
        record_b64: STANDARD.encode(record.as_bytes()),
        pc: "pc-1".into(),
    };
    site.json(Method::PUT, path::HEAD, &token, &put).await;
    assert_eq!(
        site.as_peer(FRIEND, Method::GET, &at, vec![])
            .await
            .body
            .as_ref(),
        record.as_bytes()
    );
    let at = peer_path::object(hanako.user, ObjectId::of(&bytes));
    assert_eq!(
        site.as_peer(FRIEND, Method::GET, &at, vec![])
            .await
            .body
            .as_ref(),
        bytes
    );
    let other = peer_path::object(UserId::new([1; 16]), ObjectId::of(&bytes));
    site.as_peer(FRIEND, Method::GET, &other, vec![])
        .await
        .is(404, ProblemCode::NotFound);
    let sent = 4000 + record.as_bytes().len() as u64;
    let counters = site.site.store.counters().await.unwrap();
    assert!(
        counters.contains(&("furoshiki_relay_bytes_sent_total".into(), sent)),
        "{counters:?}"
    );
}
