//! What a site forgets, when, and what it never does.

use crate::support::{Person, TestSite, random_bytes};
use axum::http::{Method, StatusCode};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use site_api::{Missing, MissingRequest, PutHead, path};
use site_server::{
    retention::Retention,
    store::{Forgotten, Swept},
};
use snapshot::{id::ObjectId, record::SignedRecord};

const HOUR_MS: i64 = 60 * 60 * 1000;
const ONLY_THE_HEAD: Retention = Retention { newest: 1, days: 0 };

fn now_ms() -> i64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64
}

/// A user whose snapshots have a manifest each, a pack each, and a pack all of them list.
struct Saves {
    site: TestSite,
    token: String,
    person: Person,
    shared: Vec<u8>,
    records: Vec<SignedRecord>,
    own: Vec<[Vec<u8>; 2]>,
}

impl Saves {
    async fn new(count: usize) -> Self {
        let site = TestSite::new().await;
        let person = Person::new("hanako");
        site.add(&person).await;
        let token = site.sign_in(&person).await.token;
        let shared = random_bytes(4000);
        site.put_object(&token, &shared).await;
        let mut saves = Self {
            site,
            token,
            person,
            shared,
            records: Vec::new(),
            own: Vec::new(),
        };
        for _ in 0..count {
            saves.save().await;
        }
        saves
    }

    async fn save(&mut self) {
        let own = [random_bytes(3000), random_bytes(3000)];
        for object in &own {
            self.site.put_object(&self.token, object).await;
        }
        let listed = [own[0].clone(), own[1].clone(), self.shared.clone()];
        let previous = self.records.last().map(SignedRecord::id);
        let seq = self.records.len() as u64 + 1;
        let record = self.person.record(seq, previous, &listed);
        let put = PutHead {
            expected: previous,
            record_b64: STANDARD.encode(record.as_bytes()),
            pc: "pc-1".into(),
        };
        let answer = self
            .site
            .json(Method::PUT, path::HEAD, &self.token, &put)
            .await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
        self.records.push(record);
        self.own.push(own);
    }

    /// What the hourly round does so many hours from now.
    async fn round(&self, hours: i64, retention: Retention) -> Forgotten {
        let now = now_ms();
        let store = &self.site.site.store;
        store
            .retain(&retention, now + hours * HOUR_MS)
            .await
            .unwrap()
    }

    async fn has(&self, object: &[u8]) -> bool {
        let bearer = format!("Bearer {}", self.token);
        let at = path::object(ObjectId::of(object));
        let answer = self.site.get(&at, &[("authorization", &bearer)]).await;
        assert!(answer.status == StatusCode::OK || answer.status == StatusCode::NOT_FOUND);
        answer.status == StatusCode::OK
    }

    fn files(&self) -> usize {
        walkdir::WalkDir::new(self.site.dir.path())
            .into_iter()
            .flatten()
            .filter(|entry| entry.file_type().is_file())
            .filter(|entry| entry.file_name().len() >= 64)
            .count()
    }

    async fn stored_bytes(&self) -> u64 {
        let counters = self.site.site.store.counters().await.unwrap();
        let stored = counters
            .iter()
            .find(|(name, _)| name == "furoshiki_stored_object_bytes");
        stored.unwrap().1
    }
}

#[tokio::test]
async fn old_snapshots_go_after_a_day_of_grace_and_the_head_never() {
    let saves = Saves::new(4).await;
    let first = saves.round(1, ONLY_THE_HEAD).await;
    assert_eq!((first.records, first.objects), (3, 0));
    assert!(saves.has(&saves.own[0][0]).await, "a day of grace");
    assert_eq!(saves.round(24, ONLY_THE_HEAD).await, Forgotten::default());
    let second = saves.round(26, ONLY_THE_HEAD).await;
    assert_eq!((second.objects, second.bytes), (6, 18_000));
    for own in &saves.own[..3] {
        assert!(!saves.has(&own[0]).await && !saves.has(&own[1]).await);
    }
    assert!(saves.has(&saves.own[3][0]).await && saves.has(&saves.shared).await);
    assert_eq!(saves.stored_bytes().await, 10_000);
    let swept = saves.site.site.store.sweep(now_ms() + 50 * HOUR_MS).await;
    assert_eq!(swept.unwrap(), Swept::default(), "their bytes went, too");
    assert_eq!(saves.round(9000, ONLY_THE_HEAD).await, Forgotten::default());
    assert!(saves.has(&saves.own[3][1]).await && saves.has(&saves.shared).await);
}

