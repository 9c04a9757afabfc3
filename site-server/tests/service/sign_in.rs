//! Every answer of the sign-in.

use crate::support::{Card, Person, TestSite, answer, random};
use axum::http::{Method, StatusCode};
use site_api::{Head, ProblemCode, SignInChallenge, path};
use snapshot::id::CardId;

#[tokio::test]
async fn a_card_and_its_password_sign_in_and_the_token_opens_the_site() {
    let site = TestSite::new().await;
    let hanako = Person::new("hanako");
    site.add(&hanako).await;
    let signed_in = site.sign_in(&hanako).await;
    assert_eq!(
        (signed_in.user, signed_in.name.as_str()),
        (hanako.user, "hanako")
    );
    assert!(signed_in.head.is_none());
    let slot = base64::Engine::decode(
        &base64::engine::general_purpose::STANDARD,
        &signed_in.slot_b64,
    )
    .unwrap();
    assert_eq!(
        snapshot::slot::parse(&slot).unwrap().context.card,
        hanako.card.id
    );
    let bearer = format!("Bearer {}", signed_in.token);
    site.get(path::HEAD, &[("authorization", &bearer)])
        .await
        .is(404, ProblemCode::NotFound);
}

#[tokio::test]
async fn an_unknown_card_gets_no_challenge() {
    let site = TestSite::new().await;
    site.challenge(CardId::new(random()))
        .await
        .is(404, ProblemCode::UnknownCard);
}

#[tokio::test]
async fn a_challenge_is_used_once_and_only_by_its_card() {
    let site = TestSite::new().await;
    let hanako = Person::new("hanako");
    site.add(&hanako).await;
    let asked: SignInChallenge = site.challenge(hanako.card.id).await.json();
    let good = answer(&hanako.card, &asked, "hanako", &hanako.password);
    let first = site.json(Method::POST, path::SIGN_IN, "", &good).await;
    assert_eq!(first.status, StatusCode::OK);
    site.json(Method::POST, path::SIGN_IN, "", &good)
        .await
        .is(401, ProblemCode::WrongProof);

    let asked: SignInChallenge = site.challenge(hanako.card.id).await.json();
    let stranger = answer(&Card::new(), &asked, "hanako", &hanako.password);
    site.json(Method::POST, path::SIGN_IN, "", &stranger)
        .await
        .is(401, ProblemCode::WrongProof);
    // The wrong answer used it up.
    let late = answer(&hanako.card, &asked, "hanako", &hanako.password);
    site.json(Method::POST, path::SIGN_IN, "", &late)
        .await
        .is(401, ProblemCode::WrongProof);
}

#[tokio::test]
async fn a_card_signs_in_nobody_but_its_user() {
    let site = TestSite::new().await;
    let (hanako, taro) = (Person::new("hanako"), Person::new("taro"));
    site.add(&hanako).await;
    site.add(&taro).await;
    site.try_sign_in(&hanako.card, "taro", &taro.password)
        .await
        .is(403, ProblemCode::CardOfAnotherUser);
    site.try_sign_in(&hanako.card, "hanako", &taro.password)
        .await
        .is(401, ProblemCode::WrongPassword);
}

#[tokio::test]
async fn after_five_wrong_passwords_everybody_with_the_card_waits() {
    let site = TestSite::new().await;
    let hanako = Person::new("hanako");
    site.add(&hanako).await;
    for _ in 0..5 {
        site.try_sign_in(&hanako.card, "hanako", "wrong password")
            .await
            .is(401, ProblemCode::WrongPassword);
    }
    let locked = site
        .try_sign_in(&hanako.card, "hanako", &hanako.password)
        .await;
    locked.is(429, ProblemCode::TooManyTries);
    let wait: u64 = locked.header("retry-after").parse().unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
    tokio::time::sleep(std::time::Duration::from_secs(wait)).await;
    site.sign_in(&hanako).await;
    // A right password forgives: the next wrong one is the first again.
    site.try_sign_in(&hanako.card, "hanako", "wrong password")
        .await
        .is(401, ProblemCode::WrongPassword);
    site.sign_in(&hanako).await;
}

