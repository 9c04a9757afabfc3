//! Whatever order records come in, and however often, every site ends with the same; what is gone stays gone.

use proptest::prelude::*;
use site_api::{
    HeadInfo,
    peer::{HeadRecord, Records, SharedKey, SharedRecord, UserRecord},
};
use site_server::{
    config::Layout,
    store::{DatabaseConfig, ObjectsConfig, SharedKind, Store, UserAddError},
};
use snapshot::id::{RecordId, SiteId, UserId};

use crate::support::Person;

const HOME: SiteId = SiteId::new([1; 16]);
const AWAY: SiteId = SiteId::new([2; 16]);
const PHC: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA";

async fn store(dir: &std::path::Path) -> Store {
    let layout = Layout::new(dir);
    Store::open(
        layout,
        &DatabaseConfig::default(),
        &ObjectsConfig::default(),
    )
    .await
    .unwrap()
}

/// The version that a site wrote. Another version has another name.
fn user(person: &Person, version: u64, origin: SiteId, deleted: bool) -> UserRecord {
    let mut registration = person.registration();
    registration.name = format!("{}-{version}-{}", person.name, origin.as_bytes()[0]);
    UserRecord {
        registration,
        password_phc: PHC.into(),
        deleted,
        version,
        origin,
        sign_in_epoch: 0,
        second_factor: None,
    }
}

fn shared(kind: SharedKind, key: SharedKey, version: u64, gone: bool, body: &str) -> SharedRecord {
    SharedRecord {
        kind: kind.name().to_owned(),
        key,
        gone,
        version,
        origin: AWAY,
        body: body.to_owned(),
    }
}

fn place(name: &str) -> String {
    format!("{{\"name\":\"{name}\",\"url\":\"https://{name}.example\"}}")
}

#[tokio::test]
async fn a_deleted_user_stays_deleted_when_older_or_newer_records_arrive_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let hanako = Person::new("hanako");
    let user_of = user(&hanako, 1, HOME, false);
    assert!(store.merge_user(&user_of).await.unwrap());
    let deleted = store.remove_user(hanako.user, HOME).await.unwrap();
    assert_eq!(deleted, Some(2));
    // A site that was away for weeks: what it last knew, and what was changed there at the same time or later.
    for version in [1, 2, 3, 900] {
        let late = user(&hanako, version, AWAY, false);
        assert!(!store.merge_user(&late).await.unwrap(), "version {version}");
    }
    assert!(store.user(hanako.user).await.unwrap().is_none());
    assert!(store.user_by_card(hanako.card.id).await.unwrap().is_none());
    let again = store
        .add_user(hanako.registration(), PHC.into(), HOME)
        .await;
    assert!(
        matches!(again, Err(UserAddError::Deleted { .. })),
        "{again:?}"
    );
}

#[tokio::test]
async fn a_revoked_card_stays_revoked_when_a_newer_registration_still_lists_it_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let lost = Person::new("hanako");
    let mut found = lost.in_the_next_epoch();
    (found.user_key, found.epoch, found.chain) = (lost.user_key, 1, None);
    found.keys = snapshot::keys::SnapshotKeys::derive(
        &snapshot::keys::UserKey::from_bytes(lost.user_key),
        lost.user,
        1,
    );
    let first = lost.registration();
    store
        .add_user(first.clone(), PHC.into(), HOME)
        .await
        .unwrap();
    store
        .add_user(found.registration(), PHC.into(), HOME)
        .await
        .unwrap();
    // The registration does not list it any more, and it is known as revoked all the same.
    let of_card = async || store.user_by_card(lost.card.id).await.unwrap();
    assert!(of_card().await.is_none());
    assert!(store.is_card_revoked(lost.card.id).await.unwrap());
    let cards = store.cards_of(lost.user).await.unwrap();
    let revoked: Vec<_> = cards.iter().map(|line| (line.card, line.revoked)).collect();
    assert_eq!(revoked, [(found.card.id, false), (lost.card.id, true)]);
    // Meanwhile another site changed the password twice, with the lost card in the registration.
    let newer = UserRecord {
        registration: first.clone(),
        password_phc: PHC.into(),
        deleted: false,
        version: 3,
        origin: AWAY,
        sign_in_epoch: 0,
        second_factor: None,
    };
    assert!(
        store.merge_user(&newer).await.unwrap(),
        "the registration is newer"
    );
    assert!(
        of_card().await.unwrap().revoked,
        "and the card opens nothing"
    );
    let again = store.add_user(first, PHC.into(), HOME).await;
    assert!(
        matches!(again, Err(UserAddError::CardRevoked { .. })),
        "{again:?}"
    );

    // The other way round: the revocation comes first, to a site that does not know the card yet.
    let dir = tempfile::tempdir().unwrap();
    let late = self::store(dir.path()).await;
    late.revoke_card(lost.card.id, lost.user, AWAY)
        .await
        .unwrap();
    late.merge_user(&newer).await.unwrap();
    assert!(
        late.user_by_card(lost.card.id)
            .await
            .unwrap()
            .unwrap()
            .revoked
    );
}

