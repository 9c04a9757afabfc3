//! Two builds of a release, compared bit by bit: the one in `target/images` and one made again elsewhere, with
//! another umask, time zone and language, and by another user where this machine lets root be one.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};

use crate::{child, image, paths};

/// First user id of the other user; ids from here belong to nobody on a Debian system that gives out none.
const OTHER_USER: u32 = 0x4000_0000;
/// Ids the other user has in its namespace: all that Debian gives to users and programs.
const USERS: u32 = 65_536;
/// What surrounds the second build: nothing of it may reach a release.
const SURROUNDINGS: [(&str, &str); 4] = [
    ("TZ", "Asia/Tokyo"),
    ("LANG", "ja_JP.UTF-8"),
    ("LC_ALL", "ja_JP.UTF-8"),
    ("PERL_HASH_SEED", "7"),
];

/// Builds the release of `recipe` twice and compares.
///
/// # Errors
/// They differ, and what differs was printed; or a build failed.
pub(crate) fn check(recipe: &str) -> Result<()> {
    let release = image::release(recipe)?;
    let work = paths::target().join("rebuild");
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("remove {}", work.display()))?;
    }
    fs::create_dir_all(&work).with_context(|| format!("make {}", work.display()))?;
    let keys = paths::target().join("keys");
    // The folder of the authority's key is for its owner only.
    let authority = work.join("ca.pem");
    fs::copy(keys.join("ca/ca.pem"), &authority)
        .and_then(|_| fs::set_permissions(&authority, fs::Permissions::from_mode(0o644)))
        .with_context(|| format!("copy the CA to {}", authority.display()))?;
    let read = [
        release.join("manifest.json"),
        paths::program("furoshiki-builder"),
        paths::program("furoshiki-agent"),
        keys.join("release.pub"),
        authority,
    ];
    let mut arguments = vec![read[1].display().to_string(), "verify-rebuild".to_owned()];
    let mut argument = |name: &str, value: &Path| {
        arguments.extend([name.to_owned(), value.display().to_string()]);
    };
    argument("--agent", &read[2]);
    argument("--site-ca", &read[4]);
    argument("--release-key", &keys);
    argument("--cache", &work.join("cache"));
    argument("--packages", &paths::target().join("build-cache/packages"));
    argument("--work", &work.join("work"));
    let source = paths::root().join("image-recipes").join(recipe);
    arguments.extend([source, release].map(|path| path.display().to_string()));

    let begin = Instant::now();
    if other_user(&work, &read) {
        eprintln!("xtask: build release {recipe} again, as another user");
        run_as_other("umask 077; exec \"$@\"", &arguments)?;
    } else {
        eprintln!(
            "xtask: build release {recipe} again, as the same user: this machine lets root be no other, or hides \
             {} from others",
            paths::target().display()
        );
        let mut again = Command::new("sh");
        again.args(["-c", "umask 077; exec \"$@\"", "sh"]);
        again.args(&arguments).envs(SURROUNDINGS);
        child::step("build again and compare", &mut again)?;
    }
    eprintln!(
        "xtask: two builds of {recipe} are the same, {:.0} s",
        begin.elapsed().as_secs_f64()
    );
    fs::remove_dir_all(&work).with_context(|| format!("remove {}", work.display()))
}

/// Gives `work` to the other user. Out: whether there can be one, who can read all of `read`.
fn other_user(work: &Path, read: &[PathBuf]) -> bool {
    if chown(work, Some(OTHER_USER), Some(OTHER_USER)).is_err() {
        return false; // not root
    }
    let paths: Vec<String> = read.iter().map(|path| path.display().to_string()).collect();
    let probe = "for file in \"$@\"; do test -r \"$file\" || exit 1; done";
    let possible = run_as_other(probe, &paths).is_ok();
    // Back to root, who then builds here itself.
    possible || chown(work, Some(0), Some(0)).is_err()
}

/// Runs a shell script as root of a user namespace whose ids all belong to the other user.
fn run_as_other(script: &str, arguments: &[String]) -> Result<()> {
    let mut child = Command::new("unshare")
        .args(["--user", "--mount", "--keep-caps", "sh", "-c"])
        // It says that it is inside, and becomes root there once the namespace has its ids.
        .arg("echo inside; read -r go && exec setpriv --reuid 0 --regid 0 --clear-groups sh -c \"$@\" </dev/null")
        .args(["sh", script, "sh"])
        .args(arguments)
        .envs(SURROUNDINGS)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("start unshare")?;
    let said = child.stdout.take().context("a child without stdout")?;
    let mut lines = BufReader::new(said).lines();
    let given = match lines.next() {
        Some(Ok(_inside)) => give_ids(&mut child),
        _ => Err(anyhow!("unshare made no user namespace")),
    };
    // Without the line it waits for, the child ends by itself.
    drop(child.stdin.take());
    for line in lines.map_while(Result::ok) {
        println!("{line}");
    }
    let status = child.wait().context("wait for unshare")?;
    given?;
    if !status.success() {
        bail!("it ended with {status}");
    }
    Ok(())
}

fn give_ids(child: &mut Child) -> Result<()> {
    for map in ["uid_map", "gid_map"] {
        let path = format!("/proc/{}/{map}", child.id());
        fs::write(&path, format!("0 {OTHER_USER} {USERS}\n"))
            .with_context(|| format!("write {path}"))?;
    }
    let mut stdin = child.stdin.take().context("a child without stdin")?;
    stdin.write_all(b"go\n").context("tell the child to go on")
}
