//! Who has no card signs in with a passphrase where the operator allows it, and its slot goes to nobody else.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use site_api::{
    PassphraseRequest, PassphraseSlot, ProblemCode, RegisteredCard, Registration, SignIn,
    SignInChallenge, SignInRequest, SiteInfo, path,
    registration::{ChallengeRequest, RegistrationRequest},
};
use site_server::{
    admin,
    routes::RemoteAddress,
    store::{Actor, Policy},
};
use snapshot::{
    id::BaselineId,
    keys::UserKey,
    slot::{self, Cost, Passphrase, SlotContext, Stretch},
};

use crate::{
    patient::again,
    support::{Answer, Person, TestSite},
    throttle::{Work, assert_same_work},
};

const TYPED: &str = "seven small tulips in May";
const GUESS: &str = "not the password of anybody";

async fn set(site: &TestSite, policy: Policy, value: &str) {
    let store = &site.site.store;
    store
        .set_policy(Actor::Operator, policy, value)
        .await
        .unwrap();
}

/// The key that a passphrase becomes, as the station registers it for `person`.
fn entry(person: &Person, number: u32) -> (Passphrase, RegisteredCard) {
    let stretch = Stretch::new(Cost::LEAST).unwrap();
    let key = Passphrase::derive(TYPED, &stretch).unwrap();
    let context = SlotContext {
        user: person.user,
        slot: number,
        card: key.id(),
        epoch: person.epoch,
    };
    let user_key = UserKey::from_bytes(person.user_key);
    let slot = slot::wrap_by_passphrase(&user_key, &key.public_key(), &stretch, &context).unwrap();
    let entry = RegisteredCard {
        card: key.id(),
        spki_b64: STANDARD.encode(key.spki()),
        label: "passphrase".into(),
        slot: number,
        epoch: person.epoch,
        slot_b64: STANDARD.encode(slot),
    };
    (key, entry)
}

async fn register(site: &TestSite, person: &Person, registration: &Registration) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), serde_json::to_vec(registration).unwrap()).unwrap();
    let data = site.site.layout.root();
    again(async || admin::user_add(data, &person.name, file.path(), &person.password).await).await;
}

/// Hanako, who has a card and a passphrase.
async fn hanako(site: &TestSite) -> (Person, Passphrase) {
    let hanako = Person::new("hanako");
    let (key, entry) = entry(&hanako, 1);
    let mut registration = hanako.registration();
    registration.cards.push(entry);
    register(site, &hanako, &registration).await;
    (hanako, key)
}

async fn ask_from(site: &TestSite, from: &str, user: &str, password: &str) -> Answer {
    let asked = PassphraseRequest {
        user: user.into(),
        password: password.into(),
        pc: "pc-1".into(),
        baseline: BaselineId::new([7; 32]),
    };
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(path::SIGN_IN_PASSPHRASE)
        .header("content-type", "application/json")
        .body(Body::from(serde_json::to_vec(&asked).unwrap()))
        .unwrap();
    let from = RemoteAddress(from.parse().unwrap());
    request.extensions_mut().insert(from);
    site.send(request).await
}

async fn ask(site: &TestSite, user: &str, password: &str) -> Answer {
    ask_from(site, "192.0.2.7", user, password).await
}

fn proof(key: &Passphrase, asked: &SignInChallenge) -> String {
    let sealed = STANDARD.decode(&asked.sealed_b64).unwrap();
    STANDARD.encode(key.prove(asked.site, &asked.challenge, &sealed).unwrap())
}

async fn finish(site: &TestSite, key: &Passphrase, person: &Person) -> Answer {
    let asked: SignInChallenge = site.challenge(key.id()).await.json();
    let request = SignInRequest {
        challenge: asked.challenge.clone(),
        proof_b64: proof(key, &asked),
        user: person.name.clone(),
        password: person.password.clone(),
        pc: "pc-1".into(),
        leases: false,
    };
    site.json(Method::POST, path::SIGN_IN, "", &request).await
}

#[tokio::test]
async fn a_passphrase_signs_in_and_opens_the_users_key() {
    let site = TestSite::new().await;
    set(&site, Policy::Passphrases, "yes").await;
    let (hanako, key) = hanako(&site).await;
    let info: SiteInfo = site.get(path::SITE, &[]).await.json();
    assert!(info.passphrases, "a PC would not offer it");
    let got = ask(&site, "hanako", &hanako.password).await;
    let got: PassphraseSlot = got.json();

    // All that a PC has: what was typed and what the site sent.
    let slot = slot::parse(&STANDARD.decode(&got.slot_b64).unwrap()).unwrap();
    let slot::Wrapped::ByPassphrase(by) = &slot.wrapped else {
        panic!("the slot of the card was sent");
    };
    let typed = Passphrase::derive(TYPED, &by.stretch).unwrap();
    assert_eq!(typed.id(), key.id());
    let answer = finish(&site, &typed, &hanako).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let answer: SignIn = answer.json();
    assert_eq!(
        (answer.user, &*answer.slot_b64),
        (hanako.user, &*got.slot_b64)
    );
    let opened = typed.unwrap(&slot).unwrap();
    assert_eq!(opened.expose(), &hanako.user_key);
    // The card goes on beside it.
    site.sign_in(&hanako).await;
}