#[tokio::test]
async fn what_the_rule_keeps_keeps_its_objects() {
    let saves = Saves::new(4).await;
    let newest_three = Retention { newest: 3, days: 0 };
    saves.round(1, newest_three).await;
    let second = saves.round(26, newest_three).await;
    assert_eq!(second.objects, 2, "those of the first alone");
    assert!(saves.has(&saves.own[1][0]).await && !saves.has(&saves.own[0][0]).await);
    // Four of one day: the last one of it is the head.
    let by_day = Retention {
        newest: 1,
        days: 14,
    };
    assert_eq!(saves.round(27, by_day).await.records, 2);
}

#[tokio::test]
async fn what_somebody_counts_on_stays() {
    let mut saves = Saves::new(2).await;
    saves.round(1, ONLY_THE_HEAD).await;
    // A PC asks what lacks, and another pushes the same again.
    let objects = vec![ObjectId::of(&saves.own[0][0])];
    let asked = saves
        .site
        .json(
            Method::POST,
            path::OBJECTS_MISSING,
            &saves.token,
            &MissingRequest { objects },
        )
        .await;
    assert_eq!(asked.json::<Missing>().objects, []);
    let pushed = saves.site.put_object(&saves.token, &saves.own[0][1]).await;
    assert_eq!(pushed.status, StatusCode::OK);
    assert_eq!(saves.round(26, ONLY_THE_HEAD).await.objects, 0);
    assert!(saves.has(&saves.own[0][0]).await && saves.has(&saves.own[0][1]).await);
    // Nobody used them after all.
    assert_eq!(saves.round(51, ONLY_THE_HEAD).await.objects, 2);
    // The same bytes come again as if they had never been here.
    let again = saves.own[0][1].clone();
    let pushed = saves.site.put_object(&saves.token, &again).await;
    assert_eq!(pushed.status, StatusCode::CREATED);
    assert!(saves.has(&again).await);
    saves.save().await;
}

#[tokio::test]
async fn what_a_kill_left_on_the_disk_goes_and_nothing_else() {
    let saves = Saves::new(1).await;
    let there = saves.files();
    let root = saves.site.dir.path();
    let object = ObjectId::of(&saves.shared).to_string();
    let all = walkdir::WalkDir::new(root).into_iter().flatten();
    let ours = all
        .map(walkdir::DirEntry::into_path)
        .find(|path| path.to_string_lossy().contains(&object))
        .unwrap();
    // Two uploads of the same bytes whose rows never came, and something of somebody else.
    let shelf = ours.parent().unwrap();
    let lost = [format!("{object}-{}", "0".repeat(32)), object];
    for name in &lost {
        std::fs::write(shelf.join(name), &saves.shared).unwrap();
    }
    let notes = shelf.join("notes of the operator");
    std::fs::write(&notes, b"").unwrap();
    let (now, store) = (now_ms(), &saves.site.site.store);
    let early = store.sweep(now + 23 * HOUR_MS).await.unwrap();
    assert_eq!(early, Swept::default(), "they may be under way");
    let swept = store.sweep(now + 25 * HOUR_MS).await.unwrap();
    assert_eq!((swept.uploads, swept.bytes), (2, 8000));
    assert_eq!(saves.files(), there);
    assert!(notes.exists() && saves.has(&saves.shared).await);
}
