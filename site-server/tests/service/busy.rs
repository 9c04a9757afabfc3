//! A site with too much to do: lines, slow readers and writers, too many connections; and the caches that make it quick.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use axum::http::StatusCode;
use site_api::{Problem, ProblemCode, path};
use site_server::{
    admission::Limits,
    config::SiteConfig,
    serve::{Listen, Running, ServeError},
};
use snapshot::id::ObjectId;
use tokio::time::timeout;

use crate::{
    support::{Person, TestSite, random_bytes, register},
    world::{DEADLINE, Served, World},
};

const LARGE_BYTES: usize = 16 << 20;

/// A running site with these limits, over plain HTTP too.
async fn served(limits: Limits) -> (World, SocketAddr) {
    let mut world = World::of(1).await;
    let served = &mut world.sites[0];
    served.stop().await;
    let mut config = SiteConfig::load(&served.layout).unwrap();
    config.limits = limits;
    config.save(&served.layout).unwrap();
    let listen = Listen {
        plain: Some(([127, 0, 0, 1], 0).into()),
        ..SocketAddr::from(([127, 0, 0, 1], served.port)).into()
    };
    let running = Running::start(served.layout.clone(), listen).await.unwrap();
    let plain = running.plain.unwrap();
    served.port = running.address.port();
    served.running = Some(running);
    (world, plain)
}

async fn put(site: &Served, token: &str, bytes: &[u8]) {
    let at = site.url() + &path::object(ObjectId::of(bytes));
    let put = site.client.put(at).bearer_auth(token).body(bytes.to_vec());
    assert!(put.send().await.unwrap().status().is_success());
}

