//! How long every stage of a boot and a shutdown takes: of an empty PC, then of one that has the baseline.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::figures::ms;
use super::{Bench, Figures, Unit};
use crate::limit;
use crate::session::Session;
use crate::shared_pc::{Person, SharedPc};
use crate::site::TestSite;
use crate::tools;
use crate::tree::{self, Spec};

/// What whole boots are compared with: what no agent can beat.
const LIMIT: &str = "same kernel and initrd to their first process";

/// Measures.
///
/// # Errors
/// A step of the set-up, or a boot that did not end in a session.
pub fn measure(bench: &Bench, figures: &mut Figures) -> Result<()> {
    let Bench {
        release, folder, ..
    } = bench;
    let site = TestSite::start(folder, "site-1")?;
    site.publish(release)?;
    let person = site.add_user(folder, "hanako", "48291377", "bench-pass-phrase")?;
    let (tree, archive) = (folder.join("tree"), folder.join("tree.tar"));
    let spec = Spec {
        seed: bench.seed,
        scale: bench.scale,
        owner: 1000,
    };
    tree::generate(&tree, spec, |_| {})?;
    tree::pack(&tree, &archive)?;
    let tools = tools::disk(folder, &[&archive])?;
    let mut pc = SharedPc::new(folder, "pc-1", 1, release)?;
    pc.attach_tools(&tools);
    eprintln!("bench: an empty PC, a new user");
    let unpack = |session: &mut Session<'_>| {
        tools::mount(session)?;
        let home = session.home();
        session
            .run(&format!(
                "tar -xpf {}/tree.tar --xattrs '--xattrs-include=*' --acls --numeric-owner -C {home} \
                 --strip-components=2 ./home",
                tools::MOUNT
            ))
            .map(drop)
    };
    once(bench, &mut pc, &site, &person, "empty PC", figures, unpack)?;
    for run in 1..=bench.runs {
        eprintln!("bench: the same PC again, {run} of {}", bench.runs);
        once(bench, &mut pc, &site, &person, "same PC", figures, |_| {
            Ok(())
        })?;
    }
    Ok(())
}

fn once(
    bench: &Bench,
    pc: &mut SharedPc,
    site: &TestSite,
    person: &Person,
    name: &str,
    figures: &mut Figures,
    work: impl FnOnce(&mut Session<'_>) -> Result<()>,
) -> Result<()> {
    let limit = limit::first_process(
        &bench.release,
        bench.accel,
        &bench.folder.join("limit.log"),
        Duration::from_secs(300),
    )?;
    let begin = Instant::now();
    let mut session = pc.boot(&[site.guest_url()], person)?;
    let boot = begin.elapsed();
    work(&mut session)?;
    let ended = session.shut_down()?;
    for stage in &ended.stages {
        let figure = format!("{name}: {}", stage.name);
        figures.measured(&figure, Unit::Ms, ms(stage.took));
        if let Some(bytes) = stage.bytes.filter(|bytes| *bytes > 0) {
            figures.measured(&format!("{figure}, moved"), Unit::Bytes, bytes);
        }
    }
    let figure = format!("{name}: power on to session");
    figures.compared(&figure, LIMIT, Unit::Ms, ms(boot), ms(limit));
    figures.measured(
        &format!("{name}: switch off to off"),
        Unit::Ms,
        ms(ended.took),
    );
    Ok(())
}
