//! What `demo`, `test` and `vm` run.

use std::process::Command;
use std::time::SystemTime;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::setup::{self, For};
use crate::tally::Tally;
use crate::{browser, build, check, child, image, paths, reproducible, sample, stall, wheel};

/// The recipe tests and demo boot.
const RECIPE: &str = "minimal";
/// The same, rewritten at every boot: what the test of that name boots.
const RECIPE_TO_REWRITE: (&str, &str) = ("minimal-rewrite", "rewrite");
/// The same, with a graphical screen.
const RECIPE_WITH_SPLASH: (&str, &str) = ("minimal-graphical", "splash");

/// Cases of a property test: quick and thorough.
const CASES: (&str, &str) = ("64", "2048");

/// What can be tested alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Room {
    /// The main job from end to end, in machines.
    Story,
    /// Formats: vectors, released files, properties.
    Snapshot,
    /// Software cards through a real pcscd: APDU dialogues, the issuing station; signing in with them, in machines.
    Card,
    /// Sites, their replication and relay.
    Site,
    /// Sign-in, restore and faults, in machines.
    Boot,
    /// Capture, seal and push, in machines.
    Session,
    /// A baseline with a desktop.
    Desktop,
}

/// Runs the demo.
///
/// # Errors
/// A step of the set-up, or a promise that was not kept.
pub(crate) fn demo(keep: bool, scale: f64) -> Result<()> {
    setup::install(For::Everything)?;
    image::release(RECIPE)?;
    let mut demo = Command::new(paths::program("furoshiki-demo"));
    demo.args(["run", "--scale", &scale.to_string()]);
    if keep {
        demo.arg("--keep");
    }
    child::step("demo", &mut demo)
}

/// Runs checks and tests, or one room's, and closes with their count.
///
/// # Errors
/// Anything that failed; everything else still ran.
pub(crate) fn test(room: Option<Room>, thorough: bool) -> Result<()> {
    let mut run = Run {
        tally: Tally::default(),
        broken: Vec::new(),
        cases: if thorough { CASES.1 } else { CASES.0 },
        ceph: false,
    };
    match room {
        None => {
            setup::install(For::Everything)?;
            run.part(check::all());
            run.part(build::programs());
            run.part(build::virtual_card());
            run.part(wheel::seaweedfs());
            run.part(wheel::schemathesis());
            run.part(wheel::jcecard());
            run.part(browser::modules());
            run.cargo(
                "unit, vector, property, service and card tests",
                &["--workspace", "--exclude", "qemu-tests"],
            );
            run.virtual_card();
            run.cargo(
                "tests of the harness",
                &["-p", "qemu-tests", "--lib", "--bins"],
            );
            run.part(reproducible::check(RECIPE));
            if thorough {
                for (recipe, _) in [RECIPE_TO_REWRITE, RECIPE_WITH_SPLASH] {
                    run.part(reproducible::check(recipe));
                }
            }
            run.machines(&machines_of_a_run(thorough)?);
        }
        Some(Room::Snapshot) => {
            setup::install(For::Checks)?;
            run.cargo("snapshot", &["-p", "snapshot"]);
        }
        Some(Room::Card) => {
            setup::install(For::Everything)?;
            run.part(build::programs());
            run.part(build::virtual_card());
            run.part(wheel::jcecard());
            run.cargo("card", &["-p", "card"]);
            run.cargo(
                "issuing station",
                &["-p", "initrd-agent", "--test", "station*"],
            );
            run.virtual_card();
            run.prepared(&[
                "card",
                "removal",
                "canary",
                "walk_in",
                "passphrase",
                "other_cards",
            ])?;
        }
        Some(Room::Site) => {
            let engines = if thorough {
                For::SitesOnCeph
            } else {
                For::Sites
            };
            setup::install(engines)?;
            run.ceph = thorough;
            run.part(wheel::seaweedfs());
            run.part(wheel::schemathesis());
            run.part(browser::modules());
            run.cargo("site", &["-p", "site-api", "-p", "site-server"]);
        }
        Some(Room::Story) => run.prepared(&["story"])?,
        Some(Room::Boot) => {
            setup::install(For::Everything)?;
            run.part(reproducible::check(RECIPE));
            run.prepared(&[
                "sign_in",
                "splash",
                "altered",
                "media",
                "stick",
                "netboot",
                "secure_boot",
                "disks",
                "rewrite",
                "update",
                "wipe",
            ])?;
        }
        Some(Room::Session) => {
            setup::install(For::Everything)?;
            run.cargo("initrd-agent", &["-p", "initrd-agent"]);
            run.prepared(&["story", "altered", "outbox", "desk", "other_cards"])?;
        }
        Some(Room::Desktop) => {
            if !paths::root().join("qemu-tests/tests/desktop.rs").exists() {
                bail!("there is no desktop recipe yet, so nothing to test: see image-recipes/");
            }
            run.prepared(&["desktop"])?;
        }
    }
    run.close()
}

