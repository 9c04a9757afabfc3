//! A site beside nginx and restic's rest-server: what a gigabyte costs each of them, one after the other in every round;
//! then a boot storm.
//!
//! Only the servers' processors count ([`servers`]); the client is the same for all ([`load`]) and not counted.

pub mod load;
pub mod servers;
pub mod storm;

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use self::load::Target;
use self::servers::{Object, Server, Servers, Wire};
use super::{Arguments, Figures, Unit};
use crate::place;

/// Connections that read.
const READERS: usize = 16;
/// Connections that write.
const WRITERS: usize = 8;
/// How long each is asked at scale 1.
const TURN: Duration = Duration::from_millis(2500);
/// Length of a pack that is put.
const PACK_BYTES: usize = 8 << 20;
/// Packs each takes in a round at scale 1.
const PACKS: f64 = 48.0;
/// Objects of a length: none of the servers keeps bytes of its own, so a set need only be larger than a processor's cache.
const SETS: [(&str, usize, usize); 3] = [
    ("64k", 64 << 10, 1024),
    ("1m", 1 << 20, 96),
    ("16m", 16 << 20, 8),
];

/// Options of this room.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Options {
    /// Only the boot storm.
    #[arg(long, conflicts_with = "no_storm")]
    pub storm: bool,
    /// Everything but the boot storm.
    #[arg(long)]
    pub no_storm: bool,
    /// Only these figures, for instance `get.plain.64k`.
    #[arg(long, value_name = "FIGURE", conflicts_with = "storm")]
    pub only: Vec<String>,
    /// PCs of the storm.
    #[arg(long, default_value_t = 300)]
    pub pcs: u32,
}

/// Measures.
///
/// # Errors
/// A server does not start or answers wrongly.
pub fn measure(arguments: &Arguments) -> Result<Figures> {
    let folder = place::target().join("bench-site");
    let scale = arguments.scale.unwrap_or(1.0);
    let mut figures = Figures::new("site", None);
    if !arguments.site.storm {
        let servers = Servers::start(&folder)?;
        let runs = arguments.runs.unwrap_or(5).max(1);
        let only = &arguments.site.only;
        beside(&servers, (scale, arguments.seed, runs), only, &mut figures)?;
    }
    if !arguments.site.no_storm && arguments.site.only.is_empty() {
        storm::measure(&folder, arguments.site.pcs, scale, &mut figures)?;
    }
    // Gigabytes that nobody needs any more.
    std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    Ok(figures)
}

/// One server asked for one figure.
#[derive(Debug, Clone, Copy)]
struct Turn {
    /// Place in [`SETS`]; `None`: packs are put.
    set: Option<usize>,
    wire: Wire,
    server: Server,
}

fn beside(
    servers: &Servers,
    (scale, seed, runs): (f64, u64, u32),
    only: &[String],
    figures: &mut Figures,
) -> Result<()> {
    let all = [Server::Site, Server::Nginx, Server::Rest];
    let mut turns = Vec::new();
    for server in all {
        for set in 0..SETS.len() {
            for wire in [Wire::Plain, Wire::Tls] {
                turns.push(Turn {
                    set: Some(set),
                    wire,
                    server,
                });
            }
        }
        turns.push(Turn {
            set: None,
            wire: Wire::Plain,
            server,
        });
    }
    turns.retain(|turn| only.is_empty() || only.contains(&turn.figure()));
    ensure!(
        !turns.is_empty(),
        "no figure has the name {}",
        only.join(", ")
    );
    let sets: Vec<Vec<Object>> = SETS
        .iter()
        .map(|(name, bytes, count)| {
            eprintln!("bench: {count} objects of {name}");
            (0..*count)
                .map(|n| servers.put(&content(seed, *bytes, n)))
                .collect()
        })
        .collect::<Result<_>>()?;
    for set in &sets {
        verify(servers, set)?;
    }
    let packs = whole(PACKS * scale).max(WRITERS as u64);
    for run in 0..runs {
        let mut order: Vec<usize> = (0..turns.len()).collect();
        shuffle(&mut order, seed, run);
        let mut costs = vec![0; turns.len()];
        for at in order {
            let (Some(turn), Some(cost)) = (turns.get(at), costs.get_mut(at)) else {
                continue;
            };
            *cost = match turn.set.and_then(|set| sets.get(set)) {
                Some(set) => get(servers, turn, set, TURN.mul_f64(scale.clamp(0.1, 4.0)))?,
                None => put(servers, turn.server, (seed, run), packs)?,
            };
            eprintln!(
                "bench: round {} of {runs}: {:<28} {:>8.3} CPU s/GB",
                run + 1,
                turn.name(),
                seconds(*cost)
            );
        }
        for (turn, ours) in turns.iter().zip(&costs) {
            if turn.server != Server::Site {
                continue;
            }
            for (other, theirs) in turns.iter().zip(&costs) {
                if other.server != Server::Site && other.set == turn.set && other.wire == turn.wire
                {
                    let figure = turn.figure();
                    figures.compared(&figure, other.server.name(), Unit::CpuPerGb, *ours, *theirs);
                }
            }
        }
    }
    Ok(())
}

impl Turn {
    fn figure(&self) -> String {
        let wire = match self.wire {
            Wire::Plain => "plain",
            Wire::Tls => "tls",
        };
        let set = self.set.and_then(|set| SETS.get(set));
        set.map_or_else(
            || "put.8m".to_owned(),
            |(name, ..)| format!("get.{wire}.{name}"),
        )
    }

    fn name(&self) -> String {
        format!("{} {}", self.figure(), self.server.name())
    }
}

