//! Pushing and pulling sealed objects.

use crate::support::{Answer, Person, TestSite, random_bytes, whole};
use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, Method, Request, StatusCode},
};
use site_api::{MAX_OBJECT_BYTES, Missing, MissingRequest, ProblemCode, path};
use site_server::app::router;
use snapshot::id::ObjectId;
use tower::ServiceExt as _;

async fn signed_in() -> (TestSite, String, Person) {
    signed_in_at(TestSite::new().await).await
}

async fn signed_in_at(site: TestSite) -> (TestSite, String, Person) {
    let hanako = Person::new("hanako");
    site.add(&hanako).await;
    let token = site.sign_in(&hanako).await.token;
    (site, token, hanako)
}

#[tokio::test]
async fn an_object_comes_back_as_it_went() {
    let (site, token, _) = signed_in().await;
    let bytes = random_bytes(700_000);
    let at = path::object(ObjectId::of(&bytes));
    let bearer = format!("Bearer {token}");
    let auth = ("authorization", bearer.as_str());

    site.get(&at, &[auth]).await.is(404, ProblemCode::NotFound);
    assert_eq!(
        site.put_object(&token, &bytes).await.status,
        StatusCode::CREATED
    );
    assert_eq!(site.put_object(&token, &bytes).await.status, StatusCode::OK);

    let whole = site.get(&at, &[auth]).await;
    assert_eq!(
        (whole.status, whole.body.as_ref()),
        (StatusCode::OK, bytes.as_slice())
    );
    assert_eq!(
        whole.header("cache-control"),
        "private, max-age=31536000, immutable"
    );
    let etag = whole.header("etag").to_owned();

    let head = site.call(Method::HEAD, &at, &[auth], "").await;
    assert_eq!(
        (head.status, head.header("content-length"), head.body.len()),
        (StatusCode::OK, "700000", 0)
    );

    let part = site
        .get(&at, &[auth, ("range", "bytes=300000-300009")])
        .await;
    assert_eq!(
        (part.status, part.header("content-range")),
        (StatusCode::PARTIAL_CONTENT, "bytes 300000-300009/700000")
    );
    assert_eq!(part.body.as_ref(), &bytes[300_000..300_010]);
    let same = site
        .get(
            &at,
            &[auth, ("range", "bytes=699990-"), ("if-range", &etag)],
        )
        .await;
    assert_eq!(
        (same.status, same.body.as_ref()),
        (StatusCode::PARTIAL_CONTENT, &bytes[699_990..])
    );
    let other = site
        .get(
            &at,
            &[auth, ("range", "bytes=0-9"), ("if-range", "\"other\"")],
        )
        .await;
    assert_eq!((other.status, other.body.len()), (StatusCode::OK, 700_000));

    let beyond = site.get(&at, &[auth, ("range", "bytes=700000-")]).await;
    beyond.is(416, ProblemCode::BadRequest);
    assert_eq!(beyond.header("content-range"), "bytes */700000");
    let had = site.get(&at, &[auth, ("if-none-match", &etag)]).await;
    assert_eq!((had.status, had.body.len()), (StatusCode::NOT_MODIFIED, 0));
}

#[tokio::test]
async fn bytes_with_another_name_are_not_kept() {
    let (site, token, _) = signed_in().await;
    let bearer = format!("Bearer {token}");
    let object = ObjectId::of(b"the right bytes");
    let put = site
        .call(
            Method::PUT,
            &path::object(object),
            &[("authorization", &bearer)],
            "other bytes",
        )
        .await;
    put.is(422, ProblemCode::WrongHash);
    site.get(&path::object(object), &[("authorization", &bearer)])
        .await
        .is(404, ProblemCode::NotFound);
    assert_eq!(site.staged(), 0);
}

#[tokio::test]
async fn an_object_that_is_too_large_is_refused_announced_or_not() {
    let (site, token, _) = signed_in().await;
    let bearer = format!("Bearer {token}");
    let at = path::object(ObjectId::new([1; 32]));
    let size = (MAX_OBJECT_BYTES + 1).to_string();
    let announced = site
        .call(
            Method::PUT,
            &at,
            &[("authorization", &bearer), ("content-length", &size)],
            "",
        )
        .await;
    announced.is(413, ProblemCode::TooLarge);
    let piece = Bytes::from(vec![0_u8; 1 << 20]);
    let pieces =
        futures_util::stream::iter((0..65).map(move |_| Ok::<_, std::io::Error>(piece.clone())));
    let streamed = site
        .call(
            Method::PUT,
            &at,
            &[("authorization", &bearer)],
            Body::from_stream(pieces),
        )
        .await;
    streamed.is(413, ProblemCode::TooLarge);
    assert_eq!(site.staged(), 0);
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let (site, token, _) = signed_in().await;
    let bearer = format!("Bearer {token}");
    let bytes = random_bytes(100_000);
    let object = ObjectId::of(&bytes);
    let pieces = futures_util::stream::iter([
        Ok(Bytes::from(bytes[..60_000].to_vec())),
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
    ]);
    let put = site
        .call(
            Method::PUT,
            &path::object(object),
            &[("authorization", &bearer)],
            Body::from_stream(pieces),
        )
        .await;
    put.is(400, ProblemCode::BadRequest);
    let short = [
        ("authorization", bearer.as_str()),
        ("content-length", "100001"),
    ];
    site.call(Method::PUT, &path::object(object), &short, bytes)
        .await
        .is(400, ProblemCode::BadRequest);
    site.get(&path::object(object), &[("authorization", &bearer)])
        .await
        .is(404, ProblemCode::NotFound);
    assert_eq!(site.staged(), 0);
}