#[tokio::test]
async fn an_expelled_site_does_not_come_back_and_nothing_waits_for_it_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let osaka = SiteId::new([7; 16]);
    let key = SharedKey::from(osaka);
    let add = |version| shared(SharedKind::Site, key, version, false, &place("osaka"));
    let one = |record| Records {
        shared: vec![record],
        ..Records::default()
    };
    store.merge(&one(add(1))).await.unwrap();
    let hanako = Person::new("hanako");
    store
        .add_user(hanako.registration(), PHC.into(), HOME)
        .await
        .unwrap();
    store
        .ask_transfer(hanako.user, RecordId::new([3; 32]), osaka)
        .await
        .unwrap();
    assert!(!store.waiting(osaka, 9).await.unwrap().is_empty());

    store.expel_site(osaka, HOME).await.unwrap();
    for version in [1, 2, 900] {
        let merged = store.merge(&one(add(version))).await.unwrap();
        assert_eq!(merged.all(), 0, "version {version}");
    }
    assert!(store.site(osaka).await.unwrap().is_none());
    assert!(store.waiting(osaka, 9).await.unwrap().is_empty());
    assert!(
        store.due_transfers().await.unwrap().is_empty(),
        "no relay from it"
    );
    assert_eq!(store.expelled_sites().await.unwrap(), [osaka]);
    let body = site_server::store::SiteBody {
        name: "osaka".into(),
        url: "https://osaka.example".into(),
    };
    assert!(!store.share_site(osaka, &body, HOME).await.unwrap());
}

/// A few records about a few things; the same rank has the same content, as at sites that keep the rules.
fn choices(people: &[Person]) -> Vec<Records> {
    let mut choices = Vec::new();
    for person in people {
        for version in 1..4 {
            for origin in [HOME, AWAY] {
                choices.push(Records {
                    users: vec![user(
                        person,
                        version,
                        origin,
                        version == 2 && origin == AWAY,
                    )],
                    ..Records::default()
                });
                let info = HeadInfo {
                    epoch: 1,
                    seq: version,
                    record: RecordId::new([origin.as_bytes()[0]; 32]),
                    site: origin,
                    saved_ms: 5,
                    pc: "pc-9".into(),
                };
                choices.push(Records {
                    heads: vec![HeadRecord {
                        user: person.user,
                        info,
                    }],
                    ..Records::default()
                });
            }
        }
        // A card was taken away: whatever else was changed meanwhile, elsewhere.
        let next = person.in_the_next_epoch();
        for (version, origin) in [(1, HOME), (2, AWAY)] {
            let info = HeadInfo {
                epoch: 2,
                seq: version,
                record: RecordId::new([origin.as_bytes()[0]; 32]),
                site: origin,
                saved_ms: 5,
                pc: "pc-9".into(),
            };
            choices.push(Records {
                users: vec![user(&next, version, origin, false)],
                heads: vec![HeadRecord {
                    user: person.user,
                    info,
                }],
                ..Records::default()
            });
        }
        let card = SharedKey::from(person.card.id);
        choices.push(Records {
            shared: vec![shared(SharedKind::CardRevoked, card, 1, true, "{}")],
            ..Records::default()
        });
    }
    for site in 3..5 {
        let key = SharedKey::new([site; 16]);
        for (version, gone) in [(1, false), (2, false), (1, true)] {
            for name in ["kyoto", "nara"] {
                choices.push(Records {
                    shared: vec![shared(SharedKind::Site, key, version, gone, &place(name))],
                    ..Records::default()
                });
            }
        }
    }
    choices
}

