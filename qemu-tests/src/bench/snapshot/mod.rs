//! Capture and apply beside backup programs: the same tree, in turns, on this machine.
//!
//! Data walks: [`tools`] says how each program is called, [`ground`] finds a place, [`rounds`] lets all of them save and
//! restore with [`cost`] holding the watch, [`samples`] makes figures of it, [`chart`] draws them.

pub mod chart;
pub mod cost;
pub mod ground;
pub mod rounds;
pub mod samples;
pub mod tools;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use self::cost::Shell;
use self::ground::Ground;
use self::rounds::{Outcome, Plan};
use self::samples::{Step, What};
use self::tools::{ENGINE, OURS, PEERS, Tool};
use super::{Arguments, Figures};
use crate::timeline::table;

/// Scales of the table that shows how cost grows.
const LINEAR: [f64; 3] = [0.1, 1.0, 5.0];
/// Rounds for each of them.
const LINEAR_RUNS: u32 = 3;

/// Options of this room.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Only these peers, by name; `none` for ours alone.
    #[arg(long, value_delimiter = ',')]
    pub peers: Option<Vec<String>>,
    /// Draw a chart into this SVG file.
    #[arg(long)]
    pub chart: Option<PathBuf>,
    /// Also measure ours alone at scales 0.1, 1 and 5. Needs 20 GB of memory or disk.
    #[arg(long)]
    pub linear: bool,
    /// Another tree: a line of a shell that makes one with `home/` in `$TREE`; sees `$SEED` and `$SCALE`.
    #[arg(long, value_name = "LINE", requires = "day")]
    pub make: Option<String>,
    /// Its day's work: a line that changes `$TREE` for day `$N`.
    #[arg(long, value_name = "LINE", requires = "make")]
    pub day: Option<String>,
}

/// Measures; prints an overview.
///
/// # Errors
/// Not root, something is not built, or ours failed.
pub fn measure(arguments: &Arguments) -> Result<Figures> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "only root can save and restore owners and devices: run this as root"
    );
    let options = &arguments.snapshot;
    let (tools, mut missing) = found(options.peers.as_deref())?;
    let plan = Plan {
        scale: arguments.scale.unwrap_or(1.0),
        seed: arguments.seed,
        runs: arguments.runs.unwrap_or(5).max(1),
        tools,
        https: true,
        make: options.make.as_deref(),
        day: options.day.as_deref(),
    };
    let ground = Ground::find(plan.scale, plan.tools.len())?;
    let outcome = rounds::measure(&plan, &ground)?;
    missing.extend(outcome.failed.iter().cloned());
    println!("{}", outcome.samples.overview());
    for line in notes(&plan, &outcome, &ground, &missing) {
        println!("{line}");
    }
    println!();
    drop(ground);
    if options.linear {
        println!("{}", linear(arguments.seed)?);
    }
    if let Some(path) = &options.chart {
        fs::write(path, chart::draw(&outcome.samples))
            .with_context(|| format!("write {}", path.display()))?;
    }
    let mut figures = Figures::new("snapshot", None);
    outcome.samples.figures(&mut figures);
    Ok(figures)
}

/// Ours and the peers that are wanted and there; and sentences about those that are not there.
fn found(wanted: Option<&[String]>) -> Result<(Vec<Tool>, Vec<String>)> {
    let (mut tools, mut missing) = (vec![ENGINE], Vec::new());
    for name in wanted.unwrap_or_default() {
        let known = name == "none" || PEERS.iter().any(|peer| peer.name == name);
        ensure!(known, "there is no peer {name}");
    }
    let here = std::env::temp_dir();
    let shell = Shell::new(&here, &here, &rounds::programs()?)?;
    for peer in PEERS {
        if wanted.is_some_and(|names| !names.iter().any(|name| name == peer.name)) {
            continue;
        }
        match peer.programs.iter().find(|program| !shell.has(program)) {
            None => {
                let said = shell.run(peer.version)?;
                eprintln!(
                    "bench: {}: {}",
                    peer.name,
                    said.lines().next().unwrap_or_default()
                );
                tools.push(*peer);
            }
            Some(program) => missing.push(format!("{}: there is no {program}", peer.name)),
        }
    }
    Ok((tools, missing))
}

/// What a reader must know about the numbers.
fn notes(plan: &Plan<'_>, outcome: &Outcome, ground: &Ground, missing: &[String]) -> Vec<String> {
    let mut notes = vec![format!(
        "{} files, {} bytes; {} rounds; medians; stores {}; restored to {}.",
        outcome.files,
        outcome.bytes,
        plan.runs,
        if ground.in_memory {
            "in memory"
        } else {
            "on the disk"
        },
        match &outcome.plain {
            None => "a new ext4 each".to_owned(),
            Some(why) => format!("a plain folder, because no image could be mounted: {why}"),
        }
    )];
    let mut server = outcome.server_cpu.clone();
    server.sort_unstable();
    if let Some(cpu) = server.get(server.len() / 2) {
        notes.push(format!(
            "Restore over HTTPS: besides what the PC used, the site server used {} ms of CPU.",
            cpu.as_millis()
        ));
    }
    let open: Vec<&str> = plan
        .tools
        .iter()
        .filter(|tool| !tool.seals)
        .map(|tool| tool.name)
        .collect();
    if !open.is_empty() {
        notes.push(format!("Not sealed: {}.", open.join(", ")));
    }
    notes.extend(missing.iter().map(|line| format!("Left out: {line}")));
    notes
}

/// How our cost grows with the tree.
fn linear(seed: u64) -> Result<String> {
    let mut rows = Vec::new();
    for scale in LINEAR {
        let plan = Plan {
            scale,
            seed,
            runs: LINEAR_RUNS,
            tools: vec![ENGINE],
            https: false,
            make: None,
            day: None,
        };
        let ground = Ground::find(scale, 1)?;
        let outcome = rounds::measure(&plan, &ground)?;
        let value = |step, what| outcome.samples.median(step, OURS, what).unwrap_or_default();
        // Milliseconds for a gigabyte are nanoseconds for a kilobyte.
        let each = |step| value(step, What::Cpu) * 1_000_000 / (outcome.bytes / 1000).max(1);
        rows.push(vec![
            format!("{scale}"),
            outcome.files.to_string(),
            format!("{} MB", outcome.bytes / 1_000_000),
            format!("{} ms", value(Step::First, What::Cpu)),
            format!("{} ms", each(Step::First)),
            format!("{} ms", value(Step::Unchanged, What::Cpu)),
            format!("{} ms", value(Step::Day, What::Cpu)),
            format!("{} ms", value(Step::Restore, What::Cpu)),
            format!("{} ms", each(Step::Restore)),
            format!("{} MB", value(Step::First, What::Peak)),
            format!("{} MB", value(Step::Restore, What::Peak)),
        ]);
    }
    let head = [
        "Scale",
        "files",
        "bytes",
        "first CPU",
        "a GB",
        "unchanged",
        "day",
        "apply CPU",
        "a GB",
        "capture peak",
        "apply peak",
    ];
    Ok(table(&head, &rows))
}