#[tokio::test]
async fn nobody_reads_or_learns_of_the_objects_of_another() {
    let (site, token, _) = signed_in().await;
    let taro = Person::new("taro");
    site.add(&taro).await;
    let his = site.sign_in(&taro).await.token;
    let bytes = random_bytes(5000);
    site.put_object(&token, &bytes).await;
    let bearer = format!("Bearer {his}");
    let at = path::object(ObjectId::of(&bytes));
    site.get(&at, &[("authorization", &bearer)])
        .await
        .is(404, ProblemCode::NotFound);
    let asked = MissingRequest {
        objects: vec![ObjectId::of(&bytes)],
    };
    let missing: Missing = site
        .json(Method::POST, path::OBJECTS_MISSING, &his, &asked)
        .await
        .json();
    assert_eq!(missing.objects, asked.objects);
    assert_eq!(
        site.put_object(&his, &bytes).await.status,
        StatusCode::CREATED
    );
}

#[tokio::test]
async fn the_site_says_what_it_lacks_in_the_order_asked() {
    let (site, token, _) = signed_in().await;
    let bytes = random_bytes(5000);
    site.put_object(&token, &bytes).await;
    let (a, b) = (ObjectId::new([9; 32]), ObjectId::new([1; 32]));
    let asked = MissingRequest {
        objects: vec![a, ObjectId::of(&bytes), b],
    };
    let missing: Missing = site
        .json(Method::POST, path::OBJECTS_MISSING, &token, &asked)
        .await
        .json();
    assert_eq!(missing.objects, [a, b]);
    let asked = MissingRequest {
        objects: vec![a; 4097],
    };
    site.json(Method::POST, path::OBJECTS_MISSING, &token, &asked)
        .await
        .is(400, ProblemCode::BadRequest);
}

#[tokio::test]
async fn an_address_that_names_no_object_is_400() {
    let (site, token, _) = signed_in().await;
    let bearer = format!("Bearer {token}");
    for name in [
        "zz",
        &"AB".repeat(32),
        "..%2f..%2fsite.toml",
        &"0".repeat(66),
    ] {
        let at = format!("/v1/objects/{name}");
        site.get(&at, &[("authorization", &bearer)])
            .await
            .is(400, ProblemCode::BadRequest);
    }
}

#[tokio::test]
async fn what_moved_is_counted_once() {
    // A second server would have some of it in its memory.
    let (site, token, _) = signed_in_at(TestSite::alone().await).await;
    let bytes = random_bytes(5000);
    site.put_object(&token, &bytes).await;
    site.put_object(&token, &bytes).await;
    let bearer = format!("Bearer {token}");
    site.get(
        &path::object(ObjectId::of(&bytes)),
        &[("authorization", &bearer)],
    )
    .await;
    let text = site.get(path::METRICS, &[]).await.text();
    for line in [
        "furoshiki_object_bytes_received_total 5000",
        "furoshiki_stored_object_bytes 5000",
        "furoshiki_object_bytes_sent_total 5000",
        "furoshiki_relay_bytes_received_total 0",
    ] {
        assert!(text.lines().any(|one| one == line), "{line} in {text}");
    }
}

/// Path, headers, body.
type Asked<'a> = (&'a str, &'a [(&'a str, &'a str)], &'static str);

/// What is the same of the same answer. A length that is not said here is said on the connection.
fn same(answer: Answer) -> (StatusCode, HeaderMap, Bytes) {
    let mut headers = answer.headers;
    assert!(headers.remove("x-request-id").is_some());
    if let Some(length) = headers.remove("content-length") {
        assert_eq!(length, answer.body.len().to_string());
    }
    (answer.status, headers, answer.body)
}

#[tokio::test]
async fn objects_are_answered_in_front_of_the_routes_as_behind_them() {
    let (site, token, _) = signed_in_at(TestSite::alone().await).await;
    let bytes = random_bytes(70_000);
    assert_eq!(site.put_object(&token, &bytes).await.status, 201);
    let object = ObjectId::of(&bytes);
    let (here, bearer) = (path::object(object), format!("Bearer {token}"));
    let elsewhere = path::object(ObjectId::of(b"elsewhere"));
    let (etag, query) = (format!("\"{object}\""), format!("{here}?a=b"));
    let shouted = format!("/v1/objects/{}", object.to_string().to_uppercase());
    let auth = ("authorization", bearer.as_str());
    let asked: [Asked<'_>; 11] = [
        (&here, &[auth], ""),
        (&query, &[auth], ""),
        (&here, &[auth, ("range", "bytes=10-19")], ""),
        (&here, &[auth, ("range", "bytes=70000-")], ""),
        (&here, &[auth, ("if-none-match", etag.as_str())], ""),
        (&here, &[auth], "a body that nobody asked for"),
        (&here, &[], ""),
        (&here, &[("authorization", "Bearer 00")], ""),
        (&elsewhere, &[auth], ""),
        ("/v1/objects/abc", &[auth], ""),
        (&shouted, &[auth], ""),
    ];
    for (path, headers, body) in asked {
        let request = || {
            let mut request = Request::builder().uri(path);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            request.body(Body::from(body)).unwrap()
        };
        let behind = router(site.site.clone()).oneshot(request()).await.unwrap();
        let (front, behind) = (site.send(request()).await, whole(behind).await);
        assert_eq!(same(front), same(behind), "{path} {headers:?}");
    }
}
