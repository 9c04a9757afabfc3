//! The OpenAPI document is what the router answers, and the copy beside the protocol page is current.

use std::collections::BTreeSet;

use axum::http::Method;
use site_api::path;

use crate::support::TestSite;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/formats/openapi.json");

/// A place for each name in a path.
fn filled(path: &str) -> String {
    let fill = |part: &str| match part {
        "{user}" | "{site}" | "{card}" => "00".repeat(16),
        "{file}" => "manifest.json".into(),
        part if part.starts_with('{') => "00".repeat(32),
        part => part.to_owned(),
    };
    path.split('/').map(fill).collect::<Vec<_>>().join("/")
}

/// What programs ask: pages for browsers have no rows.
fn is_for_programs(path: &str) -> bool {
    path.starts_with("/v1/")
        || path.starts_with("/s/v1/")
        || matches!(path, "/ready" | path::HEALTH | path::METRICS)
}

/// Every path of the router, as axum shows it to people who debug.
fn paths(site: &TestSite) -> BTreeSet<String> {
    let shown = format!("{:?}", site.app);
    let quoted = shown.split('"').skip(1).step_by(2);
    let paths: BTreeSet<_> = quoted
        .filter(|text| text.starts_with('/'))
        .map(str::to_owned)
        .collect();
    assert!(paths.contains(path::HEAD) && paths.contains("/"), "{shown}");
    paths
}

#[tokio::test]
async fn every_route_has_its_row_in_the_document_and_every_row_its_route() {
    let site = TestSite::new().await;
    let mut routes = BTreeSet::new();
    for path in paths(&site)
        .into_iter()
        .filter(|path| is_for_programs(path))
    {
        // A method nobody takes is answered with those that are taken.
        let unknown = Method::from_bytes(b"BREW").unwrap();
        let refused = site.call(unknown, &filled(&path), &[], "").await;
        assert_eq!(refused.status, 405, "{path}");
        for method in refused
            .header("allow")
            .split(',')
            .filter(|name| *name != "HEAD")
        {
            routes.insert((path.clone(), method.trim().to_lowercase()));
        }
    }
    let document: serde_json::Value = site.get(path::OPENAPI, &[]).await.json();
    let mut rows = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            rows.insert((path.clone(), method.clone()));
        }
    }
    let without_row: Vec<_> = routes.difference(&rows).collect();
    assert!(
        without_row.is_empty(),
        "routes without a row in site-server/src/openapi/: {without_row:?}"
    );
    let without_route: Vec<_> = rows.difference(&routes).collect();
    assert!(
        without_route.is_empty(),
        "rows without a route: {without_route:?}"
    );
    assert!(routes.len() >= 25, "{routes:?}");
}

#[test]
fn every_schema_the_document_refers_to_is_in_it() {
    let text = site_server::openapi::json();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let mut seen = 0;
    for (_, rest) in text
        .match_indices("#/components/schemas/")
        .map(|(at, found)| text.split_at(at + found.len()))
    {
        let name = rest.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name}");
        seen += 1;
    }
    assert!(seen > 50, "{seen}");
}

#[test]
fn the_copy_beside_the_protocol_page_is_current() {
    let json = site_server::openapi::json();
    if std::env::var_os("FUROSHIKI_BLESS").is_some() {
        std::fs::write(GOLDEN, &json).unwrap();
    }
    let golden = std::fs::read_to_string(GOLDEN).unwrap_or_default();
    assert!(
        golden == json,
        "docs/formats/openapi.json is not what the site serves; cargo xtask bless writes it"
    );
}

#[test]
fn every_problem_code_is_in_the_protocol_page_with_its_status() {
    let page = include_str!("../../../docs/formats/site-api.md");
    let (_, table) = page.split_once("## Problem codes").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let document: serde_json::Value = serde_json::from_str(&site_server::openapi::json()).unwrap();
    let codes = document["components"]["schemas"]["ProblemCode"]["enum"].as_array();
    let codes = codes.expect("the codes are in the document").clone();
    assert!(codes.len() > 20);
    for name in &codes {
        let code: site_api::ProblemCode = serde_json::from_value(name.clone()).unwrap();
        let status = site_server::error::status(code).as_u16();
        let row = format!("| `{}` | {status} |", name.as_str().unwrap());
        assert!(
            table.contains(&row),
            "docs/formats/site-api.md lacks: {row}"
        );
    }
    let rows = table.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, codes.len(), "a row for a code that is none");
}
