//! The portal in a real browser: Debian's Chromium, driven by `tests/browser/portal.mjs`.

use std::{path::Path, process::Command};

use site_api::TransferState;
use site_server::store::NextSite;
use snapshot::id::SiteId;

use crate::{
    support::{Person, random_bytes, register},
    world::{World, objects},
};

#[tokio::test(flavor = "multi_thread")]
async fn the_portal_works_in_chromium_small_and_large_with_and_without_scripts_on_the_disk() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let modules = root.join("../target/tools/browser");
    assert!(
        modules.join("node_modules/playwright-core").exists(),
        "cargo xtask test site installs {}",
        modules.display()
    );
    let world = World::of(3).await;
    let site = &world.sites[0];
    let mut people = Vec::new();
    for name in ["hanako", "taro"] {
        let person = Person::new(name);
        register(site.layout.root(), &person).await;
        let mine = objects(2);
        let first = person.record(1, None, &mine);
        let pc = site.sign_in(&person).await;
        pc.push(&first, None, &mine).await;
        let more = vec![random_bytes(90_000), random_bytes(10_000)];
        let second = person.record(2, Some(first.id()), &more);
        pc.push(&second, Some(&first), &more).await;
        // A relay that goes on: a site that is slow and far.
        let far = SiteId::new([0xfa; 16]);
        let store = &site.site().store;
        store
            .add_site(far, "札幌 Sapporo", "https://127.0.0.1:1")
            .await
            .unwrap();
        store
            .choose_next_site(person.user, far, Some(second.id()), None)
            .await
            .unwrap();
        let moving = NextSite {
            user: person.user,
            site: far,
            record: Some(second.id()),
            state: TransferState::Running,
            bytes_done: 40_000_000,
            bytes_total: 100_000_000,
            error: None,
            arrives_ms: None,
            began_ms: 0,
        };
        store.note_next_site(&moving, i64::MAX).await.unwrap();
        people.push(serde_json::json!({
            "user": person.name, "password": person.password, "card": person.card.id,
        }));
    }
    let told = serde_json::json!({
        "url": site.url(),
        "people": people,
        "here": site.site().config.site,
        "modules": modules,
        "shots": root.join("../target/screenshots"),
    });
    let file = world.dir.path().join("told.json");
    std::fs::write(&file, told.to_string()).unwrap();
    let script = root.join("tests/browser/portal.mjs");
    let node = move || Command::new("node").arg(script).arg(&file).output();
    let ran = tokio::task::spawn_blocking(node).await.unwrap().unwrap();
    assert!(
        ran.status.success(),
        "{}{}",
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
    world.stop().await;
}
