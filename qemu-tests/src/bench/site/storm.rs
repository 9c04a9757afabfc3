//! A boot storm: every PC of a school is switched on at once, and each fetches a user's environment.
//!
//! Each PC is a user with a token of its own at an address of its own, over TLS. While they fetch, somebody else asks for
//! something small, fifty times a second, as a sign-in would. A PC that is told to come later does so; anything else but
//! the whole object is a failure.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::content;
use super::load::{Line, Target, trusting};
use super::servers::{Object, bearer, people};
use crate::bench::figures::{self, Figures, Unit};
use crate::place;
use crate::site::TestSite;

/// What each PC fetches at scale 1.
const EACH_BYTES: f64 = 256e6;
/// Length of its packs.
const PACK_BYTES: usize = 8 << 20;
/// Length of what is asked for meanwhile.
const SMALL_BYTES: usize = 16 << 10;
/// Between two of those questions.
const PAUSE: Duration = Duration::from_millis(20);
/// Between two looks at the memory of the site.
const LOOK: Duration = Duration::from_millis(100);
/// How much less a PC's thread counts than the site's: in life it has a machine of its own.
const NICE: i32 = 10;
/// Most memory above idle, and longest time for most small requests.
const MEMORY_LIMIT: u64 = 128 << 20;
const SMALL_LIMIT_MS: u64 = 100;
/// Slowest PC by the one in the middle, in percent.
const SLOWEST_LIMIT: u64 = 200;
/// Stack of a PC's thread.
const STACK_BYTES: usize = 256 << 10;

/// What a PC saw.
#[derive(Debug)]
struct Seen {
    took: Duration,
    later: u64,
}

/// Lets the storm come.
///
/// # Errors
/// The site cannot be made.
#[allow(
    clippy::disallowed_methods,
    reason = "pauses are part of the load, as PCs make them"
)]
pub fn measure(folder: &Path, pcs: u32, scale: f64, figures: &mut Figures) -> Result<()> {
    place::fresh(folder)?;
    let mut site = TestSite::start_alone(folder, "storm")?;
    eprintln!("bench: {pcs} users");
    let mut tokens = people(&site, pcs + 1)?;
    let address = std::net::SocketAddrV4::new(Ipv4Addr::LOCALHOST, site.port());
    let tls = trusting(site.ca())?;
    let target = |token: &str| Target {
        address,
        tls: Some(tls.clone()),
        headers: bearer(token),
    };
    let other = target(&tokens.pop().context("no user")?);
    let targets: Vec<Target> = tokens.iter().map(|token| target(token)).collect();
    eprintln!("bench: a pack for each");
    let packs: Vec<Object> = targets
        .iter()
        .enumerate()
        .map(|(n, target)| put(target, &content(2, PACK_BYTES, n)))
        .collect::<Result<_>>()?;
    let small = put(&other, &content(2, SMALL_BYTES, 0))?;
    // What registering and storing left in its memory is not what a site has in the morning.
    site.kill();
    site.serve()?;
    let rounds = super::whole(EACH_BYTES * scale / PACK_BYTES as f64).max(1);

    let process = site.process_id()?;
    other.connect()?.get("/v1/site", |_| ())?;
    let idle = anonymous(process)?;
    let (over, most) = (AtomicBool::new(false), AtomicU64::new(0));
    let failed = AtomicU64::new(0);
    let start = Arc::new(Barrier::new(targets.len() + 1));
    let begun = Instant::now();
    let (seen, mut waits) = thread::scope(|scope| {
        let watch = scope.spawn(|| -> Result<()> {
            while !over.load(Ordering::Relaxed) {
                most.fetch_max(anonymous(process)?, Ordering::Relaxed);
                thread::sleep(LOOK);
            }
            Ok(())
        });
        let asking = scope.spawn(|| ask(&other, &small, &over));
        let mut threads = Vec::new();
        for (n, (target, pack)) in targets.iter().zip(&packs).enumerate() {
            let (start, failed) = (start.clone(), &failed);
            let pc = move || {
                // Less than the site's share of this machine; without it the storm is only harder.
                let _ = rustix::process::nice(NICE);
                start.wait();
                let seen = pc(target, pack, n, rounds);
                if let Err(error) = &seen {
                    failed.fetch_add(1, Ordering::Relaxed);
                    eprintln!("bench: PC {n}: {error:#}");
                }
                seen.ok()
            };
            let builder = thread::Builder::new().stack_size(STACK_BYTES);
            threads.push(builder.spawn_scoped(scope, pc).context("start a PC")?);
        }
        start.wait();
        let mut seen: Vec<Seen> = threads
            .into_iter()
            .filter_map(|pc| pc.join().ok().flatten())
            .collect();
        over.store(true, Ordering::Relaxed);
        seen.sort_by_key(|one| one.took);
        let waits = asking
            .join()
            .map_err(|_| anyhow::anyhow!("who asks panicked"))?;
        watch
            .join()
            .map_err(|_| anyhow::anyhow!("who looks panicked"))??;
        anyhow::Ok((seen, waits))
    })?;
    let took = begun.elapsed();
    let (waits, lost) = (&mut waits.0, waits.1);
    waits.sort_unstable();

    let middle = seen.get(seen.len() / 2).context("no PC came through")?;
    let slowest = seen.last().context("no PC came through")?;
    let later: u64 = seen.iter().map(|one| one.later).sum();
    let bytes = u64::from(pcs) * rounds * PACK_BYTES as u64;
    println!(
        "Storm: {pcs} PCs fetched {} MB in {:.1} s; half of them within {:.1} s, the last after {:.1} s; {later} answers were \"later\"; {} small requests, {lost} lost.",
        bytes / 1_000_000,
        took.as_secs_f64(),
        middle.took.as_secs_f64(),
        slowest.took.as_secs_f64(),
        waits.len(),
    );
    let p99 = waits
        .get(waits.len() * 99 / 100)
        .copied()
        .unwrap_or_default();
    let ratio = slowest.took.as_millis() * 100 / middle.took.as_millis().max(1);
    let failures = failed.load(Ordering::Relaxed) + lost;
    let above = most.load(Ordering::Relaxed).saturating_sub(idle);
    figures.compared("storm.failures", "limit", Unit::Count, failures, 0);
    figures.compared("storm.memory", "limit", Unit::Bytes, above, MEMORY_LIMIT);
    let ratio = u64::try_from(ratio).unwrap_or(u64::MAX);
    figures.compared(
        "storm.slowest",
        "limit",
        Unit::Percent,
        ratio,
        SLOWEST_LIMIT,
    );
    figures.compared(
        "storm.hot_p99",
        "limit",
        Unit::Ms,
        figures::ms(p99),
        SMALL_LIMIT_MS,
    );
    Ok(())
}

