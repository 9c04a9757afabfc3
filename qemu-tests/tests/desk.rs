//! At a desk with a reader: a tar in, the same tar out, over a real site with a real card dialogue. No machine boots.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use qemu_tests::child::{self, Running};
use qemu_tests::place;
use qemu_tests::release::Release;
use qemu_tests::site::TestSite;
use qemu_tests::wait::{self, Deadline};

const PIN: &str = "48291377";
const PASSWORD: &str = "first-pass-phrase-81";
/// Tells the second half of the test where it is.
const INSIDE: &str = "FUROSHIKI_DESK_TEST";
const URL: &str = "FUROSHIKI_DESK_SITE";

#[test]
fn a_user_puts_a_tar_in_and_takes_the_same_out() -> Result<()> {
    if let Some(folder) = std::env::var_os(INSIDE) {
        return at_the_desk(Path::new(&folder), &std::env::var(URL)?);
    }
    let folder = place::evidence("desk")?;
    let mut site = TestSite::start(&folder, "site-1")?;
    site.publish(&Release::built("minimal")?)?;
    let hanako = site.add_user(&folder, "hanako", PIN, PASSWORD)?;
    // The reader of a software card is in a network of its own: the site and the rest of the test go there.
    site.kill();
    let mut inside = Command::new(place::virtual_card()?);
    inside
        .arg("--state")
        .arg(&hanako.card.state)
        .args(["host", "--"])
        .arg(std::env::current_exe()?)
        .args(["--exact", "a_user_puts_a_tar_in_and_takes_the_same_out"])
        .arg("--nocapture")
        .env(INSIDE, &folder)
        .env(URL, site.url());
    child::output(&mut inside).map(drop)
}

/// A desk: the agent's two commands for one user at one site.
struct Desk<'a> {
    folder: &'a Path,
    url: &'a str,
}

/// What a command said.
struct Said {
    good: bool,
    out: Vec<u8>,
    err: String,
}