/// The VM tests of a run of everything: all of them, or a sample by a seed, which is told.
fn machines_of_a_run(thorough: bool) -> Result<Vec<String>> {
    let all = tests()?;
    if thorough {
        return Ok(all);
    }
    let (seed, of) = (sample::seed(), all.len());
    let taken = sample::of(all, &seed);
    println!(
        "xtask: {} of {of} VM tests by FUROSHIKI_SEED={seed}: {} (all with --thorough)",
        taken.len(),
        taken.join(", ")
    );
    Ok(taken)
}

/// Runs the VM tests, or one, with their output shown.
///
/// # Errors
/// There is no such test, or it failed.
pub(crate) fn vm(name: Option<&str>) -> Result<()> {
    let all = tests()?;
    let chosen = match name {
        None => all,
        Some(name) if all.iter().any(|test| test == name) => vec![name.to_owned()],
        Some(name) => bail!("no VM test {name}: there are {}", all.join(", ")),
    };
    let mut run = Run {
        tally: Tally::default(),
        broken: Vec::new(),
        cases: CASES.0,
        ceph: false,
    };
    setup::install(For::Everything)?;
    run.machines(&chosen);
    run.close()
}

/// The VM tests there are.
fn tests() -> Result<Vec<String>> {
    let folder = paths::root().join("qemu-tests/tests");
    let mut names: Vec<String> = std::fs::read_dir(&folder)?
        .filter_map(|entry| {
            Some(
                entry
                    .ok()?
                    .path()
                    .file_stem()?
                    .to_string_lossy()
                    .into_owned(),
            )
        })
        .collect();
    names.sort();
    Ok(names)
}

/// A run that goes on after failures and remembers them.
struct Run {
    tally: Tally,
    broken: Vec<String>,
    cases: &'static str,
    /// Whether Ceph is installed, and tested.
    ceph: bool,
}

impl Run {
    fn part(&mut self, result: Result<()>) {
        if let Err(error) = result {
            eprintln!("xtask: {error:#}");
            let what = error.to_string();
            self.broken
                .push(what.lines().next().unwrap_or_default().to_owned());
        }
    }

    fn tests(&mut self, what: &str, mut command: Command) {
        let mut tally = self.tally;
        let mut unread = None;
        command.env("PROPTEST_CASES", self.cases);
        if self.cases == CASES.1 {
            command.env("FUROSHIKI_THOROUGH", "1");
        }
        if self.ceph {
            command.env("FUROSHIKI_TEST_CEPH", "1");
        }
        let result = child::step_lines(what, &mut command, |line| {
            unread = tally.take(line).err().or(unread.take());
        });
        self.tally = tally;
        self.part(result);
        self.part(unread.map_or(Ok(()), Err));
    }

    fn cargo(&mut self, what: &str, packages: &[&str]) {
        let mut command = child::cargo(&["test", "--locked", "--no-fail-fast"]);
        command.args(packages);
        self.tests(what, command);
    }

    fn virtual_card(&mut self) {
        let folder = paths::virtual_card();
        let mut command = child::cargo(&["test", "--locked", "--no-fail-fast", "--target-dir"]);
        command.arg(folder.join("target")).current_dir(folder);
        self.tests("the software card", command);
    }

    /// Sets up, then runs VM tests.
    fn prepared(&mut self, names: &[&str]) -> Result<()> {
        setup::install(For::Everything)?;
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.machines(&names);
        Ok(())
    }

    fn machines(&mut self, names: &[String]) {
        let also = [RECIPE_TO_REWRITE, RECIPE_WITH_SPLASH].into_iter();
        let also = also.filter(|(_, test)| names.iter().any(|name| name == test));
        for recipe in [RECIPE].into_iter().chain(also.map(|(recipe, _)| recipe)) {
            if let Err(error) = image::release(recipe) {
                self.part(Err(error));
                return;
            }
        }
        for name in names {
            let (since, before) = (SystemTime::now(), (self.tally, self.broken.len()));
            self.machine(name);
            let failed = self.broken.len() > before.1;
            let folder = paths::target().join("vm");
            if let (true, Some(log)) = (failed, stall::log_of_broken_guest(&folder, since)) {
                let log = log.display();
                eprintln!(
                    "xtask: THE EMULATOR broke a guest ({log}), which says nothing about {name}: once again"
                );
                self.tally = before.0;
                self.broken.truncate(before.1);
                self.machine(name);
            }
        }
    }

    fn machine(&mut self, name: &str) {
        let mut command = child::cargo(&["test", "--locked", "-p", "qemu-tests", "--test", name]);
        // One machine after another: two emulated ones on two cores only make deadlines tight.
        command.args(["--", "--nocapture", "--test-threads=1"]);
        self.tests(&format!("VM test {name}"), command);
    }

    fn close(self) -> Result<()> {
        for what in &self.broken {
            eprintln!("xtask: FAILED: {what}");
        }
        println!(
            "xtask: {} passed, {} failed",
            self.tally.passed, self.tally.failed
        );
        if !self.broken.is_empty() || self.tally.failed > 0 {
            bail!("{} parts failed, see above", self.broken.len());
        }
        if self.tally.passed == 0 {
            bail!("no test ran at all");
        }
        Ok(())
    }
}
