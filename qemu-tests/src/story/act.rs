//! What happens.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::canary;
use super::evidence::{Bytes, Desk, Evidence, Steps};
use super::scene::Scene;
use crate::disk::{self, Needle};
use crate::portal::Portal;
use crate::release::Release;
use crate::session::Session;
use crate::shared_pc::{Person, SharedPc};
use crate::site::TestSite;
use crate::tools;
use crate::wait::{self, Deadline};

/// Bytes pushed by PCs, a site's counter.
const PUSHED: &str = "furoshiki_object_bytes_received_total";
/// Bytes that came from other sites.
const RELAYED: &str = "furoshiki_relay_bytes_received_total";
/// User records that came from other sites.
const RECORDS: &str = "furoshiki_records_received_total";
/// Bytes of sealed objects a site has.
const STORED: &str = "furoshiki_stored_object_bytes";
/// Records reach every site, and a snapshot the chosen one, within this.
const SITES: Duration = Duration::from_secs(120);

/// A file of the baseline that the user deletes.
const DELETED: &str = "/etc/issue.net";
/// A folder of the baseline that the user replaces by another of the same name.
const REPLACED: &str = "/etc/skel";

type Answers = BTreeMap<&'static str, String>;

pub(super) fn play(scene: &mut Scene, release: &Release, mut steps: Steps<'_>) -> Result<Evidence> {
    let Scene {
        folder,
        sites,
        first,
        next,
        pc1,
        pc2,
    } = scene;
    let [site1, site2, site3] = sites;
    let without_release = sites_without(release, &[site1, site2, site3])?;
    steps.step("The user records reach every site", || {
        wait_until("user records at Site 2 and Site 3", || {
            Ok(site2.counter(RECORDS)? >= 2 && site3.counter(RECORDS)? >= 2)
        })
    })?;
    let (first_desk, used, keys) = at_first_desk(&mut steps, pc1, site1, first)?;
    let pushed_first = site1.counter(PUSHED)?;
    let secrets = secrets_of(first, next, keys)?;
    let (mut on_disks, control_found, left) = steps.step(
        "PC 1's raw disk is searched for the planted strings",
        || {
            let found = secrets_on(pc1, &secrets)?;
            Ok((
                found,
                disk::contains(pc1.disk(), canary::CONTROL)?,
                disk::allocated_bytes(pc1.disk())?,
            ))
        },
    )?;
    steps.step(
        "In the portal the user chooses Site 2, and Site 1 relays",
        || {
            let portal = Portal::sign_in(site1, &first.name, &first.password)?;
            portal.choose_next_site(site2)?;
            wait_until("the snapshot at Site 2", || {
                Ok(site2.counter(STORED)? >= pushed_first)
            })
        },
    )?;
    let (again_desk, next_desk) = two_desks(&mut steps, (pc2, site2, first), (pc1, site1, next))?;
    steps.step("Disks, sites and logs are searched", || {
        on_disks.extend(secrets_on(pc1, &secrets)?);
        on_disks.extend(secrets_on(pc2, &secrets)?);
        Ok(())
    })?;
    let at_sites = found_at(&[site1, site2, site3], &secrets)?;
    let in_logs = found_in_logs(
        &[site1, site2, site3],
        &[&first_desk, &again_desk, &next_desk],
        &secrets,
    )?;
    Ok(Evidence {
        steps: steps.done,
        first: first_desk,
        again: again_desk,
        next: next_desk,
        bytes: count(pushed_first, [site1, site2, site3])?,
        disk_bytes: (used, left),
        on_disks,
        control_found,
        at_sites,
        in_logs,
        without_release,
        folder: folder.clone(),
    })
}

