//! `furoshiki-demo`: the main job of the product on one machine, with a timeline at its end.

use std::fs;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use qemu_tests::place;
use qemu_tests::release::Release;
use qemu_tests::shared_pc::{Person, SharedPc};
use qemu_tests::story::{self, Evidence, PROMISES, Scene};
use qemu_tests::timeline::{mib, seconds, table};
use qemu_tests::wait;
use serde::{Deserialize, Serialize};

#[derive(Parser)]
#[command(about = "A user's environment follows the card from one site to another")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The whole story.
    Run {
        /// Leave the sites running.
        #[arg(long)]
        keep: bool,
        /// Size of the user's tree; 1.0 is about 1 GB.
        #[arg(long, default_value_t = 0.05)]
        scale: f64,
    },
    /// After `run --keep`: boot a PC and sit at it; its console is this terminal.
    Boot {
        /// 1, 2 or 3.
        #[arg(long, default_value_t = 2)]
        site: usize,
        /// Whose card is in the reader: hanako or jiro.
        #[arg(long, default_value = "hanako")]
        card: String,
        /// Name of the PC; a new name is a new PC with an empty disk.
        #[arg(long, default_value = "pc-3")]
        pc: String,
    },
}

/// What a later `boot` needs to know.
#[derive(Serialize, Deserialize)]
struct Kept {
    sites: Vec<KeptSite>,
    people: Vec<Person>,
}

#[derive(Serialize, Deserialize)]
struct KeptSite {
    name: String,
    url: String,
    guest_url: String,
    process: Option<u32>,
}

fn main() -> Result<ExitCode> {
    let release = Release::built("minimal")?;
    let folder = place::target().join("demo");
    match Arguments::parse().command {
        Command::Run { keep, scale } => run(&folder, &release, scale, keep),
        Command::Boot { site, card, pc } => {
            boot(&folder, &release, site, &card, &pc).map(|()| ExitCode::SUCCESS)
        }
    }
}

