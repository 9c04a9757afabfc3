//! The OpenAPI document of a site: rows beside the router, schemas from the types that are really sent.
//!
//! Each room of routes has its rows here. A test compares the rows with the router in both directions, so a route without a
//! row, or a row without a route, does not pass (docs/adr/0070). Pages for browsers have no rows.

mod about;
mod desk;
mod leases;
mod objects;
mod releases;
mod row;
mod sign_in;
mod sites;

use std::sync::OnceLock;

use axum::{
    body::Bytes,
    http::header,
    response::{IntoResponse, Response},
};
use site_api::{Problem, ProblemWithHead};
use utoipa::openapi::{
    Components, Info, License, OpenApi, OpenApiBuilder, OpenApiVersion,
    security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use row::Rows;

/// Whole document.
#[must_use]
pub fn document() -> OpenApi {
    let mut rows = Rows::default();
    about::rows(&mut rows);
    releases::rows(&mut rows);
    sign_in::rows(&mut rows);
    objects::rows(&mut rows);
    leases::rows(&mut rows);
    sites::rows(&mut rows);
    desk::rows(&mut rows);
    rows.schema::<Problem>();
    rows.schema::<ProblemWithHead>();
    let (paths, schemas) = rows.finish();

    let mut components = Components::new();
    components.schemas = schemas;
    let bearer = |says: &str| {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
        SecurityScheme::Http(scheme.description(Some(says)).build())
    };
    components.add_security_scheme("pc", bearer("Token of a sign-in at a PC."));
    components.add_security_scheme("delivery", bearer("Leave to deliver one signed record."));
    components.add_security_scheme("operator", bearer("Token of the operator."));
    components.add_security_scheme(
        "site",
        SecurityScheme::MutualTls {
            description: Some(
                "Certificate of a site known here, of the CA all sites share.".into(),
            ),
            deprecated: None,
            extensions: None,
        },
    );
    let mut info = Info::new("Furoshiki site", "1");
    info.description = Some(
        "What docs/formats/site-api.md says in words. Every failure is problem+json (RFC 9457)."
            .into(),
    );
    info.license = Some(License::new("MIT OR Apache-2.0"));
    let mut document = OpenApiBuilder::new()
        .info(info)
        .paths(paths)
        .components(Some(components))
        .build();
    // What tools read today; nothing of 3.2 is used.
    document.openapi = OpenApiVersion::Version31;
    document
}

/// The document as it is served: JSON for people too.
///
/// # Panics
/// Never: strings, numbers and maps are JSON.
#[must_use]
pub fn json() -> String {
    serde_json::to_string_pretty(&document()).expect("strings, numbers and maps are JSON") + "\n"
}

pub(crate) async fn serve() -> Response {
    static JSON: OnceLock<Bytes> = OnceLock::new();
    let json = JSON.get_or_init(|| json().into()).clone();
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, json).into_response()
}
