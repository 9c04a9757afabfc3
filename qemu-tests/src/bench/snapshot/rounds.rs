//! The measurement: rounds of steps, in each of which every tool has its turn, in another order every time.
//!
//! All tools save the same tree in the same state, warm in the page cache, one after the other: whatever else the machine
//! does hits all of them alike.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use walkdir::WalkDir;

use super::cost::{Cost, Shell};
use super::ground::{Fresh, Ground};
use super::samples::{Sample, Samples, Step};
use super::tools::{OURS, RESTORE_OVER_HTTPS, SAVE_AFTER_RESTORE, Tool};
use crate::site::TestSite;
use crate::tree::day;
use crate::{child, place};

/// Name and password the engine knows too (initrd-agent/examples/engine/person.rs).
const USER: (&str, &str) = ("bench", "bench-pass-phrase");
/// Ticks of the clock in /proc/PID/stat, a second (proc_pid_stat(5); 100 wherever Linux runs on x86 and ARM).
const TICKS: u64 = 100;
/// Names casync and desync end at. That we keep them is tested elsewhere, with this tree.
const TOO_ODD: &str = "back\\slash";
/// Bytes of a name that casync takes.
const NAME_BYTES: usize = 240;

/// What is measured.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Size of the tree; 1.0 is about 1 GB.
    pub scale: f64,
    /// Seed of tree, days and order.
    pub seed: u64,
    /// Rounds.
    pub runs: u32,
    /// Ours first.
    pub tools: Vec<Tool>,
    /// Restore from a site server too.
    pub https: bool,
    /// A line that makes a tree in `$TREE`, in place of the generator.
    pub make: Option<&'a str>,
    /// A line that works on it for day `$N`.
    pub day: Option<&'a str>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Everything measured.
    pub samples: Samples,
    /// Tools that failed, with the reason.
    pub failed: Vec<String>,
    /// What the site server used for each restore over HTTPS.
    pub server_cpu: Vec<Duration>,
    /// Files of the tree and their bytes.
    pub files: u64,
    /// Their bytes, holes counted.
    pub bytes: u64,
    /// Why restores went to no ext4.
    pub plain: Option<String>,
}

/// Measures.
///
/// # Errors
/// Ours failed, or came back with another tree than it was given; or the tree cannot be made. A peer that fails is
/// left out.
pub fn measure(plan: &Plan<'_>, ground: &Ground) -> Result<Outcome> {
    let tree = ground.tree();
    make(plan, &tree)?;
    let mut outcome = Outcome::default();
    (outcome.files, outcome.bytes) = weigh(&tree)?;
    let mut tools = plan.tools.clone();
    for round in 1..=plan.runs {
        eprintln!("bench: round {round} of {}", plan.runs);
        // What making the tree left to be written is not written while somebody is measured.
        rustix::fs::sync();
        warm(&tree)?;
        let round = Round {
            plan,
            ground,
            tree: &tree,
            number: round,
        };
        round.run(&mut tools, &mut outcome)?;
    }
    Ok(outcome)
}

