//! What moving snapshots between sites costs, beside what the patent's scheme and full mirroring would: fifty users, ten
//! sites, sixty days, simulated over real stores by `site-server/examples/relay_costs.rs`, which states the model.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::snapshot::chart::{Panel, picture};
use super::{Arguments, Figures, Unit};
use crate::{child, place};

/// Users, sites and days at scale 1. Only users grow with the scale.
const USERS: f64 = 50.0;
const SITES: u32 = 10;
const DAYS: u32 = 60;

const OURS: &str = "ours";
/// Figure, field of the answer, title of its panel, unit, how many of it make one in the picture, of what.
const FIGURES: [(&str, &str, &str, Unit, u64, &str); 3] = [
    (
        "relay.traffic",
        "traffic_bytes",
        "Bytes between sites",
        Unit::Mb,
        1000,
        "GB",
    ),
    (
        "relay.storage",
        "stored_bytes",
        "Bytes stored at all sites, on a day",
        Unit::Mb,
        1000,
        "GB",
    ),
    (
        "relay.requests",
        "requests",
        "Requests between sites",
        Unit::Count,
        1000,
        "thousand",
    ),
];

/// Simulates.
///
/// # Errors
/// The simulation fails, or its chart cannot be written.
pub fn measure(arguments: &Arguments) -> Result<Figures> {
    // In memory: the disk has no say in what is counted.
    let memory = PathBuf::from("/dev/shm");
    let below = if memory.is_dir() {
        memory
    } else {
        place::target()
    };
    let folder = tempfile::tempdir_in(below).context("make a folder for stores")?;
    let users = super::site::whole(USERS * arguments.scale.unwrap_or(1.0)).max(1);
    let mut simulation = Command::new(place::example("relay_costs")?);
    for number in [arguments.seed, users, SITES.into(), DAYS.into()] {
        simulation.arg(number.to_string());
    }
    let said = child::output(simulation.arg(folder.path()))?;
    let said: Value = serde_json::from_str(&said).context("read what the simulation says")?;
    let value = |world: &str, field: &str| -> Result<u64> {
        let found = said.pointer(&format!("/worlds/{world}/{field}"));
        let found = found.and_then(Value::as_u64);
        found.with_context(|| format!("no {field} of {world} in {said}"))
    };
    println!(
        "{users} users, {SITES} sites, {DAYS} days, seed {}: {} days of work. Days that began by waiting for bytes of another site: {} of ours, {} of the patent's.",
        arguments.seed,
        said.get("days_worked").unwrap_or(&Value::Null),
        value(OURS, "waits")?,
        value("patent", "waits")?,
    );
    let mut figures = Figures::new("relay", None);
    let mut panels = Vec::new();
    for (figure, field, title, unit, divisor, one) in FIGURES {
        let scaled = |world: &str| -> Result<u64> {
            let value = value(world, field)?;
            Ok(if unit == Unit::Mb {
                value / 1_000_000
            } else {
                value
            })
        };
        let ours = scaled(OURS)?;
        let mut bars = vec![(OURS, ours)];
        for versus in ["mirroring", "patent"] {
            let theirs = scaled(versus)?;
            figures.compared(figure, versus, unit, ours, theirs);
            bars.push((versus, theirs));
        }
        panels.push(Panel {
            title,
            bars,
            divisor,
            unit: one,
        });
    }
    if let Some(path) = &arguments.snapshot.chart {
        let drawn = picture("What moving snapshots between sites costs", OURS, panels);
        fs::write(path, drawn).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(figures)
}
