//! A card nobody knows registers its user, once and only as itself, where the operator allows it.

use axum::http::{Method, StatusCode};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use site_api::{
    ProblemCode, SignInChallenge, path,
    registration::{ChallengeRequest, Registered, RegistrationRequest},
};
use site_server::store::{Actor, Policy};
use snapshot::id::BaselineId;

use crate::{
    support::{Answer, Card, Person, TestSite},
    world::World,
};

async fn open(site: &TestSite) {
    let store = &site.site.store;
    store
        .set_policy(Actor::Operator, Policy::RegisterAtPc, "yes")
        .await
        .unwrap();
}

fn question(card: &Card) -> ChallengeRequest {
    ChallengeRequest {
        spki_b64: STANDARD.encode(&card.spki),
        baseline: BaselineId::new([7; 32]),
    }
}

async fn ask(site: &TestSite, card: &Card) -> Answer {
    let asked = question(card);
    site.json(Method::POST, path::REGISTRATION_CHALLENGE, "", &asked)
        .await
}

fn request(person: &Person, asked: &SignInChallenge) -> RegistrationRequest {
    RegistrationRequest {
        challenge: asked.challenge.clone(),
        proof_b64: person.card.answer(asked),
        registration: person.registration(),
        password: person.password.clone(),
        pc: "pc-1".into(),
    }
}

async fn send(site: &TestSite, request: &RegistrationRequest) -> Answer {
    site.json(Method::POST, path::REGISTRATIONS, "", request)
        .await
}

#[tokio::test]
async fn nobody_registers_where_nothing_was_decided() {
    let site = TestSite::new().await;
    let hanako = Person::new("hanako");
    ask(&site, &hanako.card)
        .await
        .is(403, ProblemCode::RegistrationClosed);
    open(&site).await;
    let asked: SignInChallenge = ask(&site, &hanako.card).await.json();
    let store = &site.site.store;
    store
        .set_policy(Actor::Operator, Policy::RegisterAtPc, "no")
        .await
        .unwrap();
    send(&site, &request(&hanako, &asked))
        .await
        .is(403, ProblemCode::RegistrationClosed);
    assert!(store.user(hanako.user).await.unwrap().is_none());
}

#[tokio::test]
async fn a_registered_card_signs_in_and_registers_no_second_time() {
    let site = TestSite::new().await;
    open(&site).await;
    let hanako = Person::new("hanako");
    let asked: SignInChallenge = ask(&site, &hanako.card).await.json();
    let again: SignInChallenge = ask(&site, &hanako.card).await.json();
    let first = send(&site, &request(&hanako, &asked)).await;
    assert_eq!(first.status, StatusCode::CREATED, "{}", first.text());
    let registered: Registered = first.json();
    assert_eq!(
        (registered.user, registered.name.as_str()),
        (hanako.user, "hanako")
    );
    site.sign_in(&hanako).await;

    // The answer was lost: the same again changes nothing, not even the password.
    let mut same = request(&hanako, &again);
    same.password = "another password".into();
    let second = send(&site, &same).await;
    assert_eq!(second.status, StatusCode::OK, "{}", second.text());
    assert_eq!(second.json::<Registered>(), registered);
    site.sign_in(&hanako).await;
    let record = site.site.store.user_record(hanako.user).await.unwrap();
    assert_eq!(record.unwrap().version, 1);
    ask(&site, &hanako.card)
        .await
        .is(409, ProblemCode::CardTaken);
    site.hides(&[&hanako.password]);
}

#[tokio::test]
async fn only_the_card_itself_registers_and_its_answer_opens_nothing_else() {
    let site = TestSite::new().await;
    open(&site).await;
    let (hanako, taro) = (Person::new("hanako"), Person::new("taro"));
    let asked: SignInChallenge = ask(&site, &hanako.card).await.json();
    // Somebody else's card in the registration, and a proof of another card.
    let mut wrong = request(&taro, &asked);
    wrong.proof_b64 = hanako.card.answer(&asked);
    send(&site, &wrong).await.is(401, ProblemCode::WrongProof);
    let asked: SignInChallenge = ask(&site, &hanako.card).await.json();
    let mut wrong = request(&hanako, &asked);
    wrong.proof_b64 = taro.card.answer(&asked);
    send(&site, &wrong).await.is(401, ProblemCode::WrongProof);
    // A challenge is used once, and one to register signs nobody in.
    send(&site, &request(&hanako, &asked))
        .await
        .is(401, ProblemCode::WrongProof);
    let asked: SignInChallenge = ask(&site, &hanako.card).await.json();
    site.add(&hanako).await;
    let answer = crate::support::answer(&hanako.card, &asked, "hanako", &hanako.password);
    site.json(Method::POST, path::SIGN_IN, "", &answer)
        .await
        .is(403, ProblemCode::CardOfAnotherUser);
    // A challenge to sign in registers nobody.
    let asked: SignInChallenge = site.challenge(hanako.card.id).await.json();
    send(&site, &request(&hanako, &asked))
        .await
        .is(401, ProblemCode::WrongProof);
}

