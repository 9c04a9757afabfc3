//! A card is taken away: the user gets another key, at every site, and what is signed with the old one is taken nowhere.

use axum::http::{Method, StatusCode};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use site_api::{
    Delivery, DeliveryRequest, Head, HeadInfo, ProblemCode, PutHead, SignIn, TransferState, path,
    peer::{HeadRecord, Records, UserRecord},
};
use site_server::store::{UserAddError, UserRank};
use snapshot::{
    chain::Chain,
    id::{RecordId, SiteId},
    keys::{SnapshotKeys, UserKey},
    record::{self, SignedRecord},
};

use crate::{
    support::{Answer, Person, TestSite, random_bytes, register},
    world::{World, eventually, objects},
};

const AWAY: SiteId = SiteId::new([0xee; 16]);

async fn put(
    site: &TestSite,
    token: &str,
    record: &SignedRecord,
    after: Option<RecordId>,
) -> Answer {
    let put = PutHead {
        expected: after,
        record_b64: STANDARD.encode(record.as_bytes()),
        pc: "pc-1".into(),
    };
    site.json(Method::PUT, path::HEAD, token, &put).await
}

async fn deliver(site: &TestSite, record: &SignedRecord) -> Answer {
    let request = DeliveryRequest {
        record_b64: STANDARD.encode(record.as_bytes()),
    };
    site.json(Method::POST, path::DELIVERIES, "", &request)
        .await
}

/// The keys that who signs in with this user key gets.
fn keys(sign_in: &SignIn, user_key: [u8; 32]) -> SnapshotKeys {
    let chain = sign_in.chain_b64.as_ref().map(|text| STANDARD.decode(text));
    let chain = Chain::parse(&chain.unwrap().unwrap()).unwrap();
    chain.open(&UserKey::from_bytes(user_key)).unwrap()
}

#[tokio::test]
async fn what_is_signed_in_an_epoch_that_is_over_is_refused_and_what_was_is_still_read() {
    let site = TestSite::new().await;
    let before = Person::new("hanako");
    site.add(&before).await;
    let signed_in = site.sign_in(&before).await;
    assert_eq!(signed_in.chain_b64, None);
    let saved: Vec<_> = (0..2).map(|n| random_bytes(3000 + n)).collect();
    for object in &saved {
        site.put_object(&signed_in.token, object).await;
    }
    let first = before.record(1, None, &saved);
    let put_first = put(&site, &signed_in.token, &first, None).await;
    assert_eq!(put_first.status, StatusCode::CREATED);
    // Made before the card was taken away, and not sent yet; or made by whoever kept the card.
    let late = before.record(2, Some(first.id()), &saved);

    let after = before.in_the_next_epoch();
    site.add(&after).await;
    site.challenge(before.card.id)
        .await
        .is(403, ProblemCode::CardRevoked);
    put(&site, &signed_in.token, &late, Some(first.id()))
        .await
        .is(401, ProblemCode::NotSignedIn);

    let signed_in = site.sign_in(&after).await;
    let keys = keys(&signed_in, after.user_key);
    assert_eq!((keys.epoch(), keys.oldest()), (2, 1));
    assert_eq!(signed_in.head.as_ref().map(|head| head.epoch), Some(1));
    let bearer = format!("Bearer {}", signed_in.token);
    let head: Head = site
        .get(path::HEAD, &[("authorization", &bearer)])
        .await
        .json();
    let bytes = STANDARD.decode(head.record_b64.unwrap()).unwrap();
    assert_eq!(record::verify_own(&bytes, &keys).unwrap().seq, 1);

    // Neither a session nor a delivery brings the old one in.
    put(&site, &signed_in.token, &late, Some(first.id()))
        .await
        .is(409, ProblemCode::OldEpoch);
    deliver(&site, &late).await.is(409, ProblemCode::OldEpoch);
    // What arrived in time is told so, so that a PC throws its parcel away.
    let arrived = deliver(&site, &first).await;
    assert!(matches!(arrived.json(), Delivery::Arrived));
    // The same snapshot, signed anew by its user, is taken.
    let again = after.record(2, Some(first.id()), &saved);
    let put_again = put(&site, &signed_in.token, &again, Some(first.id())).await;
    assert_eq!(
        put_again.status,
        StatusCode::CREATED,
        "{}",
        put_again.text()
    );
    assert_eq!(put_again.json::<Head>().info.epoch, 2);
    // A key of no epoch of this user signs nothing.
    let stranger = before
        .in_the_next_epoch()
        .record(3, Some(again.id()), &saved);
    put(&site, &signed_in.token, &stranger, Some(again.id()))
        .await
        .is(422, ProblemCode::WrongSignature);
    let future = after
        .in_the_next_epoch()
        .record(3, Some(again.id()), &saved);
    put(&site, &signed_in.token, &future, Some(again.id()))
        .await
        .is(422, ProblemCode::WrongSignature);
}

