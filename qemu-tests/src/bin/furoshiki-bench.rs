//! `furoshiki-bench boot`: how long every stage of a boot and a shutdown takes.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use qemu_tests::accel::Accel;
use qemu_tests::limit;
use qemu_tests::place;
use qemu_tests::release::Release;
use qemu_tests::session::Session;
use qemu_tests::shared_pc::{Person, SharedPc};
use qemu_tests::site::TestSite;
use qemu_tests::timeline::{self, table};
use qemu_tests::tools;
use qemu_tests::tree::{self, Spec};
use serde_json::json;

#[derive(Parser)]
#[command(about = "Measures a room: a table for people, JSON lines for machines")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Every stage of a boot and a shutdown: of an empty PC, then of one that has the baseline.
    Boot {
        /// Size of the user's tree; 1.0 is about 1 GB.
        #[arg(long, default_value_t = 0.01)]
        scale: f64,
        /// Seed of the user's tree.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Boots of the PC that has the baseline.
        #[arg(long, default_value_t = 3)]
        runs: u32,
        /// Write the JSON lines there too.
        #[arg(long)]
        json: Option<PathBuf>,
    },
}

/// Durations in milliseconds and bytes, by figure, in the order they occur.
#[derive(Default)]
struct Figures {
    order: Vec<String>,
    took: BTreeMap<String, Vec<u64>>,
    bytes: BTreeMap<String, u64>,
}

impl Figures {
    fn add(&mut self, name: String, took: Duration, bytes: Option<u64>) {
        if !self.took.contains_key(&name) {
            self.order.push(name.clone());
        }
        if let Some(bytes) = bytes {
            self.bytes.insert(name.clone(), bytes);
        }
        self.took
            .entry(name)
            .or_default()
            .push(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    }

    fn median(&self, name: &str) -> u64 {
        let mut took = self.took.get(name).cloned().unwrap_or_default();
        took.sort_unstable();
        took.get(took.len() / 2).copied().unwrap_or(0)
    }
}

fn main() -> Result<()> {
    let Command::Boot {
        scale,
        seed,
        runs,
        json,
    } = Arguments::parse().command;
    let release = Release::built("minimal")?;
    let accel = Accel::probe(&release)?;
    let folder = place::evidence("bench-boot")?;
    let mut figures = Figures::default();
    eprintln!("bench: kernel and initrd alone, {runs} times");
    let mut limits = Vec::new();
    for run in 0..runs.max(1) {
        limits.push(limit::first_process(
            &release,
            accel,
            &folder.join(format!("limit-{run}.log")),
            Duration::from_secs(300),
        )?);
    }
    limits.sort_unstable();
    let limit_ms = limits.get(limits.len() / 2).map_or(0, Duration::as_millis);
    let site = TestSite::start(&folder, "site-1")?;
    site.publish(&release)?;
    let person = site.add_user(&folder, "hanako", "48291377", "bench-pass-phrase")?;
    let (tree, archive) = (folder.join("tree"), folder.join("tree.tar"));
    tree::generate(
        &tree,
        Spec {
            seed,
            scale,
            owner: 1000,
        },
        |_| {},
    )?;
    tree::pack(&tree, &archive)?;
    let tools = tools::disk(&folder, &[&archive])?;
    let mut pc = SharedPc::new(&folder, "pc-1", 1, &release)?;
    pc.attach_tools(&tools);
    eprintln!("bench: an empty PC, a new user");
    once(
        &mut pc,
        &site,
        &person,
        "empty PC",
        &mut figures,
        |session| {
            tools::mount(session)?;
            let home = session.home();
            session.run(&format!("tar -xpf {}/tree.tar --xattrs '--xattrs-include=*' --acls --numeric-owner -C {home} --strip-components=2 ./home", tools::MOUNT)).map(drop)
        },
    )?;
    for run in 1..=runs.max(1) {
        eprintln!("bench: the same PC again, {run} of {runs}");
        once(&mut pc, &site, &person, "same PC", &mut figures, |_| Ok(()))?;
    }
    let lines = print(&figures, limit_ms, accel);
    if let Some(path) = json {
        fs::File::create(&path)
            .and_then(|mut file| file.write_all(lines.as_bytes()))
            .with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn once(
    pc: &mut SharedPc,
    site: &TestSite,
    person: &Person,
    name: &str,
    figures: &mut Figures,
    work: impl FnOnce(&mut Session<'_>) -> Result<()>,
) -> Result<()> {
    let begin = Instant::now();
    let mut session = pc.boot(&[site.guest_url()], person)?;
    let boot = begin.elapsed();
    work(&mut session)?;
    let ended = session.shut_down()?;
    for stage in &ended.stages {
        figures.add(format!("{name}: {}", stage.name), stage.took, stage.bytes);
    }
    figures.add(format!("{name}: power on to session"), boot, None);
    figures.add(format!("{name}: switch off to off"), ended.took, None);
    Ok(())
}

/// Prints table and lines; gives the lines.
fn print(figures: &Figures, limit_ms: u128, accel: Accel) -> String {
    let mut rows = vec![vec![
        "kernel and initrd to their first process".to_owned(),
        limit_ms.to_string(),
        String::new(),
        "limit".to_owned(),
    ]];
    let mut lines = String::new();
    for name in &figures.order {
        let ours = figures.median(name);
        let runs = figures.took.get(name).map_or(0, Vec::len);
        let bytes = figures
            .bytes
            .get(name)
            .map_or_else(String::new, |bytes| timeline::mib(*bytes));
        rows.push(vec![
            name.clone(),
            ours.to_string(),
            bytes,
            runs.to_string(),
        ]);
        // Only whole boots have something to be compared with.
        let theirs = name.ends_with("power on to session").then_some(limit_ms);
        let ratio = theirs.filter(|theirs| *theirs > 0).map(|theirs| {
            let hundredths = u128::from(ours) * 100 / theirs;
            format!("{}.{:02}", hundredths / 100, hundredths % 100)
        });
        let line = json!({
            "bench": "boot",
            "figure": name,
            "vs": theirs.map(|_| "same kernel and initrd to their first process"),
            "ours": ours,
            "theirs": theirs.map(|theirs| u64::try_from(theirs).unwrap_or(u64::MAX)),
            "ratio": ratio.and_then(|ratio| ratio.parse::<f64>().ok()),
            "unit": "ms",
            "runs": runs,
            "accel": if accel.emulated() { "tcg" } else { "kvm" },
        });
        lines.push_str(&format!("{line}\n"));
    }
    println!(
        "{}",
        table(&["Stage", "ms (median)", "bytes", "runs"], &rows)
    );
    print!("{lines}");
    lines
}
