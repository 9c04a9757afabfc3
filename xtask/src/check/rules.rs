//! The dependency rules of docs/architecture.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{child, paths};

/// Which of our crates each of our crates may use, directly or through others.
const MAY_USE: [(&str, &[&str]); 8] = [
    ("snapshot", &[]),
    ("card", &["snapshot"]),
    ("site-api", &["snapshot"]),
    ("builder", &["snapshot", "site-api"]),
    // Never card: a site cannot open what it stores.
    ("site-server", &["snapshot", "site-api"]),
    ("initrd-agent", &["snapshot", "card", "site-api"]),
    // Built programs are run, not linked.
    ("qemu-tests", &[]),
    ("xtask", &[]),
];

/// Words that mean input or output in a crate that has none.
const IO_WORDS: [&str; 7] = [
    "std::fs",
    "std::net",
    "std::process",
    "std::os",
    "tokio",
    "rustix",
    "reqwest",
];
/// Crates without input or output, by folder.
const NO_IO: [&str; 2] = ["snapshot/src", "site-server/api/src"];

/// Words that open a disk to write it. Reading is free.
const WRITE_WORDS: [&str; 4] = [
    ".write(true)",
    "OFlags::RDWR",
    "OFlags::WRONLY",
    "File::create(",
];
/// Rooms of the agent that may do so to a device.
const DISK_ROOMS: [&str; 4] = ["wipe", "baseline", "disk", "rewrite"];
/// Words that name a whole disk or partition.
const DEVICE_WORDS: [&str; 3] = ["/dev/vd", "/dev/sd", "/dev/nvme"];

/// Lines of a `main.rs` that only parses arguments and calls the library.
const MAIN_LINES: usize = 250;
/// Lines at which a file holds a second room.
const FILE_LINES: usize = 600;

/// Sentences docs/architecture.md must have, so that rules and page do not part.
const SENTENCES: [&str; 6] = [
    "never depend on `card`",
    "Only `initrd-agent` depends on `card`",
    "do no I/O",
    "write to a whole disk",
    "`main.rs` parses arguments and calls the library",
    "`unsafe` only in `initrd-agent/src/sys`",
];

/// Checks them all; the error names every broken one.
pub(crate) fn check() -> Result<()> {
    eprintln!("xtask: rules of docs/architecture.md");
    let root = paths::root();
    let mut broken = dependencies(&metadata()?)?;
    for (path, text) in sources(&root)? {
        broken.extend(in_source(&path, &text));
    }
    let page = root.join("docs/architecture.md");
    let text = fs::read_to_string(&page).with_context(|| format!("read {}", page.display()))?;
    broken.extend(
        SENTENCES
            .iter()
            .filter(|rule| !text.contains(**rule))
            .map(|rule| format!("docs/architecture.md no longer says: {rule}")),
    );
    if !broken.is_empty() {
        bail!("{} rules are broken:\n{}", broken.len(), broken.join("\n"));
    }
    Ok(())
}

fn metadata() -> Result<Value> {
    let text = child::output(&mut child::cargo(&[
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
        "--locked",
    ]))?;
    serde_json::from_str(&text).context("parse cargo metadata")
}