fn put(target: &Target, bytes: &[u8]) -> Result<Object> {
    use super::servers::Server;
    let object = Object::of(bytes);
    let answer = target
        .connect()?
        .send("PUT", &object.path(Server::Site), bytes)?;
    ensure!(
        answer.status == 201,
        "the site answers a PUT with {}",
        answer.status
    );
    Ok(object)
}

/// One PC: fetches its pack again and again; comes later when it is told to.
#[allow(
    clippy::disallowed_methods,
    reason = "pauses are part of the load, as PCs make them"
)]
fn pc(target: &Target, pack: &Object, n: usize, rounds: u64) -> Result<Seen> {
    use super::servers::Server;
    let begun = Instant::now();
    let [high, low] = u16::try_from(n + 1).unwrap_or(u16::MAX).to_be_bytes();
    let mut line = target.connect_from(Ipv4Addr::new(127, 1, high, low))?;
    let (path, mut later, mut first) = (pack.path(Server::Site), 0, true);
    for _ in 0..rounds {
        loop {
            let mut hash = first.then(blake3::Hasher::new);
            let answer = line.get(&path, |piece| {
                if let Some(hash) = &mut hash {
                    hash.update(piece);
                }
            })?;
            match (answer.status, answer.retry_after) {
                (200, _) => {
                    ensure!(
                        answer.bytes == PACK_BYTES as u64,
                        "{} bytes came",
                        answer.bytes
                    );
                    let name = hash.map(|hash| hash.finalize().to_hex().to_string());
                    ensure!(
                        name.is_none_or(|name| path.ends_with(&name)),
                        "other bytes came"
                    );
                    first = false;
                    break;
                }
                (429 | 503, Some(wait)) => {
                    later += 1;
                    thread::sleep(wait);
                }
                (status, _) => bail!("the site answers with {status}"),
            }
        }
    }
    Ok(Seen {
        took: begun.elapsed(),
        later,
    })
}

/// Asks for something small until the storm is over; how long each answer took, and how many failed.
#[allow(
    clippy::disallowed_methods,
    reason = "pauses are part of the load, as PCs make them"
)]
fn ask(target: &Target, small: &Object, over: &AtomicBool) -> (Vec<Duration>, u64) {
    use super::servers::Server;
    let path = small.path(Server::Site);
    let (mut waits, mut lost) = (Vec::new(), 0);
    let mut line: Option<Line> = None;
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let answer = match line.take() {
            Some(line) => Ok(line),
            None => target.connect(),
        };
        let answer = answer.and_then(|mut open| {
            let answer = open.get(&path, |_| ())?;
            ensure!(
                answer.status == 200,
                "the site answers with {}",
                answer.status
            );
            line = Some(open);
            Ok(())
        });
        match answer {
            Ok(()) => waits.push(begun.elapsed()),
            Err(error) => {
                lost += 1;
                eprintln!("bench: a small request: {error:#}");
            }
        }
        thread::sleep(PAUSE);
    }
    (waits, lost)
}

/// Memory of a process that is nobody's file, in bytes.
fn anonymous(process: u32) -> Result<u64> {
    let path = format!("/proc/{process}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kib.with_context(|| format!("no RssAnon in {path}"))? << 10)
}