#[tokio::test]
async fn a_registration_that_knows_of_no_card_taken_away_is_refused() {
    let site = TestSite::new().await;
    let store = &site.site.store;
    let here = site.site.config.site;
    let first = Person::new("hanako");
    let phc = || "$argon2id$v=19$m=1,t=1,p=1$AAAA$AAAA".to_owned();
    let add = async |person: &Person| store.add_user(person.registration(), phc(), here).await;
    assert_eq!(add(&first).await.unwrap(), 1);
    let second = first.in_the_next_epoch();
    assert_eq!(add(&second).await.unwrap(), 2);
    let third = second.in_the_next_epoch();
    let rival = second.in_the_next_epoch();
    assert_eq!(add(&third).await.unwrap(), 3);
    // The registration from before, without the card that was taken away later.
    let mut stale = second.registration();
    stale.cards[0] = third.registration().cards[0].clone();
    stale.cards[0].epoch = 2;
    let refused = store.add_user(stale, phc(), here).await;
    assert!(
        matches!(
            refused,
            Err(UserAddError::OlderEpoch {
                have: 2,
                known: 3,
                ..
            })
        ),
        "{refused:?}"
    );
    // Another station began another third epoch, and a fourth on it.
    for other in [&rival, &rival.in_the_next_epoch()] {
        let refused = add(other).await;
        assert!(
            matches!(refused, Err(UserAddError::OtherKeys { .. })),
            "{refused:?}"
        );
    }
    let kept = store.user_record(first.user).await.unwrap().unwrap();
    assert_eq!(UserRank::of(&kept).epoch, 3);
    // More than one epoch at once: the station was asked twice before a site heard of it.
    let fifth = third.in_the_next_epoch().in_the_next_epoch();
    assert_eq!(add(&fifth).await.unwrap(), 4);
}

#[tokio::test]
async fn a_card_that_was_taken_away_wins_over_any_older_change_of_another_site() {
    let site = TestSite::new().await;
    let store = &site.site.store;
    let first = Person::new("hanako");
    site.add(&first).await;
    let second = first.in_the_next_epoch();
    site.add(&second).await;
    let theirs = |person: &Person, version, deleted| UserRecord {
        registration: person.registration(),
        password_phc: "$argon2id$v=19$m=1,t=1,p=1$AAAA$AAAA".into(),
        deleted,
        version,
        origin: AWAY,
        sign_in_epoch: 900,
        second_factor: None,
    };
    // Away for weeks, where the password was changed again and again.
    let late = theirs(&first, 900, false);
    assert!(!store.merge_user(&late).await.unwrap());
    assert_eq!(store.user(first.user).await.unwrap().unwrap().epoch, 2);
    // A later epoch wins with any version, a deletion over all.
    let third = theirs(&second.in_the_next_epoch(), 1, false);
    assert!(store.merge_user(&third).await.unwrap());
    assert_eq!(store.user(first.user).await.unwrap().unwrap().epoch, 3);
    assert!(store.merge_user(&theirs(&first, 1, true)).await.unwrap());
    assert!(store.user(first.user).await.unwrap().is_none());
}

#[tokio::test]
async fn a_head_of_a_later_epoch_wins_over_any_number_of_snapshots_of_an_earlier_one() {
    let site = TestSite::new().await;
    let store = &site.site.store;
    let hanako = Person::new("hanako");
    site.add(&hanako).await;
    let head = |epoch, seq, site: u8| Records {
        heads: vec![HeadRecord {
            user: hanako.user,
            info: HeadInfo {
                epoch,
                seq,
                record: RecordId::new([site; 32]),
                site: SiteId::new([site; 16]),
                saved_ms: 5,
                pc: "pc-9".into(),
            },
        }],
        ..Records::default()
    };
    for (epoch, seq, at, newer) in [
        (1, 7, 5, true),
        (2, 8, 4, true),
        // Whoever kept the card went on at a site that nobody reached.
        (1, 90, 9, false),
        (2, 7, 9, false),
        (2, 9, 1, true),
        (3, 1, 1, true),
    ] {
        let merged = store.merge(&head(epoch, seq, at)).await.unwrap();
        assert_eq!(merged.heads == 1, newer, "epoch {epoch} number {seq}");
    }
    let head = store.head(hanako.user).await.unwrap().unwrap();
    assert_eq!((head.epoch, head.seq), (3, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_and_chain_are_at_every_site_and_snapshots_of_earlier_epochs_go_where_the_user_goes()
{
    let world = World::of(2).await;
    let [a, b] = [0, 1].map(|n| &world.sites[n]);
    let before = Person::new("hanako");
    register(a.layout.root(), &before).await;
    b.knows(&before).await;
    let saved = objects(2);
    let record = before.record(1, None, &saved);
    a.sign_in(&before).await.push(&record, None, &saved).await;

    let after = before.in_the_next_epoch();
    register(a.layout.root(), &after).await;
    let want = after.registration().chain_b64;
    for site in [a, b] {
        eventually("the chain is there", async || {
            let known = site.site().store.user_record(after.user).await.unwrap();
            known.is_some_and(|known| known.registration.chain_b64 == want)
        })
        .await;
    }
    eventually("the other site knows the snapshot", async || {
        b.site().store.head(after.user).await.unwrap().is_some()
    })
    .await;
    // The other site verifies the snapshot by the key of its epoch, which only the chain has now.
    let pc = b.sign_in(&after).await;
    pc.fetched(TransferState::Done).await;
    let head = pc.head().await;
    assert_eq!((head.info.record, head.info.epoch), (record.id(), 1));
    world.stop().await;
}