/// Every server sends every object as it is.
fn verify(servers: &Servers, set: &[Object]) -> Result<()> {
    for server in [Server::Site, Server::Nginx, Server::Rest] {
        for wire in [Wire::Plain, Wire::Tls] {
            let mut line = servers.target(server, wire)?.connect()?;
            for object in set {
                let mut body = Vec::new();
                let path = object.path(server);
                let answer = line.get(&path, |piece| body.extend_from_slice(piece))?;
                ensure!(
                    answer.status == 200,
                    "{}: {path}: {}",
                    server.name(),
                    answer.status
                );
                ensure!(
                    Object::of(&body).path(server) == path,
                    "{}: other bytes",
                    server.name()
                );
            }
        }
    }
    Ok(())
}

/// Microseconds of CPU for a gigabyte that a server sends.
fn get(servers: &Servers, turn: &Turn, set: &[Object], time: Duration) -> Result<u64> {
    let target = servers.target(turn.server, turn.wire)?;
    let paths: Vec<String> = set.iter().map(|object| object.path(turn.server)).collect();
    let (bytes, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let ready = Barrier::new(READERS + 1);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|reader| {
                let (paths, bytes, target, ready, failed) =
                    (&paths, &bytes, &target, &ready, &failed);
                scope.spawn(move || {
                    let line = target.connect().and_then(|mut line| {
                        // The handshake belongs to no byte.
                        let first = paths.first().context("no object")?;
                        line.get(first, |_| ())?;
                        Ok(line)
                    });
                    ready.wait();
                    ready.wait();
                    let read = line.and_then(|mut line| {
                        let until = Instant::now() + time;
                        // Readers begin at different places of the set.
                        let from = reader * paths.len() / READERS;
                        for path in paths.iter().cycle().skip(from) {
                            if Instant::now() >= until {
                                break;
                            }
                            let answer = line.get(path, |_| ())?;
                            ensure!(answer.status == 200, "{path}: {}", answer.status);
                            bytes.fetch_add(answer.bytes, Ordering::Relaxed);
                        }
                        Ok(())
                    });
                    if read.is_err() {
                        failed.store(true, Ordering::Relaxed);
                    }
                    read
                })
            })
            .collect();
        ready.wait();
        let before = servers.cpu(turn.server)?;
        ready.wait();
        for reader in readers {
            reader
                .join()
                .map_err(|_| anyhow::anyhow!("a reader panicked"))??;
        }
        cost(
            servers.cpu(turn.server)?.saturating_sub(before),
            bytes.load(Ordering::Relaxed),
        )
    })
}

/// Microseconds of CPU for a gigabyte that a server takes.
fn put(servers: &Servers, server: Server, (seed, run): (u64, u32), packs: u64) -> Result<u64> {
    let target: Target = servers.target(server, Wire::Plain)?;
    let before = servers.cpu(server)?;
    let objects = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let target = &target;
                scope.spawn(move || -> Result<Vec<Object>> {
                    let mut line = target.connect()?;
                    let mut bytes = content(seed, PACK_BYTES, writer);
                    let mut done = Vec::new();
                    for pack in (writer as u64..packs).step_by(WRITERS) {
                        // Another pack every time, for whoever knows it by its hash.
                        let mark = format!("{run} {pack} {}", server.name());
                        if let Some(room) = bytes.get_mut(..mark.len()) {
                            room.copy_from_slice(mark.as_bytes());
                        }
                        let object = Object::of(&bytes);
                        let method = if server == Server::Rest {
                            "POST"
                        } else {
                            "PUT"
                        };
                        let answer = line.send(method, &object.path(server), &bytes)?;
                        ensure!(
                            matches!(answer.status, 200 | 201),
                            "{}: {}",
                            server.name(),
                            answer.status
                        );
                        done.push(object);
                    }
                    Ok(done)
                })
            })
            .collect();
        let mut objects = Vec::new();
        for writer in writers {
            let done = writer
                .join()
                .map_err(|_| anyhow::anyhow!("a writer panicked"))??;
            objects.extend(done);
        }
        anyhow::Ok(objects)
    })?;
    let used = servers.cpu(server)?.saturating_sub(before);
    servers.forget(&objects)?;
    cost(used, objects.len() as u64 * PACK_BYTES as u64)
}

fn cost(used: Duration, bytes: u64) -> Result<u64> {
    let nanoseconds = u128::from(u64::try_from(used.as_nanos())?);
    // Nanoseconds for a megabyte are microseconds for a gigabyte.
    let each = (nanoseconds * 1_000_000).checked_div(u128::from(bytes));
    Ok(u64::try_from(each.context("nothing moved")?)?)
}

fn seconds(microseconds: u64) -> f64 {
    Duration::from_micros(microseconds).as_secs_f64()
}

/// The whole part; of nothing negative.
#[must_use]
pub fn whole(value: f64) -> u64 {
    Duration::from_secs_f64(value.max(0.0)).as_secs()
}

/// Bytes that do not compress, the same for the same seed.
#[must_use]
pub fn content(seed: u64, bytes: usize, number: usize) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new_derive_key("furoshiki bench site v1");
    hasher.update(&seed.to_le_bytes());
    hasher.update(&(bytes as u64).to_le_bytes());
    hasher.update(&(number as u64).to_le_bytes());
    let mut content = vec![0; bytes];
    hasher.finalize_xof().fill(&mut content);
    content
}

fn shuffle(order: &mut [usize], seed: u64, run: u32) {
    let rank = |at: &usize| {
        let mut hasher = blake3::Hasher::new_derive_key("furoshiki bench order v1");
        hasher.update(&seed.to_le_bytes());
        hasher.update(&run.to_le_bytes());
        hasher.update(&(*at as u64).to_le_bytes());
        *hasher.finalize().as_bytes()
    };
    order.sort_by_key(rank);
}