/// Makes the tree: `home/` and `system/`, as a session has them.
fn make(plan: &Plan<'_>, tree: &Path) -> Result<()> {
    eprintln!("bench: make a tree of scale {}", plan.scale);
    place::fresh(tree)?;
    match plan.make {
        Some(line) => {
            plan.shell(tree)?.run(line).context("make the tree")?;
            let system = tree.join("system");
            fs::create_dir(&system).with_context(|| format!("make {}", system.display()))?;
            for entry in fs::read_dir(tree).with_context(|| format!("list {}", tree.display()))? {
                let entry = entry.with_context(|| format!("list {}", tree.display()))?;
                let name = entry.file_name();
                if name != "home" && name != "system" {
                    fs::rename(entry.path(), system.join(&name))
                        .with_context(|| format!("move {}", entry.path().display()))?;
                }
            }
        }
        None => {
            let mut command = Command::new(place::program("tree-fixture")?);
            command.arg("make").arg(tree);
            command.args(["--whiteouts", "--scale", &plan.scale.to_string()]);
            command.args(["--seed", &plan.seed.to_string()]);
            child::output(&mut command).map(drop)?;
        }
    }
    let odd = tree.join("home/odd");
    for entry in fs::read_dir(&odd).with_context(|| format!("list {}", odd.display()))? {
        let entry = entry.with_context(|| format!("list {}", odd.display()))?;
        let name = entry.file_name();
        if name.len() >= NAME_BYTES || name == TOO_ODD {
            fs::remove_file(entry.path())
                .with_context(|| format!("remove {}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// Reads the tree once, so that nobody is the first.
fn warm(tree: &Path) -> Result<()> {
    let mut tar = Command::new("bash");
    tar.args(["-c", "tar --sparse -cf - . | cat >/dev/null"])
        .current_dir(tree);
    child::output(&mut tar).map(drop)
}

/// Files and bytes below a folder.
fn weigh(folder: &Path) -> Result<(u64, u64)> {
    let mut sum = (0, 0);
    for entry in WalkDir::new(folder) {
        let entry = entry.with_context(|| format!("walk {}", folder.display()))?;
        if entry.file_type().is_file() {
            let about = entry.metadata();
            let about = about.with_context(|| format!("look at {}", entry.path().display()))?;
            sum = (sum.0 + 1, sum.1 + about.len());
        }
    }
    Ok(sum)
}

impl Plan<'_> {
    /// A shell for a line that makes or changes the tree.
    fn shell(&self, tree: &Path) -> Result<Shell> {
        let shell = Shell::new(tree, tree, &[])?;
        Ok(shell
            .with("TREE", tree)
            .with("SEED", self.seed.to_string())
            .with("SCALE", self.scale.to_string()))
    }
}

/// Where our own programs and fetched peers are.
///
/// # Errors
/// The engine was not built.
pub fn programs() -> Result<[PathBuf; 2]> {
    let engine = place::example("engine")?;
    let engine = engine.parent().context("the engine lies in a folder")?;
    Ok([
        engine.to_path_buf(),
        place::target().join("tools/peers/bin"),
    ])
}

/// One round.
struct Round<'a> {
    plan: &'a Plan<'a>,
    ground: &'a Ground,
    tree: &'a Path,
    number: u32,
}

impl Round<'_> {
    fn run(&self, tools: &mut Vec<Tool>, outcome: &mut Outcome) -> Result<()> {
        let steps: [(Step, u32); 4] = [
            (Step::First, 1),
            (Step::Unchanged, 2),
            (Step::Day, 3),
            (Step::Restore, 3),
        ];
        for (step, save) in steps {
            if step == Step::Day {
                self.work()?;
            }
            for tool in self.shuffled(step, tools) {
                // Who saves everything every time has a first time only, and what there is to restore is that of today.
                let done = match step {
                    Step::Unchanged if !tool.adds => continue,
                    Step::Day if !tool.adds => self.unmeasured(&tool, save),
                    _ => self.turn(&tool, step, save, outcome),
                };
                if let Err(error) = done.with_context(|| format!("{}: {}", tool.name, step.name()))
                {
                    if tool.name == OURS {
                        return Err(error);
                    }
                    eprintln!("bench: left out: {error:#}");
                    outcome.failed.push(format!("{error:#}"));
                    outcome.samples.forget(tool.name);
                    tools.retain(|one| one.name != tool.name);
                }
            }
        }
        for tool in tools {
            let desk = self.desk(tool);
            fs::remove_dir_all(&desk).with_context(|| format!("remove {}", desk.display()))?;
        }
        Ok(())
    }

    /// Another order in every step of every round, the same with the same seed.
    fn shuffled(&self, step: Step, tools: &[Tool]) -> Vec<Tool> {
        let mut tools = tools.to_vec();
        tools.sort_by_cached_key(|tool| {
            let turn = format!(
                "{} {} {} {}",
                self.plan.seed,
                self.number,
                step.name(),
                tool.name
            );
            *blake3::hash(turn.as_bytes()).as_bytes()
        });
        tools
    }

    fn work(&self) -> Result<()> {
        eprintln!("bench: a day's work");
        match self.plan.day {
            Some(line) => {
                let shell = self.plan.shell(self.tree)?;
                let shell = shell.with("N", self.number.to_string());
                shell.run(line).context("work for a day")?;
            }
            None => {
                let day = day::Day {
                    seed: self.plan.seed,
                    scale: self.plan.scale,
                    number: self.number,
                };
                day::work(self.tree, day)?;
            }
        }
        rustix::fs::sync();
        warm(self.tree)
    }

    /// Where a tool keeps everything in this round.
    fn desk(&self, tool: &Tool) -> PathBuf {
        self.ground.stores().join(tool.name)
    }

    fn shell(&self, tool: &Tool, save: u32) -> Result<Shell> {
        let desk = self.desk(tool);
        let shell = Shell::new(self.tree, &desk.join("home"), &programs()?)?;
        Ok(shell
            .with("TREE", self.tree)
            .with("STORE", desk.join("store"))
            .with("KEYS", desk.join("keys"))
            .with("N", save.to_string()))
    }

    fn unmeasured(&self, tool: &Tool, save: u32) -> Result<()> {
        let store = self.desk(tool).join("store");
        // Two whole archives would only take room.
        place::fresh(&store)?;
        self.shell(tool, save)?.run(tool.save).map(drop)
    }

    fn turn(&self, tool: &Tool, step: Step, save: u32, outcome: &mut Outcome) -> Result<()> {
        let shell = self.shell(tool, save)?;
        if step == Step::First {
            for room in ["store", "keys", "home"] {
                place::fresh(&self.desk(tool).join(room))?;
            }
            shell.run(tool.init)?;
        }
        if step == Step::Restore {
            return self.restore(tool, &shell, outcome);
        }
        let store = self.desk(tool).join("store");
        let before = weigh(&store)?.1;
        let (cost, said) = shell.measure(tool.save)?;
        let sample = Sample {
            cost,
            added_bytes: weigh(&store)?.1.saturating_sub(before),
        };
        told(step, tool.name, sample);
        if tool.name == OURS {
            let unchanged = step == Step::Unchanged;
            ensure!(saved(&said)? != unchanged, "the engine said {said}");
        }
        outcome.samples.add(step, tool.name, sample);
        Ok(())
    }

    fn restore(&self, tool: &Tool, shell: &Shell, outcome: &mut Outcome) -> Result<()> {
        let fresh = self.ground.fresh(self.plan.scale)?;
        outcome.plain.clone_from(&fresh.plain);
        let shell = shell.clone().with("OUT", fresh.path());
        let (cost, _) = shell.measure(tool.restore)?;
        let sample = Sample {
            cost,
            added_bytes: 0,
        };
        told(Step::Restore, tool.name, sample);
        outcome.samples.add(Step::Restore, tool.name, sample);
        if tool.name != OURS {
            let (files, whole) = (weigh(&fresh.path())?.0, weigh(self.tree)?.0);
            ensure!(files == whole, "it restored {files} of {whole} files");
            return Ok(());
        }
        self.same(&fresh)?;
        let (cost, said) = shell.measure(SAVE_AFTER_RESTORE)?;
        ensure!(!saved(&said)?, "a restored tree was saved again: {said}");
        let sample = Sample {
            cost,
            added_bytes: 0,
        };
        told(Step::AfterRestore, tool.name, sample);
        outcome.samples.add(Step::AfterRestore, tool.name, sample);
        drop(fresh);
        if self.plan.https {
            self.restore_over_https(tool, outcome)?;
        }
        Ok(())
    }

    fn restore_over_https(&self, tool: &Tool, outcome: &mut Outcome) -> Result<()> {
        let folder = self.desk(tool).join("site");
        place::fresh(&folder)?;
        let site = TestSite::start_alone(&folder, "site")?;
        let shell = self.shell(tool, 0)?;
        let shell = shell.with("SITE", site.url()).with("CA", site.ca());
        let registration = folder.join("registration.json");
        fs::write(&registration, shell.run("engine registration")?)
            .context("keep a registration")?;
        site.register(USER.0, &registration, USER.1)?;
        shell.run(r#"engine send --store "$STORE" --site "$SITE" --ca "$CA""#)?;
        let fresh = self.ground.fresh(self.plan.scale)?;
        let before = cpu_of(site.process_id()?)?;
        let (cost, _) = shell
            .with("OUT", fresh.path())
            .measure(RESTORE_OVER_HTTPS)?;
        let server = cpu_of(site.process_id()?)?.saturating_sub(before);
        let sample = Sample {
            cost,
            added_bytes: 0,
        };
        told(Step::OverHttps, tool.name, sample);
        self.same(&fresh)?;
        outcome.samples.add(Step::OverHttps, tool.name, sample);
        outcome.server_cpu.push(server);
        Ok(())
    }

    /// What was restored is what was saved, by everything a user could notice.
    fn same(&self, fresh: &Fresh) -> Result<()> {
        for part in ["home", "system"] {
            // In a process of its own: this one stays small, for the sake of what it measures.
            let mut compare = Command::new(place::program("tree-fixture")?);
            compare.arg("compare").arg(self.tree.join(part));
            let output = compare.arg(fresh.path().join(part)).output();
            let output = output.context("start tree-fixture")?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stdout);
                let lines: Vec<&str> = said.lines().take(10).collect();
                bail!(
                    "the restored {part} is not the saved one\n{}\n{}",
                    lines.join("\n"),
                    String::from_utf8_lossy(&output.stderr)
                );
            }
        }
        Ok(())
    }
}

/// Whether the engine saved something, by its own word.
fn saved(said: &str) -> Result<bool> {
    let said: Value = serde_json::from_str(said).with_context(|| format!("parse {said}"))?;
    let saved = said.get("saved").and_then(Value::as_bool);
    saved.with_context(|| format!("no word of saving in {said}"))
}

/// What a running process used so far.
fn cpu_of(process: u32) -> Result<Duration> {
    let path = format!("/proc/{process}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    // The name of the program, in brackets, may have blanks in it.
    let after = text.rsplit_once(") ").map(|(_, after)| after);
    let fields = after.unwrap_or_default().split(' ').skip(11).take(2);
    let ticks: Option<u64> = fields.map(|field| field.parse::<u64>().ok()).sum();
    let ticks = ticks.with_context(|| format!("no times in {path}"))?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS))
}

fn told(step: Step, tool: &str, sample: Sample) {
    let Cost {
        wall,
        cpu,
        peak_bytes,
    } = sample.cost;
    eprintln!(
        "bench: {:<32} {tool:<14} {:>7.2} s, CPU {:>7.2} s, {:>4} MB of memory, {:>10} bytes added",
        step.name(),
        wall.as_secs_f64(),
        cpu.as_secs_f64(),
        peak_bytes / 1_000_000,
        sample.added_bytes
    );
}
