//! The program itself: what a person sees when something is wrong, and the exit codes scripts rely on.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic"
)]

use std::{
    fs,
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
    for file in ["initrd.toml", "tools.toml"] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../image-recipes/common");
        fs::create_dir_all(dir.join("common")).unwrap();
        fs::copy(from.join(file), dir.join("common").join(file)).unwrap();
    }
    fs::create_dir_all(&recipe).unwrap();
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
