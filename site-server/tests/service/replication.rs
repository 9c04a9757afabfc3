//! User records and heads reach every site, whatever was down; only sites are told.

use axum::http::StatusCode;
use reqwest::Method;
use site_api::{SignInChallengeRequest, SiteInfo, path, peer::path as peer_path};
use site_server::{admin, store::WaitingKind};

use crate::{
    support::{Person, csrf, register},
    world::{Pc, Served, World, client, eventually, objects},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_user_added_at_one_site_signs_in_at_every_site() {
    let world = World::of(3).await;
    let hanako = Person::new("hanako");
    register(world.sites[0].layout.root(), &hanako).await;
    for site in &world.sites {
        site.knows(&hanako).await;
        site.sign_in(&hanako).await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn change_and_deletion_of_a_user_travel_too() {
    let world = World::of(2).await;
    let [a, b] = [0, 1].map(|n| &world.sites[n]);
    let mut hanako = Person::new("hanako");
    register(a.layout.root(), &hanako).await;
    b.knows(&hanako).await;
    let pc = b.sign_in(&hanako).await;
    hanako.password = "a new password".into();
    register(a.layout.root(), &hanako).await;
    let at = |site: &Served| site.site().store.clone();
    eventually("the change is at b", async || {
        at(b)
            .user_record(hanako.user)
            .await
            .unwrap()
            .unwrap()
            .version
            == 2
    })
    .await;
    b.sign_in(&hanako).await;

    admin::user_remove(b.layout.root(), "hanako").await.unwrap();
    for site in [a, b] {
        eventually("the deletion is there", async || {
            at(site).user(hanako.user).await.unwrap().is_none()
        })
        .await;
        let asked = SignInChallengeRequest {
            card: hanako.card.id,
            baseline: snapshot::id::BaselineId::new([7; 32]),
        };
        let unknown = Pc {
            site,
            token: String::new(),
        };
        let (status, _): (_, site_api::Problem) = unknown
            .json(Method::POST, path::SIGN_IN_CHALLENGE, &asked)
            .await;
        assert_eq!(status, StatusCode::NOT_FOUND);
    }
    let (status, _): (_, site_api::Problem) = pc.json(Method::GET, path::HEAD, &()).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "sign-ins end");
    assert!(admin::user_remove(b.layout.root(), "hanako").await.is_err());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_disabled_at_one_site_is_out_at_every_site_and_comes_back_when_enabled() {
    let world = World::of(2).await;
    let [a, b] = [0, 1].map(|n| &world.sites[n]);
    let hanako = Person::new("hanako");
    register(a.layout.root(), &hanako).await;
    b.knows(&hanako).await;
    let pc = b.sign_in(&hanako).await;
    let operator = Pc {
        site: a,
        token: std::fs::read_to_string(a.layout.operator_token())
            .unwrap()
            .trim()
            .to_owned(),
    };
    let switch = async |disabled: bool| {
        let way = if disabled { "disable" } else { "enable" };
        let wish = serde_json::json!({"user": hanako.user.to_string()});
        let at = format!("/v1/admin/users/{way}");
        let (status, _): (_, serde_json::Value) = operator.json(Method::POST, &at, &wish).await;
        assert_eq!(status, StatusCode::OK);
        eventually("the other site has heard of it", async || {
            let there = b.site().store.is_disabled(hanako.user);
            there.await.unwrap() == disabled
        })
        .await;
    };

    switch(true).await;
    let (status, _): (_, site_api::Problem) = pc.json(Method::GET, path::HEAD, &()).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "sign-ins end");
    for site in [a, b] {
        let asked = SignInChallengeRequest {
            card: hanako.card.id,
            baseline: snapshot::id::BaselineId::new([7; 32]),
        };
        let stranger = Pc {
            site,
            token: String::new(),
        };
        let (status, problem): (_, site_api::Problem) = stranger
            .json(Method::POST, path::SIGN_IN_CHALLENGE, &asked)
            .await;
        assert_eq!(
            (status, problem.code),
            (StatusCode::FORBIDDEN, site_api::ProblemCode::CardRevoked)
        );
        assert_eq!(at_the_portal(site, &hanako).await, StatusCode::FORBIDDEN);
    }

    switch(false).await;
    b.sign_in(&hanako).await;
    assert_eq!(at_the_portal(b, &hanako).await, StatusCode::SEE_OTHER);
    world.stop().await;
}

/// Signs in with a browser; how it was answered.
async fn at_the_portal(site: &Served, person: &Person) -> StatusCode {
    let page = site.client.get(site.url()).send().await.unwrap();
    let cookie = page.headers().get("set-cookie").unwrap().to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let token = csrf(&page.text().await.unwrap());
    let password = person.password.replace(' ', "+");
    let form = format!("user={}&password={password}&csrf={token}", person.name);
    let post = site.client.post(site.url() + "/sign-in").body(form);
    let post = post.header("content-type", "application/x-www-form-urlencoded");
    post.header("cookie", cookie).send().await.unwrap().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_was_down_hears_the_news_when_it_returns() {
    let mut world = World::of(2).await;
    world.sites[1].stop().await;
    let hanako = Person::new("hanako");
    register(world.sites[0].layout.root(), &hanako).await;
    let mine = objects(1);
    world.sites[0]
        .sign_in(&hanako)
        .await
        .push(&hanako.record(1, None, &mine), None, &mine)
        .await;
    world.sites[1].start().await;
    world.sites[1].knows(&hanako).await;
    let store = world.sites[1].site().store.clone();
    eventually("the head is known", async || {
        store.head(hanako.user).await.unwrap().is_some()
    })
    .await;
    assert!(
        world.sites[1]
            .sign_in(&hanako)
            .await
            .head()
            .await
            .record_b64
            .is_none(),
        "the head, not the snapshot"
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_added_late_learns_everything_by_comparing_digests() {
    let mut world = World::of(1).await;
    let people: Vec<_> = (0..5).map(|n| Person::new(&format!("user{n}"))).collect();
    for person in &people {
        register(world.sites[0].layout.root(), person).await;
    }
    let late = world.add("late").await;
    world.introduce(late, 0).await;
    world.introduce(0, late).await;
    for person in &people {
        world.sites[late].knows(person).await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_the_ca_is_not_enough() {
    let world = World::of(2).await;
    let [a, b] = [0, 1].map(|n| &world.sites[n]);
    // A site of the same CA that a does not know.
    let ca = site_server::tls::Ca::load_or_make(&world.dir.path().join("ca")).unwrap();
    let at = a.url() + peer_path::DIGEST;
    let call = async |own: Option<(String, String)>| {
        let client = client(&a.layout.ca(), own);
        client
            .post(&at)
            .json(&site_api::peer::Digest::default())
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    let (pem, key) = ca
        .issue(snapshot::id::SiteId::new([5; 16]), &["127.0.0.1".into()])
        .unwrap();
    assert_eq!(call(Some((pem, key.to_string()))).await, 403);
    assert_eq!(call(None).await, 403);
    let (pem, key) = ca
        .issue(b.site().config.site, &["127.0.0.1".into()])
        .unwrap();
    assert_eq!(call(Some((pem, key.to_string()))).await, 200);

    // A certificate of another CA does not get past the handshake.
    let other = site_server::tls::Ca::load_or_make(&world.dir.path().join("other")).unwrap();
    let (pem, key) = other
        .issue(b.site().config.site, &["127.0.0.1".into()])
        .unwrap();
    let client = client(&a.layout.ca(), Some((pem, key.to_string())));
    assert!(
        client
            .post(&at)
            .json(&site_api::peer::Digest::default())
            .send()
            .await
            .is_err()
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_at_the_address_of_another_is_told_nothing() {
    let world = World::of(2).await;
    let [a, b] = [0, 1].map(|n| &world.sites[n]);
    // a believes that an unknown site lives where b does.
    let impostor = snapshot::id::SiteId::new([6; 16]);
    admin::site_add(a.layout.root(), impostor, "impostor", &b.url())
        .await
        .unwrap();
    let hanako = Person::new("hanako");
    register(a.layout.root(), &hanako).await;
    b.knows(&hanako).await;
    let waits = a.site().store.waiting(impostor, 10).await.unwrap();
    assert!(
        waits
            .iter()
            .any(|row| row.kind == WaitingKind::User && row.user() == hanako.user),
        "the certificate names another site"
    );
    assert_eq!(
        a.site()
            .store
            .site(impostor)
            .await
            .unwrap()
            .unwrap()
            .synced_ms,
        0
    );
    let info: SiteInfo = b
        .client
        .get(b.url() + path::SITE)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(info.site, b.site().config.site);
    world.stop().await;
}
