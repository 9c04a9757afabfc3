//! Signed-in user → the user's files on the session volume, and a session that will save them.

use std::{fs, io, path::Path, time::Duration};

use super::{BootError, prepare::Prepared};
use crate::{
    apply::{self, ApplyError, ApplyRequest},
    baseline::SignedManifest,
    capture::{self, Phase, Progressed},
    clock,
    cmdline::{Options, Removal},
    delivery::{Courier, Fate},
    events::{Events, Stage},
    exitrd,
    handover::Account,
    keyring::{self, SessionKey},
    outbox::Waiting,
    paths,
    pull::{self, SitePacks},
    renew::{self, RenewError, Renewal},
    rewrite,
    screen::{Code, Label, Notice, Progress, Prompt, Screen, Sentence, chain},
    session::{self, HeadState, State},
    signin::SignedIn,
};

/// How long a user who signed in waits for the own parcels: a large one, over a slow network.
const PARCEL_PATIENCE: Duration = Duration::from_secs(600);

/// A user with files on the session volume.
pub(super) struct Environment {
    pub(super) user: SignedIn,
    head: Option<HeadState>,
    stat_table: Option<capture::State>,
}

/// A name for a PC that was given none: from the address of its first network card.
pub(super) fn pc_name() -> String {
    let mut cards: Vec<_> = fs::read_dir("/sys/class/net")
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    cards.sort();
    let address = cards
        .iter()
        .filter_map(|card| fs::read_to_string(card.join("address")).ok())
        .map(|address| address.trim().replace(':', ""))
        .find(|address| address.len() == 12 && address.bytes().any(|b| b != b'0'));
    address.map_or_else(|| "pc".into(), |address| format!("pc-{address}"))
}

/// Waits for the user's own parcels, so that the newest snapshot is the one that is pulled, and tells what became
/// of them.
pub(super) fn own_parcels(courier: &Courier, user: &mut SignedIn, screen: &Screen) {
    if courier.is_busy_for(user.user) {
        screen.say(Sentence::SendingParcels);
    }
    let mut renewal = Renewal::default();
    for fate in courier.wait_for(user.user, PARCEL_PATIENCE) {
        match fate {
            Fate::Arrived => {
                screen.say(Sentence::ParcelsArrived);
            }
            Fate::HeadMoved => {
                let detail = "this PC still holds a version that the site does not have";
                screen.message(&Notice::new(Code::SaveHeadMoved, detail));
            }
            Fate::Waits => {}
            Fate::OldEpoch(parcel) => older_parcel(&mut renewal, &parcel, user, screen),
            Fate::Stays(why) => screen.message(&Notice::new(Code::SaveInOutbox, why)),
        }
    }
}

/// Asks the user about a parcel that was sealed before a card was taken away, and sends it when it is the user's own.
fn older_parcel(renewal: &mut Renewal, parcel: &Waiting, user: &mut SignedIn, screen: &Screen) {
    let stays = |error: &RenewError| {
        let code = match error {
            RenewError::HeadMoved => Code::SaveHeadMoved,
            _ => Code::SaveInOutbox,
        };
        screen.message(&Notice::of(code, error));
    };
    let record = match renew::own_record(parcel, &user.keys) {
        Ok(record) => record,
        Err(error) => return stays(&error),
    };
    let when = clock::when(record.created_ms, clock::now_ms());
    let pc = record.pc.clone();
    let detail = format!("sealed on {pc} {when}");
    screen.message(&Notice::new(Code::SaveOldEpoch, detail));
    match screen.ask(Prompt::TakeOlder { when, pc }) {
        Ok(answer) if answer.trim() == "TAKE" => {}
        Ok(_) => return,
        Err(error) => {
            tracing::warn!(error = %chain(&error), "nobody can be asked about a parcel; it stays");
            return;
        }
    }
    screen.say(Sentence::SendingParcels);
    match renewal.renew(parcel, &record, &user.site, &user.keys) {
        Ok(head) => {
            user.head = Some(head);
            screen.say(Sentence::ParcelsArrived);
        }
        Err(error) => stays(&error),
    }
}

