//! Snapshots that arrive without their user: what the signature of a record allows, and nothing beyond.

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use site_api::{
    Delivery, DeliveryGrant, DeliveryRequest, Head, Missing, MissingRequest, ProblemCode,
    ProblemWithHead, PutHead, path,
};
use site_server::store::{MAX_DELIVERIES, TokenKind};
use snapshot::{
    id::{ObjectId, RecordId},
    record::{MAX_BYTES, SignedRecord},
};

use crate::support::{Answer, Person, TestSite, random_bytes};

/// A user who saved once, and a second snapshot that waits on a PC.
struct Waiting {
    site: TestSite,
    person: Person,
    signed_in: String,
    first: SignedRecord,
    second: SignedRecord,
    /// Objects of the second snapshot; the first of them is at the site already.
    objects: Vec<Vec<u8>>,
}

impl Waiting {
    async fn new() -> Self {
        let site = TestSite::new().await;
        let person = Person::new("hanako");
        site.add(&person).await;
        let signed_in = site.sign_in(&person).await.token;
        let objects: Vec<_> = (0..3).map(|n| random_bytes(3000 + n)).collect();
        site.put_object(&signed_in, &objects[0]).await;
        let first = person.record(1, None, &objects[..1]);
        let second = person.record(2, Some(first.id()), &objects);
        let waiting = Self {
            site,
            person,
            signed_in,
            first,
            second,
            objects,
        };
        let put = waiting.head(&waiting.signed_in, &waiting.first, None).await;
        assert_eq!(put.status, StatusCode::CREATED);
        waiting
    }

    async fn ask(&self, record: &[u8]) -> Answer {
        let request = DeliveryRequest {
            record_b64: STANDARD.encode(record),
        };
        self.site
            .json(Method::POST, path::DELIVERIES, "", &request)
            .await
    }

    async fn grant(&self) -> DeliveryGrant {
        let answer = self.ask(self.second.as_bytes()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
        match answer.json() {
            Delivery::Granted(grant) => grant,
            Delivery::Arrived => panic!("it has not arrived"),
        }
    }

    async fn head(&self, token: &str, record: &SignedRecord, after: Option<RecordId>) -> Answer {
        let put = PutHead {
            expected: after,
            record_b64: STANDARD.encode(record.as_bytes()),
            pc: "pc-1".into(),
        };
        self.site.json(Method::PUT, path::HEAD, token, &put).await
    }

    async fn missing(&self, token: &str, objects: &[ObjectId]) -> Answer {
        let request = MissingRequest {
            objects: objects.to_vec(),
        };
        self.site
            .json(Method::POST, path::OBJECTS_MISSING, token, &request)
            .await
    }

    async fn put_bytes(&self, token: &str, object: ObjectId, bytes: &[u8]) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        // In pieces: what is in one piece is announced by whoever writes it to a socket.
        let pieces = [Ok::<_, std::io::Error>(bytes.to_vec())];
        let body = Body::from_stream(futures_util::stream::iter(pieces));
        self.site
            .call(Method::PUT, &path::object(object), &headers, body)
            .await
    }

    fn ids(&self) -> Vec<ObjectId> {
        self.objects
            .iter()
            .map(|bytes| ObjectId::of(bytes))
            .collect()
    }
}

fn is_arrived(answer: &Answer) -> bool {
    answer.status == StatusCode::OK && matches!(answer.json(), Delivery::Arrived)
}

#[tokio::test]
async fn a_snapshot_arrives_without_its_user() {
    let one = Waiting::new().await;
    let grant = one.grant().await;
    assert_eq!(grant.missing, one.ids()[1..], "in the order of the record");
    for bytes in &one.objects[1..] {
        let put = one.site.put_object(&grant.token, bytes).await;
        assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
    }
    let left: Missing = one.missing(&grant.token, &one.ids()).await.json();
    assert!(left.objects.is_empty());
    let put = one
        .head(&grant.token, &one.second, Some(one.first.id()))
        .await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
    let bearer = format!("Bearer {}", one.signed_in);
    let head: Head = one
        .site
        .get(path::HEAD, &[("authorization", &bearer)])
        .await
        .json();
    assert_eq!((head.info.record, head.info.seq), (one.second.id(), 2));
}