/// What our crates use of ours, against what they may. Tests may use what they like.
fn dependencies(metadata: &Value) -> Result<Vec<String>> {
    let list = |value: &Value, field: &str| {
        value
            .get(field)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let name = |value: &Value| value.get("name").and_then(Value::as_str).map(str::to_owned);
    let packages = list(metadata, "packages");
    let ours: BTreeSet<String> = packages.iter().filter_map(name).collect();
    let rules: BTreeMap<&str, &[&str]> = MAY_USE.into_iter().collect();
    let mut broken = Vec::new();
    for package in &packages {
        let user = name(package).context("a package without name")?;
        let Some(may) = rules.get(user.as_str()) else {
            broken.push(format!(
                "{user} has no rule: add it to docs/architecture.md and to xtask/src/check/rules.rs"
            ));
            continue;
        };
        for dependency in list(package, "dependencies") {
            let used = name(&dependency).context("a dependency without name")?;
            let in_tests = dependency.get("kind").and_then(Value::as_str) == Some("dev");
            if ours.contains(&used) && !in_tests && !may.contains(&used.as_str()) {
                broken.push(format!("{user} depends on {used}, and may only on {may:?}"));
            }
        }
    }
    // No way around through a third: what is allowed must be allowed all the way.
    for (user, may) in MAY_USE {
        for through in may {
            for reached in rules.get(through).copied().unwrap_or_default() {
                if !may.contains(reached) {
                    broken.push(format!("{user} reaches {reached} through {through}"));
                }
            }
        }
    }
    Ok(broken)
}

/// Every Rust source of ours, by its path below the root.
fn sources(root: &Path) -> Result<Vec<(PathBuf, String)>> {
    let listed = child::output(
        std::process::Command::new("git")
            .args([
                "ls-files",
                "--cached",
                "--others",
                "--exclude-standard",
                "--",
                "*.rs",
            ])
            .current_dir(root),
    )?;
    listed
        .lines()
        .map(|line| {
            let path = PathBuf::from(line);
            let text =
                fs::read_to_string(root.join(&path)).with_context(|| format!("read {line}"))?;
            Ok((path, text))
        })
        .collect()
}

fn in_source(path: &Path, text: &str) -> Vec<String> {
    let shown = path.display();
    // What follows is tests, which may do what they like.
    let code = text.split("#[cfg(test)]").next().unwrap_or(text);
    let lines = || {
        code.lines()
            .enumerate()
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    };
    let found = |words: &[&str], why: &str| -> Vec<String> {
        lines()
            .filter_map(|(number, line)| {
                let word = words.iter().find(|word| line.contains(**word))?;
                Some(format!("{shown}:{}: {word}: {why}", number + 1))
            })
            .collect()
    };
    let mut broken = Vec::new();
    if NO_IO.iter().any(|folder| path.starts_with(folder)) {
        broken.extend(found(&IO_WORDS, "this crate does no I/O"));
    }
    let room = path
        .strip_prefix("initrd-agent/src")
        .ok()
        .and_then(|rest| rest.iter().next());
    let room = room.map(|room| room.to_string_lossy().trim_end_matches(".rs").to_owned());
    if let Some(room) = room.filter(|room| !DISK_ROOMS.contains(&room.as_str())) {
        let devices: Vec<usize> = lines()
            .filter(|(_, line)| DEVICE_WORDS.iter().any(|word| line.contains(word)))
            .map(|(n, _)| n)
            .collect();
        for (number, line) in
            lines().filter(|(_, line)| WRITE_WORDS.iter().any(|word| line.contains(word)))
        {
            // A device named near a write; one room away, both are fine.
            if devices.iter().any(|device| device.abs_diff(number) < 20) {
                broken.push(format!(
                    "{shown}:{}: room {room} writes to a disk: {}",
                    number + 1,
                    line.trim()
                ));
            }
        }
        if room != "sys" {
            broken.extend(found(
                &["unsafe {", "unsafe fn"],
                "unsafe only in initrd-agent/src/sys",
            ));
        }
    }
    if path.file_name().is_some_and(|name| name == "main.rs") && text.lines().count() > MAIN_LINES {
        broken.push(format!(
            "{shown}: {} lines; main.rs parses arguments and calls the library",
            text.lines().count()
        ));
    }
    if text.lines().count() > FILE_LINES {
        broken.push(format!(
            "{shown}: {} lines; is there a second room in it?",
            text.lines().count()
        ));
    }
    broken
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_site_that_uses_card_is_refused() {
        let package = |name: &str, uses: &[(&str, Option<&str>)]| json!({ "name": name, "dependencies": uses.iter().map(|(name, kind)| json!({ "name": name, "kind": kind })).collect::<Vec<_>>() });
        let broken = dependencies(&json!({ "packages": [
            package("card", &[("snapshot", None)]),
            package("snapshot", &[]),
            package("site-server", &[("card", None), ("snapshot", Some("dev"))]),
        ] }))
        .unwrap();
        assert_eq!(broken.len(), 1, "{broken:?}");
        assert!(broken[0].contains("site-server depends on card"));
    }

    #[test]
    fn input_and_output_is_found_in_code_and_not_in_comments_or_tests() {
        let path = Path::new("snapshot/src/pack.rs");
        assert_eq!(
            in_source(
                path,
                "// std::fs is for others\nuse std::fs;\n#[cfg(test)]\nmod tests { use std::fs; }\n"
            )
            .len(),
            1
        );
        assert!(in_source(Path::new("builder/src/tree.rs"), "use std::fs;\n").is_empty());
    }

    #[test]
    fn a_room_that_writes_a_disk_is_named() {
        let code = "let f = File::options().write(true).open(\"/dev/vda\");\n";
        assert_eq!(
            in_source(Path::new("initrd-agent/src/site/mod.rs"), code).len(),
            1
        );
        assert!(in_source(Path::new("initrd-agent/src/wipe/mod.rs"), code).is_empty());
    }
}
