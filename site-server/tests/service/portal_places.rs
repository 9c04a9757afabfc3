//! Several next sites, taking one back, and leaving a site.

use axum::http::StatusCode;
use site_api::{TransferState, peer::path as peer_path};
use snapshot::id::SiteId;

use crate::{
    portal::{save, signed_in},
    support::{Person, TestSite, csrf, register},
    world::{Served, World, client, eventually, objects},
};

#[tokio::test]
async fn several_sites_are_chosen_at_once_with_the_time_of_arrival_and_one_is_taken_back() {
    let site = TestSite::new().await;
    let (mut browser, hanako) = signed_in(&site).await;
    let store = &site.site.store;
    let far: Vec<_> = (1..4).map(|n| SiteId::new([n; 16])).collect();
    for (n, id) in far.iter().enumerate() {
        store
            .add_site(*id, &format!("Site {n}"), "https://127.0.0.1:1")
            .await
            .unwrap();
    }
    let token = csrf(&browser.get("/next-site").await.text());
    let two = format!(
        "site={}&site={}&arrives=2099-12-24T09%3A30&csrf={token}",
        far[2], far[0]
    );
    assert_eq!(
        browser.post("/next-site", &two).await.status,
        StatusCode::SEE_OTHER
    );
    let later = format!("site={}&arrives=2098-01-01+00:00&csrf={token}", far[1]);
    assert_eq!(
        browser.post("/next-site", &later).await.status,
        StatusCode::SEE_OTHER
    );
    let next = store.next_sites(hanako.user).await.unwrap();
    let order: Vec<_> = next.iter().map(|one| one.site).collect();
    assert_eq!(order, [far[1], far[0], far[2]], "the first arrival first");
    let page = browser.get("/next-site").await.text();
    assert!(page.contains("2099-12-24 09:30 UTC+00:00"), "{page}");

    for (wrong, words) in [
        ("arrives=", "Choose at least one site"),
        (
            "site=01010101010101010101010101010101&arrives=tomorrow",
            "no date and time",
        ),
        (
            "site=01010101010101010101010101010101&arrives=2001-01-01T00:00",
            "no date and time",
        ),
    ] {
        let refused = browser
            .post("/next-site", &format!("{wrong}&csrf={token}"))
            .await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
        assert!(refused.text().contains(words), "{wrong}");
    }
    let back = format!("site={}&csrf={token}", far[0]);
    browser.post("/next-site/cancel", &back).await;
    assert_eq!(store.next_sites(hanako.user).await.unwrap().len(), 2);
    save(&site, &hanako).await;
    let next = store.next_sites(hanako.user).await.unwrap();
    assert!(
        next.iter().all(|one| one.record.is_some()),
        "what is saved goes to all"
    );
}

#[tokio::test]
async fn the_only_copy_is_never_deleted() {
    let site = TestSite::new().await;
    let (mut browser, hanako) = signed_in(&site).await;
    save(&site, &hanako).await;
    let here = site.site.config.site;
    let page = browser.get(&format!("/leave?site={here}")).await.text();
    let refused = browser
        .post("/leave", &format!("site={here}&csrf={}", csrf(&page)))
        .await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.text().contains("only copy"), "{}", refused.text());
    assert_eq!(
        site.site
            .store
            .copies(hanako.user)
            .await
            .unwrap()
            .copies
            .len(),
        1
    );
    assert!(!site.site.store.copies(hanako.user).await.unwrap().leaving);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_is_left_when_another_has_the_newest_snapshot() {
    let world = World::of(2).await;
    let [a, b] = [0, 1].map(|n| &world.sites[n]);
    let hanako = Person::new("hanako");
    register(a.layout.root(), &hanako).await;
    b.knows(&hanako).await;
    let mine = objects(2);
    let first = hanako.record(1, None, &mine);
    a.sign_in(&hanako).await.push(&first, None, &mine).await;
    let (store_a, store_b) = (&a.site().store, &b.site().store);
    store_a
        .choose_next_site(hanako.user, b.site().config.site, Some(first.id()), None)
        .await
        .unwrap();
    eventually("the copy is at b", async || {
        store_b
            .record(hanako.user, first.id())
            .await
            .unwrap()
            .is_some()
    })
    .await;
    // And a knows: else it would ask b again, which would have the copy again.
    eventually("the relay is over", async || {
        let choices = store_a.next_sites(hanako.user).await.unwrap();
        choices
            .iter()
            .all(|choice| choice.state == TransferState::Done)
    })
    .await;
    // As the portal of one site asks the other.
    let leave = async |from: &Served, at: &Served| {
        let own = |path| std::fs::read_to_string(path).unwrap();
        let keys = (
            own(from.layout.certificate()),
            own(from.layout.private_key()),
        );
        let line = client(&from.layout.ca(), Some(keys));
        let path = at.url() + &peer_path::copies(hanako.user);
        line.delete(path).send().await.unwrap().status().as_u16()
    };
    assert_eq!(leave(a, b).await, 204);
    assert_eq!(store_b.copies(hanako.user).await.unwrap().copies, []);
    assert_eq!(b.counter("furoshiki_stored_object_bytes").await, 0);
    assert_eq!(leave(b, a).await, 409, "now a has the only one");
    assert_eq!(store_a.copies(hanako.user).await.unwrap().copies.len(), 1);
    // No PC and no browser reaches this.
    let path = a.url() + &peer_path::copies(hanako.user);
    assert_eq!(
        a.client
            .delete(path)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16(),
        403
    );
    world.stop().await;
}