#[tokio::test]
async fn leave_to_deliver_opens_nothing_else() {
    let one = Waiting::new().await;
    let token = one.grant().await.token;
    let bearer = format!("Bearer {token}");
    let json = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    let here = path::object(one.ids()[0]);
    let release = format!("/v1/releases/{}", "0".repeat(64));
    let signed_in_only = [
        (Method::GET, path::HEAD.to_owned()),
        (Method::GET, path::HEAD_FETCH.to_owned()),
        (Method::POST, path::HEAD_FETCH.to_owned()),
        (Method::GET, here.clone()),
        (Method::PUT, format!("{release}/manifest.json")),
        (Method::POST, format!("{release}/commit")),
    ];
    for (method, at) in signed_in_only {
        one.site
            .call(method, &at, &json, "")
            .await
            .is(401, ProblemCode::NotSignedIn);
    }
    let looked = one.site.call(Method::HEAD, &here, &json, "").await;
    assert_eq!(looked.status, StatusCode::UNAUTHORIZED);
    for (method, at) in [
        (Method::POST, "/s/v1/records"),
        (Method::POST, "/s/v1/digest"),
        (Method::POST, "/s/v1/transfers"),
    ] {
        one.site
            .call(method, at, &json, "{}")
            .await
            .is(403, ProblemCode::UnknownSite);
    }
    let cookie = format!("__Host-furoshiki={token}");
    let page = one.site.get("/environment", &[("cookie", &cookie)]).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "the portal asks again");
    for kind in [TokenKind::Pc, TokenKind::Portal] {
        let store = &one.site.site.store;
        assert_eq!(store.token_user(&token, kind).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_delivery_brings_what_its_record_lists_with_its_size() {
    let one = Waiting::new().await;
    let token = one.grant().await.token;
    let other = random_bytes(3001);
    one.site
        .put_object(&token, &other)
        .await
        .is(403, ProblemCode::NotGranted);
    one.missing(&token, &[one.ids()[1], ObjectId::of(&other)])
        .await
        .is(403, ProblemCode::NotGranted);

    let listed = one.ids()[1];
    let bearer = format!("Bearer {token}");
    for bytes in ["3000", "3002", "99999999999"] {
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-length", bytes),
        ];
        let put = one
            .site
            .call(Method::PUT, &path::object(listed), &headers, "")
            .await;
        let want = if bytes.len() > 9 {
            (413, ProblemCode::TooLarge)
        } else {
            (403, ProblemCode::NotGranted)
        };
        put.is(want.0, want.1);
    }
    // Without an announced size.
    one.put_bytes(&token, listed, &one.objects[1][..3000])
        .await
        .is(400, ProblemCode::BadRequest);
    one.put_bytes(&token, listed, &random_bytes(3002))
        .await
        .is(413, ProblemCode::TooLarge);
    one.put_bytes(&token, listed, &other)
        .await
        .is(422, ProblemCode::WrongHash);
    assert_eq!(one.site.staged(), 0);
    let left: Missing = one.missing(&token, &one.ids()).await.json();
    assert_eq!(left.objects, one.ids()[1..], "nothing was kept");
    one.head(&token, &one.second, Some(one.first.id()))
        .await
        .is(409, ProblemCode::ObjectsMissing);
}

#[tokio::test]
async fn a_delivery_puts_its_own_record_and_no_other() {
    let one = Waiting::new().await;
    let token = one.grant().await.token;
    let rival = one
        .person
        .record(2, Some(one.first.id()), &one.objects[..1]);
    one.head(&token, &rival, Some(one.first.id()))
        .await
        .is(403, ProblemCode::NotGranted);
    one.head(&token, &one.second, None)
        .await
        .is(400, ProblemCode::BadRequest);

    // The user saved elsewhere while this was on its way; who won is not told to whoever delivers.
    let grant = one.grant().await;
    let saved = one.head(&one.signed_in, &rival, Some(one.first.id())).await;
    assert_eq!(saved.status, StatusCode::CREATED);
    one.head(&grant.token, &one.second, Some(one.first.id()))
        .await
        .is(401, ProblemCode::NotSignedIn);
    let moved = one.ask(one.second.as_bytes()).await;
    moved.is(412, ProblemCode::HeadMoved);
    assert!(moved.json::<ProblemWithHead>().head.is_none());
    assert!(!moved.text().contains(&rival.id().to_string()));
}

#[tokio::test]
async fn only_the_signature_of_a_known_user_gives_leave() {
    let one = Waiting::new().await;
    let mut altered = one.second.as_bytes().to_vec();
    let last = altered.len() - 1;
    altered[last] ^= 1;
    let stranger = Person::new("taro").record(1, None, &one.objects);
    // Another user's key under hanako's id.
    let mut forger = Person::new("jiro");
    forger.user = one.person.user;
    forger.keys = snapshot::keys::SnapshotKeys::derive(
        &snapshot::keys::UserKey::from_bytes([9; 32]),
        forger.user,
        1,
    );
    let forged = forger.record(2, Some(one.first.id()), &one.objects);
    for record in [
        altered.as_slice(),
        stranger.as_bytes(),
        forged.as_bytes(),
        b"",
        b"no record",
    ] {
        one.ask(record).await.is(422, ProblemCode::WrongSignature);
    }
    let no_base64 = DeliveryRequest {
        record_b64: "*".into(),
    };
    one.site
        .json(Method::POST, path::DELIVERIES, "", &no_base64)
        .await
        .is(400, ProblemCode::BadRequest);
    one.ask(&vec![0; MAX_BYTES + 1024])
        .await
        .is(413, ProblemCode::TooLarge);
    one.site
        .get(path::DELIVERIES, &[])
        .await
        .is(405, ProblemCode::BadRequest);
}

#[tokio::test]
async fn a_record_that_does_not_follow_the_head_gets_no_leave() {
    let one = Waiting::new().await;
    let objects = &one.objects;
    let strays = [
        one.person.record(1, None, objects),
        one.person.record(3, Some(one.first.id()), objects),
        one.person.record(2, Some(RecordId::new([5; 32])), objects),
        one.person.record(3, Some(one.second.id()), objects),
    ];
    for stray in strays {
        one.ask(stray.as_bytes())
            .await
            .is(412, ProblemCode::HeadMoved);
    }
}

#[tokio::test]
async fn what_arrived_arrives_once() {
    let one = Waiting::new().await;
    assert!(is_arrived(&one.ask(one.first.as_bytes()).await));
    let token = one.grant().await.token;
    for bytes in &one.objects[1..] {
        one.site.put_object(&token, bytes).await;
    }
    one.head(&token, &one.second, Some(one.first.id())).await;
    // The token is spent, and the same record gives no new one: not as the head, not as an older one.
    one.missing(&token, &one.ids())
        .await
        .is(401, ProblemCode::NotSignedIn);
    assert!(is_arrived(&one.ask(one.second.as_bytes()).await));
    let third = one.person.record(3, Some(one.second.id()), &one.objects);
    one.head(&one.signed_in, &third, Some(one.second.id()))
        .await;
    assert!(is_arrived(&one.ask(one.second.as_bytes()).await));
}

#[tokio::test]
async fn a_user_has_few_deliveries_and_a_deleted_one_none() {
    let one = Waiting::new().await;
    let mut tokens = Vec::new();
    for _ in 0..=MAX_DELIVERIES {
        tokens.push(one.grant().await.token);
    }
    let store = &one.site.site.store;
    let mut alive = 0;
    for token in &tokens {
        alive += u32::from(store.token_pusher(token).await.unwrap().is_some());
    }
    assert_eq!(alive, MAX_DELIVERIES);
    let newest = tokens.last().unwrap();
    assert!(store.token_pusher(newest).await.unwrap().is_some());

    let dead = "0".repeat(64);
    store
        .add_delivery(&dead, one.person.user, one.second.as_bytes(), 1)
        .await
        .unwrap();
    assert!(store.token_pusher(&dead).await.unwrap().is_none());

    store
        .remove_user(one.person.user, one.site.site.config.site)
        .await
        .unwrap();
    one.missing(newest, &one.ids())
        .await
        .is(401, ProblemCode::NotSignedIn);
    one.ask(one.second.as_bytes())
        .await
        .is(422, ProblemCode::WrongSignature);
}

#[tokio::test]
async fn the_first_snapshot_of_a_user_can_be_delivered() {
    let site = TestSite::new().await;
    let person = Person::new("hanako");
    site.add(&person).await;
    let object = random_bytes(100);
    let record = person.record(1, None, std::slice::from_ref(&object));
    let request = DeliveryRequest {
        record_b64: STANDARD.encode(record.as_bytes()),
    };
    let Delivery::Granted(grant) = site
        .json(Method::POST, path::DELIVERIES, "", &request)
        .await
        .json()
    else {
        panic!("it has not arrived");
    };
    assert_eq!(grant.missing, [ObjectId::of(&object)]);
    site.put_object(&grant.token, &object).await;
    let put = PutHead {
        expected: None,
        record_b64: request.record_b64,
        pc: String::new(),
    };
    let put = site.json(Method::PUT, path::HEAD, &grant.token, &put).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
}
