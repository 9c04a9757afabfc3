//! An operator at the station: `furoshiki-agent card …` on a real pcscd with cards nobody of us wrote.
//!
//! Needs root and the Debian packages pcscd and vsmartcard-vpcd. What is missing fails the test.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "several tests share this; one that cannot go on ends where it stands"
)]

#[path = "../../../card/tests/host/virtual_card.rs"]
mod virtual_card;

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;
use site_api::registration::Registration;
use tempfile::TempDir;

use self::virtual_card::virtual_card;

/// Runs the station and kills it as soon as it says a word.
const KILL_AT: &str = r#"
exec 3<&0
"$@" <&3 2>"$SAID" & pid=$!
while kill -0 $pid 2>/dev/null && ! grep -q "$WORD" "$SAID"; do :; done
kill -9 $pid 2>/dev/null
wait $pid
grep -q "$WORD" "$SAID"
"#;

/// An operator with one card and a folder.
pub(crate) struct Desk {
    folder: TempDir,
}

/// What a command said.
pub(crate) struct Said {
    pub(crate) good: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    fn of(output: Output) -> Self {
        Self {
            good: output.status.success(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Starts a command and types `lines`.
fn spawn(command: &mut Command, lines: &[&str]) -> Child {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let typed: String = lines.iter().map(|line| format!("{line}\n")).collect();
    // A command that refuses at once does not read what is typed.
    let _ = child.stdin.take().unwrap().write_all(typed.as_bytes());
    child
}

/// Runs `furoshiki-agent card ARGUMENTS` on a machine where nobody ever saw a reader.
pub(crate) fn without_reader(arguments: &[&str], lines: &[&str]) -> Said {
    let mut station = Command::new(env!("CARGO_BIN_EXE_furoshiki-agent"));
    station.arg("card").args(arguments);
    station.env("PCSCLITE_CSOCK_NAME", "/nonexistent");
    Said::of(spawn(&mut station, lines).wait_with_output().unwrap())
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.file(name).to_str().unwrap().to_owned()
    }

    /// Runs `furoshiki-agent card ARGUMENTS` with the card in the reader and `lines` to type.
    pub(crate) fn card(&self, arguments: &[&str], lines: &[&str]) -> Said {
        let program = [env!("CARGO_BIN_EXE_furoshiki-agent"), "card"];
        self.host(&[&program[..], arguments].concat(), lines, &[])
    }

    /// The same with more than one card: what is said on standard error makes the operator change cards.
    ///
    /// Each of `changes` is a word to wait for, after the one before, and the folder of the card to put in then.
    pub(crate) fn cards(
        &self,
        arguments: &[&str],
        lines: &[&str],
        changes: &[(&str, &str)],
    ) -> Said {
        let program = [env!("CARGO_BIN_EXE_furoshiki-agent"), "card"];
        self.host(&[&program[..], arguments].concat(), lines, changes)
    }

    /// The same, killed as soon as it says `word`.
    pub(crate) fn killed_at(&self, word: &str, arguments: &[&str], lines: &[&str]) {
        let environment = format!("WORD={word}");
        let said_file = format!("SAID={}", self.path("said"));
        let kill = ["env", &environment, &said_file, "sh", "-c", KILL_AT, "sh"];
        let agent = [env!("CARGO_BIN_EXE_furoshiki-agent"), "card"];
        let killed = self.host(&[&kill[..], &agent, arguments].concat(), lines, &[]);
        assert!(killed.good, "{word}: {}", killed.err);
    }

    /// The same with switches of the software card.
    pub(crate) fn card_with(&self, switches: &[&str], arguments: &[&str], lines: &[&str]) -> Said {
        let program = [env!("CARGO_BIN_EXE_furoshiki-agent"), "card"];
        self.host_with(switches, &[&program[..], arguments].concat(), lines, &[])
    }

    /// Runs `command` where the card is in the reader.
    pub(crate) fn host(&self, command: &[&str], lines: &[&str], changes: &[(&str, &str)]) -> Said {
        self.host_with(&[], command, lines, changes)
    }

    fn host_with(
        &self,
        switches: &[&str],
        command: &[&str],
        lines: &[&str],
        changes: &[(&str, &str)],
    ) -> Said {
        let mut host = Command::new(virtual_card());
        host.arg("--state")
            .arg(self.file("card"))
            .arg("--control")
            .arg(self.file("control"))
            .arg("--as-yubikey")
            .args(switches)
            .args(["host", "--"])
            .args(command)
            .env("RUST_BACKTRACE", "0");
        let mut child = spawn(&mut host, lines);
        let mut changes = changes.iter();
        let mut next = changes.next();
        let mut err = String::new();
        for line in BufReader::new(child.stderr.take().unwrap()).lines() {
            let line = line.unwrap();
            if let Some((word, folder)) = next
                && line.contains(word)
            {
                self.tell("remove");
                self.tell(&format!("put {}", self.path(folder)));
                next = changes.next();
            }
            err.push_str(&line);
            err.push('\n');
        }
        let output = child.wait_with_output().unwrap();
        assert!(next.is_none(), "never said {next:?}: {err}");
        Said {
            err,
            ..Said::of(output)
        }
    }

    fn tell(&self, order: &str) {
        let mut stream = UnixStream::connect(self.file("control")).unwrap();
        writeln!(stream, "{order}").unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        assert_eq!(answer.trim(), "ok", "{order}");
    }

    /// A recovery key: the names of its files, private and public.
    pub(crate) fn recovery_key(&self, name: &str) -> (String, String) {
        let (secret, public) = (
            self.path(&format!("{name}.pem")),
            self.path(&format!("{name}.pub")),
        );
        let curve = "ec_paramgen_curve:P-256";
        let generate = ["genpkey", "-algorithm", "EC", "-pkeyopt", curve, "-out"];
        for arguments in [
            [&generate[..], &[&secret]].concat(),
            vec!["pkey", "-in", &secret, "-pubout", "-out", &public],
        ] {
            let output = Command::new("openssl").args(&arguments).output().unwrap();
            assert!(output.status.success(), "openssl {arguments:?}");
        }
        (secret, public)
    }

    pub(crate) fn good(&self, arguments: &[&str], lines: &[&str]) -> String {
        let said = self.card(arguments, lines);
        assert!(said.good, "{arguments:?}: {}{}", said.out, said.err);
        said.out
    }

    pub(crate) fn refused(&self, arguments: &[&str], lines: &[&str], why: &str) {
        let said = self.card(arguments, lines);
        assert!(
            !said.good && said.err.contains(why),
            "{arguments:?}: {}{}",
            said.out,
            said.err
        );
    }

    pub(crate) fn info(&self) -> Value {
        serde_json::from_str(&self.good(&["info", "--json"], &[])).unwrap()
    }

    pub(crate) fn registration(&self, name: &str) -> Registration {
        let text = fs::read_to_string(self.file(name)).unwrap();
        let registration: Registration = serde_json::from_str(&text).unwrap();
        registration.check().unwrap();
        registration
    }
}
