//! Rows of `routes::site` and `routes::wipes`.

use site_api::{ProblemCode, SiteInfo, path, wipe::WipeRecord};

use super::row::{Rows, Who, get, post};

pub(super) fn rows(rows: &mut Rows) {
    rows.add(get(path::SITE, Who::Anybody, "Who answers").json::<SiteInfo>(200, "This site."));
    rows.add(get(path::HEALTH, Who::Anybody, "Whether the site can serve").text(200, "It can."));
    rows.add(
        get("/ready", Who::Anybody, "Whether requests may be sent here").text(200, "They may."),
    );
    rows.add(get(path::METRICS, Who::Anybody, "What moved, for Prometheus").text(200, "Counters."));
    rows.add(
        get(path::OPENAPI, Who::Anybody, "This document")
            .json::<serde_json::Value>(200, "OpenAPI 3.1."),
    );
    rows.add(
        post(path::WIPES, Who::Anybody, "A PC says what it wiped")
            .takes::<WipeRecord>()
            .answers(201, "Kept.")
            .answers(200, "It was here.")
            .fails(&[ProblemCode::TooManyRecords]),
    );
}
