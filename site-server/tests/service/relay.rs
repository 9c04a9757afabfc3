//! Snapshots go where the user names a site or arrives, and nowhere else.

use axum::http::StatusCode;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::Method;
use site_api::{Transfer, TransferState, path};
use snapshot::id::ObjectId;

use crate::{
    support::{Person, csrf, random_bytes, register},
    world::{World, bytes_of, eventually, objects},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_goes_to_the_chosen_site_and_nowhere_else() {
    let world = World::of(3).await;
    let [a, b, c] = [0, 1, 2].map(|n| &world.sites[n]);
    let hanako = Person::new("hanako");
    register(a.layout.root(), &hanako).await;
    b.knows(&hanako).await;
    c.knows(&hanako).await;
    let first_objects = objects(4);
    let first = hanako.record(1, None, &first_objects);
    let pc = a.sign_in(&hanako).await;
    pc.push(&first, None, &first_objects).await;
    eventually("the head is known at c", async || {
        c.site().store.head(hanako.user).await.unwrap().is_some()
    })
    .await;
    for site in [b, c] {
        assert_eq!(
            site.counter("furoshiki_stored_object_bytes").await,
            0,
            "nobody asked"
        );
    }

    // In the portal of site a the user names site b.
    let browser = &a.client;
    let page = browser.get(a.url() + "/").send().await.unwrap();
    let cookie = |response: &reqwest::Response| {
        let set = response
            .headers()
            .get("set-cookie")
            .unwrap()
            .to_str()
            .unwrap();
        set.split(';').next().unwrap().to_owned()
    };
    let mut jar = cookie(&page);
    let form = format!(
        "user=hanako&password={}&csrf={}",
        hanako.password.replace(' ', "+"),
        csrf(&page.text().await.unwrap())
    );
    let kind = "application/x-www-form-urlencoded";
    let post = |at: &str, jar: &str, form: String| {
        browser
            .post(a.url() + at)
            .header("content-type", kind)
            .header("cookie", jar)
            .body(form)
            .send()
    };
    let signed_in = post("/sign-in", &jar, form).await.unwrap();
    assert_eq!(signed_in.status(), 303);
    jar = cookie(&signed_in);
    let environment = async || {
        let page = browser
            .get(a.url() + "/environment")
            .header("cookie", &jar)
            .send()
            .await
            .unwrap();
        page.text().await.unwrap()
    };
    let form = format!(
        "site={}&csrf={}",
        b.site().config.site,
        csrf(&environment().await)
    );
    assert_eq!(post("/next-site", &jar, form).await.unwrap().status(), 303);
    let done = format!("data-site=\"{}\" data-state=\"done\"", b.site().config.site);
    eventually("the portal shows the copy", async || {
        environment().await.contains(&done)
    })
    .await;

    let at_b = b.sign_in(&hanako).await;
    assert_eq!(
        STANDARD
            .decode(at_b.head().await.record_b64.unwrap())
            .unwrap(),
        first.as_bytes()
    );
    for bytes in &first_objects {
        assert_eq!(&at_b.object(bytes).await, bytes);
    }
    let moved = bytes_of(&first_objects) + first.as_bytes().len() as u64;
    assert_eq!(
        b.counter("furoshiki_relay_bytes_received_total").await,
        moved
    );
    assert_eq!(a.counter("furoshiki_relay_bytes_sent_total").await, moved);

    // The choice stands: the next snapshot follows, and only what lacks moves.
    let mut second_objects = first_objects.clone();
    second_objects.push(random_bytes(1000));
    let second = hanako.record(2, Some(first.id()), &second_objects);
    pc.push(&second, Some(&first), &second_objects[4..]).await;
    eventually("the second snapshot is at b", async || {
        b.site()
            .store
            .record(hanako.user, second.id())
            .await
            .unwrap()
            .is_some()
    })
    .await;
    let moved = moved + 1000 + second.as_bytes().len() as u64;
    assert_eq!(
        b.counter("furoshiki_relay_bytes_received_total").await,
        moved
    );

    assert!(
        c.counter("furoshiki_records_received_total").await > 0,
        "user records and heads go everywhere"
    );
    for name in [
        "furoshiki_stored_object_bytes",
        "furoshiki_relay_bytes_received_total",
        "furoshiki_object_bytes_received_total",
    ] {
        assert_eq!(c.counter(name).await, 0, "{name} at the site nobody chose");
    }
    // A start leaves the empty folder it tried writing in.
    let folders = std::fs::read_dir(c.layout.objects()).unwrap().flatten();
    assert_eq!(
        folders.filter(|entry| entry.file_name() != "probe").count(),
        0
    );

    // At b the user goes on; then nothing waits at a any more.
    at_b.push(
        &hanako.record(3, Some(second.id()), &second_objects),
        Some(&second),
        &[],
    )
    .await;
    eventually("the choice ends on arrival", async || {
        a.site()
            .store
            .next_sites(hanako.user)
            .await
            .unwrap()
            .is_empty()
    })
    .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_arrives_unannounced_gets_the_snapshot_fetched() {
    let world = World::of(2).await;
    let [a, b] = [0, 1].map(|n| &world.sites[n]);
    let hanako = Person::new("hanako");
    register(a.layout.root(), &hanako).await;
    let mine = objects(3);
    let first = hanako.record(1, None, &mine);
    a.sign_in(&hanako).await.push(&first, None, &mine).await;
    eventually("the head is known at b", async || {
        b.site().store.head(hanako.user).await.unwrap().is_some()
    })
    .await;
    b.knows(&hanako).await;
    let pc = b.sign_in(&hanako).await;
    assert!(pc.head().await.record_b64.is_none());
    let done = pc.fetched(TransferState::Done).await;
    assert_eq!((done.bytes_done, done.bytes_total), (600_000, 600_000));
    assert!(pc.head().await.record_b64.is_some());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_goes_on_after_both_sites_were_down() {
    let mut world = World::of(2).await;
    let hanako = Person::new("hanako");
    register(world.sites[0].layout.root(), &hanako).await;
    let mine = objects(3);
    let first = hanako.record(1, None, &mine);
    world.sites[0]
        .sign_in(&hanako)
        .await
        .push(&first, None, &mine)
        .await;
    world.sites[1].knows(&hanako).await;
    let store = world.sites[1].site().store.clone();
    eventually("the head is known at b", async || {
        store.head(hanako.user).await.unwrap().is_some()
    })
    .await;

    world.sites[0].stop().await;
    let pc = world.sites[1].sign_in(&hanako).await;
    let (status, _): (_, Transfer) = pc.json(Method::POST, path::HEAD_FETCH, &()).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    eventually("a failed attempt is noted", async || {
        store
            .transfer(hanako.user)
            .await
            .unwrap()
            .is_some_and(|incoming| incoming.transfer.error.is_some())
    })
    .await;
    world.sites[1].stop().await;
    world.sites[0].start().await;
    world.sites[1].start().await;
    // Nobody asks again: the wish is in the database.
    let store = world.sites[1].site().store.clone();
    eventually("the snapshot is at b", async || {
        store
            .record(hanako.user, first.id())
            .await
            .unwrap()
            .is_some()
    })
    .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_altered_at_the_source_does_not_arrive_on_the_disk() {
    let world = World::of(2).await;
    let [a, b] = [0, 1].map(|n| &world.sites[n]);
    let hanako = Person::new("hanako");
    register(a.layout.root(), &hanako).await;
    let mine = objects(2);
    let first = hanako.record(1, None, &mine);
    a.sign_in(&hanako).await.push(&first, None, &mine).await;
    b.knows(&hanako).await;
    eventually("the head is known at b", async || {
        b.site().store.head(hanako.user).await.unwrap().is_some()
    })
    .await;

    let name = ObjectId::of(&mine[1]).to_string();
    let shelf = a.layout.objects().join(hanako.user.to_string());
    let there = std::fs::read_dir(shelf.join(&name[..2])).unwrap().flatten();
    let file = there
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().contains(&name))
        .unwrap();
    let mut bad = mine[1].clone();
    bad[1000] ^= 1;
    std::fs::write(&file, bad).unwrap();
    let pc = b.sign_in(&hanako).await;
    let failed = pc.fetched(TransferState::Failed).await;
    assert!(
        failed.error.as_deref().unwrap().contains(&name),
        "{failed:?}"
    );
    assert!(pc.head().await.record_b64.is_none());

    // Repaired, and asked again, only the rest moves.
    std::fs::write(&file, &mine[1]).unwrap();
    pc.fetched(TransferState::Done).await;
    assert!(pc.head().await.record_b64.is_some());
    assert_eq!(b.counter("furoshiki_stored_object_bytes").await, 400_000);
    world.stop().await;
}
