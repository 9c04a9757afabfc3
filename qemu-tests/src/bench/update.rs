//! What the next baseline costs on the way: bytes a PC receives for a changed package, beside the changed files
//! compressed, and beside what casync's store grows by for the same two images.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use walkdir::WalkDir;

use super::{Bench, Figures, Unit};
use crate::changed;
use crate::child;
use crate::release::{Change, Release};
use crate::shared_pc::SharedPc;
use crate::site::TestSite;

/// The package that is built again.
const PACKAGE: &str = "less";

/// Measures; one changed package a run, another change in each.
///
/// # Errors
/// A release cannot be built, a boot did not restore it, or casync failed.
pub fn measure(bench: &Bench, figures: &mut Figures) -> Result<()> {
    let first = &bench.release;
    for run in 1..=bench.runs {
        eprintln!("bench: the next baseline, {run} of {}", bench.runs);
        let folder = bench.folder.join(format!("update-{run}"));
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let seed = bench.seed.wrapping_add(u64::from(run) - 1);
        let files = changed::package(PACKAGE, seed)?;
        let change = Change {
            files: &files,
            ..Change::default()
        };
        let next = first.next(&folder, "next", 3600, change)?;
        let site = TestSite::start(&folder, "site-1")?;
        site.publish(first)?;
        site.publish(&next)?;
        let mut pc = SharedPc::new(&folder, "pc-1", 1, first)?;
        let whole = restored(&mut pc, &site)?;
        pc.take(&next);
        let ours = restored(&mut pc, &site)?;
        pc.scrap()?;
        let weight = changed::compressed_bytes(&files, &folder)?;
        figures.compared("update.bytes", "changed-files", Unit::Bytes, ours, weight);
        let theirs = by_casync(&folder, first, &next)?;
        figures.compared("update.bytes", "casync", Unit::Bytes, ours, theirs);
        figures.compared("update.bytes", "first-download", Unit::Bytes, ours, whole);
        fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    Ok(())
}

/// Starts the PC and gives the bytes it received for its baseline.
fn restored(pc: &mut SharedPc, site: &TestSite) -> Result<u64> {
    let mut running = pc.power_on(&[site.guest_url()])?;
    let stage = running.expect_stage("restore")?;
    running.cut_power();
    stage
        .number("received_bytes")
        .context("the stage says no received_bytes")
}

/// Bytes of chunks that the second image adds to a store which has the first, and of its index.
fn by_casync(folder: &Path, first: &Release, next: &Release) -> Result<u64> {
    let store = folder.join("store");
    let add = |release: &Release, name: &str| -> Result<u64> {
        let index = folder.join(name);
        let mut casync = Command::new("casync");
        casync
            .arg("make")
            .arg(format!("--store={}", store.display()))
            .arg(&index)
            .arg(release.folder.join("baseline.img"));
        child::output(&mut casync)?;
        Ok(fs::metadata(&index)
            .context("look at casync's index")?
            .len())
    };
    add(first, "first.caibx")?;
    let before = bytes_in(&store)?;
    let index = add(next, "next.caibx")?;
    Ok(bytes_in(&store)? - before + index)
}

fn bytes_in(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in WalkDir::new(folder) {
        let entry = entry.context("walk casync's store")?;
        if entry.file_type().is_file() {
            bytes += entry.metadata().context("look at a chunk")?.len();
        }
    }
    Ok(bytes)
}
