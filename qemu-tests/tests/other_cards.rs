//! Badges of RSA and OpenPGP cards sign in at a desk, over a real site and a real pcscd. No machine boots.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use qemu_tests::child::{self, Running};
use qemu_tests::place;
use qemu_tests::site::TestSite;
use qemu_tests::wait::{self, Deadline};

const PIN: &str = "48291377";
const PASSWORD: &str = "first-pass-phrase-81";
/// Tells the parts of a test that run beside the card where they are, which they are, and the site's address.
const INSIDE: &str = "FUROSHIKI_OTHER_CARDS";
const PART: &str = "FUROSHIKI_OTHER_CARDS_PART";
const URL: &str = "FUROSHIKI_OTHER_CARDS_SITE";

#[test]
fn the_holder_of_an_rsa_badge_signs_in() -> Result<()> {
    signs_in("the_holder_of_an_rsa_badge_signs_in", "--as-yubikey", rsa)
}

#[test]
fn the_holder_of_an_openpgp_card_signs_in() -> Result<()> {
    let name = "the_holder_of_an_openpgp_card_signs_in";
    signs_in(name, "--openpgp", openpgp)
}

/// Enrolls what `make` makes of an empty card, and signs in with it. `name` is the test's.
fn signs_in(name: &str, switch: &str, make: fn(&Path) -> Result<()>) -> Result<()> {
    if let Some(folder) = std::env::var_os(INSIDE) {
        let folder = Path::new(&folder);
        return match std::env::var(PART)?.as_str() {
            "enroll" => make(folder).and_then(|()| enroll(folder)),
            _ => at_the_desk(folder, &std::env::var(URL)?),
        };
    }
    let folder = place::evidence(name)?;
    let mut site = TestSite::start_alone(&folder, "site-1")?;
    let url = site.url();
    let with_the_card = |part: &str| -> Result<()> {
        let mut inside = Command::new(place::virtual_card()?);
        inside.arg("--state").arg(folder.join("card"));
        inside.args([switch, "host", "--"]);
        inside.arg(std::env::current_exe()?);
        inside.args(["--exact", name, "--nocapture"]);
        inside.env(INSIDE, &folder).env(PART, part).env(URL, &url);
        child::output(&mut inside).map(drop)
    };
    with_the_card("enroll")?;
    site.register("hanako", &folder.join("hanako.json"), PASSWORD)?;
    // The reader of a software card is in a network of its own: the site goes there.
    site.kill();
    with_the_card("sign in")
}

/// Runs a program with lines to type; what it said on standard error, and whether it was content.
fn run(command: &mut Command, lines: &[&str]) -> Result<(bool, String)> {
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.stderr(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().context("a program without input")?;
    for line in lines {
        writeln!(input, "{line}")?;
    }
    drop(input);
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((output.status.success(), said))
}

fn good(program: &str, arguments: &[&str]) -> Result<()> {
    let (good, said) = run(Command::new(program).args(arguments), &[])?;
    ensure!(good, "{program} {arguments:?}: {said}");
    Ok(())
}

/// A badge of RSA in 9D, as Yubico's tool and a CA make it.
fn rsa(folder: &Path) -> Result<()> {
    let file = |name: &str| folder.join(name).display().to_string();
    let (public, certificate) = (file("badge.pub"), file("badge.crt"));
    let (ca, ca_key) = (file("badge-ca.crt"), file("badge-ca.key"));
    let tool = |arguments: &[&str]| {
        let reader = ["--reader", "Virtual PCD 00 00"];
        good("yubico-piv-tool", &[&reader[..], arguments].concat())
    };
    tool(&["-a", "generate", "-s", "9d", "-A", "RSA2048", "-o", &public])?;
    let new_ca = ["req", "-x509", "-newkey", "ed25519", "-nodes", "-subj"];
    let out = ["/CN=ca", "-keyout", &ca_key, "-out", &ca];
    good("openssl", &[&new_ca[..], &out].concat())?;
    let sign = ["x509", "-new", "-subj", "/CN=badge", "-force_pubkey"];
    let by = [&public, "-CA", &ca, "-CAkey", &ca_key, "-out", &certificate];
    good("openssl", &[&sign[..], &by].concat())?;
    tool(&["-a", "import-certificate", "-s", "9d", "-i", &certificate])?;
    tool(&["-a", "change-pin", "-P", "123456", "-N", PIN])
}

/// An OpenPGP card with a decryption key on Curve25519.
fn openpgp(_: &Path) -> Result<()> {
    let mut sent = Vec::new();
    let pin: String = PIN.bytes().map(|byte| format!("{byte:02X}")).collect();
    let change = format!("002400810E313233343536{pin}");
    for command in [
        "00A4040006D27600012401",
        "00200083083132333435363738",
        "00DA00C20B122B060104019755010501",
        "0047800002B80000",
        &change,
    ] {
        sent.extend(["-s", command]);
    }
    good("opensc-tool", &sent)
}

fn agent(arguments: &[&str], lines: &[&str]) -> Result<(bool, String)> {
    let mut agent = Command::new(place::program("furoshiki-agent")?);
    run(agent.args(arguments), lines)
}

fn enroll(folder: &Path) -> Result<()> {
    let out = folder.join("hanako.json").display().to_string();
    let enroll = [
        "card",
        "enroll",
        "--user",
        "hanako",
        "--no-recovery",
        "--out",
    ];
    let (good, said) = agent(&[&enroll[..], &[&out]].concat(), &[PIN])?;
    ensure!(good, "{said}");
    Ok(())
}

fn at_the_desk(folder: &Path, url: &str) -> Result<()> {
    let _site = serve(folder, url)?;
    let ca = folder.join("ca/ca.pem").display().to_string();
    let export = ["export", "--site", url, "--ca", &ca];
    let (_, said) = agent(&export, &["99999999"])?;
    ensure!(said.contains("2 tries left"), "{said}");
    // Card, name and password are proved, and the user key is open; there is only nothing saved yet.
    let (_, said) = agent(&export, &[PIN, "hanako", PASSWORD])?;
    ensure!(said.contains("nothing of hanako was ever saved"), "{said}");
    let (_, said) = agent(&export, &[PIN, "hanako", "another-pass-phrase"])?;
    ensure!(!said.contains("was ever saved"), "{said}");
    Ok(())
}

/// The site, where the reader is.
fn serve(folder: &Path, url: &str) -> Result<Running> {
    let mut command = Command::new(place::program("furoshiki-site")?);
    command.args(["serve", "--data"]).arg(folder.join("site-1"));
    command.args(["--listen", url.trim_start_matches("https://")]);
    command.stdout(Stdio::piped());
    let log = folder.join("site-1.at-the-desk.log");
    let mut server = Running::start(&mut command, &log)?;
    let said = server.child.stdout.take();
    let said = said.context("a site without output")?;
    let mut line = String::new();
    if wait::readable(&said, Deadline::after(Duration::from_secs(60)))? {
        BufReader::new(said).read_line(&mut line)?;
    }
    let log = child::tail_of(&log);
    ensure!(line.starts_with("listening"), "{line}{log}");
    Ok(server)
}
