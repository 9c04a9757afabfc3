//! What restoring costs: bytes a normal boot of a verified PC writes to the baseline's partition, and the time a
//! rewritten one takes beside `dd` of the same bytes to the same device, in turns in one guest.

use std::fs::File;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Bench, Figures, Unit};
use crate::place;
use crate::release::Release;
use crate::shared_pc::SharedPc;
use crate::site::TestSite;
use crate::tools;

/// What does the writing; `cargo xtask bench` builds it.
const BESIDE_DD: &str = "rewrite_beside_dd";
/// Disk the images are written to.
const SCRATCH_BYTES: u64 = 1 << 30;

/// Measures.
///
/// # Errors
/// A boot that did not end in a session, or a step of the measurement.
pub fn measure(bench: &Bench, figures: &mut Figures) -> Result<()> {
    rewritten(bench, figures)?;
    verified(bench, figures)
}

/// Sectors the kernel saw written to the baseline's partition since power-on, at a boot that finds it restored.
fn verified(bench: &Bench, figures: &mut Figures) -> Result<()> {
    let site = TestSite::start(&bench.folder, "site-1")?;
    site.publish(&bench.release)?;
    let person = site.add_user(&bench.folder, "hanako", "48291377", "bench-pass-phrase")?;
    let urls = [site.guest_url()];
    let mut pc = SharedPc::new(&bench.folder, "pc-1", 1, &bench.release)?;
    eprintln!("bench: an empty PC fetches the baseline");
    let mut first = pc.power_on(&urls)?;
    first.expect_stage("restore")?;
    first.cut_power();
    eprintln!("bench: the same PC again");
    let mut session = pc.boot(&urls, &person)?;
    let lines = session.run(
        "for part in /sys/class/block/*/partition; do part=${part%/*}; \
         grep -q PARTNAME=furoshiki-baseline- $part/uevent && cat $part/stat; done; true",
    )?;
    // Source: Linux, Documentation/block/stat.rst: the seventh number is sectors of 512 bytes written.
    let sectors: Option<Vec<u64>> = lines
        .lines()
        .map(|line| line.split_whitespace().nth(6)?.parse().ok())
        .collect();
    let sectors = sectors.with_context(|| format!("statistics of a partition: {lines}"))?;
    ensure!(!sectors.is_empty(), "the PC shows no baseline partition");
    let written = sectors.iter().sum::<u64>() * 512;
    figures.compared("restore.verified.written", "limit", Unit::Bytes, written, 0);
    session.cut_power();
    pc.scrap()
}

/// The time of writing, in a PC whose baseline is rewritten.
fn rewritten(bench: &Bench, figures: &mut Figures) -> Result<()> {
    let release = Release::built("minimal-rewrite")?;
    let folder = bench.folder.join("rewritten");
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let site = TestSite::start(&folder, "site-2")?;
    site.publish(&release)?;
    let person = site.add_user(&folder, "jiro", "90315526", "bench-pass-phrase")?;
    let urls = [site.guest_url()];
    let mut pc = SharedPc::new(&folder, "pc-2", 2, &release)?;
    eprintln!("bench: an empty PC fetches the baseline that it rewrites");
    let mut first = pc.power_on(&urls)?;
    first.expect_stage("restore")?;
    first.cut_power();

    let scratch = folder.join("scratch.raw");
    File::create(&scratch)
        .and_then(|file| file.set_len(SCRATCH_BYTES))
        .with_context(|| format!("make {}", scratch.display()))?;
    pc.build.arguments = [
        "-drive",
        &format!("if=none,id=scratch,format=raw,file={}", scratch.display()),
        "-device",
        "virtio-blk-pci,drive=scratch,serial=scratch",
    ]
    .map(str::to_owned)
    .to_vec();
    pc.attach_tools(&tools::disk(&folder, &[&place::example(BESIDE_DD)?])?);
    let mut session = pc.boot(&urls, &person)?;
    tools::mount(&mut session)?;
    let image = session.run("findmnt -no SOURCE /run/furoshiki/image")?;
    // A session has no device-mapper rules of udev: who makes a mapping there would wait for its answer for ever.
    session.run("rm /run/udev/control")?;
    for run in 1..=bench.runs {
        eprintln!("bench: rewrite and dd, {run} of {}", bench.runs);
        let first = if run % 2 == 0 { "dd" } else { "ours" };
        let said = session.run(&format!(
            "{}/{BESIDE_DD} {} /dev/disk/by-id/virtio-scratch {first}",
            tools::MOUNT,
            image.trim()
        ))?;
        let took: Value = serde_json::from_str(&said).with_context(|| format!("parse {said}"))?;
        let number = |name: &str| {
            let number = took.get(name).and_then(Value::as_u64);
            number.with_context(|| format!("no {name} in {said}"))
        };
        let (ours, dd) = (number("ours_ms")?, number("dd_ms")?);
        eprintln!("bench: rewritten in {ours} ms, dd took {dd} ms");
        figures.compared("restore.rewrite.wall", "dd", Unit::Ms, ours, dd);
        figures.measured("restore.rewrite.bytes", Unit::Bytes, number("bytes")?);
    }
    session.cut_power();
    std::fs::remove_file(&scratch).with_context(|| format!("remove {}", scratch.display()))?;
    pc.scrap()
}
