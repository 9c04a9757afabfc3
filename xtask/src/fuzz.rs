//! Bytes nobody would think of, at every parser: random ones in the property tests, and libFuzzer's.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::setup::{self, For};
use crate::{child, paths};

/// The version that is compiled when there is none.
const CARGO_FUZZ: &str = "0.13.2";
/// Most memory a target may take, in MB; a parser takes far less.
const MEMORY_MB: u32 = 2048;
/// Longest time for one input, in seconds.
const TIMEOUT_S: u32 = 10;
/// Crates with fuzz targets, in their folder `fuzz`. No two targets have one name.
const CRATES: [&str; 4] = ["snapshot", "card", "initrd-agent", "site-server"];

/// Fuzzes the targets named, or runs the property tests and fuzzes all. `keep` adds to the repository what was found.
///
/// # Errors
/// A finding: libFuzzer keeps its input below `fuzz/artifacts` of the crate, proptest beside the test.
pub(crate) fn run(chosen: &[String], (minutes, keep): (u32, bool), cases: u32) -> Result<()> {
    setup::install(For::Checks)?;
    let all = targets()?;
    if let Some(unknown) = chosen
        .iter()
        .find(|name| all.iter().all(|target| target.name != **name))
    {
        let names: Vec<_> = all.iter().map(|target| target.name.as_str()).collect();
        bail!("no fuzz target {unknown}: there are {}", names.join(", "));
    }
    if chosen.is_empty() {
        properties(cases)?;
    }
    let fuzzer = Fuzzer::provide()?;
    let done = all
        .iter()
        .filter(|target| chosen.is_empty() || chosen.contains(&target.name))
        .map(|target| {
            let done = fuzzer.run(target, minutes)?;
            if keep {
                fuzzer.keep(target)?;
            }
            Ok((&target.name, done))
        })
        .collect::<Result<Vec<_>>>()?;
    for (target, said) in done {
        println!("xtask: fuzz {target}: no finding; {said}");
    }
    Ok(())
}

/// The property tests with many cases, optimised.
fn properties(cases: u32) -> Result<()> {
    let workspace = [
        "--workspace",
        "--exclude",
        "qemu-tests",
        "--exclude",
        "xtask",
        "prop_",
    ];
    let trees = ["-p", "snapshot", "--test", "*"];
    for (what, arguments) in [
        ("random bytes at every parser", &workspace[..]),
        ("random trees through every format", &trees[..]),
    ] {
        let mut tests = child::cargo(&["test"]);
        tests.args(arguments);
        child::step(what, tests.env("PROPTEST_CASES", cases.to_string()))?;
    }
    Ok(())
}

/// A parser that is fuzzed.
struct Target {
    /// The crate it is in.
    of: &'static str,
    name: String,
}

impl Target {
    /// The crate that links it with libFuzzer.
    fn folder(&self) -> PathBuf {
        paths::root().join(self.of).join("fuzz")
    }

    /// Inputs that fuzzing found here.
    fn found(&self) -> PathBuf {
        paths::target().join("fuzz-corpus").join(&self.name)
    }

    /// Those of them that the repository keeps.
    fn corpus(&self) -> PathBuf {
        self.folder().join("corpus").join(&self.name)
    }
}

/// All fuzz targets.
fn targets() -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    for of in CRATES {
        let folder = paths::root().join(of).join("fuzz/fuzz_targets");
        let files = fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
        for file in files {
            let path = file?.path();
            targets.extend(path.file_stem().map(|name| Target {
                of,
                name: name.to_string_lossy().into_owned(),
            }));
        }
    }
    targets.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(targets)
}

/// cargo-fuzz and the compiler it uses.
struct Fuzzer {
    program: PathBuf,
    nightly: bool,
}

impl Fuzzer {
    /// Compiles cargo-fuzz when it is not there.
    fn provide() -> Result<Self> {
        let tools = paths::target().join("tools");
        let program = tools.join("bin/cargo-fuzz");
        if !child::works(&program, &["--version"]) {
            let mut install = child::cargo(&["install", "--locked", "--root"]);
            install
                .arg(&tools)
                .args(["cargo-fuzz", "--version", CARGO_FUZZ]);
            child::step("compile cargo-fuzz", &mut install)?;
        }
        let nightly = child::works("rustup", &["run", "nightly", "cargo", "--version"]);
        eprintln!(
            "xtask: fuzzing with {}, AddressSanitizer on",
            if nightly {
                "the nightly toolchain"
            } else {
                "the pinned toolchain and RUSTC_BOOTSTRAP=1: there is no nightly one"
            }
        );
        Ok(Self { program, nightly })
    }

    /// Fuzzes one target and gives libFuzzer's last word: runs and seconds.
    fn run(&self, target: &Target, minutes: u32) -> Result<String> {
        let name = &target.name;
        let options = [
            format!("-max_total_time={}", minutes * 60),
            format!("-rss_limit_mb={MEMORY_MB}"),
            format!("-timeout={TIMEOUT_S}"),
        ];
        // What is found goes to the first folder; the others are read.
        let folders = [vec![target.found()], seeds(target)?].concat();
        let mut fuzz = self.command(target, &folders, &options)?;
        let last = child::step_tail(&format!("fuzz {name} for {minutes} minutes"), &mut fuzz)?;
        let done = last
            .into_iter()
            .rev()
            .find(|line| line.starts_with("Done "));
        done.with_context(|| format!("fuzz {name}: libFuzzer ended without saying how much it did"))
    }

    /// Adds to the corpus in the repository those of the inputs found that reach code nothing there reaches.
    fn keep(&self, target: &Target) -> Result<()> {
        let folders = [target.corpus(), target.found()];
        // Code, and not how often it ran: a fraction of the files.
        let options = ["-merge=1".to_owned(), "-use_counters=0".to_owned()];
        let mut merge = self.command(target, &folders, &options)?;
        child::step(
            &format!("keep what fuzzing {} found", target.name),
            &mut merge,
        )
    }

    /// libFuzzer on one target.
    fn command(&self, target: &Target, folders: &[PathBuf], options: &[String]) -> Result<Command> {
        for folder in folders {
            fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        }
        let mut fuzz = Command::new(&self.program);
        fuzz.args(["fuzz", "run", "--fuzz-dir"])
            .arg(target.folder());
        fuzz.arg("--target-dir").arg(paths::target().join("fuzz"));
        fuzz.arg(&target.name).args(folders);
        fuzz.arg("--").args(options);
        fuzz.current_dir(paths::root());
        // Those of the cargo that started us, which is another one.
        for name in [
            "CARGO",
            "RUSTC",
            "RUSTDOC",
            "RUSTUP_TOOLCHAIN",
            "LD_LIBRARY_PATH",
        ] {
            fuzz.env_remove(name);
        }
        if self.nightly {
            fuzz.env("RUSTUP_TOOLCHAIN", "nightly");
        } else {
            fuzz.env("RUSTC_BOOTSTRAP", "1");
        }
        Ok(fuzz)
    }
}

/// Folders of bytes to begin with: the target's own seeds and corpus, and all vectors of its crate.
fn seeds(target: &Target) -> Result<Vec<PathBuf>> {
    let testdata = paths::root().join(target.of).join("testdata");
    let own = target.folder().join("seeds").join(&target.name);
    let mut folders = vec![own, target.corpus()];
    if testdata.is_dir() {
        let formats = fs::read_dir(&testdata);
        for format in formats.with_context(|| format!("list {}", testdata.display()))? {
            folders.push(format?.path().join("v1"));
        }
    }
    folders.retain(|folder| folder.is_dir());
    folders.sort();
    Ok(folders)
}
