//! The story runs once; each test asserts one of its promises.

use std::sync::OnceLock;

use qemu_tests::place;
use qemu_tests::release::Release;
use qemu_tests::story::{self, Evidence, PROMISES};

/// About 50 MB.
const SCALE: f64 = 0.05;

fn evidence() -> &'static Result<Evidence, String> {
    static TOLD: OnceLock<Result<Evidence, String>> = OnceLock::new();
    TOLD.get_or_init(|| {
        let tell = || {
            let folder = place::evidence("story")?;
            let begin = std::time::Instant::now();
            let say = |what: &str| println!("{:>6.0} s  {what}", begin.elapsed().as_secs_f64());
            let (scene, evidence) = story::tell(&folder, &Release::built("minimal")?, SCALE, &say)?;
            // Disks are evidence for failures only; consoles and sites stay.
            if PROMISES.iter().all(|(_, check)| check(&evidence).is_ok()) {
                scene.pc1.scrap()?;
                scene.pc2.scrap()?;
            }
            anyhow::Ok(evidence)
        };
        tell().map_err(|error| format!("{error:#}"))
    })
}

fn promise(sentence: &str) {
    let evidence = evidence()
        .as_ref()
        .unwrap_or_else(|error| panic!("the story ended early: {error}"));
    let (_, check) = PROMISES
        .iter()
        .find(|(known, _)| *known == sentence)
        .expect("a promise of the story");
    check(evidence).unwrap_or_else(|error| {
        panic!(
            "{sentence}: {error:#}\nevidence: {}",
            evidence.folder.display()
        )
    });
}

#[test]
fn files_return_at_another_site_bit_for_bit() {
    promise("the user's files return at another site bit for bit");
}

#[test]
fn a_change_below_etc_returns_at_another_site() {
    promise("a change below /etc returns at another site");
}

#[test]
fn deleted_and_replaced_parts_of_the_baseline_stay_so_at_another_site() {
    promise("a deleted and a replaced part of the baseline stay so at another site");
}

#[test]
fn next_user_finds_no_trace_of_the_last_one() {
    promise("the next user finds no trace of the last one");
}

#[test]
fn the_raw_disk_of_a_pc_that_is_off_has_no_planted_string() {
    promise("no planted string, key or password is on the raw disk of a PC that is off");
}

#[test]
fn the_search_of_the_raw_disk_finds_what_bypassed_encryption() {
    promise("the search finds a control string that bypassed encryption");
}

#[test]
fn the_disk_gives_back_what_the_session_used() {
    promise("the disk gives back what the session used");
}

#[test]
fn a_site_nobody_chose_receives_records_and_no_snapshot_byte() {
    promise("the chosen site alone received the snapshot");
}

#[test]
fn a_site_stores_no_name_content_or_key_in_clear() {
    promise("a site stores no name, content, key, PIN or password in clear");
}

#[test]
fn no_log_has_a_pin_a_password_or_a_planted_string() {
    promise("no log has a key, a PIN, a password or a planted string");
}

#[test]
fn every_site_lists_the_baseline_with_its_build_timestamp() {
    promise("every site lists the baseline with its build timestamp");
}

#[test]
fn every_promise_has_its_test() {
    assert_eq!(
        PROMISES.len(),
        11,
        "a promise was added: give it a test above"
    );
}
