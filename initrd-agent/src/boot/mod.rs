//! Power-on to handover. Wiping and restoring run while the user types.
//!
//! ```text
//! main     find disk ─┬─ sign in ─────────── pull ─ apply ─┬─ handover
//! worker              └─ wipe ─ restore and prove ─────────┘
//! finder   find site ─ deliver outbox
//! ```

mod environment;
mod inventory;
mod newer;
mod prepare;

use std::{fs, path::Path, sync::mpsc::channel};

use serde_json::json;

use self::prepare::Prepared;
use crate::{
    baseline::{ManifestError, ReleaseKey, RestoreError},
    cmdline::{self, CmdlineError, Options},
    disk::{DiskError, MemoryError, ProbeError},
    events::{Events, Stage},
    handover::{self, Account, HandoverError},
    harden::harden,
    keyring::KeyringError,
    outbox::OutboxError,
    paths,
    rewrite::RewriteError,
    screen::{AskError, Code, Ending, Language, Notice, Screen, Sentence, Step, chain, keymap},
    session::StateError,
    signin::{self, SignInError},
    site::{ClientError, Finder, SiteClient},
    update::UpdateError,
    wipe::{VolumeError, WipeError},
};

/// Why this PC does not reach a session. The user was told; the PC stops.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// `/proc/cmdline` does not read.
    #[error("read /proc/cmdline")]
    ReadCmdline(#[source] std::io::Error),
    /// The command line.
    #[error(transparent)]
    Cmdline(#[from] CmdlineError),
    /// The pinned CA.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The pinned release key.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// No list of disks.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// No disk to take.
    #[error("choose a disk: {0}")]
    NoDisk(String),
    /// Memory cannot stand in for a disk.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The user did not give the disk up.
    #[error("choose a disk: ERASE was not typed")]
    NotErased,
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Wiping.
    #[error(transparent)]
    Wipe(#[from] WipeError),
    /// The session volume.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// The outbox partition.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// Restoring.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// Rewriting.
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
    /// Nobody can type.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The keyring.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The site allows this baseline no longer, and this PC does not start from its own disk.
    #[error("sign in: {0}")]
    Outdated(String),
    /// The baseline the site wants did not come.
    #[error("fetch a newer system")]
    Update(#[from] UpdateError),
    /// The kernel does not restart.
    #[error("restart")]
    Restart(#[source] std::io::Error),
    /// Files of the session.
    #[error(transparent)]
    State(#[from] StateError),
    /// Mounts, units, accounts.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// The worker thread is gone without a word.
    #[error("wipe and restore ended without a result")]
    Worker,
    /// Files of a user whose sign-in went no further do not go away.
    #[error("empty the session volume")]
    Empty(#[source] std::io::Error),
}

impl BootError {
    fn code(&self) -> Code {
        match self {
            Self::ReadCmdline(_)
            | Self::Cmdline(_)
            | Self::Client(_)
            | Self::Manifest(_)
            | Self::Ask(_) => Code::BootMedium,
            Self::Probe(_) | Self::NoDisk(_) | Self::Memory(_) | Self::NotErased => Code::NoDisk,
            Self::Wipe(_) | Self::Volume(_) | Self::Empty(_) => Code::WipeFailed,
            Self::Restore(error) => error.code(),
            Self::Disk(_) | Self::Outbox(_) | Self::Rewrite(_) | Self::Worker => Code::RestoreWrite,
            Self::Outdated(_) | Self::Update(_) | Self::Restart(_) => Code::BootOutdated,
            Self::Keyring(_) | Self::State(_) | Self::Handover(_) => Code::HandoverFailed,
        }
    }
}

/// From power-on to a mounted root. Returns when systemd may switch to it.
///
/// # Errors
/// [`BootError`], after the user read the four lines.
pub fn boot() -> Result<(), BootError> {
    harden();
    let events = Events::default();
    let text = fs::read_to_string("/proc/cmdline").map_err(BootError::ReadCmdline);
    let options = text.and_then(|text| Ok(cmdline::parse(&text)?));
    let language = options
        .as_ref()
        .map_or(Language::English, |options| options.language);
    // Before the first prompt: a PIN typed on another layout is a wrong PIN.
    if let Ok(options) = &options
        && let Some(name) = &options.keymap
        && let Err(error) = keymap::load(name)
    {
        tracing::warn!(error = %chain(&error), "the keyboard keeps the layout us");
    }
    let screen = Screen::open_graphical(events.clone(), language);
    options
        .and_then(|options| with_options(&options, &screen, &events))
        .inspect_err(|error| {
            screen.message(&Notice::of(error.code(), error));
            screen.end_graphical(Ending::Stay);
        })
}

fn with_options(options: &Options, screen: &Screen, events: &Events) -> Result<(), BootError> {
    events.emit("boot", json!({ "baseline": options.baseline.to_string() }));
    let client = SiteClient::pinned(Path::new(paths::SITE_CA))?;
    let release_key = ReleaseKey::pinned(Path::new(paths::RELEASE_KEY))?;
    let pc = options.pc.clone().unwrap_or_else(environment::pc_name);
    screen.name_place(&pc, &options.baseline.to_string());
    screen.say(Sentence::ThisPc { pc: pc.clone() });
    if options.inventory {
        inventory::tell(screen, events);
    }
    let finder = Finder::start(
        client.clone(),
        options.sites.clone(),
        screen.clone(),
        events.clone(),
    );

    let finding = screen.step(Step::FindDisk);
    let found = prepare::choose_disk(options, &release_key, &finder, screen)?;
    drop(finding);
    let (sender, prepared) = channel::<Prepared>();
    let worker = prepare::Worker {
        release_key: release_key.clone(),
        pinned: options.baseline,
        pc: pc.clone(),
        policy: options.wipe,
        client: client.clone(),
        finder: finder.clone(),
        screen: screen.clone(),
        events: events.clone(),
    };
    let worker = worker.start(found, sender);

    let mut session: Option<Prepared> = None;
    let environment = loop {
        let stage = events.begin(Stage::SignIn);
        let mut user = match signin::sign_in(&finder, screen, &pc, options.baseline) {
            Ok(user) => user,
            Err(SignInError::Ask(error)) => return Err(error.into()),
            Err(SignInError::Outdated(why)) => {
                match newer::fetch_and_restart(why, worker, release_key, &finder, screen, events)? {}
            }
        };
        stage.end(0);
        let prepared: Prepared = match session.take() {
            Some(prepared) => prepared,
            None => prepared.recv().map_err(|_| BootError::Worker)?,
        };
        environment::own_parcels(&prepared.courier, &mut user, screen);
        match environment::pull_and_apply(user, &prepared, screen, events) {
            Ok(environment) => {
                session = Some(prepared);
                break environment;
            }
            Err(notice) => {
                screen.message(&notice);
                prepared.fresh.renew(screen)?;
                session = Some(prepared);
            }
        }
    };
    if !worker.is_finished() {
        screen.say(Sentence::StillChecking);
    }
    let restored = worker.join().map_err(|_| BootError::Worker)?;
    let prepared = session.ok_or(BootError::Worker)?;

    let stage = events.begin(Stage::Handover);
    let restore = restored.manifest.manifest().restore;
    let passwd =
        fs::read_to_string(Path::new(paths::BASELINE).join("etc/passwd")).unwrap_or_default();
    let account = Account::of(&environment.user.name, &passwd);
    if let Some(update) = &restored.update {
        update.arm()?;
    }
    environment.arm(options, pc, &account, &restored.manifest, &prepared)?;
    let removal = environment.removal(options);
    handover::hand_over(restored.ground.as_ref(), restore, &account, removal)?;
    screen.end_graphical(Ending::Leave);
    stage.end(0);
    screen.report_silence();
    Ok(())
}
