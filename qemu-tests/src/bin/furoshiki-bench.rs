//! `furoshiki-bench ROOM`: measures a room.

use anyhow::Result;
use clap::Parser;
use qemu_tests::bench;

#[derive(Parser)]
#[command(about = "Measures a room: a table for people, JSON lines for machines")]
struct Command {
    #[command(flatten)]
    arguments: bench::Arguments,
}

fn main() -> Result<()> {
    bench::run(&Command::parse().arguments)
}
