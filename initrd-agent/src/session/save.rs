//! One save: capture → seal → push → head.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, flock};
use serde_json::json;
use site_api::ProblemCode;
use snapshot::{
    keys::SnapshotKeys,
    record::{self, SignedRecord},
};
use zeroize::Zeroizing;

use super::{HeadState, STAT_TABLE, State, StateError};
use crate::{
    capture::{self, CaptureError, CaptureRequest, Exclusions, Phase, Previous, Progressed},
    clock,
    events::{Events, Running, Stage},
    keyring::{self, KeyringError, SessionKey},
    paths,
    push::{Base, Push, PushError, Pushed, SiteGone},
    rewrite,
    screen::{Label, Progress, Screen, Sentence},
    site::{ClientError, SiteClient},
};

/// How long the end of a session may take only to make old packs smaller.
const REPACK: Duration = Duration::from_secs(5);

/// Why nothing was saved. The head at the site is what it was.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// No session, or not root.
    #[error(transparent)]
    State(#[from] StateError),
    /// No keys.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The keys are not keys.
    #[error("read the session's keys")]
    Keys(#[source] snapshot::ParseError),
    /// The token is no text.
    #[error("read the session's token")]
    Token(#[source] std::str::Utf8Error),
    /// Another save does not end.
    #[error("wait for the save under way")]
    Lock(#[source] io::Error),
    /// TLS.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Reading what changed, or pushing it on the way.
    #[error("capture what changed")]
    Capture(#[source] Box<CaptureError>),
    /// The record just made does not read.
    #[error("read the record just made")]
    Record(#[source] snapshot::ParseError),
    /// Head or outbox.
    #[error(transparent)]
    Push(#[from] PushError),
}

/// A save that went well.
#[derive(Debug, Clone)]
pub struct Saved {
    /// Number of the snapshot; 0 when there is none and nothing to save.
    pub seq: u64,
    /// Bytes pushed to the site.
    pub bytes: u64,
    /// When, milliseconds since 1970.
    pub saved_ms: i64,
    /// Where it is.
    pub pushed: Pushed,
    /// Nothing had changed.
    pub unchanged: bool,
}

impl Saved {
    /// What a person reads about it.
    #[must_use]
    pub fn sentence(&self) -> Sentence {
        Sentence::Saved {
            when: clock::when(self.saved_ms, clock::now_ms()),
            seq: self.seq,
            bytes: (!self.unchanged).then_some(self.bytes),
            at_site: matches!(self.pushed, Pushed::AtSite),
        }
    }
}

/// Saves the session. Waits while another process of the session does.
///
/// # Errors
/// [`SaveError`].
pub fn save(
    state: &State,
    screen: &Screen,
    events: &Events,
    gone: SiteGone,
) -> Result<Saved, SaveError> {
    let _lock = lock().map_err(SaveError::Lock)?;
    let known = load_stat_table();
    let save = |known| attempt(state, screen, events, &gone, known);
    match save(known.as_ref()) {
        // The site forgot what this session builds on: it has been away from the head for weeks.
        Err(SaveError::Push(PushError::Site(error)))
            if error.code() == Some(ProblemCode::ObjectsMissing) && known.is_some() =>
        {
            tracing::warn!(error = %crate::screen::chain(&error), "everything is saved again");
            save(None)
        }
        saved => saved,
    }
}

fn attempt(
    state: &State,
    screen: &Screen,
    events: &Events,
    gone: &SiteGone,
    known: Option<&capture::State>,
) -> Result<Saved, SaveError> {
    let since = Instant::now();
    let keys =
        SnapshotKeys::from_bytes(&keyring::load(SessionKey::Snapshot)?).map_err(SaveError::Keys)?;
    let token = keyring::load(SessionKey::Token)?;
    let token = Zeroizing::new(
        std::str::from_utf8(&token)
            .map_err(SaveError::Token)?
            .to_owned(),
    );
    let site = SiteClient::pinned(Path::new(paths::RUN_SITE_CA))?
        .site(&state.site)
        .signed_in(token);
    let head = HeadState::load()?;
    let tree = rewrite::tree(state.restore);
    let request = CaptureRequest {
        tree: &tree,
        keys: &keys,
        previous: head.map(|head| Previous {
            record: head.record,
            seq: head.seq,
        }),
        baseline: state.baseline,
        baseline_name: &state.baseline_name,
        build_timestamp: state.build_timestamp,
        pc: &state.pc,
        exclusions: &Exclusions::default(),
        state: known,
        // The last save of a session: nobody works meanwhile.
        repack: matches!(gone, SiteGone::UseOutbox { .. }).then_some(REPACK),
    };
    let push = Push::new(site, gone.clone());
    let stages = Stages::begin(events, screen);
    let captured =
        capture::capture(&request, &push, &stages).map_err(|e| SaveError::Capture(Box::new(e)))?;
    let push_stage = stages.captured(captured.pushed_bytes);
    let Some(signed) = captured.record else {
        push_stage.end(0);
        let (seq, saved_ms) = head.map_or((0, clock::now_ms()), |head| (head.seq, head.saved_ms));
        events.emit(
            "saved",
            json!({ "seq": seq, "bytes": 0, "packs": 0, "ms": ms(since) }),
        );
        return Ok(Saved {
            seq,
            bytes: 0,
            saved_ms,
            pushed: Pushed::AtSite,
            unchanged: true,
        });
    };
    let (bytes, packs) = push.pushed();
    let base = Base {
        previous: head.map(|head| head.record),
        pc: &state.pc,
    };
    let pushed = push.commit(&signed, &base)?;
    push_stage.end(bytes);
    let seq = seq_of(&signed)?;
    let saved_ms = clock::now_ms();
    // From here on it is safe; what is written down now only makes the next save cheaper and right.
    if let Err(error) = captured.state.save(Path::new(STAT_TABLE)) {
        tracing::warn!(error = %crate::screen::chain(&error), "the next save reads everything again");
    }
    HeadState {
        record: signed.id(),
        seq,
        saved_ms,
    }
    .store()?;
    events.emit("saved", json!({ "seq": seq, "bytes": bytes, "packs": packs, "ms": ms(since), "place": place(pushed) }));
    Ok(Saved {
        seq,
        bytes,
        saved_ms,
        pushed,
        unchanged: false,
    })
}

fn seq_of(signed: &SignedRecord) -> Result<u64, SaveError> {
    Ok(record::parse_unverified(signed.as_bytes())
        .map_err(SaveError::Record)?
        .seq)
}

const fn place(pushed: Pushed) -> &'static str {
    match pushed {
        Pushed::AtSite => "site",
        Pushed::InOutbox => "outbox",
        Pushed::HeadMoved => "outbox-head-moved",
    }
}

fn ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Without a usable table everything is read again, which is slower and just as right.
fn load_stat_table() -> Option<capture::State> {
    let path = Path::new(STAT_TABLE);
    if !path.exists() {
        return None;
    }
    capture::State::load(path)
        .inspect_err(|error| tracing::warn!(error = %crate::screen::chain(error), "stat table does not read"))
        .ok()
}

fn lock() -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(paths::SAVE_LOCK)?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

/// Turns the phases of a capture, which overlap, into stages that begin and end once.
struct Stages {
    events: Events,
    screen: Screen,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    capture: Option<Running>,
    seal: Option<Running>,
    push: Option<Running>,
    read_bytes: u64,
    bar: Option<Progress>,
}

impl Stages {
    fn begin(events: &Events, screen: &Screen) -> Self {
        let open = Open {
            capture: Some(events.begin(Stage::Capture)),
            ..Open::default()
        };
        Self {
            events: events.clone(),
            screen: screen.clone(),
            open: Mutex::new(open),
        }
    }

    /// Everything is found and sealed; the push stage goes on until the head stands.
    fn captured(self, pushed_bytes: u64) -> Running {
        let mut open = self
            .open
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(stage) = open.capture.take() {
            stage.end(open.read_bytes);
        }
        open.seal
            .take()
            .unwrap_or_else(|| self.events.begin(Stage::Seal))
            .end(pushed_bytes);
        open.push
            .take()
            .unwrap_or_else(|| self.events.begin(Stage::Push))
    }
}

impl capture::Progress for Stages {
    fn progress(&self, now: Progressed) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match now.phase {
            Phase::Scan => open.read_bytes = now.bytes,
            Phase::Seal => {
                if let Some(stage) = open.capture.take() {
                    stage.end(open.read_bytes);
                    open.seal = Some(self.events.begin(Stage::Seal));
                    open.bar = Some(self.screen.progress(Label::Save, now.bytes_total));
                }
                if let Some(bar) = &mut open.bar {
                    bar.set(now.bytes);
                }
            }
            Phase::Push => {
                if open.push.is_none() {
                    open.push = Some(self.events.begin(Stage::Push));
                }
            }
            Phase::Fetch | Phase::Write => {}
        }
    }
}
