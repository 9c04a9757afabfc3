//! A PIV or OpenPGP card in software, to put where a real one would be.
//!
//! The card is `piv-authenticator` or `opcard`, the applications of the Nitrokey 3: nobody of this project
//! wrote them, so they check what we believe about cards. This program adds storage in a folder,
//! randomness, the two wires of [`wire`] and orders to take the card out and put it in.
//!
//! Not for real secrets: the folder is the card, and its key lies beside it.
//!
//! No logger is installed on purpose: the card's own log lines contain PINs.

mod card;
mod control;
mod dispatch;
mod fault;
mod host;
mod machine;
mod wire;

use std::{io::Write as _, net::SocketAddr, path::PathBuf, process::ExitCode, sync::mpsc};

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{card::State, fault::Fault, machine::Machine, wire::Wire};

/// A PIV or OpenPGP card in software.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Folder that is the card; made when it does not exist.
    #[arg(long, global = true, default_value = "card")]
    state: PathBuf,
    /// Unix socket that takes `remove`, `insert`, `put FOLDER` (another card) and `quit`, one a line, and answers `ok`.
    #[arg(long, global = true)]
    control: Option<PathBuf>,
    /// One line on standard error for each APDU: header, sizes, status, time; never data.
    #[arg(long, global = true)]
    trace: bool,
    /// Behave like a YubiKey where Yubico's tools count on it: a part of the name selects, no Le asks for all.
    #[arg(long, global = true)]
    as_yubikey: bool,
    /// A card that is made is an OpenPGP card, not a PIV card. One that is there stays what it is.
    #[arg(long, global = true)]
    openpgp: bool,
    /// What goes wrong once: `reset@N`, `pull@N` or `lose@N`, at the Nth APDU. Only with vpcd.
    #[arg(long, global = true)]
    fault: Option<Fault>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Hang on a pcscd with vsmartcard's vpcd driver (usually 127.0.0.1:35963).
    Vpcd {
        /// Where vpcd listens. Waited for, also again after pcscd restarts.
        address: SocketAddr,
    },
    /// Hang on QEMU's `ccid-card-passthru` (a chardev socket with server=on).
    Vscard {
        /// Where QEMU listens. Waited for, also again after QEMU restarts.
        address: SocketAddr,
    },
    /// Run a command on this machine with this card in its only readers: a private pcscd in
    /// private mount, network and process namespaces. Needs root.
    Host {
        /// The command and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Second half of `host`, inside the namespaces.
    #[command(hide = true)]
    HostInside {
        /// The command and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    card::trace(arguments.trace);
    card::like_a_yubikey(arguments.as_yubikey);
    card::new_cards_are_openpgp(arguments.openpgp);
    let wire = match arguments.command {
        Command::Vpcd { address } => Wire::Vpcd(address),
        Command::Vscard { address } => Wire::VsCard(address),
        Command::Host { command } => {
            let switches = [
                (arguments.trace, "--trace"),
                (arguments.as_yubikey, "--as-yubikey"),
                (arguments.openpgp, "--openpgp"),
            ];
            let on = switches.into_iter().filter(|(on, _)| *on);
            let mut switches: Vec<_> = on.map(|(_, name)| name.to_owned()).collect();
            switches.extend(arguments.fault.map(|fault| format!("--fault={fault}")));
            return host::enter(
                &arguments.state,
                arguments.control.as_deref(),
                &switches,
                &command,
            );
        }
        Command::HostInside { command } => {
            let (state, control) = (&arguments.state, arguments.control.as_deref());
            return host::inside(state, control, arguments.fault, &command);
        }
    };
    let state = State::open(&arguments.state)?;
    let events = mpsc::channel();
    control::obey_signals(&events.0)?;
    if let Some(path) = &arguments.control {
        control::listen(path, &events.0)?;
    }
    say("ready");
    Machine::new(wire, events, |notice| say(notice.word()))
        .with(arguments.fault)
        .run(state)?;
    Ok(ExitCode::SUCCESS)
}

/// One word a line for whoever started us; a closed pipe is not our problem.
fn say(word: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{word}").and_then(|()| out.flush());
}