#[tokio::test]
async fn a_new_card_revokes_the_old_one() {
    let site = TestSite::new().await;
    let mut hanako = Person::new("hanako");
    site.add(&hanako).await;
    let old = std::mem::replace(&mut hanako.card, Card::new());
    site.add(&hanako).await;
    site.sign_in(&hanako).await;
    site.challenge(old.id)
        .await
        .is(403, ProblemCode::CardRevoked);
}

#[tokio::test]
async fn what_needs_a_token_is_closed_without_a_living_one() {
    let site = TestSite::new().await;
    let hanako = Person::new("hanako");
    site.add(&hanako).await;
    let token = site_server::store::new_token();
    let kind = site_server::store::TokenKind::Pc;
    site.site
        .store
        .add_token(&token, hanako.user, kind, 1)
        .await
        .unwrap();
    let dead = format!("Bearer {token}");
    for header in ["", "Bearer ", "Bearer 00", "Basic aGFuYWtvOng=", &dead] {
        for (method, at) in [
            (Method::GET, path::HEAD.to_owned()),
            (Method::PUT, path::HEAD.to_owned()),
            (Method::POST, path::HEAD_FETCH.to_owned()),
            (Method::POST, path::OBJECTS_MISSING.to_owned()),
            (
                Method::GET,
                path::object(snapshot::id::ObjectId::new([1; 32])),
            ),
            (
                Method::PUT,
                path::object(snapshot::id::ObjectId::new([1; 32])),
            ),
        ] {
            site.call(method, &at, &[("authorization", header)], "{}")
                .await
                .is(401, ProblemCode::NotSignedIn);
        }
    }
}

#[tokio::test]
async fn a_portal_token_is_no_token_of_a_pc() {
    let site = TestSite::new().await;
    let hanako = Person::new("hanako");
    site.add(&hanako).await;
    let token = site_server::store::new_token();
    let kind = site_server::store::TokenKind::Portal;
    site.site
        .store
        .add_token(&token, hanako.user, kind, i64::MAX)
        .await
        .unwrap();
    let bearer = format!("Bearer {token}");
    site.get(path::HEAD, &[("authorization", &bearer)])
        .await
        .is(401, ProblemCode::NotSignedIn);
}

#[tokio::test]
async fn what_is_not_json_or_not_an_id_is_400_and_quotes_nothing() {
    let site = TestSite::new().await;
    let headers = [("content-type", "application/json")];
    for body in [
        "",
        "{",
        "{\"card\":\"zz\"}",
        "{\"card\":7,\"password\":\"tulip-4471\"}",
    ] {
        let answer = site
            .call(Method::POST, path::SIGN_IN_CHALLENGE, &headers, body)
            .await;
        answer.is(400, ProblemCode::BadRequest);
        assert!(!answer.text().contains("tulip"));
    }
    site.call(Method::POST, path::SIGN_IN_CHALLENGE, &[], "{}")
        .await
        .is(400, ProblemCode::BadRequest);
    site.call(Method::POST, path::SIGN_IN, &headers, "x".repeat(2 << 20))
        .await
        .is(413, ProblemCode::TooLarge);
    site.get("/v1/nothing", &[])
        .await
        .is(404, ProblemCode::NotFound);
    site.call(Method::DELETE, path::HEAD, &[], "")
        .await
        .is(405, ProblemCode::BadRequest);
}

#[tokio::test]
async fn who_asks_learns_the_newest_head_at_sign_in() {
    let site = TestSite::new().await;
    let hanako = Person::new("hanako");
    site.add(&hanako).await;
    let signed_in = site.sign_in(&hanako).await;
    let bytes = crate::support::random_bytes(1000);
    site.put_object(&signed_in.token, &bytes).await;
    let record = hanako.record(1, None, &[bytes]);
    let put = site_api::PutHead {
        expected: None,
        record_b64: base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            record.as_bytes(),
        ),
        pc: "pc-1".into(),
    };
    let head: Head = site
        .json(Method::PUT, path::HEAD, &signed_in.token, &put)
        .await
        .json();
    assert_eq!(site.sign_in(&hanako).await.head, Some(head.info));
}
