//! Orders from outside: words on a Unix socket, and signals.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::mpsc::{self, Sender},
    thread,
};

use anyhow::{Context as _, Result};
use signal_hook::{consts::TERM_SIGNALS, iterator::Signals};

use crate::machine::{Event, Order};

/// Takes one order a line from everyone who connects to `path`; answers `ok` when it is done.
pub(crate) fn listen(path: &Path, events: &Sender<Event>) -> Result<()> {
    match fs::remove_file(path) {
        Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
            return Err(err).with_context(|| format!("remove old socket {}", path.display()));
        }
        _ => {}
    }
    let listener =
        UnixListener::bind(path).with_context(|| format!("listen on {}", path.display()))?;
    let events = events.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let events = events.clone();
            thread::spawn(move || {
                if let Err(err) = talk(&stream, &events) {
                    eprintln!("control: {err:#}");
                }
            });
        }
    });
    Ok(())
}

fn talk(stream: &UnixStream, events: &Sender<Event>) -> Result<()> {
    let mut out = stream;
    for line in BufReader::new(stream).lines() {
        let line = line.context("read an order")?;
        let order = match line.trim() {
            "remove" => Order::Remove,
            "insert" => Order::Insert,
            "quit" => Order::Quit,
            other => match other.strip_prefix("put ") {
                Some(folder) => Order::Put(folder.into()),
                None => {
                    writeln!(
                        out,
                        "unknown order {other:?}: say remove, insert, put FOLDER or quit"
                    )?;
                    continue;
                }
            },
        };
        let (done, wait) = mpsc::channel();
        events
            .send(Event::Order(order, Some(done)))
            .context("the card has ended")?;
        wait.recv().context("the card has ended")?;
        writeln!(out, "ok")?;
    }
    Ok(())
}

/// TERM, INT and QUIT take the card out before the process ends.
pub(crate) fn obey_signals(events: &Sender<Event>) -> Result<()> {
    let mut signals = Signals::new(TERM_SIGNALS).context("wait for signals")?;
    let events = events.clone();
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            // Nobody there to receive: the process is ending anyway.
            let _ = events.send(Event::Order(Order::Quit, None));
        }
    });
    Ok(())
}