/// Sends the head of a request over plain HTTP.
fn ask(plain: SocketAddr, method: &str, bytes: &[u8], token: &str, more: &str) -> TcpStream {
    let mut socket = TcpStream::connect(plain).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let at = path::object(ObjectId::of(bytes));
    let head =
        format!("{method} {at} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{more}\r\n");
    socket.write_all(head.as_bytes()).unwrap();
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_a_turn_and_does_not_read_loses_it_to_those_in_line() {
    let limits = Limits {
        downloads: 1,
        line: 1,
        line_seconds: 60,
        slow_seconds: 2,
        ..Limits::default()
    };
    let (world, plain) = served(limits).await;
    let site = &world.sites[0];
    let bytes = random_bytes(LARGE_BYTES);
    let mut people = Vec::new();
    for name in ["slow", "patient", "late"] {
        let person = Person::new(name);
        register(site.layout.root(), &person).await;
        let token = site.sign_in(&person).await.token;
        put(site, &token, &bytes).await;
        people.push(token);
    }
    let mut slow = ask(plain, "GET", &bytes, &people[0], "");
    let mut first = [0; 100];
    slow.read_exact(&mut first).unwrap();
    assert!(first.starts_with(b"HTTP/1.1 200 OK\r\n"));

    let get = |token: &str| {
        let at = site.url() + &path::object(ObjectId::of(&bytes));
        site.client.get(at).bearer_auth(token).send()
    };
    let patient = tokio::spawn(get(&people[1]));
    // Whoever of the two comes second finds the line full.
    let late = timeout(DEADLINE, get(&people[2])).await.unwrap().unwrap();
    let patient = timeout(DEADLINE, patient).await.unwrap().unwrap().unwrap();
    let (served, sent_away) = match late.status() {
        StatusCode::OK => (late, patient),
        _ => (patient, late),
    };
    assert_eq!(served.status(), StatusCode::OK);
    assert_eq!(served.bytes().await.unwrap(), bytes);
    assert_eq!(sent_away.status(), StatusCode::SERVICE_UNAVAILABLE);
    let wait = sent_away.headers()["retry-after"].to_str().unwrap();
    assert!((1..=4).contains(&wait.parse::<u32>().unwrap()));
    let problem: Problem = serde_json::from_slice(&sent_away.bytes().await.unwrap()).unwrap();
    assert_eq!(problem.code, ProblemCode::Busy);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stops_coming_is_given_up_and_leaves_nothing() {
    let limits = Limits {
        slow_seconds: 1,
        ..Limits::default()
    };
    let (world, plain) = served(limits).await;
    let site = &world.sites[0];
    let person = Person::new("anna");
    register(site.layout.root(), &person).await;
    let token = site.sign_in(&person).await.token;
    let bytes = random_bytes(1000);
    let mut upload = ask(plain, "PUT", &bytes, &token, "Content-Length: 1000\r\n");
    upload.write_all(&bytes[..10]).unwrap();
    let mut answer = String::new();
    upload.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let mut sign_in = TcpStream::connect(plain).unwrap();
    sign_in.set_read_timeout(Some(DEADLINE)).unwrap();
    let head = "POST /v1/sign-in HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{";
    sign_in.write_all(head.as_bytes()).unwrap();
    answer.clear();
    sign_in.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert_eq!(std::fs::read_dir(site.layout.staging()).unwrap().count(), 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_with_enough_connections_gets_no_more() {
    let limits = Limits {
        connections_per_address: 3,
        ..Limits::default()
    };
    let (world, _) = served(limits).await;
    let address = SocketAddr::from(([127, 0, 0, 1], world.sites[0].port));
    let open: Vec<_> = (0..3)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    let mut more = TcpStream::connect(address).unwrap();
    more.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(more.read(&mut [0]).unwrap(), 0, "closed without a word");
    drop(open);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_of_this_machine_speaks_plain_http_and_is_no_site() {
    let (world, plain) = served(Limits::default()).await;
    let site = &world.sites[0];
    let http = site.client.clone();
    let about = http
        .get(format!("http://{plain}{}", path::SITE))
        .send()
        .await
        .unwrap();
    assert_eq!(about.status(), StatusCode::OK);
    let digest = format!("http://{plain}{}", site_api::peer::path::DIGEST);
    let refused = http.post(digest).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let layout = site.layout.clone();
    let everywhere = Listen {
        plain: Some(([0, 0, 0, 0], 0).into()),
        ..SocketAddr::from(([127, 0, 0, 1], 0)).into()
    };
    let dir = world.dir;
    for mut site in world.sites {
        site.stop().await;
    }
    let refused = Running::start(layout, everywhere).await.err();
    assert!(matches!(refused, Some(ServeError::Plain(_))));
    drop(dir);
}

#[tokio::test]
async fn a_sign_in_that_ended_reads_nothing_more() {
    let site = TestSite::new().await;
    let person = Person::new("anna");
    site.add(&person).await;
    let token = site.sign_in(&person).await.token;
    let bytes = random_bytes(1000);
    site.put_object(&token, &bytes).await;
    let (at, bearer) = (
        path::object(ObjectId::of(&bytes)),
        format!("Bearer {token}"),
    );
    let headers = [("authorization", bearer.as_str())];
    let get = || site.get(&at, &headers);
    assert_eq!(get().await.body, bytes);
    site.site.store.remove_token(&token).await.unwrap();
    get().await.is(401, ProblemCode::NotSignedIn);
}

#[tokio::test]
async fn an_object_that_was_read_and_then_forgotten_is_not_found() {
    let site = TestSite::new().await;
    let person = Person::new("anna");
    site.add(&person).await;
    let token = site.sign_in(&person).await.token;
    let bytes = random_bytes(100_000);
    site.put_object(&token, &bytes).await;
    let (at, bearer) = (
        path::object(ObjectId::of(&bytes)),
        format!("Bearer {token}"),
    );
    let headers = [("authorization", bearer.as_str())];
    let get = || site.get(&at, &headers);
    assert_eq!(get().await.body, bytes);
    let (day, mut now) = (Duration::from_secs(25 * 3600), i64::MAX / 4);
    for _ in 0..2 {
        let retention = site.site.config.retention;
        site.site.store.retain(&retention, now).await.unwrap();
        now += i64::try_from(day.as_millis()).unwrap();
    }
    get().await.is(404, ProblemCode::NotFound);
}
