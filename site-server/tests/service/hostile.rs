//! Clients that mean no good, on a real socket.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{Method, StatusCode};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use site_api::{Problem, ProblemCode, path};
use snapshot::id::ObjectId;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    support::{Person, random_bytes, register},
    world::{DEADLINE, Served, World},
};

/// Longer than every deadline a connection without a request has.
const PATIENCE: Duration = Duration::from_secs(40);

async fn one_site() -> (World, Person) {
    let world = World::of(1).await;
    let hanako = Person::new("hanako");
    register(world.sites[0].layout.root(), &hanako).await;
    (world, hanako)
}

async fn plain(site: &Served) -> TcpStream {
    TcpStream::connect(("127.0.0.1", site.port)).await.unwrap()
}

/// A connection after its handshake, without a word said.
async fn tls(site: &Served, alpn: &[u8]) -> TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(site.layout.ca()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, plain(site).await)
        .await
        .unwrap()
}

/// What comes until the other side closes.
async fn rest(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    // A close without TLS's goodbye is a close too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes))
        .await
        .expect("the site closes the connection");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends raw bytes over TLS and HTTP/1.1, gives the answer until the site closes.
async fn raw(site: &Served, request: &str) -> String {
    let mut stream = tls(site, b"http/1.1").await;
    stream.write_all(request.as_bytes()).await.unwrap();
    rest(&mut stream).await
}

fn status(answer: &str) -> u16 {
    let word = answer.split(' ').nth(1);
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn who_says_nothing_or_says_it_slowly_is_cut_off_and_others_are_served() {
    let (world, _) = one_site().await;
    let site = &world.sites[0];
    let begun = Instant::now();
    let silent = async { rest(&mut plain(site).await).await };
    let half_hello = async {
        let mut stream = plain(site).await;
        stream.write_all(&[0x16, 3, 1, 0x40, 0, 1]).await.unwrap();
        rest(&mut stream).await
    };
    let no_request = async { rest(&mut tls(site, b"http/1.1").await).await };
    let slow_headers = async {
        let stream = tls(site, b"http/1.1").await;
        let (mut read, mut write) = tokio::io::split(stream);
        let drip = async {
            let _ = write.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n").await;
            loop {
                tokio::time::sleep(Duration::from_millis(500)).await;
                if write.write_all(b"x: y\r\n").await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            said = rest(&mut read) => said,
            () = drip => String::new(),
        }
    };
    let others = async {
        for _ in 0..20 {
            let up = site
                .client
                .get(site.url() + path::HEALTH)
                .send()
                .await
                .unwrap();
            assert_eq!(up.status(), 200);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let (a, b, c, d, ()) = tokio::join!(silent, half_hello, no_request, slow_headers, others);
    for said in [&a, &b, &c] {
        assert!(!said.contains("200 OK"), "{said}");
    }
    assert!(!d.contains("200 OK"), "{d}");
    assert!(begun.elapsed() < PATIENCE);
    world.stop().await;
}

#[tokio::test]
async fn shapes_by_which_two_servers_read_one_request_differently_are_refused() {
    let (world, _) = one_site().await;
    let site = &world.sites[0];
    let smuggled = "0\r\n\r\nGET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let post =
        "POST /v1/sign-in/challenge HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
    for (what, request) in [
        (
            "length and chunks",
            format!("{post}content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n{smuggled}"),
        ),
        (
            "chunks and length",
            format!("{post}transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n{smuggled}"),
        ),
        (
            "two lengths",
            format!("{post}content-length: 4\r\ncontent-length: 70\r\n\r\n{smuggled}"),
        ),
        (
            "a length with a sign",
            format!("{post}content-length: +4\r\n\r\n{smuggled}"),
        ),
        (
            "chunks, hidden",
            format!("{post}transfer-encoding: chunked, identity\r\n\r\n{smuggled}"),
        ),
        (
            "a space before the colon",
            format!("{post}content-length : 4\r\n\r\n{smuggled}"),
        ),
        (
            "a folded header",
            "GET /health HTTP/1.1\r\nhost: a\r\nx: y\r\n z\r\nconnection: close\r\n\r\n".to_owned(),
        ),
        (
            "a bare line end",
            "GET /health HTTP/1.1\r\nhost: a\r\nx: y\rinjected: z\r\n\r\n".to_owned(),
        ),
    ] {
        let said = raw(site, &request).await;
        let answers = said.matches("HTTP/1.1 ").count();
        assert!(answers <= 1, "{what}: {said}");
        assert!(
            (400..500).contains(&status(&said)) || said.is_empty(),
            "{what}: {said}"
        );
        assert!(!said.contains("200 OK"), "{what}: {said}");
    }
    world.stop().await;
}

#[tokio::test]
async fn endless_headers_and_addresses_are_refused() {
    let (world, _) = one_site().await;
    let site = &world.sites[0];
    let many: String = (0..200).map(|n| format!("x-{n}: y\r\n")).collect();
    let said = raw(
        site,
        &format!("GET /health HTTP/1.1\r\nhost: a\r\n{many}connection: close\r\n\r\n"),
    )
    .await;
    assert_eq!(status(&said), 431, "{said}");
    let long = "y".repeat(1 << 20);
    let mut stream = tls(site, b"http/1.1").await;
    // The site may close before all of it went out.
    let _ = stream
        .write_all(format!("GET /health HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n").as_bytes())
        .await;
    let said = rest(&mut stream).await;
    assert!(!said.contains("200 OK"), "{said}");
    let said = raw(
        site,
        &format!(
            "GET /{} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
            "y".repeat(70_000)
        ),
    )
    .await;
    assert!(
        (400..500).contains(&status(&said)) || said.is_empty(),
        "{}",
        status(&said)
    );
    world.stop().await;
}

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
    assert_eq!(
        ask(Method::GET, &object, &pc.token).await,
        StatusCode::UNAUTHORIZED,
        "removed"
    );
    assert_eq!(
        ask(Method::GET, path::LEASE, &pc.token).await,
        StatusCode::UNAUTHORIZED
    );
    world.stop().await;
}

#[tokio::test]
async fn a_body_that_drips_holds_up_nobody_else_and_leaves_nothing_behind() {
    let (world, hanako) = one_site().await;
    let site = &world.sites[0];
    let token = site.sign_in(&hanako).await.token;
    let object = path::object(ObjectId::of(b"never"));
    let mut held = Vec::new();
    for _ in 0..30 {
        let mut stream = tls(site, b"http/1.1").await;
        let head = format!(
            "PUT {object} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ncontent-length: 100000\r\n\r\nslow"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        held.push(stream);
    }
    let begun = Instant::now();
    for _ in 0..10 {
        let up = site
            .client
            .get(site.url() + path::RELEASES)
            .send()
            .await
            .unwrap();
        assert_eq!(up.status(), 200);
    }
    assert!(begun.elapsed() < DEADLINE);
    drop(held);
    crate::world::eventually("what broke off is gone", async || {
        let staged = std::fs::read_dir(site.layout.staging()).unwrap();
        staged.count() == 0
    })
    .await;
    let missing = site.client.get(site.url() + &object).bearer_auth(&token);
    assert_eq!(missing.send().await.unwrap().status(), 404);
    world.stop().await;
}

/// CVE-2023-44487: streams that are opened and reset at once, without end.
#[tokio::test]
async fn a_connection_that_opens_and_resets_streams_without_end_is_closed() {
    let (world, _) = one_site().await;
    let site = &world.sites[0];
    let stream = tls(site, b"h2").await;
    let mut flood = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    flood.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]); // SETTINGS
    // :method GET, :scheme https, :path /, then :authority "a" (RFC 7541 appendix A).
    let headers = [0x82, 0x87, 0x84, 0x41, 0x01, b'a'];
    for number in 0..5000_u32 {
        let id = (number * 2 + 1).to_be_bytes();
        flood.extend([0, 0, headers.len() as u8, 1, 5]); // HEADERS, END_STREAM | END_HEADERS
        flood.extend(id);
        flood.extend(headers);
        flood.extend([0, 0, 4, 3, 0]); // RST_STREAM
        flood.extend(id);
        flood.extend(8_u32.to_be_bytes()); // CANCEL
    }
    let (mut read, mut write) = tokio::io::split(stream);
    let send = async {
        // The site may close in the middle.
        let _ = write.write_all(&flood).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = rest(&mut read) => {}
        () = send => {}
    }
    let up = site
        .client
        .get(site.url() + path::HEALTH)
        .send()
        .await
        .unwrap();
    assert_eq!(up.status(), 200);
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
