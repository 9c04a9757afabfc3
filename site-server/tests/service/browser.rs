//! Portal and desk in a real browser: Debian's Chromium, driven by `tests/browser/*.mjs`.

use std::{path::Path, process::Command};

use serde_json::{Value, json};
use site_api::{ReleaseInfo, TransferState, pc::Stage};
use site_server::{
    admin::{self, Role},
    store::{Actor, NextSite, Seen, Store},
};
use snapshot::id::{BaselineId, ReleaseId, SiteId, UserId};

use crate::{
    support::{Person, random_bytes, register},
    world::{Served, World, objects},
};

const PASSWORD: &str = "a password of the staff";

/// Walks a script through this site.
async fn walk(world: &World, site: &Served, script: &str, mut told: Value) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let modules = root.join("../target/tools/browser");
    assert!(
        modules.join("node_modules/playwright-core").exists(),
        "cargo xtask test site installs {}",
        modules.display()
    );
    told["url"] = site.url().into();
    told["modules"] = modules.to_str().unwrap().into();
    let shots = root.join("../target/screenshots");
    told["shots"] = shots.to_str().unwrap().into();
    let file = world.dir.path().join("told.json");
    std::fs::write(&file, told.to_string()).unwrap();
    let script = root.join("tests/browser").join(script);
    let node = move || Command::new("node").arg(script).arg(&file).output();
    let ran = tokio::task::spawn_blocking(node).await.unwrap().unwrap();
    assert!(
        ran.status.success(),
        "{}{}",
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
}

/// A site that is slow and far, and a relay there that goes on.
async fn far_away(store: &Store, person: &Person) {
    let far = SiteId::new([0xfa; 16]);
    store
        .add_site(far, "札幌 Sapporo", "https://127.0.0.1:1")
        .await
        .unwrap();
    let record = store.head(person.user).await.unwrap().unwrap().record;
    store
        .choose_next_site(person.user, far, Some(record), None)
        .await
        .unwrap();
    let moving = NextSite {
        user: person.user,
        site: far,
        record: Some(record),
        state: TransferState::Running,
        bytes_done: 40_000_000,
        bytes_total: 100_000_000,
        error: None,
        arrives_ms: None,
        began_ms: 0,
    };
    store.note_next_site(&moving, i64::MAX).await.unwrap();
}

/// A user who saved twice.
async fn saved(site: &Served, name: &str) -> Person {
    let person = Person::new(name);
    register(site.layout.root(), &person).await;
    let mine = objects(2);
    let first = person.record(1, None, &mine);
    let pc = site.sign_in(&person).await;
    pc.push(&first, None, &mine).await;
    let more = vec![random_bytes(90_000), random_bytes(10_000)];
    let second = person.record(2, Some(first.id()), &more);
    pc.push(&second, Some(&first), &more).await;
    person
}

#[tokio::test(flavor = "multi_thread")]
async fn the_portal_works_in_chromium_small_and_large_with_and_without_scripts_on_the_disk() {
    let world = World::of(3).await;
    let site = &world.sites[0];
    let mut people = Vec::new();
    for name in ["hanako", "taro"] {
        let person = saved(site, name).await;
        far_away(&site.site().store, &person).await;
        people.push(json!({
            "user": person.name, "password": person.password, "card": person.card.id,
        }));
    }
    let here = site.site().config.site;
    let told = json!({"people": people, "here": here});
    walk(&world, site, "portal.mjs", told).await;
    world.stop().await;
}

/// Shared PCs of every kind: enrolled and busy, failed, seen once.
async fn board(store: &Store, person: &Person) {
    for (pc, key) in [("reading-room-1", 1), ("reading-room-2", 2)] {
        let enrolled = store.enrol_pc(Actor::Operator, pc, [key; 32]);
        enrolled.await.unwrap();
    }
    for (pc, stage, signed_in) in [
        ("reading-room-1", Stage::InUse, true),
        ("library-entrance", Stage::Saving, true),
        ("library-2", Stage::Wiping, false),
    ] {
        let user = signed_in.then_some(person.user);
        let seen = Seen {
            pc,
            stage,
            user,
            signed_in,
        };
        store.pc_seen(&seen).await.unwrap();
    }
    let report = site_api::pc::StageReport {
        stage: Stage::Failed,
        at_ms: 1,
        user: Some(UserId::new([9; 16])),
        error: "RESTORE-WRITE".into(),
        signature_b64: String::new(),
    };
    store.pc_said("reading-room-2", &report).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_desk_works_in_chromium_small_and_large_with_and_without_scripts_on_the_disk() {
    let world = World::of(2).await;
    let site = &world.sites[0];
    let store = &site.site().store;
    let hanako = saved(site, "hanako").await;
    far_away(store, &hanako).await;
    for name in ["yamada.taro", "sato-yuki"] {
        register(site.layout.root(), &Person::new(name)).await;
    }
    board(store, &hanako).await;
    for (number, name) in [(1, "desktop"), (2, "desktop-next")] {
        let info = ReleaseInfo {
            release: ReleaseId::new([number; 32]),
            baseline: BaselineId::new([number; 32]),
            name: name.into(),
            build_timestamp: 1_795_000_000 + i64::from(number) * 86_400,
            minimum_build_timestamp: 0,
            published_ms: 1_795_000_000_000,
        };
        store.list_release(&info).await.unwrap();
    }
    let staff = [
        ("operator", "mori", Role::Operator),
        ("helper", "tanaka", Role::HelpDesk),
        ("auditor", "suzuki", Role::Auditor),
    ];
    for (_, name, role) in staff {
        let root = site.layout.root();
        admin::staff_add(root, name, role, PASSWORD).await.unwrap();
    }
    let walks = [("ja", true), ("en", false)].map(|(language, small)| {
        let new = Person::new(&format!("new-{language}")).registration();
        json!({
            "language": language, "small": small, "pc": format!("pc-of-{language}"), "staff": format!("kato-{language}"),
            "registration": serde_json::to_string(&new).unwrap(),
        })
    });
    let names = staff.map(|(role, name, _)| (role.to_owned(), Value::from(name)));
    let told = json!({
        "password": PASSWORD,
        "staff": serde_json::Map::from_iter(names),
        "user": {"name": hanako.name, "id": hanako.user},
        "walks": walks,
    });
    walk(&world, site, "desk.mjs", told).await;
    world.stop().await;
}
