//! The session in the running system: saves now and then, on demand, and at the end.
//!
//! What a save needs to know is in small files below `/run/furoshiki`, root only, without secrets; keys and token
//! are in the kernel keyring. Each command is a process of its own, so that one that dies takes nothing along.

mod lock;
mod meanwhile;
mod notify;
mod save;
mod state;
mod watch;

use std::{
    path::Path,
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use serde_json::json;

pub(crate) use self::state::{STAT_TABLE, copy_ca, copy_release_key, read_json, write_json};
pub use self::{
    meanwhile::Meanwhile,
    save::{SaveError, Saved, save},
    state::{HeadState, State, StateError},
    watch::watch_card,
};
use crate::{
    clock, delivery,
    events::Events,
    harden::harden,
    outbox::Outbox,
    paths,
    push::{Pushed, SiteGone},
    report,
    screen::{Code, Language, Notice, Prompt, Said, Screen, chain},
    site::SiteClient,
    update,
};

/// How long the end of a session asks a site that does not answer.
const PATIENCE_AT_END: Duration = Duration::from_secs(45);

/// Runs until the service stops: tells systemd that the session is armed, then saves every few minutes.
///
/// # Errors
/// [`StateError`]: there is no session to save.
pub fn run() -> Result<(), StateError> {
    harden();
    let state = State::load()?;
    let events = Events::default();
    meanwhile::tell_ready();
    notify::ready();
    events.emit("session-ready", json!({}));
    let between = Duration::from_secs(u64::from(state.save_minutes) * 60);
    match SiteClient::pinned(Path::new(paths::RUN_SITE_CA)) {
        Ok(client) if state.outbox => {
            let outbox = Outbox::at(Path::new(paths::OUTBOX));
            report::in_session(&outbox, client.site(&state.site));
            update::keep_current(client.site(&state.site), &events);
            delivery::keep_delivering(&outbox, &client, &events, state.user, between);
        }
        Ok(_) => {}
        Err(error) => {
            tracing::warn!(error = %chain(&error), "what other users left here waits for the next boot");
        }
    }
    loop {
        clock::pause(between);
        // No console: the user is at work there. Machines hear of failures by their message event.
        let screen = Screen::blind(events.clone(), state.language);
        match save(&state, &screen, &events, SiteGone::GiveUp) {
            Ok(saved) => tracing::info!(seq = saved.seq, bytes = saved.bytes, "saved"),
            Err(error) => screen.message(&notice(&error)),
        }
    }
}

/// Saves now and says so in one line.
///
/// # Errors
/// [`SaveError`]: nothing changed at the site.
pub fn save_now() -> Result<String, SaveError> {
    harden();
    let state = State::load()?;
    let events = Events::default();
    let screen = Screen::blind(events.clone(), state.language);
    let saved = save(&state, &screen, &events, SiteGone::GiveUp)
        .inspect_err(|error| screen.message(&notice(error)))?;
    // A user's text console has no kanji.
    Ok(saved.sentence().text(Language::English))
}

/// The last save: user processes are gone, the network is still up. What the site does not take goes to the outbox.
///
/// # Errors
/// [`SaveError`]: even the outbox took nothing, three times over.
pub fn finish() -> Result<(), SaveError> {
    harden();
    let state = State::load()?;
    let events = Events::default();
    let _taken = meanwhile::take_screen();
    let screen = Screen::open(events.clone(), state.language);
    if !state.outbox {
        finish_in_memory(&state, &screen, &events);
        return Ok(());
    }
    let gone = SiteGone::UseOutbox {
        outbox: Outbox::at(Path::new(paths::OUTBOX)),
        patience: PATIENCE_AT_END,
    };
    let mut backoff = clock::Backoff::up_to(Duration::from_secs(10));
    let mut tries = 0;
    loop {
        tries += 1;
        match save(&state, &screen, &events, gone.clone()) {
            Ok(saved) => {
                screen.say(saved.sentence());
                match saved.pushed {
                    Pushed::AtSite => {}
                    Pushed::InOutbox => {
                        screen.message(&Notice::new(Code::SaveInOutbox, "the site does not answer"))
                    }
                    Pushed::HeadMoved => {
                        screen.message(&Notice::new(
                            Code::SaveHeadMoved,
                            "the site has a newer snapshot",
                        ));
                    }
                }
                return Ok(());
            }
            Err(error) => {
                screen.message(&notice(&error));
                if tries == 3 {
                    return Err(error);
                }
                backoff.wait();
            }
        }
    }
}

/// Without an outbox the PC stays on until the site has the last save, or a person gives the changes up.
fn finish_in_memory(state: &State, screen: &Screen, events: &Events) {
    let mut given_up: Option<Receiver<()>> = None;
    let mut backoff = clock::Backoff::up_to(Duration::from_secs(10));
    loop {
        match save(state, screen, events, SiteGone::GiveUp) {
            Ok(saved) => {
                screen.say(saved.sentence());
                return;
            }
            Err(error) => {
                tracing::warn!(error = %chain(&error), "the last save does not reach the site");
                let asked = given_up.get_or_insert_with(|| {
                    screen.message(&Notice {
                        code: Code::SaveNoOutbox,
                        ..notice(&error)
                    });
                    ask_to_lose(screen.clone())
                });
                if asked.try_recv().is_ok() {
                    events.emit("lost", json!({}));
                    return;
                }
                backoff.wait();
            }
        }
    }
}

/// Asks until a person types LOSE; on a PC without a console nobody ever does.
fn ask_to_lose(screen: Screen) -> Receiver<()> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        while let Ok(answer) = screen.ask(Prompt::Lose) {
            if answer.trim() == "LOSE" {
                // Nobody listens only when the save went through meanwhile.
                let _ = sender.send(());
                return;
            }
        }
    });
    receiver
}

fn notice(error: &SaveError) -> Notice {
    let saved = HeadState::load()
        .ok()
        .flatten()
        .map(|head| clock::when(head.saved_ms, clock::now_ms()));
    Notice::of(Code::SaveFailed, error).saved(saved)
}
