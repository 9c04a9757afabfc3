//! The graphical screen: what the console of the kernel cannot show, kana and kanji, drawn by plymouth.
//!
//! The splash is a console like the others, written to through a socket; a thread at its other end makes a page of it
//! and tells plymouthd which rows changed. The keyboard stays where it is: plymouthd has no terminal, prompts are text,
//! and what is hidden on a terminal never gets here. While the splash is shown the kernel does not draw its own
//! console, which goes on below it with the same in English; it comes back whenever plymouthd does not answer.
//! Machines hear event `splash` with `shown`: true once people see it, false when it could not be shown or is gone
//! before its time. Decision: docs/adr/0043.

mod page;
mod picture;
mod protocol;

use std::{
    fs::{self, File},
    io::{self, Read},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::json;

pub(super) use self::page::code_sequence;
use self::{
    page::{Page, ROWS},
    protocol::{Plymouth, Request},
};
use crate::{clock, events::Events, sys};

/// Where it is in an initrd with a splash.
const PLYMOUTHD: &str = "/usr/sbin/plymouthd";
/// `ImageDir` of furoshiki.plymouth; memory.
const IMAGES: &str = "/run/furoshiki-splash";
/// The terminal people look at.
const TERMINAL: &str = "/dev/tty0";
/// How long plymouthd may take to come up. Nothing waits for it but this thread.
const COMES_UP: Duration = Duration::from_secs(60);
/// From "show the theme" to its background on the screen.
const DRAWS: Duration = Duration::from_secs(10);
/// Changes within it are told together.
const TOGETHER: Duration = Duration::from_millis(100);
/// First letters of the theme's rows, from above.
const ROW_NAMES: [char; ROWS] = [
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i',
    'j', 'k', 'l',
];

/// What becomes of the picture when the agent has said all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The session follows: the kernel's console is back, plymouthd is gone.
    Leave,
    /// This PC stops: what is on the screen stays there.
    Stay,
}

/// Ends the splash; its console has to be dropped first.
#[derive(Debug)]
pub(super) struct Splash {
    thread: JoinHandle<State>,
}

/// Begins to show the splash, if this initrd has one: the console it is written to.
pub(super) fn start(events: &Events) -> Option<(File, Splash)> {
    if !Path::new(PLYMOUTHD).exists() {
        return None;
    }
    match begin(events.clone()) {
        Ok(begun) => Some(begun),
        Err(error) => {
            tracing::warn!(%error, "no splash; the text console has all of it");
            None
        }
    }
}

fn begin(events: Events) -> io::Result<(File, Splash)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    theirs.set_read_timeout(Some(TOGETHER))?;
    let thread = thread::Builder::new()
        .name("splash".into())
        .spawn(move || run(theirs, &events))?;
    Ok((File::from(OwnedFd::from(ours)), Splash { thread }))
}

impl Splash {
    /// Waits until all that was written is on the screen, then ends as asked.
    pub(super) fn end(self, ending: Ending) {
        let Ok(state) = self.thread.join() else {
            tracing::warn!("the splash's thread ended early");
            return kernel_draws(true);
        };
        if let (State::Shown(mut shown), Ending::Leave) = (state, ending) {
            if let Err(error) = shown.plymouth.request(Request::Quit) {
                tracing::warn!(%error, "plymouthd does not say that it ends");
            }
            kernel_draws(true);
        }
    }
}

/// How far the splash is.
enum State {
    /// plymouthd is not there yet.
    Waiting(Instant),
    Shown(Shown),
    /// The text console is what people see.
    Gone,
}

struct Shown {
    plymouth: Plymouth,
    rows: Vec<String>,
    code: String,
    codes: u32,
}

/// Shows what is written to the other end of `stream`, until it is closed.
fn run(mut stream: UnixStream, events: &Events) -> State {
    let mut page = Page::default();
    let mut state = State::Waiting(Instant::now());
    let mut buffer = [0; 4096];
    let mut open = true;
    while open {
        match stream.read(&mut buffer) {
            Ok(0) => open = false,
            Ok(count) => page.write(buffer.get(..count).unwrap_or_default()),
            Err(error) if is_pause(&error) => {}
            Err(_) => open = false,
        }
        state = match state {
            State::Waiting(since) if since.elapsed() > COMES_UP => State::Gone,
            State::Waiting(since) => match Plymouth::connect() {
                Ok(_) if !picture::is_known() => State::Gone,
                Ok(plymouth) => take_screen(plymouth, events),
                Err(_) => State::Waiting(since),
            },
            State::Shown(mut shown) => match shown.show(&page) {
                Ok(()) => State::Shown(shown),
                Err(error) => {
                    tracing::warn!(%error, "the splash is gone; the text console has all of it");
                    kernel_draws(true);
                    events.emit("splash", json!({ "shown": false }));
                    State::Gone
                }
            },
            State::Gone => State::Gone,
        };
    }
    state
}