/// Everything a site says and does because of records.
async fn state(store: &Store, people: &[Person]) -> String {
    let mut text = String::new();
    for person in people {
        let record = store.user_record(person.user).await.unwrap();
        text += &serde_json::to_string(&record).unwrap();
        let card = store.user_by_card(person.card.id).await.unwrap();
        text += &format!("{:?}", card.map(|card| (card.user.id, card.revoked)));
        text += &format!("{:?}", store.cards_of(person.user).await.unwrap());
    }
    let peers = store.sites().await.unwrap();
    text += &format!(
        "{:?} {:?} {peers:?}",
        store.heads().await.unwrap(),
        store.shared_rows().await.unwrap()
    );
    text
}

fn cases() -> u32 {
    let asked = std::env::var("PROPTEST_CASES").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(12)
}

#[test]
fn merging_is_the_same_in_any_order_in_any_pieces_and_any_number_of_times_on_the_disk() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let people = [Person::new("hanako"), Person::new("taro")];
    let choices = choices(&people);
    let chosen = proptest::collection::vec(0..choices.len(), 1..14);
    let strategy = (chosen, any::<prop::sample::Index>(), any::<u64>());
    proptest!(ProptestConfig::with_cases(cases()), |((chosen, cut, seed) in strategy)| {
        let sent: Vec<_> = chosen.iter().map(|n| &choices[*n]).collect();
        runtime.block_on(async {
            let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
            // One by one, in this order.
            let a = store(dirs[0].path()).await;
            for message in &sent {
                a.merge(message).await.unwrap();
            }
            // In another order, everything twice, in two messages.
            let b = store(dirs[1].path()).await;
            let mut order: Vec<_> = sent.iter().chain(&sent).copied().collect();
            let mut state_of = seed | 1;
            for n in (1..order.len()).rev() {
                state_of = state_of.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                order.swap(n, (state_of >> 33) as usize % (n + 1));
            }
            let (first, second) = order.split_at(cut.index(order.len()));
            for half in [first, second] {
                b.merge(&together(half)).await.unwrap();
            }
            // Through a third site that got them in pieces from both.
            let c = store(dirs[2].path()).await;
            c.merge(&together(second)).await.unwrap();
            c.merge(&everything(&a, &people).await).await.unwrap();
            let want = state(&a, &people).await;
            assert_eq!(state(&b, &people).await, want);
            assert_eq!(state(&c, &people).await, want);
            assert_eq!(a.merge(&everything(&c, &people).await).await.unwrap().all(), 0);
        });
    });
}

fn together(messages: &[&Records]) -> Records {
    let mut all = Records::default();
    for message in messages {
        all.users.extend(message.users.iter().cloned());
        all.heads.extend(message.heads.iter().cloned());
        all.shared.extend(message.shared.iter().cloned());
    }
    all
}

async fn everything(store: &Store, people: &[Person]) -> Records {
    let mut all = Records {
        heads: store.heads().await.unwrap(),
        ..Records::default()
    };
    let users: Vec<UserId> = people.iter().map(|person| person.user).collect();
    for user in users {
        all.users.extend(store.user_record(user).await.unwrap());
    }
    for kind in SharedKind::ALL {
        all.shared.extend(store.all_shared(kind).await.unwrap());
    }
    all
}
