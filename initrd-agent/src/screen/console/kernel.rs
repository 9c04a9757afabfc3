//! The terminals the kernel itself speaks on.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{Duration, Instant},
};

use rustix::fs::OFlags;

use super::{Console, Kind};

/// Longer than any console stays silent.
const LONG: Duration = Duration::from_secs(2);

/// Consoles of the kernel that open, in the kernel's order.
pub(in crate::screen) fn active() -> Vec<Console> {
    let mut consoles = opened();
    consoles.iter_mut().for_each(Console::take_over);
    consoles
}

/// The same, in the mode they are in and as if nothing had been shown for long.
pub(in crate::screen) fn aside() -> Vec<Console> {
    let mut consoles = opened();
    for console in &mut consoles {
        console.wrote = Instant::now().checked_sub(LONG).unwrap_or(console.wrote);
    }
    consoles
}

fn opened() -> Vec<Console> {
    let names = std::fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
    let consoles: Vec<_> = names
        .split_whitespace()
        .filter_map(|name| Console::open(Path::new("/dev").join(name), kind_of(name)))
        .collect();
    if consoles.is_empty() {
        let console = Console::open("/dev/console".into(), Kind::Serial);
        console.into_iter().collect()
    } else {
        consoles
    }
}

fn kind_of(name: &str) -> Kind {
    let virtual_terminal = name
        .strip_prefix("tty")
        .is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
    if virtual_terminal {
        Kind::Terminal
    } else {
        Kind::Serial
    }
}

pub(super) fn open(path: &Path) -> io::Result<File> {
    // Non-blocking: a serial line without a peer must not stop the boot.
    let flags = (OFlags::NOCTTY | OFlags::NONBLOCK).bits().cast_signed();
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open(path)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        process::Command,
    };

    use rustix::{
        pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
        termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr},
    };

    use super::*;

    /// What systemd and getty do to a terminal before a login and after it (`TIOCVHANGUP`; root may).
    fn hang_up(path: &Path) {
        let hang_up = "ioctl(STDIN, 0x5437, 0) or die $!";
        let ended = Command::new("perl")
            .args(["-e", hang_up])
            .stdin(File::open(path).unwrap())
            .status();
        assert!(ended.unwrap().success());
    }

    #[test]
    fn a_console_that_was_hung_up_shows_and_reads_again() {
        let theirs = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&theirs).unwrap();
        unlockpt(&theirs).unwrap();
        let path = ptsname(&theirs, Vec::new()).unwrap().into_string().unwrap();
        let path = Path::new(&path);
        let another = open(path).unwrap();
        let mut mode = tcgetattr(&another).unwrap();
        mode.local_modes -= LocalModes::ECHOK;
        tcsetattr(&another, OptionalActions::Now, &mode).unwrap();
        let mut console = Console::open(path.to_owned(), Kind::Serial).unwrap();
        console.take_over();
        let mut theirs = File::from(theirs);
        let mut shown = |console: &mut Console, text: &str| {
            console.write(text);
            let mut bytes = [0; 64];
            let n = theirs.read(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes[..n]).into_owned()
        };
        assert_eq!(shown(&mut console, "before"), "before");

        hang_up(path);
        let gone = (&*console.reader()).write(b"lost").unwrap_err();
        assert_eq!(
            gone.raw_os_error(),
            Some(rustix::io::Errno::IO.raw_os_error())
        );
        assert_eq!(shown(&mut console, "after"), "after");

        hang_up(path);
        assert!(console.read().is_empty());
        theirs.write_all(b"x").unwrap();
        assert_eq!(*console.read(), b"x", "and as it is typed");
        drop(console);
        let left = tcgetattr(open(path).unwrap()).unwrap().local_modes;
        assert_eq!(left, mode.local_modes, "the mode it had at first");
    }
}