#[tokio::test]
async fn where_nothing_was_decided_a_passphrase_is_refused_at_every_step() {
    let site = TestSite::new().await;
    let (hanako, key) = hanako(&site).await;
    let info: SiteInfo = site.get(path::SITE, &[]).await.json();
    assert!(!info.passphrases);
    let closed = ProblemCode::PassphrasesClosed;
    ask(&site, "hanako", &hanako.password).await.is(403, closed);
    site.challenge(key.id()).await.is(403, closed);

    // Closed between both halves of a sign-in.
    set(&site, Policy::Passphrases, "yes").await;
    let asked: SignInChallenge = site.challenge(key.id()).await.json();
    set(&site, Policy::Passphrases, "").await;
    let request = SignInRequest {
        challenge: asked.challenge.clone(),
        proof_b64: proof(&key, &asked),
        user: hanako.name.clone(),
        password: hanako.password.clone(),
        pc: "pc-1".into(),
        leases: false,
    };
    let answer = site.json(Method::POST, path::SIGN_IN, "", &request).await;
    answer.is(403, closed);
    site.sign_in(&hanako).await;
}

#[tokio::test]
async fn a_wrong_name_a_wrong_password_and_no_passphrase_are_one_answer() {
    let site = TestSite::new().await;
    set(&site, Policy::Passphrases, "yes").await;
    hanako(&site).await;
    let jiro = Person::new("jiro");
    site.add(&jiro).await;
    let wrong = ask(&site, "hanako", GUESS).await;
    wrong.is(401, ProblemCode::WrongPassword);
    for (user, password) in [
        ("nobody-here", GUESS),
        ("jiro", GUESS),
        ("jiro", &jiro.password),
        ("", ""),
    ] {
        let answer = ask(&site, user, password).await;
        let status = (answer.status, answer.text());
        assert_eq!(status, (wrong.status, wrong.text()), "{user}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn whether_a_name_or_its_passphrase_exists_costs_the_same() {
    let jiro = Person::new("jiro");
    let site = async || {
        let site = TestSite::new().await;
        set(&site, Policy::Passphrases, "yes").await;
        hanako(&site).await;
        site.add(&jiro).await;
        site
    };
    let whom = ["hanako", "jiro", "jiro, right password", "nobody-here"];
    assert_same_work(whom, site, async |site, whom, from| {
        let (user, password) = match whom.split_once(',') {
            Some((user, _)) => (user, jiro.password.as_str()),
            None => (whom, GUESS),
        };
        let (answer, work) = Work::of(ask_from(site, from, user, password)).await;
        answer.is(401, ProblemCode::WrongPassword);
        work
    })
    .await;
}

#[tokio::test]
async fn guesses_wait_wherever_the_right_password_would_lead() {
    let site = TestSite::new().await;
    set(&site, Policy::Passphrases, "yes").await;
    let (hanako, _) = hanako(&site).await;
    let jiro = Person::new("jiro");
    site.add(&jiro).await;
    // The right password of who has no passphrase counts as any wrong one: the wait tells nobody that it was right.
    for (user, password, right) in [
        ("hanako", GUESS, &hanako.password),
        ("nobody-here", GUESS, &jiro.password),
        ("jiro", &jiro.password, &jiro.password),
    ] {
        let from = "198.51.100.9";
        for _ in 0..5 {
            let answer = ask_from(&site, from, user, password).await;
            answer.is(401, ProblemCode::WrongPassword);
        }
        let answer = ask_from(&site, from, user, right).await;
        answer.is(429, ProblemCode::TooManyTries);
        assert!(answer.header("retry-after").parse::<u32>().unwrap() > 0);
    }
    // Somewhere else hanako does not wait for a stranger's guesses.
    let there = ask_from(&site, "203.0.113.5", "hanako", &hanako.password).await;
    assert_eq!(there.status, StatusCode::OK, "{}", there.text());
}

#[tokio::test]
async fn a_revoked_passphrase_and_a_disabled_user_are_told_after_the_password_only() {
    let site = TestSite::new().await;
    set(&site, Policy::Passphrases, "yes").await;
    let (hanako, key) = hanako(&site).await;
    let store = &site.site.store;
    let here = site.site.config.site;
    store
        .switch_user(Actor::Operator, hanako.user, true, here)
        .await
        .unwrap();
    let ask = async |password: &str| ask(&site, "hanako", password).await;
    ask(GUESS).await.is(401, ProblemCode::WrongPassword);
    ask(&hanako.password)
        .await
        .is(403, ProblemCode::CardRevoked);
    store
        .switch_user(Actor::Operator, hanako.user, false, here)
        .await
        .unwrap();
    assert_eq!(ask(&hanako.password).await.status, StatusCode::OK);
    store
        .revoke_card(key.id(), hanako.user, here)
        .await
        .unwrap();
    ask(&hanako.password)
        .await
        .is(403, ProblemCode::CardRevoked);
    site.challenge(key.id())
        .await
        .is(403, ProblemCode::CardRevoked);
    site.sign_in(&hanako).await;
}

#[tokio::test]
async fn nobody_registers_a_passphrase_at_a_pc() {
    let site = TestSite::new().await;
    set(&site, Policy::Passphrases, "yes").await;
    set(&site, Policy::RegisterAtPc, "yes").await;
    let jiro = Person::new("jiro");
    let (key, entry) = entry(&jiro, 0);
    let asked = ChallengeRequest {
        spki_b64: entry.spki_b64.clone(),
        baseline: BaselineId::new([7; 32]),
    };
    let asked = site
        .json(Method::POST, path::REGISTRATION_CHALLENGE, "", &asked)
        .await;
    let asked: SignInChallenge = asked.json();
    let mut registration = jiro.registration();
    registration.cards = vec![entry];
    let request = RegistrationRequest {
        challenge: asked.challenge.clone(),
        proof_b64: proof(&key, &asked),
        registration,
        password: jiro.password.clone(),
        pc: "pc-1".into(),
    };
    let answer = site
        .json(Method::POST, path::REGISTRATIONS, "", &request)
        .await;
    answer.is(400, ProblemCode::BadRequest);
    assert!(answer.text().contains("at a station"), "{}", answer.text());
}