fn is_pause(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

/// The kernel stops drawing once plymouth is seen to draw; otherwise it goes on.
fn take_screen(mut plymouth: Plymouth, events: &Events) -> State {
    kernel_draws(false);
    let since = Instant::now();
    let mut drawn = plymouth.request(Request::ShowSplash);
    while drawn.is_ok() && !picture::is_drawn() {
        if since.elapsed() > DRAWS {
            drawn = Err(io::ErrorKind::TimedOut.into());
        }
        clock::pause(TOGETHER);
    }
    events.emit("splash", json!({ "shown": drawn.is_ok() }));
    match drawn {
        Ok(()) => State::Shown(Shown {
            plymouth,
            rows: vec![String::new(); ROWS],
            code: String::new(),
            codes: 0,
        }),
        Err(error) => {
            tracing::warn!(%error, "plymouthd draws nothing; the text console stays");
            kernel_draws(true);
            State::Gone
        }
    }
}

impl Shown {
    /// Tells what changed since it was last told; asks for nothing where nothing did.
    fn show(&mut self, page: &Page) -> io::Result<()> {
        for ((name, row), shown) in ROW_NAMES.iter().zip(page.rows()).zip(&mut self.rows) {
            if row != *shown {
                self.plymouth
                    .request(Request::Update(&format!("{name}{row}")))?;
                *shown = row;
            }
        }
        if page.code() != self.code {
            page.code().clone_into(&mut self.code);
            let name = self.write_code().unwrap_or_else(|error| {
                tracing::warn!(%error, "no image of the code");
                String::new()
            });
            self.plymouth
                .request(Request::Update(&format!("C{name}")))?;
        }
        Ok(())
    }

    /// Writes the code's image; its name, empty where there is none.
    fn write_code(&mut self) -> io::Result<String> {
        let room = picture::room().unwrap_or_default();
        let Some(image) = picture::code(&self.code, room).filter(|_| !self.code.is_empty()) else {
            return Ok(String::new());
        };
        // A new name each time: the theme may still have the last one.
        self.codes += 1;
        let name = format!("code-{}.png", self.codes);
        fs::create_dir_all(IMAGES)?;
        fs::write(Path::new(IMAGES).join(&name), image)?;
        Ok(name)
    }
}

/// Whether the kernel draws its console, which it keeps up to date in any case.
fn kernel_draws(yes: bool) {
    let set = File::open(TERMINAL).and_then(|terminal| sys::set_console_drawn(&terminal, yes));
    if let Err(error) = set {
        tracing::warn!(%error, yes, "the kernel's console keeps its mode");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(plymouth: Plymouth) -> Shown {
        Shown {
            plymouth,
            rows: vec![String::new(); ROWS],
            code: String::new(),
            codes: 0,
        }
    }

    #[test]
    fn only_what_changed_is_told_and_a_dead_plymouthd_is_noticed() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut shown = shown(Plymouth::on(ours).unwrap());
        let daemon = thread::spawn(move || {
            let mut told = Vec::new();
            let mut buffer = [0; 64];
            for _ in 0..3 {
                let count = theirs.read(&mut buffer).unwrap();
                told.push(buffer[..count].to_vec());
                io::Write::write_all(&mut theirs, &[6]).unwrap();
            }
            told
        });
        let mut page = Page::default();
        page.write("一\r\ntwo".as_bytes());
        shown.show(&page).unwrap();
        shown.show(&page).unwrap();
        page.write(b"\r\x1b[K");
        shown.show(&page).unwrap();
        let told = daemon.join().unwrap();
        assert_eq!(told[0], "U\x02\x050一\0".as_bytes());
        assert_eq!(
            told[1..],
            [b"U\x02\x051two\0".to_vec(), b"U\x02\x021\0".to_vec()]
        );
        page.write(b"three");
        assert!(shown.show(&page).is_err());
    }
}
