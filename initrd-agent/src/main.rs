//! `furoshiki-agent`: reads its arguments and calls the library.

use std::{ffi::OsString, path::Path, process::ExitCode};

use anyhow::Context;
use clap::{Parser, Subcommand};
use initrd_agent::{
    boot, desk,
    desk::{ExportArguments, ImportArguments},
    exitrd,
    inventory::Inventory,
    session,
    session::Meanwhile,
};

/// Exit code of `inventory` when the PC lacks something.
const LACKING: u8 = 3;

/// Restores a shared PC for the user whose card is in the reader, and saves and wipes afterwards.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Started as `shutdown` by systemd, it is the exitrd: unmount, forget, discard, power off."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// In the initrd: wipe, restore, sign in, pull, apply, handover.
    Boot,
    /// In the running system: save the session.
    #[command(subcommand)]
    Session(SessionCommand),
    /// What of this PC has no driver or no firmware, and why. Exit code 3: something lacks one.
    Inventory {
        /// For programs: docs/formats/inventory.md.
        #[arg(long)]
        json: bool,
    },
    /// At the operator's desk: issue and mend cards.
    #[command(subcommand)]
    Card(initrd_agent::station::Command),
    /// With the card: write the newest snapshot as an ordinary tar.
    Export(ExportArguments),
    /// With the card: make a snapshot of an ordinary tar (pax, GNU or ustar).
    Import(ImportArguments),
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum SessionCommand {
    /// Save every few minutes until stopped (the service).
    Run,
    /// Show that the system starts (a service).
    Starting,
    /// Show that the session ends (a service).
    Stopping,
    /// Watch the user's card (a service).
    Card,
    /// Save now.
    Save,
    /// Save for the last time (the service's stop).
    Finish,
}

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("furoshiki-agent: {error:#}");
        ExitCode::FAILURE
    })
}

fn run() -> anyhow::Result<ExitCode> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if arguments
        .first()
        .is_some_and(|name| Path::new(name).file_name() == Some("shutdown".as_ref()))
    {
        exitrd::run(&arguments);
    }
    initrd_agent::sys::give_back_large_blocks();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .without_time()
        .with_ansi(false)
        .init();
    match Arguments::parse_from(arguments).command {
        Command::Boot => boot::boot().context("boot")?,
        Command::Session(SessionCommand::Run) => session::run().context("session run")?,
        Command::Session(SessionCommand::Starting) => {
            Meanwhile::Starting.show().context("session starting")?
        }
        Command::Session(SessionCommand::Stopping) => {
            Meanwhile::Stopping.show().context("session stopping")?
        }
        Command::Session(SessionCommand::Card) => session::watch_card().context("session card")?,
        Command::Session(SessionCommand::Save) => {
            println!("{}", session::save_now().context("session save")?);
        }
        Command::Session(SessionCommand::Finish) => session::finish().context("session finish")?,
        Command::Inventory { json } => return inventory(json).context("inventory"),
        Command::Card(command) => initrd_agent::station::run(&command)?,
        Command::Export(arguments) => return desk::export(&arguments).context("export"),
        Command::Import(arguments) => return desk::import(&arguments).context("import"),
    }
    Ok(ExitCode::SUCCESS)
}

fn inventory(json: bool) -> anyhow::Result<ExitCode> {
    let inventory = Inventory::take()?;
    if json {
        println!("{}", inventory.to_json());
    } else {
        println!("{}", inventory.lines().join("\n"));
    }
    let lacking = inventory.lacking().next().is_some();
    Ok(ExitCode::from(if lacking { LACKING } else { 0 }))
}