fn at_first_desk(
    steps: &mut Steps<'_>,
    pc: &mut SharedPc,
    site: &TestSite,
    who: &Person,
) -> Result<(Desk, u64, Vec<Needle>)> {
    let disk = pc.disk().to_path_buf();
    let begin = Instant::now();
    let mut session = steps.step("PC 1 at Site 1 boots and signs the first user in", || {
        pc.boot(&[site.guest_url()], who)
    })?;
    let boot = begin.elapsed();
    let (seen, used, keys) = steps.step(
        "The user unpacks a tree, changes and deletes files of the baseline",
        || {
            tools::mount(&mut session)?;
            unpack(&mut session)?;
            canary::plant(&mut session)?;
            canary::plant_control(&mut session)?;
            session.run(&format!(
                "rm {DELETED} && rm -r {REPLACED} && mkdir {REPLACED} && echo mine > {REPLACED}/own"
            ))?;
            let seen = look(&mut session)?;
            session.run("sync")?;
            Ok((
                seen,
                disk::allocated_bytes(&disk)?,
                tools::keys(&mut session)?,
            ))
        },
    )?;
    let ended = steps.step("Power-off captures, seals, pushes and wipes", || {
        session.shut_down()
    })?;
    Ok((
        Desk::new("first user at PC 1, Site 1", boot, ended, seen),
        used,
        keys,
    ))
}

/// Both desks at once: one waits for the other's processor no longer than it must.
fn two_desks(
    steps: &mut Steps<'_>,
    again: (&mut SharedPc, &TestSite, &Person),
    next: (&mut SharedPc, &TestSite, &Person),
) -> Result<(Desk, Desk)> {
    let progress = steps.progress();
    let failed = Mutex::new(());
    let both = |who: &'static str, desk: (&mut SharedPc, &TestSite, &Person)| -> Result<Desk> {
        let (pc, site, person) = desk;
        let begin = Instant::now();
        let mut session = pc.boot(&[site.guest_url()], person)?;
        let boot = begin.elapsed();
        progress(&format!(
            "  {who} is signed in after {:.0} s",
            boot.as_secs_f64()
        ));
        tools::mount(&mut session)?;
        let seen = look(&mut session)?;
        let ended = session.shut_down()?;
        // One sentence at a time.
        let _turn = failed
            .lock()
            .map_err(|_| anyhow!("the other desk panicked"))?;
        progress(&format!(
            "  {who} has switched off after {:.0} s",
            ended.took.as_secs_f64()
        ));
        Ok(Desk::new(who, boot, ended, seen))
    };
    steps.step(
        "PC 2 at Site 2 boots for the first user, PC 1 at Site 1 for the next",
        || {
            std::thread::scope(|scope| {
                let again = scope.spawn(|| both("first user at PC 2, Site 2", again));
                let next = both("next user at PC 1, Site 1", next);
                let again = again
                    .join()
                    .map_err(|_| anyhow!("the desk at Site 2 panicked"))?;
                Ok((again?, next?))
            })
        },
    )
}

fn unpack(session: &mut Session<'_>) -> Result<()> {
    let tar = format!(
        "tar --extract --preserve-permissions --xattrs '--xattrs-include=*' --acls --numeric-owner --file={}/tree.tar",
        tools::MOUNT
    );
    let home = session.home();
    session.run(&format!(
        "{tar} --directory={home} --strip-components=2 ./home"
    ))?;
    session
        .run(&format!(
            "{tar} --directory=/ --strip-components=2 --no-overwrite-dir ./system"
        ))
        .map(drop)
}

/// Asks the same questions at every desk.
fn look(session: &mut Session<'_>) -> Result<Answers> {
    let home = session.home();
    let mut seen = Answers::new();
    seen.insert("home", tools::digest(session, &home)?);
    seen.insert(
        "entries",
        session
            .run(&format!("find {home} | wc -l"))?
            .trim()
            .to_owned(),
    );
    for (question, path) in [
        ("etc", "/etc/fixture"),
        ("var", "/var/lib/fixture"),
        ("profile", "/etc/profile"),
        ("replaced", REPLACED),
    ] {
        let answer = session.try_run(&format!(
            "test -e {path} && {}/tree-fixture digest {path}",
            tools::MOUNT
        ))?;
        seen.insert(
            question,
            if answer.code == 0 {
                answer.stdout.trim().to_owned()
            } else {
                "absent".to_owned()
            },
        );
    }
    let deleted = session.try_run(&format!("test -e {DELETED}"))?;
    seen.insert(
        "deleted",
        if deleted.code == 0 { "there" } else { "gone" }.to_owned(),
    );
    seen.insert(
        "inside replaced",
        session
            .run(&format!("ls -A {REPLACED} | tr '\\n' ' '"))?
            .trim()
            .to_owned(),
    );
    let pattern = canary::SECRETS.join("|");
    // One file system after another would leave the session out: name the places of a user.
    let traces = session.try_run(&format!(
        "grep -rlEs '{pattern}' /home /etc /root /srv /opt /var /tmp /usr/local /run/furoshiki | head -n 20; find /home /etc /var /run/furoshiki -name '*{}*' | head -n 20",
        canary::NAME
    ))?;
    seen.insert("traces", traces.stdout.trim().to_owned());
    seen.insert(
        "homes",
        session.run("ls -A /home | tr '\\n' ' '")?.trim().to_owned(),
    );
    Ok(seen)
}

