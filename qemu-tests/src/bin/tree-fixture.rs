//! `tree-fixture`: makes a user's tree, and tells whether two are the same.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use qemu_tests::tree::{self, Spec, digest};

#[derive(Parser)]
#[command(about = "A deterministic, realistic user's tree, and its digest")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a tree into an empty folder, and pack it if asked.
    Make {
        /// The folder.
        folder: PathBuf,
        /// 1.0 is about 1 GB in 20 000 files.
        #[arg(long, default_value_t = 0.05)]
        scale: f64,
        /// Same seed, same tree.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Owner of the home, when run as root.
        #[arg(long, default_value_t = 1000)]
        owner: u32,
        /// Add what an overlay's upper has for things deleted from the baseline; root only.
        #[arg(long)]
        whiteouts: bool,
        /// Also pack it into this pax archive.
        #[arg(long)]
        tar: Option<PathBuf>,
    },
    /// Print one digest over everything below a folder.
    Digest {
        /// The folder.
        folder: PathBuf,
    },
    /// Print what differs between two folders; success when nothing does.
    Compare {
        /// One.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
}

fn main() -> Result<ExitCode> {
    match Arguments::parse().command {
        Command::Make {
            folder,
            scale,
            seed,
            owner,
            whiteouts,
            tar,
        } => {
            if folder
                .read_dir()
                .is_ok_and(|mut entries| entries.next().is_some())
            {
                bail!(
                    "{} is not empty: name another folder or empty it",
                    folder.display()
                );
            }
            let made = tree::generate(&folder, Spec { seed, scale, owner }, |part| {
                eprintln!("tree-fixture: {part}")
            })?;
            if whiteouts {
                tree::delete_from_baseline(&folder)?;
            }
            eprintln!("tree-fixture: {} files, {} bytes", made.files, made.bytes);
            if let Some(archive) = tar {
                tree::pack(&folder, &archive)?;
            }
        }
        Command::Digest { folder } => println!("{}", digest::digest(&folder)?),
        Command::Compare { first, second } => {
            let differences = digest::compare(&first, &second)?;
            for line in &differences {
                println!("{line}");
            }
            if !differences.is_empty() {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
