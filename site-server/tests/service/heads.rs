//! The compare-and-swap of the head.

use crate::support::{Answer, Person, TestSite, random_bytes};
use axum::http::{Method, StatusCode};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use site_api::{
    Head, ProblemCode, ProblemWithHead, PutHead, Transfer, TransferState, path, peer::HeadRecord,
};
use snapshot::{id::SiteId, record::SignedRecord};

struct Session {
    site: TestSite,
    token: String,
    person: Person,
}

impl Session {
    async fn new() -> Self {
        let site = TestSite::new().await;
        let person = Person::new("hanako");
        site.add(&person).await;
        let token = site.sign_in(&person).await.token;
        Self {
            site,
            token,
            person,
        }
    }

    async fn put(&self, record: &SignedRecord, expected: Option<&SignedRecord>) -> Answer {
        self.put_bytes(record.as_bytes(), expected).await
    }

    async fn put_bytes(&self, record: &[u8], expected: Option<&SignedRecord>) -> Answer {
        let put = PutHead {
            expected: expected.map(SignedRecord::id),
            record_b64: STANDARD.encode(record),
            pc: "pc-1".into(),
        };
        self.site
            .json(Method::PUT, path::HEAD, &self.token, &put)
            .await
    }

    async fn pushed(&self, n: usize) -> Vec<Vec<u8>> {
        let objects: Vec<_> = (0..n).map(|_| random_bytes(3000)).collect();
        for object in &objects {
            assert_eq!(
                self.site.put_object(&self.token, object).await.status,
                StatusCode::CREATED
            );
        }
        objects
    }

    async fn get(&self) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        self.site
            .get(path::HEAD, &[("authorization", &bearer)])
            .await
    }
}

#[tokio::test]
async fn a_snapshot_whose_objects_are_here_becomes_the_head() {
    let one = Session::new().await;
    one.get().await.is(404, ProblemCode::NotFound);
    let objects = one.pushed(3).await;
    let first = one.person.record(1, None, &objects);
    let put = one.put(&first, None).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
    let head: Head = one.get().await.json();
    assert_eq!(
        (head.info.seq, head.info.record, head.info.pc.as_str()),
        (1, first.id(), "pc-1")
    );
    assert_eq!(head.info.site, one.site.site.config.site);
    assert_eq!(
        STANDARD.decode(head.record_b64.unwrap()).unwrap(),
        first.as_bytes()
    );

    let again = one.put(&first, None).await;
    assert_eq!(
        again.status,
        StatusCode::OK,
        "the same record on the same base"
    );
    assert_eq!(again.json::<Head>().info, head.info);

    let second = one.person.record(2, Some(first.id()), &objects);
    assert_eq!(
        one.put(&second, Some(&first)).await.status,
        StatusCode::CREATED
    );
}

#[tokio::test]
async fn a_lost_race_is_told_the_head_that_won() {
    let one = Session::new().await;
    let objects = one.pushed(2).await;
    let first = one.person.record(1, None, &objects);
    one.put(&first, None).await;
    let rival = one.person.record(1, None, &objects[..1]);
    let lost = one.put(&rival, None).await;
    lost.is(412, ProblemCode::HeadMoved);
    assert_eq!(
        lost.json::<ProblemWithHead>().head.unwrap().record,
        first.id()
    );
    assert_eq!(one.get().await.json::<Head>().info.record, first.id());
}

#[tokio::test]
async fn of_many_at_once_one_wins() {
    let one = std::sync::Arc::new(Session::new().await);
    let objects = one.pushed(8).await;
    let mut tries = tokio::task::JoinSet::new();
    for object in objects {
        let one = one.clone();
        tries.spawn(async move {
            one.put(&one.person.record(1, None, &[object]), None)
                .await
                .status
        });
    }
    let statuses = tries.join_all().await;
    assert_eq!(
        statuses
            .iter()
            .filter(|status| **status == StatusCode::CREATED)
            .count(),
        1,
        "{statuses:?}"
    );
    assert_eq!(
        statuses
            .iter()
            .filter(|status| **status == StatusCode::PRECONDITION_FAILED)
            .count(),
        7
    );
}

