//! Wipe records: anybody may send one, bounded and counted; the operator reads them.

use axum::http::Method;
use site_api::{ProblemCode, path, wipe::WipeRecord};
use site_server::routes::RemoteAddress;

use crate::support::{Answer, TestSite};

const VECTOR: &str = include_str!("../../api/testdata/wipe-record/v1/power-off-virtio.json");

fn record(n: usize) -> WipeRecord {
    let mut record: WipeRecord = serde_json::from_str(VECTOR).unwrap();
    record.boot = format!("{n:032x}");
    record
}

async fn post(site: &TestSite, address: &str, body: String) -> Answer {
    let request = axum::http::Request::builder()
        .method(Method::POST)
        .uri(path::WIPES)
        .header("content-type", "application/json")
        .extension(RemoteAddress(address.parse().unwrap()))
        .body(body.into())
        .unwrap();
    site.send(request).await
}

#[tokio::test]
async fn a_record_is_kept_once_and_as_it_came() {
    let site = TestSite::new().await;
    let body = serde_json::to_string(&record(1)).unwrap();
    assert_eq!(post(&site, "192.0.2.7", body.clone()).await.status, 201);
    assert_eq!(post(&site, "192.0.2.8", body).await.status, 200);
    let kept = site.site.store.wipes().await.unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].record, record(1));
    assert_eq!(kept[0].address, "192.0.2.7");
    let line = site_server::admin::wipe_line(&kept[0]);
    assert!(
        line.contains("pc-2") && line.contains("zero-out 2048 of 2048 MiB: done, 32 of 32"),
        "{line}"
    );
}

#[tokio::test]
async fn what_is_no_record_is_refused() {
    let site = TestSite::new().await;
    let mut long = record(1);
    long.pc = "x".repeat(300);
    let bodies = [
        "{}".to_owned(),
        "[".to_owned(),
        serde_json::to_string(&long).unwrap(),
    ];
    for body in bodies {
        let answer = post(&site, "192.0.2.7", body).await;
        answer.is(400, ProblemCode::BadRequest);
    }
    let large = format!("{{\"pc\":\"{}\"}}", "x".repeat(20_000));
    let answer = post(&site, "192.0.2.7", large).await;
    answer.is(413, ProblemCode::TooLarge);
    assert!(site.site.store.wipes().await.unwrap().is_empty());
}

#[tokio::test]
async fn one_address_cannot_fill_the_site() {
    let site = TestSite::new().await;
    let mut n = 0;
    let answer = loop {
        let body = serde_json::to_string(&record(n)).unwrap();
        let answer = post(&site, "2001:db8:1:2::7", body).await;
        if answer.status != 201 {
            break answer;
        }
        n += 1;
        assert!(n <= 120, "{n} records came through");
    };
    answer.is(429, ProblemCode::TooManyRecords);
    assert_eq!(answer.header("retry-after"), "60");
    assert_eq!(n, 120);
    // The neighbour in the same network counts as the same sender, another network does not.
    let body = serde_json::to_string(&record(1000)).unwrap();
    let same = post(&site, "2001:db8:1:2::8", body.clone()).await;
    same.is(429, ProblemCode::TooManyRecords);
    assert_eq!(post(&site, "2001:db8:1:3::7", body).await.status, 201);
}
