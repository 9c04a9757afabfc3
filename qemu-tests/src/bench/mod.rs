//! Measurements of a room: figures of ours beside figures of somebody else, taken in the same run.
//!
//! A new figure is one call of [`Figures::measured`] or [`Figures::compared`] in the function of its room; a new
//! room is a variant of [`Room`] and a function.

pub mod boot;
pub mod card;
pub mod dracut;
pub mod figures;
pub mod relay;
pub mod restore;
pub mod session;
pub mod site;
pub mod snapshot;
pub mod update;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::accel::Accel;
use crate::place;
use crate::release::Release;

pub use self::figures::{Figures, Unit};

/// What to measure, and how often.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The room.
    #[arg(value_enum, default_value = "boot")]
    pub room: Room,
    /// Size of the user's tree; 1.0 is about 1 GB, and what `snapshot` takes if nothing is said. Other rooms: 0.01.
    #[arg(long)]
    pub scale: Option<f64>,
    /// Seed of the user's tree.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How often; figures are medians. 0 counts as 1. If nothing is said: 5 for `snapshot`, 20 for `card`, 3 for other rooms.
    #[arg(long)]
    pub runs: Option<u32>,
    /// Write the JSON lines there too.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Of the room `snapshot`; `relay` draws a chart too.
    #[command(flatten)]
    pub snapshot: snapshot::Options,
    /// Of the room `site` only.
    #[command(flatten)]
    pub site: site::Options,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Room {
    /// Kernel start to the card prompt, beside the same kernel with a distribution's initrd.
    Boot,
    /// What a normal boot writes, the time of rewriting beside dd, and the bytes the next baseline costs.
    Restore,
    /// Every stage from power-on to a session and to off again.
    Session,
    /// Capture and apply of a user's tree beside backup programs, on this machine; as root.
    Snapshot,
    /// What moving snapshots between sites costs, beside full mirroring and the patent's scheme; simulated.
    Relay,
    /// What a gigabyte costs a site, beside nginx and restic's rest-server; and a boot storm.
    Site,
    /// From a typed PIN to an open user key, beside the card's own operations; as root.
    Card,
}

/// What every room gets.
#[derive(Debug)]
pub struct Bench {
    /// The release that is measured.
    pub release: Release,
    /// How guests run.
    pub accel: Accel,
    /// Folder for evidence.
    pub folder: PathBuf,
    /// Size of the user's tree.
    pub scale: f64,
    /// Seed of the user's tree.
    pub seed: u64,
    /// How often, at least once.
    pub runs: u32,
}

/// Measures a room; prints the table, then the JSON lines.
///
/// # Errors
/// The release is not built, a step of the measurement failed, or the JSON file cannot be written.
pub fn run(arguments: &Arguments) -> Result<()> {
    let figures = match arguments.room {
        Room::Snapshot => snapshot::measure(arguments)?,
        Room::Site => site::measure(arguments)?,
        Room::Relay => relay::measure(arguments)?,
        Room::Card => card::measure(arguments)?,
        room => in_machines(room, arguments)?,
    };
    let lines = figures.json_lines();
    println!("{}", figures.table());
    print!("{lines}");
    if let Some(path) = &arguments.json {
        fs::write(path, &lines).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// Measures a room that boots PCs.
fn in_machines(room: Room, arguments: &Arguments) -> Result<Figures> {
    let release = Release::built("minimal")?;
    let accel = Accel::probe(&release)?;
    let value = room.to_possible_value().context("a room without name")?;
    let name = value.get_name();
    let bench = Bench {
        accel,
        folder: place::evidence(&format!("bench-{name}"))?,
        release,
        scale: arguments.scale.unwrap_or(0.01),
        seed: arguments.seed,
        runs: arguments.runs.unwrap_or(3).max(1),
    };
    let mut figures = Figures::new(name, Some(accel));
    match room {
        Room::Boot => boot::measure(&bench, &mut figures)?,
        Room::Restore => {
            update::measure(&bench, &mut figures)?;
            restore::measure(&bench, &mut figures)?;
        }
        Room::Session => session::measure(&bench, &mut figures)?,
        Room::Snapshot | Room::Site | Room::Relay | Room::Card => {
            anyhow::bail!("this room has no machine")
        }
    }
    Ok(figures)
}