impl Desk<'_> {
    /// Runs `furoshiki-agent COMMAND ARGUMENTS` with `lines` to type.
    fn run(&self, command: &str, arguments: &[&str], lines: &[&str]) -> Result<Said> {
        let input = self.folder.join("typed");
        let typed: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(&input, typed)?;
        let output = Command::new(place::program("furoshiki-agent")?)
            .args([command, "--site", self.url, "--ca"])
            .arg(place::authority().join("ca.pem"))
            .args(arguments)
            .current_dir(self.folder)
            .stdin(fs::File::open(&input)?)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()?;
        fs::remove_file(&input)?;
        Ok(Said {
            good: output.status.success(),
            out: output.stdout,
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    fn good(&self, command: &str, arguments: &[&str], lines: &[&str]) -> Result<Said> {
        let said = self.run(command, arguments, lines)?;
        ensure!(said.good, "{command} {arguments:?}: {}", said.err);
        Ok(said)
    }

    fn refused(&self, command: &str, arguments: &[&str], lines: &[&str], why: &str) -> Result<()> {
        let said = self.run(command, arguments, lines)?;
        ensure!(!said.good, "{command} {arguments:?} was not refused");
        ensure!(
            said.err.contains(why),
            "{command} {arguments:?}: {}",
            said.err
        );
        Ok(())
    }
}

fn at_the_desk(folder: &Path, url: &str) -> Result<()> {
    let _site = serve(folder, url)?;
    let desk = Desk { folder, url };
    let typed = ["hanako", PASSWORD];
    let all = [PIN, typed[0], typed[1]];
    let named = ["--user", "hanako"];
    let secrets = [PIN, PASSWORD];

    desk.refused("export", &[], &all, "nothing of hanako was ever saved")?;
    make_tree(&folder.join("tree"))?;
    let packed = pack(folder, "tree", "in.tar")?;
    let said = desk.good(
        "import",
        &[&named[..], &["--json", "in.tar"]].concat(),
        &secrets,
    )?;
    let last = said.err.lines().last().context("import says nothing")?;
    let last: serde_json::Value = serde_json::from_str(last)?;
    let member = |name| last.get(name).cloned().unwrap_or_default();
    ensure!(
        member("event") == "imported" && member("seq") == 1,
        "{last}"
    );
    ensure!(member("baseline") == "minimal", "{last}");

    // The same bytes in a file, compressed, and through a pipe; and what is listed is what went in.
    desk.good("export", &["--output", "out.tar"], &all)?;
    let out = fs::read(folder.join("out.tar"))?;
    desk.good(
        "export",
        &[&named[..], &["--output", "out.tar.zst"]].concat(),
        &secrets,
    )?;
    let unpacked = Command::new("bsdcat")
        .arg("out.tar.zst")
        .current_dir(folder)
        .output()?;
    ensure!(unpacked.stdout == out, "the compressed tar is another one");
    ensure!(
        desk.good("export", &named, &secrets)?.out == out,
        "the tar of the pipe is another one"
    );
    ensure!(
        list(folder, "out.tar")? == packed,
        "{:#?}",
        list(folder, "out.tar")?
    );

    // What replaces something needs a word, and what is refused replaces nothing.
    let mut other = Command::new("tar");
    other
        .current_dir(folder)
        .args(["-P", "-cf", "hostile.tar", "/etc/hostname"]);
    child::output(&mut other)?;
    let import = |more: &[&'static str]| [&named[..], more].concat();
    desk.refused("import", &import(&["in.tar"]), &secrets, "say --yes")?;
    let hostile = import(&["--yes", "hostile.tar"]);
    desk.refused("import", &hostile, &secrets, "nothing was replaced")?;
    desk.refused(
        "import",
        &hostile,
        &secrets,
        "/etc/hostname: its path begins with a slash",
    )?;
    desk.refused("export", &["--output", "out.tar"], &all, "out.tar exists")?;
    desk.refused(
        "export",
        &named,
        &[PIN, "another-pass-phrase"],
        "The password is wrong.",
    )?;
    desk.refused(
        "export",
        &named,
        &["99999999", PASSWORD],
        "the card PIN is wrong, 2 tries left",
    )?;
    ensure!(
        desk.good("export", &named, &secrets)?.out == out,
        "a refusal changed something"
    );

    fs::write(folder.join("tree/home/ada/letter"), "of today")?;
    let packed = pack(folder, "tree", "again.tar")?;
    let said = desk.good("import", &import(&["--yes", "again.tar"]), &secrets)?;
    ensure!(
        said.err.contains("as snapshot 2 on baseline minimal"),
        "{}",
        said.err
    );
    desk.good(
        "export",
        &[&named[..], &["--output", "last.tar"]].concat(),
        &secrets,
    )?;
    ensure!(list(folder, "last.tar")? == packed);
    Ok(())
}

/// The site of the first half, in this network.
fn serve(folder: &Path, url: &str) -> Result<Running> {
    let mut command = Command::new(place::program("furoshiki-site")?);
    command
        .arg("serve")
        .arg("--data")
        .arg(folder.join("site-1"));
    command.args(["--listen", url.trim_start_matches("https://")]);
    command.stdout(Stdio::piped());
    let log = folder.join("site-1.at-the-desk.log");
    let mut server = Running::start(&mut command, &log)?;
    let said = server
        .child
        .stdout
        .take()
        .context("a site without output")?;
    let mut line = String::new();
    if wait::readable(&said, Deadline::after(Duration::from_secs(60)))? {
        BufReader::new(said).read_line(&mut line)?;
    }
    ensure!(
        line.starts_with("listening"),
        "{line}{}",
        child::tail_of(&log)
    );
    Ok(server)
}

fn make_tree(tree: &Path) -> Result<()> {
    fs::create_dir_all(tree.join("home/ada/.config"))?;
    fs::create_dir_all(tree.join("etc"))?;
    fs::write(tree.join("etc/motd"), "changed by ada")?;
    fs::write(tree.join("home/ada/letter"), "of yesterday")?;
    fs::write(
        tree.join("home/ada/.config/many"),
        "x = 1\n".repeat(100_000),
    )?;
    fs::hard_link(
        tree.join("home/ada/letter"),
        tree.join("home/ada/same-letter"),
    )?;
    std::os::unix::fs::symlink("letter", tree.join("home/ada/link"))?;
    Ok(())
}

/// Packs with GNU tar and gives what it lists.
fn pack(folder: &Path, tree: &str, tar: &str) -> Result<Vec<String>> {
    let all = [
        "--format=posix",
        "--numeric-owner",
        "--sort=name",
        "-S",
        "-C",
        tree,
        "-cf",
        tar,
        ".",
    ];
    child::output(Command::new("tar").current_dir(folder).args(all))?;
    list(folder, tar)
}

fn list(folder: &Path, tar: &str) -> Result<Vec<String>> {
    let all = ["--numeric-owner", "--full-time", "-tvf", tar];
    let text = child::output(Command::new("tar").current_dir(folder).args(all))?;
    Ok(text.lines().map(str::to_owned).collect())
}