fn secrets_on(pc: &SharedPc, secrets: &[Needle]) -> Result<Vec<String>> {
    let found = disk::search(pc.disk(), secrets)?;
    Ok(found
        .into_iter()
        .map(|secret| format!("{secret} on the disk of {}", pc.name()))
        .collect())
}

/// What no disk, site or log may ever have: planted strings, PINs, passwords, keys, and names of
/// the tree that a user would recognise.
fn secrets_of(first: &Person, next: &Person, keys: Vec<Needle>) -> Result<Vec<Needle>> {
    let people = [first, next];
    let typed = people
        .iter()
        .flat_map(|person| [person.card.pin.as_str(), person.password.as_str()]);
    let names = [
        "places.sqlite",
        "measurements.csv",
        "global-messages-db",
        "k3x9ab2c.default-release",
    ];
    let texts = canary::SECRETS.into_iter().chain(typed).chain(names);
    let mut secrets = texts.map(Needle::text).collect::<Result<Vec<_>>>()?;
    ensure!(!keys.is_empty(), "the session gave no key to search for");
    secrets.extend(keys);
    Ok(secrets)
}

fn found_at(sites: &[&mut TestSite], secrets: &[Needle]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for site in sites {
        for entry in std::fs::read_dir(&site.data)
            .with_context(|| format!("list {}", site.data.display()))?
        {
            let path = entry.context("list a data folder")?.path();
            // Releases are public, and the baseline has file names of its own.
            if path.file_name().is_some_and(|name| name != "releases") {
                found.extend(disk::search_tree(&path, secrets)?);
            }
        }
    }
    Ok(found)
}

fn found_in_logs(
    sites: &[&mut TestSite],
    desks: &[&Desk],
    secrets: &[Needle],
) -> Result<Vec<String>> {
    let mut logs: Vec<(String, String)> = desks
        .iter()
        .map(|desk| (desk.who.clone(), desk.console.clone()))
        .collect();
    for site in sites {
        logs.push((site.name.clone(), site.log_text()?));
    }
    Ok(logs
        .iter()
        .flat_map(|(whose, log)| {
            let found = secrets.iter().filter(|secret| secret.is_in(log.as_bytes()));
            found.map(move |secret| format!("{} in the log of {whose}", secret.name))
        })
        .collect())
}

fn count(pushed_first: u64, sites: [&mut TestSite; 3]) -> Result<Bytes> {
    let all = |counter: &str| {
        sites
            .iter()
            .map(|site| site.counter(counter))
            .sum::<Result<u64>>()
    };
    let pushed = all(PUSHED)?;
    let others = u64::try_from(sites.len() - 1).context("a few sites")?;
    let [_, _, unchosen] = &sites;
    Ok(Bytes {
        pushed_first,
        pushed,
        relayed: all(RELAYED)?,
        full_mirroring: pushed * others,
        unchosen: unchosen.counter(PUSHED)?
            + unchosen.counter(RELAYED)?
            + unchosen.counter(STORED)?,
        unchosen_records: unchosen.counter(RECORDS)?,
    })
}

fn sites_without(release: &Release, sites: &[&mut TestSite]) -> Result<Vec<String>> {
    let mut without = Vec::new();
    for site in sites {
        let listed = site.get("/v1/releases")?;
        if !(listed.contains(&release.baseline) && listed.contains("build_timestamp")) {
            without.push(site.name.clone());
        }
    }
    Ok(without)
}

fn wait_until(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Deadline::after(SITES);
    while !done()? {
        if deadline.passed() {
            bail!("{what} did not arrive within {} s", SITES.as_secs());
        }
        wait::pause(deadline)?;
    }
    Ok(())
}
