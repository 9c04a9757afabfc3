//! What signing in with a card costs, beside the card's own operations for it, on both software cards and a real pcscd.
//! `card/examples/sign_in_cost.rs` measures.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Arguments, Figures, Unit};
use crate::{child, place};

/// How often, if nothing is said.
const RUNS: u32 = 20;
/// Kind of key, and the switches of the software card that has it.
const CARDS: [(&str, &[&str]); 2] = [("p256", &[]), ("x25519", &["--openpgp"])];
/// What somebody else sends to an OpenPGP card for a key: SELECT, admin PIN, curve, GENERATE.
const MAKE_X25519: [&str; 4] = [
    "00A4040006D27600012401",
    "00200083083132333435363738",
    "00DA00C20B122B060104019755010501",
    "0047800002B80000",
];

/// Signs in again and again.
///
/// # Errors
/// A program that is not there, or a card that refuses.
pub fn measure(arguments: &Arguments) -> Result<Figures> {
    let runs = arguments.runs.unwrap_or(RUNS).max(1);
    let mut figures = Figures::new("card", None);
    for (kind, switches) in CARDS {
        let folder = tempfile::tempdir().context("make a folder for a card")?;
        if kind == "x25519" {
            let mut tool = host(folder.path(), switches)?;
            tool.arg("opensc-tool");
            for command in MAKE_X25519 {
                tool.args(["-s", command]);
            }
            child::output(&mut tool)?;
        }
        let mut measured = host(folder.path(), switches)?;
        measured.arg(place::example("sign_in_cost")?);
        let said = child::output(measured.arg(runs.to_string()).arg(kind))?;
        for line in said.lines() {
            let numbers: Vec<u64> = line
                .split(' ')
                .map(str::parse)
                .collect::<Result<_, _>>()
                .with_context(|| format!("read {line:?}"))?;
            let [ready, two, signed_in, three] = numbers[..] else {
                anyhow::bail!("four numbers are wanted, not {line:?}");
            };
            let mut compared = |figure: &str, versus, ours, theirs| {
                figures.compared(
                    &format!("card.{kind}.{figure}"),
                    versus,
                    Unit::Us,
                    ours,
                    theirs,
                );
            };
            compared("key-ready", "verify + use", ready, two);
            compared("sign-in", "verify + 2 uses", signed_in, three);
        }
    }
    Ok(figures)
}

/// A command that runs where the card in `folder` is in the reader.
fn host(folder: &Path, switches: &[&str]) -> Result<Command> {
    let mut card = Command::new(place::virtual_card()?);
    card.arg("--state").arg(folder.join("card")).args(switches);
    card.args(["host", "--"]);
    Ok(card)
}
