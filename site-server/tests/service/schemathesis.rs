//! A program that knows nothing of a site but its OpenAPI document asks it everything, right and wrong.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use site_api::path;

use crate::{
    support::{Person, random, register},
    world::{Served, World},
};

/// What every answer is checked for, beside that none is a 5xx.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";

/// `cargo xtask test` installs it; see xtask/src/wheel.rs.
fn program() -> PathBuf {
    let tools = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools");
    let program = tools.join("schemathesis/bin/schemathesis");
    assert!(
        program.exists(),
        "cargo xtask test site installs {}",
        program.display()
    );
    program
}

/// How long it asks: quick, and with `FUROSHIKI_THOROUGH`.
const QUICK: [&str; 4] = ["--phases", "fuzzing", "--max-examples", "10"];
const THOROUGH: [&str; 4] = [
    "--phases",
    "coverage,fuzzing,stateful",
    "--max-examples",
    "150",
];

/// Asks a running site; `more` says as whom and what. At least `fewest` requests are made.
async fn ask(site: &Served, fewest: u32, more: &[String]) {
    let thorough = std::env::var_os("FUROSHIKI_THOROUGH").is_some();
    let seed = u32::from_le_bytes(random());
    let folder = tempfile::tempdir().unwrap();
    let mut asked = Command::new(program());
    asked
        .arg("run")
        .arg(site.url() + path::OPENAPI)
        .args(if thorough { THOROUGH } else { QUICK })
        .args(["--checks", CHECKS, "--seed", &seed.to_string()])
        .args(["--no-shrink", "--no-color", "--warnings", "off"])
        .args(["--suppress-health-check", "all", "--tls-verify"])
        .arg(site.layout.ca())
        .args(more)
        .current_dir(folder.path())
        .env("NO_PROXY", "*")
        .stdin(Stdio::null());
    // It ends by itself, after that many examples.
    let asked = tokio::task::spawn_blocking(move || asked.output().unwrap());
    let asked = asked.await.unwrap();
    let said = String::from_utf8_lossy(&asked.stdout);
    assert!(
        asked.status.success(),
        "seed {seed}\n{said}\n{}",
        String::from_utf8_lossy(&asked.stderr)
    );
    // Silence is no proof: it says how much it asked.
    let counted = said.lines().find_map(|line| {
        let (count, _) = line.trim().split_once(" generated, ")?;
        count.replace(',', "").parse::<u32>().ok()
    });
    assert!(counted.is_some_and(|counted| counted >= fewest), "{said}");
    eprintln!(
        "schemathesis: {} requests, seed {seed}",
        counted.unwrap_or(0)
    );
    let up = site.client.get(site.url() + path::HEALTH).send().await;
    assert_eq!(up.unwrap().status(), 200);
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_no_answer_the_document_does_not_promise() {
    let world = World::of(2).await;
    let (site, peer) = (&world.sites[0], &world.sites[1]);
    let hanako = Person::new("hanako");
    register(site.layout.root(), &hanako).await;
    let token = site.sign_in(&hanako).await.token;
    let operator = std::fs::read_to_string(site.layout.operator_token()).unwrap();

    let mut as_pc = words(&["--exclude-path-regex", "^/s/v1/|/admin/", "-H"]);
    as_pc.push(format!("Authorization: Bearer {token}"));
    ask(site, 100, &as_pc).await;

    let mut as_operator = words(&["--include-path-regex", "^/v1/(releases|admin)", "-H"]);
    as_operator.push(format!("Authorization: Bearer {}", operator.trim()));
    ask(site, 15, &as_operator).await;

    let mut as_site = words(&["--include-path-regex", "^/s/v1/", "--request-cert"]);
    as_site.push(peer.layout.certificate().display().to_string());
    as_site.push("--request-cert-key".into());
    as_site.push(peer.layout.private_key().display().to_string());
    ask(site, 20, &as_site).await;
    world.stop().await;
}