/// Fetches the newest snapshot and puts it on the session volume.
///
/// # Errors
/// What to tell the user. The session volume may be half written: [`Fresh::renew`](super::prepare::Fresh::renew) it.
pub(super) fn pull_and_apply(
    mut user: SignedIn,
    prepared: &Prepared,
    screen: &Screen,
    events: &Events,
) -> Result<Environment, Notice> {
    let saved = user
        .head
        .as_ref()
        .map(|head| clock::when(head.saved_ms, clock::now_ms()));
    let told = |notice: Notice| notice.saved(saved.clone());
    let stage = events.begin(Stage::Pull);
    let pulled = pull::newest(&user, screen).map_err(|e| told(Notice::of(e.code(), &e)))?;
    let Some(pulled) = pulled else {
        stage.end(0);
        events.begin(Stage::Apply).end(0);
        user.keys.forget_before(user.keys.epoch());
        screen.say(Sentence::FirstTime {
            user: user.name.clone(),
        });
        return Ok(Environment {
            user,
            head: None,
            stat_table: None,
        });
    };
    // Keys of epochs that nothing needs any more are no part of the session.
    user.keys.forget_before(pulled.record.oldest);
    let info = pulled.info;
    screen.say(Sentence::Welcome {
        user: user.name.clone(),
        saved: clock::when(info.saved_ms, clock::now_ms()),
        pc: info.pc.to_string(),
    });
    let packs = SitePacks::new(&user.site, &pulled.record, stage);
    let tree = rewrite::tree(prepared.fresh.restore());
    let request = ApplyRequest {
        tree: &tree,
        keys: &user.keys,
        record: &pulled.record,
        baseline_name: &prepared.baseline_name,
    };
    let stage = events.begin(Stage::Apply);
    let bar = FetchBar::new(screen, pulled.record.total_bytes());
    let applied = apply::apply(&request, &packs, &bar).map_err(|e| told(of_apply(&e)))?;
    drop(bar);
    packs.finish();
    stage.end(applied.bytes);
    let head = HeadState {
        record: info.record,
        seq: info.seq,
        saved_ms: info.saved_ms,
    };
    Ok(Environment {
        user,
        head: Some(head),
        stat_table: Some(applied.state),
    })
}

fn of_apply(error: &ApplyError) -> Notice {
    let code = if error.is_altered() {
        Code::AlteredPack
    } else if matches!(error, ApplyError::OtherBaseline { .. }) {
        Code::OtherBaseline
    } else if matches!(error, ApplyError::Fetch { .. }) {
        Code::PullFailed
    } else {
        Code::ApplyFailed
    };
    Notice::of(code, error)
}

/// Progress of a pull on the screen.
struct FetchBar(std::sync::Mutex<Progress>);

impl FetchBar {
    fn new(screen: &Screen, total_bytes: u64) -> Self {
        Self(std::sync::Mutex::new(
            screen.progress(Label::Pull, total_bytes),
        ))
    }
}

impl capture::Progress for FetchBar {
    fn progress(&self, now: Progressed) {
        if now.phase == Phase::Fetch
            && let Ok(mut bar) = self.0.try_lock()
        {
            bar.set(now.bytes);
        }
    }
}

/// Makes the session volume empty again, for the next try to sign in.
pub(super) fn empty() -> io::Result<()> {
    for folder in [paths::SESSION_UPPER, paths::SESSION_HOME] {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

impl Environment {
    /// What happens when the card is taken out. Who came without one has none that could be missed.
    pub(super) fn removal(&self, options: &Options) -> Removal {
        match self.user.card {
            Some(_) => options.removal,
            None => Removal::Ignore,
        }
    }

    /// Leaves behind what the session service and the exitrd need.
    pub(super) fn arm(
        &self,
        options: &Options,
        pc: String,
        account: &Account,
        manifest: &SignedManifest,
        prepared: &Prepared,
    ) -> Result<(), BootError> {
        let state = State {
            user: self.user.user,
            name: self.user.name.clone(),
            unix_name: account.name().into(),
            site: self.user.site.base().into(),
            baseline: manifest.manifest().baseline,
            baseline_name: manifest.manifest().name.clone(),
            restore: manifest.manifest().restore,
            build_timestamp: manifest.manifest().build_timestamp,
            pc,
            save_minutes: options.save_minutes,
            language: options.language,
            outbox: prepared.outbox_partition.is_some(),
            card: self.user.card,
            removal: self.removal(options),
        };
        state.store()?;
        if let Some(head) = self.head {
            head.store()?;
        }
        if let Some(table) = &self.stat_table
            && let Err(error) = table.save(Path::new(session::STAT_TABLE))
        {
            tracing::warn!(error = %chain(&error), "the first save reads everything");
        }
        session::copy_ca()?;
        session::write_json(
            Path::new(paths::DISK_JSON),
            &exitrd::Plan {
                session_partition: prepared.session_partition.clone(),
                outbox_partition: prepared.outbox_partition.clone(),
                about: prepared.about.clone(),
                policy: options.wipe,
                site: self.user.site.base().into(),
                language: options.language,
            },
        )?;
        keyring::keep(SessionKey::Snapshot, &self.user.keys.to_bytes())?;
        keyring::keep(SessionKey::Token, self.user.token.as_bytes())?;
        Ok(())
    }
}
