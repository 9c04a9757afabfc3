//! Runs a test inside `virtual-card host`: a real pcscd and a card written by others, in namespaces
//! of their own. The test binary starts itself again in there.
//!
//! Needs root and the Debian packages pcscd and vsmartcard-vpcd. What is missing fails the test.

mod virtual_card;

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use card::{
    Card, CardKey, Locked, Pin,
    reader::{FoundCard, Readers},
};
use snapshot::{
    id::UserId,
    keys::UserKey,
    slot::{self, Slot, SlotContext},
};

use self::virtual_card::virtual_card;

/// Time for pcscd to see what became of a card.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The key that is wrapped.
pub(crate) const USER_KEY: [u8; 32] = [0x42; 32];

pub(crate) fn pin() -> Pin {
    Pin::chosen("471147").unwrap()
}

pub(crate) fn wrong_pin() -> Pin {
    Pin::chosen("999999").unwrap()
}

/// The only card in a reader.
pub(crate) fn find() -> FoundCard {
    let readers = Readers::connect().unwrap();
    readers.wait_for_card(PATIENCE, |_| {}).unwrap()
}

pub(crate) fn open() -> Card<Locked> {
    Card::open(find()).unwrap()
}

/// That key, wrapped to a card's.
pub(crate) fn slot_for(key: &CardKey) -> Slot {
    let context = SlotContext {
        user: UserId::new([1; 16]),
        slot: 1,
        card: key.id(),
        epoch: 1,
    };
    let wrapped = slot::wrap(&UserKey::from_bytes(USER_KEY), key.public(), &context).unwrap();
    slot::parse(&wrapped).unwrap()
}

const FOLDER: &str = "CARD_TEST_FOLDER";
const PHASE: &str = "CARD_TEST_PHASE";

/// What a test finds inside.
pub(crate) struct Inside {
    folder: PathBuf,
}

/// One life of a pcscd and of the card process; the card's memory outlives it.
pub(crate) type Phase = fn(&Inside);

/// Runs the phases of the test called `name`, each with a new pcscd, all with the same card.
pub(crate) fn run(name: &str, phases: &[Phase]) {
    run_with(name, &[], phases);
}

/// The same with switches of `virtual-card`: what card it is.
pub(crate) fn run_with(name: &str, switches: &[&str], phases: &[Phase]) {
    if let (Some(folder), Ok(phase)) = (env::var_os(FOLDER), env::var(PHASE)) {
        let phase: usize = phase.parse().expect("a number from outside");
        let phase = phases.get(phase).expect("a phase from outside");
        phase(&Inside {
            folder: folder.into(),
        });
        return;
    }
    let folder = tempfile::tempdir().expect("make a folder for the card");
    for phase in 0..phases.len() {
        let output = Command::new(virtual_card())
            .arg("--state")
            .arg(folder.path().join("card"))
            .arg("--control")
            .arg(folder.path().join("control"))
            .arg("--trace")
            .args(switches)
            .args(["host", "--"])
            .arg(env::current_exe().expect("find this test"))
            .args(["--exact", name, "--nocapture"])
            .env(FOLDER, folder.path())
            .env(PHASE, phase.to_string())
            .output()
            .expect("run virtual-card");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success() && text(&output.stdout).contains("1 passed"),
            "phase {phase} of {name}: {}\n{}{}",
            output.status,
            text(&output.stdout),
            text(&output.stderr)
        );
    }
}

/// A card that is gone when this is dropped.
pub(crate) struct OtherCard(Child);

impl Drop for OtherCard {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Inside {
    /// A file that the next phase finds again.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A second card, in the second reader of this pcscd.
    pub(crate) fn second_card(&self) -> OtherCard {
        let child = Command::new(virtual_card())
            .arg("--state")
            .arg(self.file("second"))
            .args(["vpcd", "127.0.0.1:35964"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("run virtual-card");
        let mut card = OtherCard(child);
        let out = card.0.stdout.take().expect("its output is a pipe");
        let inserted = BufReader::new(out)
            .lines()
            .map_while(Result::ok)
            .any(|line| line == "inserted");
        assert!(inserted, "pcscd did not ask for the second card");
        card
    }

    /// Orders `remove` or `insert` and waits until it is done.
    pub(crate) fn tell(&self, word: &str) {
        let mut stream = UnixStream::connect(self.file("control")).expect("reach the card");
        writeln!(stream, "{word}").expect("tell the card");
        let mut answer = String::new();
        BufReader::new(stream)
            .read_line(&mut answer)
            .expect("hear the card");
        assert_eq!(answer.trim(), "ok", "{word}");
    }
}
