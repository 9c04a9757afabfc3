//! A copy at a site the user left: known as old, renewed when he returns, gone when he does not.

use std::time::Duration;

use site_api::TransferState;
use site_server::{relay::drop_unused, store::Wish};
use snapshot::id::{RecordId, SiteId, UserId};

use crate::{
    support::{Person, TestSite, random_bytes, register},
    world::{World, eventually, objects},
};

#[tokio::test(flavor = "multi_thread")]
async fn who_returns_gets_what_is_newer_elsewhere_and_who_does_not_leaves_no_copy() {
    let mut world = World::of(2).await;
    let hanako = Person::new("hanako");
    register(world.sites[0].layout.root(), &hanako).await;
    world.sites[1].knows(&hanako).await;
    let mut mine = objects(4);
    let first = hanako.record(1, None, &mine);
    world.sites[0]
        .sign_in(&hanako)
        .await
        .push(&first, None, &mine)
        .await;
    let knows_head = async |world: &World, site: usize, record: RecordId| {
        let store = world.sites[site].site().store.clone();
        eventually("the head is known", async || {
            let head = store.head(hanako.user).await.unwrap();
            head.is_some_and(|head| head.record == record)
        })
        .await;
    };
    knows_head(&world, 1, first.id()).await;

    // She works at site b; what site a has is old now, and a knows.
    let at_b = world.sites[1].sign_in(&hanako).await;
    at_b.fetched(TransferState::Done).await;
    mine.push(random_bytes(1000));
    let second = hanako.record(2, Some(first.id()), &mine);
    at_b.push(&second, Some(&first), &mine[4..]).await;
    knows_head(&world, 0, second.id()).await;
    let at_a = world.sites[0].sign_in(&hanako).await;
    let head = at_a.head().await;
    assert_eq!(head.info.site, world.sites[1].site().config.site);
    assert!(head.record_b64.is_none(), "the newer one is not here yet");
    let done = at_a.fetched(TransferState::Done).await;
    assert_eq!(
        (done.bytes_done, done.bytes_total),
        (1000, 1000),
        "only what is new moves"
    );

    // She stays at b. The home keeps; another site drops nothing while the home does not answer.
    mine.push(random_bytes(2000));
    let third = hanako.record(3, Some(second.id()), &mine);
    world.sites[1]
        .sign_in(&hanako)
        .await
        .push(&third, Some(&second), &mine[5..])
        .await;
    knows_head(&world, 0, third.id()).await;
    let long_ago = Duration::from_millis(1);
    tokio::time::sleep(long_ago * 5).await;
    let unused = async |world: &World, site: usize, after: Duration| {
        drop_unused(world.sites[site].site(), after).await.unwrap()
    };
    assert_eq!(
        unused(&world, 0, Duration::from_secs(3600)).await,
        0,
        "she was here just now"
    );
    assert_eq!(unused(&world, 1, long_ago).await, 0, "the home keeps");
    world.sites[1].stop().await;
    assert_eq!(
        unused(&world, 0, long_ago).await,
        0,
        "nobody says that it is safe elsewhere"
    );
    world.sites[1].start().await;
    assert_eq!(
        unused(&world, 0, long_ago).await,
        2,
        "both old snapshots go"
    );
    let store = world.sites[0].site().store.clone();
    for record in [&first, &second] {
        assert!(
            store
                .record(hanako.user, record.id())
                .await
                .unwrap()
                .is_none()
        );
    }

    // And when she comes back after all, it comes again.
    let at_a = world.sites[0].sign_in(&hanako).await;
    at_a.fetched(TransferState::Done).await;
    assert!(at_a.head().await.record_b64.is_some());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_comes_from_another_site_when_the_user_left_the_one_that_saved_it() {
    let world = World::of(3).await;
    let [a, b, c] = [0, 1, 2].map(|n| &world.sites[n]);
    let hanako = Person::new("hanako");
    register(a.layout.root(), &hanako).await;
    let mine = objects(3);
    let first = hanako.record(1, None, &mine);
    a.sign_in(&hanako).await.push(&first, None, &mine).await;
    for site in [b, c] {
        site.knows(&hanako).await;
        eventually("the head is known", async || {
            site.site().store.head(hanako.user).await.unwrap().is_some()
        })
        .await;
    }
    b.sign_in(&hanako).await.fetched(TransferState::Done).await;
    let site = a.site();
    let left = site.store.leave(hanako.user).await.unwrap();
    assert_eq!(left.records, 1);

    // The head still names a. Both c and a itself get it from b.
    for site in [c, a] {
        let pc = site.sign_in(&hanako).await;
        assert!(pc.head().await.record_b64.is_none());
        let done = pc.fetched(TransferState::Done).await;
        assert_eq!(done.from, a.site().config.site);
        assert!(pc.head().await.record_b64.is_some());
        for bytes in &mine {
            assert_eq!(&pc.object(bytes).await, bytes);
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn who_waits_goes_first_then_who_arrives_first() {
    // Nobody relays what is asked for here.
    let site = TestSite::alone().await;
    let store = &site.site.store;
    let home = SiteId::new([9; 16]);
    store
        .add_site(home, "Home", "https://127.0.0.1:1")
        .await
        .unwrap();
    let wish = async |n: u8, wish: Wish| {
        let what = (UserId::new([n; 16]), RecordId::new([n; 32]), home);
        store.wish_transfer(what, wish).await.unwrap();
    };
    let order = async || {
        let due = store.due_transfers().await.unwrap();
        due.iter()
            .map(|one| one.user.as_bytes()[0])
            .collect::<Vec<_>>()
    };
    wish(1, Wish::Announced(None)).await;
    wish(2, Wish::Announced(Some(9_000))).await;
    wish(3, Wish::Announced(Some(5_000))).await;
    wish(4, Wish::Waits).await;
    assert_eq!(order().await, [4, 3, 2, 1]);
    assert_eq!(store.open_transfers().await.unwrap().len(), 4);
    // Who arrives does not wait any more for his hour.
    wish(1, Wish::Waits).await;
    assert_eq!(order().await[2..], [3, 2]);
    // Who had a turn goes behind those who had none.
    let record = RecordId::new([3; 32]);
    store
        .yield_transfer(UserId::new([3; 16]), record)
        .await
        .unwrap();
    assert_eq!(order().await[2..], [2, 3]);
}
