//! Every command a developer runs: `cargo xtask demo | test | check | image | vm | bench | fuzz | miri | bless`.

mod bench;
mod bless;
mod browser;
mod build;
mod check;
mod child;
mod deny;
mod emulator;
mod fuzz;
mod image;
mod miri;
mod packages;
mod paths;
mod peers;
mod reproducible;
mod sample;
mod setup;
mod shim;
mod stall;
mod suites;
mod tally;
mod unpacked;
mod wheel;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Every command a developer of Furoshiki runs"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the main job on this machine: two users, two shared PCs, three sites; ends with a timeline.
    Demo {
        /// Leave the sites running, and print the portal's address and how to boot another PC.
        #[arg(long)]
        keep: bool,
        /// Size of the user's tree; 1.0 is about 1 GB.
        #[arg(long, default_value_t = 0.05)]
        scale: f64,
    },
    /// Run every check and test, or those of one room; ends with their count.
    Test {
        /// One room only.
        #[arg(value_enum)]
        room: Option<suites::Room>,
        /// More cases in property tests, whole fault matrices, every VM test.
        #[arg(long)]
        thorough: bool,
    },
    /// Format, lints, licences, docs, dependency rules. Boots nothing.
    Check,
    /// Build the programs and the release of a recipe.
    Image {
        /// Folder below image-recipes/.
        #[arg(default_value = "minimal")]
        recipe: String,
        /// Build it a second time, elsewhere and as another user, and compare bit by bit.
        #[arg(long)]
        twice: bool,
    },
    /// Run the VM tests, or one of them, with their output shown.
    Vm {
        /// File below qemu-tests/tests/, without `.rs`.
        name: Option<String>,
    },
    /// Measure a room: `bench ROOM [--scale N] [--seed N] [--runs N] [--json FILE]`, see `bench --help`.
    #[command(disable_help_flag = true)]
    Bench {
        /// Room and options of `furoshiki-bench`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Throw bytes at every parser: libFuzzer at some targets; or at all, after the property tests with many cases.
    Fuzz {
        /// Files in the folders `fuzz/fuzz_targets` of the crates, without `.rs`.
        targets: Vec<String>,
        /// Time for each target.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
        minutes: u32,
        /// Cases for each property.
        #[arg(long, default_value_t = 100_000)]
        cases: u32,
        /// Add the inputs that reached new code to `fuzz/corpus` of the crate, which tests read.
        #[arg(long)]
        keep: bool,
    },
    /// Run the pure crate's tests in Rust's interpreter, where it is installed.
    Miri,
    /// Rewrite golden files and show what changed.
    Bless,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Demo { keep, scale } => suites::demo(keep, scale),
        Command::Test { room, thorough } => suites::test(room, thorough),
        Command::Check => {
            setup::install(setup::For::Checks)?;
            check::all()
        }
        Command::Image { recipe, twice } => {
            setup::install(setup::For::Everything)?;
            if twice {
                reproducible::check(&recipe)?;
            }
            image::release(&recipe).map(|folder: PathBuf| println!("{}", folder.display()))
        }
        Command::Vm { name } => suites::vm(name.as_deref()),
        Command::Bench { arguments } => bench::run(&arguments),
        Command::Fuzz {
            targets,
            minutes,
            cases,
            keep,
        } => fuzz::run(&targets, (minutes, keep), cases),
        Command::Miri => miri::run(),
        Command::Bless => bless::run(),
    }
}