#[tokio::test]
async fn a_record_whose_objects_lack_is_not_taken() {
    let one = Session::new().await;
    let mut objects = one.pushed(1).await;
    objects.push(random_bytes(10));
    let record = one.person.record(1, None, &objects);
    one.put(&record, None)
        .await
        .is(409, ProblemCode::ObjectsMissing);
    one.get().await.is(404, ProblemCode::NotFound);
    one.site.put_object(&one.token, &objects[1]).await;
    assert_eq!(one.put(&record, None).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn an_object_listed_with_another_size_is_missing() {
    let one = Session::new().await;
    let objects = one.pushed(1).await;
    let honest = one.person.record(1, None, &objects);
    let mut record =
        snapshot::record::verify(honest.as_bytes(), &one.person.keys.record_public_key()).unwrap();
    record.manifests[0].1 += 1;
    let record = record.sign(&one.person.keys).unwrap();
    one.put(&record, None)
        .await
        .is(409, ProblemCode::ObjectsMissing);
}

#[tokio::test]
async fn only_the_users_own_signature_makes_a_record() {
    let one = Session::new().await;
    let objects = one.pushed(1).await;
    let mut bytes = one.person.record(1, None, &objects).as_bytes().to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    one.put_bytes(&bytes, None)
        .await
        .is(422, ProblemCode::WrongSignature);
    one.put_bytes(b"no record", None)
        .await
        .is(422, ProblemCode::WrongSignature);
    let stranger = Person::new("taro").record(1, None, &objects);
    one.put(&stranger, None)
        .await
        .is(422, ProblemCode::WrongSignature);
}

#[tokio::test]
async fn a_record_that_does_not_follow_its_base_is_refused() {
    let one = Session::new().await;
    let objects = one.pushed(1).await;
    let first = one.person.record(1, None, &objects);
    one.put(&first, None).await;
    let skips = one.person.record(3, Some(first.id()), &objects);
    one.put(&skips, Some(&first))
        .await
        .is(400, ProblemCode::BadRequest);
    let lies = one
        .person
        .record(2, Some(snapshot::id::RecordId::new([5; 32])), &objects);
    one.put(&lies, Some(&first))
        .await
        .is(400, ProblemCode::BadRequest);
    let put = PutHead {
        expected: None,
        record_b64: "*".into(),
        pc: String::new(),
    };
    one.site
        .json(Method::PUT, path::HEAD, &one.token, &put)
        .await
        .is(400, ProblemCode::BadRequest);
}

#[tokio::test]
async fn fetching_a_head_says_how_it_stands() {
    let one = Session::new().await;
    let bearer = format!("Bearer {}", one.token);
    let auth = [("authorization", bearer.as_str())];
    one.site
        .call(Method::POST, path::HEAD_FETCH, &auth, "")
        .await
        .is(404, ProblemCode::NotFound);

    let objects = one.pushed(1).await;
    let first = one.person.record(1, None, &objects);
    one.put(&first, None).await;
    let here: Transfer = one
        .site
        .call(Method::POST, path::HEAD_FETCH, &auth, "")
        .await
        .json();
    assert_eq!(
        (here.state, here.bytes_done, here.bytes_total),
        (TransferState::Done, 3000, 3000)
    );

    // A newer head at a site this one does not know, then at one it knows.
    let far = SiteId::new([9; 16]);
    let mut info = one.get().await.json::<Head>().info;
    info.seq = 2;
    info.site = far;
    info.record = snapshot::id::RecordId::new([2; 32]);
    one.site
        .site
        .store
        .merge_head(&HeadRecord {
            user: one.person.user,
            info: info.clone(),
        })
        .await
        .unwrap();
    assert!(one.get().await.json::<Head>().record_b64.is_none());
    one.site
        .call(Method::POST, path::HEAD_FETCH, &auth, "")
        .await
        .is(502, ProblemCode::PeerDown);
    one.site
        .get(path::HEAD_FETCH, &auth)
        .await
        .is(404, ProblemCode::NotFound);

    one.site
        .site
        .store
        .add_site(far, "Far", "https://127.0.0.1:1")
        .await
        .unwrap();
    let asked = one
        .site
        .call(Method::POST, path::HEAD_FETCH, &auth, "")
        .await;
    assert_eq!(asked.status, StatusCode::ACCEPTED);
    let waits: Transfer = one.site.get(path::HEAD_FETCH, &auth).await.json();
    assert_eq!(
        (waits.state, waits.from, waits.record),
        (TransferState::Waiting, far, info.record)
    );
}