fn run(folder: &Path, release: &Release, scale: f64, keep: bool) -> Result<ExitCode> {
    let begin = Instant::now();
    let turn = Mutex::new(());
    let progress = |what: &str| {
        // One sentence at a time; a poisoned lock still keeps them apart.
        let _turn = turn.lock();
        println!("{:>6.0} s  {what}", begin.elapsed().as_secs_f64());
    };
    let (scene, evidence) = story::tell(folder, release, scale, &progress)?;
    println!();
    report(&evidence);
    let mut kept = true;
    println!("Promises");
    for (sentence, check) in PROMISES {
        match check(&evidence) {
            Ok(()) => println!("  kept    {sentence}"),
            Err(error) => {
                kept = false;
                println!("  BROKEN  {sentence}: {error:#}");
            }
        }
    }
    println!(
        "\n{:.0} s in all. Data folders, disk images and logs: {}",
        begin.elapsed().as_secs_f64(),
        folder.display()
    );
    if keep {
        leave(folder, scene)?;
    }
    Ok(if kept {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn report(e: &Evidence) {
    let steps: Vec<Vec<String>> = e
        .steps
        .iter()
        .map(|step| vec![step.what.clone(), seconds(step.took)])
        .collect();
    println!("{}", table(&["Step", "took"], &steps));
    let mut stages = Vec::new();
    for desk in [&e.first, &e.again, &e.next] {
        stages.push(vec![desk.who.clone(), String::new(), String::new()]);
        stages.push(vec![
            "  power on to session".to_owned(),
            seconds(desk.boot),
            String::new(),
        ]);
        for stage in &desk.stages {
            let bytes = stage.bytes.map_or_else(String::new, mib);
            stages.push(vec![
                format!("    {}", stage.name),
                seconds(stage.took),
                bytes,
            ]);
        }
        stages.push(vec![
            "  switch off to off".to_owned(),
            seconds(desk.off),
            mib(desk.pushed_bytes),
        ]);
    }
    println!("{}", table(&["Stage", "took", "bytes"], &stages));
    let bytes = [
        ("pushed by the first session", e.bytes.pushed_first),
        ("pushed by all sessions", e.bytes.pushed),
        ("relayed, to the chosen site only", e.bytes.relayed),
        ("full mirroring would have moved", e.bytes.full_mirroring),
        ("received by the site nobody chose", e.bytes.unchosen),
    ];
    let bytes: Vec<Vec<String>> = bytes
        .iter()
        .map(|(what, count)| vec![(*what).to_owned(), count.to_string(), mib(*count)])
        .collect();
    println!("{}", table(&["Snapshot bytes", "bytes", ""], &bytes));
}

fn leave(folder: &Path, scene: Scene) -> Result<()> {
    let Scene {
        sites, first, next, ..
    } = scene;
    let sites: Vec<KeptSite> = sites
        .into_iter()
        .map(|site| KeptSite {
            name: site.name.clone(),
            url: site.url(),
            guest_url: site.guest_url(),
            process: site.leave_running(),
        })
        .collect();
    println!(
        "\nThe sites run on. Portals (certificates by {}):",
        place::authority().join("ca.pem").display()
    );
    for site in &sites {
        println!(
            "  {}  {}/  end it with: kill {}",
            site.name,
            site.url,
            site.process.unwrap_or_default()
        );
    }
    for person in [&first, &next] {
        println!(
            "  sign in as {} with password {}; card PIN {}",
            person.name, person.password, person.card.pin
        );
    }
    println!("Boot another PC and sit at it (Ctrl-D pulls the plug):");
    println!(
        "  {} boot --site 2 --card {} --pc pc-3",
        place::program("furoshiki-demo")?.display(),
        first.name
    );
    let kept = serde_json::to_vec_pretty(&Kept {
        sites,
        people: vec![first, next],
    })
    .context("encode demo.json")?;
    fs::write(folder.join("demo.json"), kept).context("write demo.json")
}

fn boot(folder: &Path, release: &Release, site: usize, card: &str, name: &str) -> Result<()> {
    let path: PathBuf = folder.join("demo.json");
    let kept = fs::read(&path).with_context(|| {
        format!(
            "read {}: run `cargo xtask demo --keep` first",
            path.display()
        )
    })?;
    let kept: Kept =
        serde_json::from_slice(&kept).with_context(|| format!("parse {}", path.display()))?;
    let site = site
        .checked_sub(1)
        .and_then(|at| kept.sites.get(at))
        .context("there are sites 1, 2 and 3")?;
    let person = kept
        .people
        .iter()
        .find(|person| person.name == card)
        .with_context(|| format!("nobody is called {card}"))?;
    let address = name.bytes().fold(3u8, u8::wrapping_add) | 0x80;
    let mut pc = if folder.join(format!("{name}.disk")).exists() {
        SharedPc::with_disk(folder, name, address, release)?
    } else {
        SharedPc::new(folder, name, address, release)?
    };
    println!(
        "{name} is switched on at {}; user {}, password {}, card PIN {}",
        site.name, person.name, person.password, person.card.pin
    );
    let mut running = pc.power_on(std::slice::from_ref(&site.guest_url))?;
    running.insert(&person.card)?;
    sit(&mut running)
}

/// Shows the console and types what is typed here, until the PC is off or the input ends.
fn sit(pc: &mut qemu_tests::shared_pc::RunningPc<'_>) -> Result<()> {
    let stdin = io::stdin();
    let mut shown = 0;
    while pc.is_on()? {
        let text = pc.console_text();
        if let Some(fresh) = text.get(shown..).filter(|fresh| !fresh.is_empty()) {
            print!("{fresh}");
            io::stdout().flush().context("show the console")?;
            shown = text.len();
        }
        if wait::readable(&stdin, wait::Deadline::after(Duration::from_millis(200)))? {
            let mut line = String::new();
            if stdin
                .lock()
                .read_line(&mut line)
                .context("read what is typed")?
                == 0
            {
                break;
            }
            pc.type_line(line.trim_end_matches('\n'))?;
        }
    }
    Ok(())
}
