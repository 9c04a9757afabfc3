//! Bytes that are no request, come too slowly, or mean two things.

use std::time::Duration;

use site_api::path;
use snapshot::id::ObjectId;
use tokio::{io::AsyncWriteExt as _, time::Instant};

use super::{PATIENCE, one_site, plain, raw, rest, status, tls};
use crate::world::DEADLINE;

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
