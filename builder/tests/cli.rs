//! The program itself: what a person sees when something is wrong, and the exit codes scripts rely on.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic"
)]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::Path,
    process::{Command, Output},
};

fn builder(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_furoshiki-builder"))
        .args(arguments)
        .env_remove("SOURCE_DATE_EPOCH")
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A recipe folder whose only archive is on a port where nothing listens, or what `main` makes of it.
fn recipe(dir: &Path, main: impl Fn(String) -> String) -> String {
    let text = fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../image-recipes/minimal/recipe.toml"
    ))
    .unwrap();
    let recipe = dir.join("recipe");
    fs::create_dir_all(recipe.join("../common")).unwrap();
    for file in ["hardware.toml", "initrd.toml", "tools.toml"] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../image-recipes/common");
        fs::create_dir_all(dir.join("common")).unwrap();
        fs::copy(from.join(file), dir.join("common").join(file)).unwrap();
    }
    fs::write(recipe.join("recipe.toml"), main(text)).unwrap();
    recipe.display().to_string()
}

/// Builds `recipe` with a real key and certificate and whatever else is given.
fn build(dir: &Path, recipe: &str, more: &[&str]) -> Output {
    let path = |name: &str| dir.join(name).display().to_string();
    let (out, cache, key, ca) = (path("out"), path("cache"), path("key"), path("ca.pem"));
    assert!(builder(&["keygen", &key]).status.success());
    fs::write(
        &ca,
        "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let agent = env!("CARGO_BIN_EXE_furoshiki-builder");
    let mut arguments = vec!["build", recipe, "-o", &out, "--cache", &cache];
    arguments.extend(["--agent", agent, "--site-ca", &ca, "--release-key", &key]);
    arguments.extend(more);
    builder(&arguments)
}

#[test]
fn an_unknown_recipe_key_is_named_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = recipe(dir.path(), |text| {
        text.replace("suite =", "colour = \"red\"\nsuite =")
    });
    let output = build(dir.path(), &recipe, &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = said(&output);
    assert!(
        said.contains("colour") && said.contains("recipe.toml"),
        "{said}"
    );
}

#[test]
fn a_recipe_without_lock_says_how_to_make_one() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = recipe(dir.path(), |text| text);
    let output = build(dir.path(), &recipe, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("--update-lock"), "{}", said(&output));
}

#[test]
fn a_second_key_is_not_made_over_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key").display().to_string();
    assert!(builder(&["keygen", &key]).status.success());
    let output = builder(&["keygen", &key]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("lock out"), "{}", said(&output));
}

/// The recipe as it is, with its lock.
fn locked_recipe(dir: &Path) -> String {
    let made = recipe(dir, |text| text);
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../image-recipes/minimal/recipe.lock");
    fs::copy(lock, dir.join("recipe/recipe.lock")).unwrap();
    made
}

fn build_from_mirror(address: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let recipe = locked_recipe(dir.path());
    let mirror = |archive| format!("--mirror={archive}={address}/{archive}");
    build(
        dir.path(),
        &recipe,
        &[&mirror("debian"), &mirror("debian-security")],
    )
}

#[test]
fn no_network_has_its_own_exit_code() {
    // Nothing listens on the port of a listener that is closed.
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let output = build_from_mirror(&format!("http://{address}"));
    assert_eq!(output.status.code(), Some(4));
    assert!(
        said(&output).contains("check the network"),
        "{}",
        said(&output)
    );
}

#[test]
fn all_packages_that_are_gone_are_named_and_have_their_own_exit_code() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let reader = BufReader::new(stream.try_clone().unwrap());
            let _request = reader.lines().map_while(Result::ok).find(String::is_empty);
            let answer =
                b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            stream.write_all(answer).unwrap();
        }
    });
    let output = build_from_mirror(&format!("http://{address}"));
    assert_eq!(output.status.code(), Some(3));
    let said = said(&output);
    for expected in ["systemd ", "linux-image-", "--update-lock"] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}