#[tokio::test]
async fn who_registers_takes_nothing_from_anybody() {
    let site = TestSite::new().await;
    open(&site).await;
    let hanako = Person::new("hanako");
    site.add(&hanako).await;

    // Her name.
    let mut thief = Person::new("hanako");
    let asked: SignInChallenge = ask(&site, &thief.card).await.json();
    send(&site, &request(&thief, &asked))
        .await
        .is(409, ProblemCode::NameTaken);
    // Her id, under another name, with a slot sealed for it.
    thief.user = hanako.user;
    thief.name = "thief".into();
    let asked: SignInChallenge = ask(&site, &thief.card).await.json();
    send(&site, &request(&thief, &asked))
        .await
        .is(400, ProblemCode::BadRequest);
    let holder = site.site.store.user(hanako.user).await.unwrap().unwrap();
    assert_eq!(holder.name, "hanako");
    site.sign_in(&hanako).await;
    // The id of a user who was deleted.
    let origin = site.site.config.site;
    let store = &site.site.store;
    store.remove_user(hanako.user, origin).await.unwrap();
    let asked: SignInChallenge = ask(&site, &thief.card).await.json();
    send(&site, &request(&thief, &asked))
        .await
        .is(400, ProblemCode::BadRequest);
    assert!(store.user(hanako.user).await.unwrap().is_none());
}

#[tokio::test]
async fn a_registration_is_one_card_without_escrow_and_a_password_that_is_one() {
    let site = TestSite::new().await;
    open(&site).await;
    type Spoil = fn(&mut RegistrationRequest);
    let cases: [(&str, Spoil); 7] = [
        ("no card", |r| r.registration.cards.clear()),
        ("two cards", |r| {
            let mut second = Person::new("x").registration().cards.remove(0);
            second.slot = 9;
            r.registration.cards.push(second);
        }),
        ("escrow", |r| {
            r.registration.escrow_b64 = Some("AA==".into())
        }),
        ("name", |r| r.registration.name = "Hanako".into()),
        ("label", |r| r.registration.cards[0].label = "x".repeat(65)),
        ("slot", |r| r.registration.cards[0].slot_b64 = "AA==".into()),
        ("password", |r| r.password = "short".into()),
    ];
    for (what, spoil) in cases {
        let hanako = Person::new("hanako");
        let asked: SignInChallenge = ask(&site, &hanako.card).await.json();
        let mut bad = request(&hanako, &asked);
        spoil(&mut bad);
        let answer = send(&site, &bad).await;
        assert_eq!(
            answer.status,
            StatusCode::BAD_REQUEST,
            "{what}: {}",
            answer.text()
        );
    }
    let hanako = Person::new("hanako");
    let asked: SignInChallenge = ask(&site, &hanako.card).await.json();
    let mut large = request(&hanako, &asked);
    large.pc = "x".repeat(16 << 10);
    send(&site, &large).await.is(413, ProblemCode::TooLarge);
    assert!(site.site.store.user(hanako.user).await.unwrap().is_none());
}

#[tokio::test]
async fn a_stranger_with_many_cards_waits() {
    let site = TestSite::new().await;
    open(&site).await;
    for number in 1..=40 {
        let answer = ask(&site, &Card::new()).await;
        assert_eq!(answer.status, StatusCode::OK, "{number}: {}", answer.text());
    }
    let answer = ask(&site, &Card::new()).await;
    answer.is(429, ProblemCode::TooManyTries);
    assert!(!answer.header("retry-after").is_empty());
}

#[tokio::test]
async fn every_site_hears_of_who_registered() {
    let world = World::of(2).await;
    let [here, there] = world.sites.as_slice() else {
        unreachable!("two sites were made")
    };
    let store = &here.site().store;
    store
        .set_policy(Actor::Operator, Policy::RegisterAtPc, "yes")
        .await
        .unwrap();
    let hanako = Person::new("hanako");
    let post = async |at: &str, body: String| {
        let request = here.client.0.post(here.url() + at);
        let request = request
            .header("content-type", "application/json")
            .body(body);
        request.send().await.unwrap().text().await.unwrap()
    };
    let asked = serde_json::to_string(&question(&hanako.card)).unwrap();
    let asked = post(path::REGISTRATION_CHALLENGE, asked).await;
    let asked: SignInChallenge = serde_json::from_str(&asked).unwrap();
    let sent = serde_json::to_string(&request(&hanako, &asked)).unwrap();
    let registered: Registered =
        serde_json::from_str(&post(path::REGISTRATIONS, sent).await).unwrap();
    assert_eq!(registered.user, hanako.user);
    there.knows(&hanako).await;
    there.sign_in(&hanako).await;
    world.stop().await;
}
