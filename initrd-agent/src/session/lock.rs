//! A session nobody gets at: a virtual terminal of our own that no key leaves, and the user's programs stand still.
//!
//! The terminal hides what is on the screen, whatever draws there; standing still keeps everything else from being
//! used, a shell on a serial line too. What is locked stays so when the process that locked it dies: the next one
//! finds [`paths::LOCKED`] and goes on. Saving goes on all the time.
//!
//! Source: Linux, Documentation/admin-guide/cgroup-v2.rst, `cgroup.freeze`; ioctl_console(2).

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{Duration, Instant},
};

use rustix::fs::OFlags;

use crate::{
    clock, paths,
    sys::{allow_switching, forbid_switching, show_terminal, shown_terminal},
};

/// The last virtual terminal there can be: no login ever starts on it by itself (logind.conf(5), `NAutoVTs=`).
const OWN_TERMINAL: u16 = 63;
/// Time for whoever draws on the screen to let go of it.
const SWITCH: Duration = Duration::from_secs(5);
/// Everything the user runs is in this control group.
const FREEZER: &str = "/sys/fs/cgroup/user.slice/cgroup.freeze";

/// The session is not locked, or cannot be unlocked.
#[derive(Debug, thiserror::Error)]
pub(super) enum LockError {
    /// A file or a terminal.
    #[error("{doing} {path}")]
    Io {
        /// What we were doing.
        doing: &'static str,
        /// To what.
        path: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Whoever draws on the screen does not let go of it.
    #[error("show terminal {OWN_TERMINAL}: what is on the screen did not let go of it within {} s", SWITCH.as_secs())]
    NotShown,
}

fn at(doing: &'static str, path: &'static str) -> impl FnOnce(io::Error) -> LockError {
    move |source| LockError::Io {
        doing,
        path,
        source,
    }
}

/// A locked session.
#[derive(Debug)]
pub(super) struct Locked {
    /// The screen; a PC with serial lines only has none.
    screen: Option<Screened>,
}

#[derive(Debug)]
struct Screened {
    terminals: File,
    /// Kept open: a terminal that nobody has open may go.
    _own: File,
    before: u16,
}

/// Whether an earlier process locked the session.
pub(super) fn is_locked() -> bool {
    Path::new(paths::LOCKED).exists()
}

impl Locked {
    /// Locks, or goes on with what is locked.
    ///
    /// # Errors
    /// [`LockError`]: the session may still be used.
    pub(super) fn begin() -> Result<Self, LockError> {
        let screen = match open("/dev/tty0") {
            Ok(terminals) => Some(cover(terminals)?),
            Err(error) if is_missing(&error) => {
                note(0)?;
                None
            }
            Err(error) => return Err(at("open", "/dev/tty0")(error)),
        };
        fs::write(FREEZER, "1").map_err(at("stop what the user runs by", FREEZER))?;
        Ok(Self { screen })
    }

    /// Gives the session back as it was.
    ///
    /// # Errors
    /// [`LockError`]: some of it is still locked.
    pub(super) fn end(self) -> Result<(), LockError> {
        thaw()?;
        if let Some(screen) = self.screen {
            allow_switching(&screen.terminals).map_err(at("let go of", "/dev/tty0"))?;
            show_terminal(&screen.terminals, screen.before)
                .map_err(at("show what was there before on", "/dev/tty0"))?;
        }
        fs::remove_file(paths::LOCKED).map_err(at("remove", paths::LOCKED))
    }
}

/// Lets everything the user runs go on. Also at the end of the session: what stands still hears no signal.
pub(super) fn thaw() -> Result<(), LockError> {
    fs::write(FREEZER, "0").map_err(at("let go of what the user runs by", FREEZER))
}

/// Shows the own terminal and nothing else.
fn cover(terminals: File) -> Result<Screened, LockError> {
    let shown =
        || shown_terminal(&terminals).map_err(at("ask which terminal is shown of", "/dev/tty0"));
    let before = match noted() {
        Some(before) => before,
        None => {
            let before = shown()?;
            note(before)?;
            before
        }
    };
    let own = open("/dev/tty63").map_err(at("open", "/dev/tty63"))?;
    let show = |number| show_terminal(&terminals, number).map_err(at("show", "/dev/tty63"));
    let since = Instant::now();
    while shown()? != OWN_TERMINAL {
        if since.elapsed() > SWITCH {
            return Err(LockError::NotShown);
        }
        show(OWN_TERMINAL)?;
        clock::pause(Duration::from_millis(50));
    }
    forbid_switching(&terminals).map_err(at("keep", "/dev/tty63"))?;
    Ok(Screened {
        terminals,
        _own: own,
        before,
    })
}

/// The terminal that was shown before an earlier process locked the session.
fn noted() -> Option<u16> {
    fs::read_to_string(paths::LOCKED).ok()?.trim().parse().ok()
}

fn note(before: u16) -> Result<(), LockError> {
    fs::write(paths::LOCKED, before.to_string()).map_err(at("write", paths::LOCKED))
}

fn open(path: &str) -> io::Result<File> {
    let flags = OFlags::NOCTTY.bits().cast_signed();
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open(path)
}

/// A kernel without virtual terminals, or a PC without a screen.
fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENXIO)
}
