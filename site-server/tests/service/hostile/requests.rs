//! Requests for what is not theirs, or with what is not right.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{Method, StatusCode};
use site_api::{Problem, ProblemCode, path};
use snapshot::id::ObjectId;

use super::{one_site, raw, status};
use crate::support::{Person, random_bytes, register};

#[tokio::test]
async fn no_path_leaves_the_folder_of_a_release_or_of_an_object() {
    let (world, hanako) = one_site().await;
    let site = &world.sites[0];
    let token = site.sign_in(&hanako).await.token;
    let release = "00".repeat(32);
    let up = [
        "../../site.toml",
        "..%2f..%2fsite.toml",
        "%2e%2e/%2e%2e/site.toml",
        "%2e%2e%2f%2e%2e%2fsite.toml",
        "%252e%252e%252fsite.toml",
        "..%5c..%5csite.toml",
        "..%c0%af..%c0%afsite.toml",
        "%00",
        "manifest.json%00",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "....//....//site.toml",
        ".",
        "",
    ];
    for bad in up {
        for place in [
            format!("/v1/releases/{release}/{bad}"),
            format!("/v1/objects/{bad}"),
            format!("/v1/baselines/{bad}"),
            format!("/v1/names/{bad}/release"),
            format!("/{bad}"),
        ] {
            // Raw: a client library would tidy it up.
            let said = raw(
                site,
                &format!("GET {place} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"),
            )
            .await;
            let page = place == "/" && status(&said) == 200;
            assert!(
                page || (400..500).contains(&status(&said)),
                "{place}: {said}"
            );
            assert!(
                !said.contains("operator") && !said.contains("root:"),
                "{place}: {said}"
            );
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn nothing_a_client_sends_becomes_a_header_of_the_answer() {
    let (world, hanako) = one_site().await;
    let site = &world.sites[0];
    let token = site.sign_in(&hanako).await.token;
    let evil = "a%0d%0aset-cookie:%20evil=1%0d%0a%0d%0ab";
    for place in [
        format!("/v1/names/{evil}/release"),
        format!("/v1/releases/{evil}/{evil}"),
        format!("/{evil}"),
        format!("/?next={evil}"),
        format!("/environment?to={evil}"),
        format!("//evil.example/{evil}"),
    ] {
        let said = raw(
            site,
            &format!("GET {place} HTTP/1.1\r\nhost: evil.example\r\naccept-language: {evil}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"),
        )
        .await;
        let (head, _) = said.split_once("\r\n\r\n").unwrap();
        for line in head.lines() {
            assert!(!line.contains("evil"), "{place}: {line}");
        }
    }
    // Names that travel into answers: they are JSON and text there, never headers.
    let form = format!("user={evil}&password=x&csrf=x");
    let said = raw(
        site,
        &format!("POST /sign-in HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{form}", form.len()),
    )
    .await;
    assert!(
        !said.split("\r\n\r\n").next().unwrap().contains("evil=1"),
        "{said}"
    );
    world.stop().await;
}

#[tokio::test]
async fn bodies_too_large_of_a_wrong_type_or_with_other_bytes_are_refused_by_name() {
    let (world, hanako) = one_site().await;
    let site = &world.sites[0];
    let pc = site.sign_in(&hanako).await;
    let ask = async |method: Method, at: &str, kind: &str, body: Vec<u8>| {
        let request = site
            .client
            .request(method, site.url() + at)
            .bearer_auth(&pc.token);
        let response = request
            .header("content-type", kind)
            .body(body)
            .send()
            .await
            .unwrap();
        let status = response.status();
        let problem: Problem = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert_eq!(u16::from(status), problem.status);
        (status.as_u16(), problem.code)
    };
    let json = "application/json";
    let object = path::object(ObjectId::of(b"these bytes"));
    let large = format!("[\"{}\"]", "a".repeat(2 << 20)).into_bytes();
    let huge = format!("{{\"record_b64\":\"{}\"}}", "A".repeat(8 << 20)).into_bytes();
    for (what, got, want) in [
        (
            "JSON over 1 MiB",
            ask(Method::POST, path::OBJECTS_MISSING, json, large).await,
            (413, ProblemCode::TooLarge),
        ),
        (
            "a delivery over its limit",
            ask(Method::POST, path::DELIVERIES, json, huge.clone()).await,
            (413, ProblemCode::TooLarge),
        ),
        (
            "a wipe record over its limit",
            ask(Method::POST, path::WIPES, json, huge).await,
            (413, ProblemCode::TooLarge),
        ),
        (
            "a form where JSON goes",
            ask(
                Method::POST,
                path::OBJECTS_MISSING,
                "application/x-www-form-urlencoded",
                b"objects=".to_vec(),
            )
            .await,
            (400, ProblemCode::BadRequest),
        ),
        (
            "no JSON",
            ask(Method::POST, path::OBJECTS_MISSING, json, b"{".to_vec()).await,
            (400, ProblemCode::BadRequest),
        ),
        (
            "deep JSON",
            ask(
                Method::POST,
                path::OBJECTS_MISSING,
                json,
                b"[".repeat(100_000),
            )
            .await,
            (400, ProblemCode::BadRequest),
        ),
        (
            "other bytes",
            ask(
                Method::PUT,
                &object,
                "application/octet-stream",
                b"other bytes".to_vec(),
            )
            .await,
            (422, ProblemCode::WrongHash),
        ),
        (
            "too many names",
            {
                let names = vec![ObjectId::of(b"x"); 4097];
                ask(
                    Method::POST,
                    path::OBJECTS_MISSING,
                    json,
                    serde_json::to_vec(&serde_json::json!({"objects": names})).unwrap(),
                )
                .await
            },
            (400, ProblemCode::BadRequest),
        ),
    ] {
        assert_eq!(got, want, "{what}");
    }
    // Announced: refused before a byte of it is read.
    let said = raw(
        site,
        &format!("PUT {object} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ncontent-length: 99999999999\r\nconnection: close\r\n\r\n", pc.token),
    )
    .await;
    assert_eq!(status(&said), 413, "{said}");
    world.stop().await;
}

#[tokio::test]
async fn tokens_of_another_kind_of_another_user_or_of_a_removed_user_open_nothing() {
    let (world, hanako) = one_site().await;
    let site = &world.sites[0];
    let taro = Person::new("taro");
    register(site.layout.root(), &taro).await;
    let pc = site.sign_in(&hanako).await;
    let other = site.sign_in(&taro).await;
    let bytes = random_bytes(1000);
    let object = path::object(ObjectId::of(&bytes));
    let put = site.client.put(site.url() + &object).bearer_auth(&pc.token);
    assert_eq!(put.body(bytes).send().await.unwrap().status(), 201);

    let ask = async |method: Method, at: &str, token: &str| {
        let request = site
            .client
            .request(method, site.url() + at)
            .bearer_auth(token);
        request.send().await.unwrap().status()
    };
    let operator = std::fs::read_to_string(site.layout.operator_token()).unwrap();
    let operator = operator.trim();
    let portal = site_server::store::new_token();
    let kind = site_server::store::TokenKind::Portal;
    let store = &site.site().store;
    store
        .add_token(&portal, hanako.user, kind, i64::MAX)
        .await
        .unwrap();
    let release = format!("/v1/releases/{}/manifest.json", "00".repeat(32));
    for (what, method, at, token, want) in [
        (
            "the owner",
            Method::GET,
            object.as_str(),
            pc.token.as_str(),
            StatusCode::OK,
        ),
        (
            "another user",
            Method::GET,
            &object,
            &other.token,
            StatusCode::NOT_FOUND,
        ),
        (
            "the portal's",
            Method::GET,
            &object,
            &portal,
            StatusCode::UNAUTHORIZED,
        ),
        (
            "the operator's",
            Method::GET,
            &object,
            operator,
            StatusCode::UNAUTHORIZED,
        ),
        (
            "none that is known",
            Method::GET,
            &object,
            &"0".repeat(64),
            StatusCode::UNAUTHORIZED,
        ),
        (
            "a user's where the operator's goes",
            Method::PUT,
            &release,
            &pc.token,
            StatusCode::UNAUTHORIZED,
        ),
        (
            "without a certificate",
            Method::GET,
            "/s/v1/transfers/00000000000000000000000000000000",
            operator,
            StatusCode::FORBIDDEN,
        ),
    ] {
        assert_eq!(ask(method, at, token).await, want, "{what}");
    }
    let cookie = site.client.get(site.url() + "/environment");
    let cookie = cookie.header("cookie", format!("__Host-furoshiki={}", pc.token));
    assert_eq!(
        cookie.send().await.unwrap().status(),
        StatusCode::SEE_OTHER,
        "a PC's token is no cookie"
    );
    site_server::admin::user_remove(site.layout.root(), "hanako")
        .await
        .unwrap();
    // Another process removed the user: this one may not know it for a second (docs/adr/0062).
    crate::world::eventually("a removed user reads nothing", async || {
        ask(Method::GET, &object, &pc.token).await == StatusCode::UNAUTHORIZED
    })
    .await;
    assert_eq!(
        ask(Method::GET, path::LEASE, &pc.token).await,
        StatusCode::UNAUTHORIZED
    );
    world.stop().await;
}

#[tokio::test]
async fn an_answer_sent_again_opens_nothing() {
    let (world, hanako) = one_site().await;
    let site = &world.sites[0];
    let ask = serde_json::json!({"card": hanako.card.id, "baseline": "07".repeat(32)});
    let url = site.url();
    let challenge = site
        .client
        .post(format!("{url}{}", path::SIGN_IN_CHALLENGE))
        .json(&ask);
    let asked: site_api::SignInChallenge =
        serde_json::from_slice(&challenge.send().await.unwrap().bytes().await.unwrap()).unwrap();
    let answer = crate::support::answer(&hanako.card, &asked, "hanako", &hanako.password);
    let again = async || {
        let sent = site
            .client
            .post(format!("{url}{}", path::SIGN_IN))
            .json(&answer);
        sent.send().await.unwrap().status()
    };
    // At once: one of them at most.
    let (a, b, c) = tokio::join!(again(), again(), again());
    let opened = [a, b, c].iter().filter(|status| **status == 200).count();
    assert_eq!(opened, 1, "{a} {b} {c}");
    assert_eq!(again().await, 401);
    assert!(STANDARD.decode(&answer.proof_b64).is_ok());
    world.stop().await;
}
