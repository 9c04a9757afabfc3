//! The program killed at random moments of a load of pushes, commits and relays, on every store there is.
//!
//! After each kill `check` finds nothing wrong, and every commit and relay that was acknowledged is there. The moments
//! come from a seed, which is printed; `FUROSHIKI_SEED` repeats it.

use std::{
    io::{BufRead as _, BufReader},
    net::Ipv4Addr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{Method, StatusCode};
use serde::{Serialize, de::DeserializeOwned};
use site_api::{
    Head, PutHead, SignIn, SignInChallenge, SignInChallengeRequest, Transfer, TransferState, path,
};
use site_server::{
    admin,
    config::{Layout, SiteConfig},
    init::{Init, init},
    operate::{Show, check},
    store::{DatabaseConfig, ObjectsConfig, Store},
};
use snapshot::{
    id::{BaselineId, ObjectId, RecordId},
    record::SignedRecord,
};

use crate::{
    bucket::Cluster,
    patient::Client,
    postgres::Postgres,
    support::{Person, answer, random, random_bytes, register},
    world::{browser, eventually},
};

/// Kills on each store: in a thorough run, and otherwise.
const KILLS: (u32, u32) = (100, 4);
const PORT: u16 = 8443;

/// Numbers from a seed: splitmix64, <https://prng.di.unimi.it/splitmix64.c>.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new() -> Self {
        let seed = std::env::var("FUROSHIKI_SEED")
            .ok()
            .and_then(|text| text.parse().ok());
        let seed = seed.unwrap_or_else(|| u64::from_le_bytes(random()));
        println!("FUROSHIKI_SEED={seed}");
        Self(seed)
    }

    /// From the seed of all tests of this process, and for one of its threads.
    pub(crate) fn of(name: &str) -> Self {
        let seed = std::env::var(crate::balance::SEED).unwrap_or_default();
        let both = blake3::hash(format!("{seed} {name}").as_bytes());
        let first = both.as_bytes().first_chunk().unwrap();
        Self(u64::from_le_bytes(*first))
    }

    pub(crate) fn between(&mut self, (from, to): (u64, u64)) -> u64 {
        from + self.below(to - from)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// A site as a process, at an address of its own.
struct Site {
    layout: Layout,
    address: Ipv4Addr,
    client: Client,
    server: Option<Child>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Site {
    async fn new(
        dir: &Path,
        name: &str,
        (database, objects): (DatabaseConfig, ObjectsConfig),
    ) -> Self {
        let [a, b, c] = random::<3>();
        let address = Ipv4Addr::new(127, a, b, c.clamp(1, 254));
        let data = dir.join(name);
        let told = Init {
            data: data.clone(),
            name: name.into(),
            url: format!("https://{address}:{PORT}"),
            also_names: Vec::new(),
            ca: dir.join("ca"),
            release_key: None,
            database,
            objects,
        };
        let mut config = init(&told).await.unwrap();
        let layout = Layout::new(&data);
        // Every acknowledged commit is to be there, not only those of the last days.
        config.retention.newest = u32::MAX;
        config.save(&layout).unwrap();
        Self {
            client: browser(&layout.ca()),
            layout,
            address,
            server: None,
        }
    }

    fn url(&self) -> String {
        format!("https://{}:{PORT}", self.address)
    }

    /// Does not wait until it listens.
    fn spawn(&mut self) {
        if self.server.is_none() {
            let log = std::fs::File::options()
                .create(true)
                .append(true)
                .open(self.layout.root().with_extension("log"));
            let server = Command::new("setpriv")
                .args(["--pdeathsig", "KILL"])
                .arg(env!("CARGO_BIN_EXE_furoshiki-site"))
                .args([
                    "serve",
                    "--listen",
                    &format!("{}:{PORT}", self.address),
                    "--data",
                ])
                .arg(self.layout.root())
                .stdout(Stdio::piped())
                .stderr(log.unwrap())
                .spawn();
            self.server = Some(server.unwrap());
        }
    }

    /// Waits until it listens.
    async fn listens(&mut self) {
        let Some(said) = self.server.as_mut().and_then(|server| server.stdout.take()) else {
            return;
        };
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(said).read_line(&mut line).unwrap();
            line
        });
        let log = std::fs::read_to_string(self.layout.root().with_extension("log"));
        assert!(
            line.await.unwrap().starts_with("listening"),
            "{}",
            log.unwrap()
        );
    }

    fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        (method, at): (Method, &str),
        token: &str,
        body: &impl Serialize,
    ) -> Option<(StatusCode, Option<T>)> {
        let request = self
            .client
            .request(method, self.url() + at)
            .bearer_auth(token);
        let request = request.timeout(Duration::from_secs(30));
        let response = request.json(body).send().await.ok()?;
        let status = response.status();
        Some((
            status,
            serde_json::from_slice(&response.bytes().await.ok()?).ok(),
        ))
    }

    /// `None`: the server went, or does not know the person yet.
    async fn sign_in(&self, person: &Person) -> Option<String> {
        let ask = SignInChallengeRequest {
            card: person.card.id,
            baseline: BaselineId::new([7; 32]),
        };
        let at = (Method::POST, path::SIGN_IN_CHALLENGE);
        let asked: SignInChallenge = self.ask(at, "", &ask).await?.1?;
        let answer = answer(&person.card, &asked, &person.name, &person.password);
        let signed_in: SignIn = self
            .ask((Method::POST, path::SIGN_IN), "", &answer)
            .await?
            .1?;
        Some(signed_in.token)
    }
}

/// What was acknowledged.
#[derive(Default)]
struct Acknowledged {
    commits: Mutex<Vec<RecordId>>,
    relays: Mutex<Vec<RecordId>>,
}

/// Saves one snapshot after the other until the server goes or `stop`.
async fn pushes(
    site: &Site,
    person: &Person,
    done: &Acknowledged,
    stop: &AtomicBool,
) -> Option<()> {
    let token = site.sign_in(person).await?;
    let (_, head): (_, Option<Head>) = site.ask((Method::GET, path::HEAD), &token, &()).await?;
    let mut last = head.map(|head| (head.info.seq, head.info.record));
    while !stop.load(Ordering::Relaxed) {
        let objects: Vec<_> = (0..2).map(|n| random_bytes(20_000 + n * 150_000)).collect();
        let seq = last.map_or(1, |(seq, _)| seq + 1);
        let previous = last.map(|(_, record)| record);
        let record: SignedRecord = person.record(seq, previous, &objects);
        for bytes in objects {
            let at = site.url() + &path::object(ObjectId::of(&bytes));
            let put = site
                .client
                .put(at)
                .bearer_auth(&token)
                .body(bytes)
                .send()
                .await
                .ok()?;
            assert!(put.status().is_success(), "{put:?}");
        }
        let put = PutHead {
            expected: previous,
            record_b64: STANDARD.encode(record.as_bytes()),
            pc: "pc-1".into(),
        };
        let (status, _): (_, Option<Head>) =
            site.ask((Method::PUT, path::HEAD), &token, &put).await?;
        assert_eq!(status, StatusCode::CREATED);
        done.commits.lock().unwrap().push(record.id());
        last = Some((seq, record.id()));
    }
    Some(())
}

/// Has the newest snapshot brought over, again and again.
async fn relays(
    site: &Site,
    person: &Person,
    done: &Acknowledged,
    stop: &AtomicBool,
) -> Option<()> {
    let token = site.sign_in(person).await?;
    while !stop.load(Ordering::Relaxed) {
        let at = (Method::POST, path::HEAD_FETCH);
        let (_, transfer): (_, Option<Transfer>) = site.ask(at, &token, &()).await?;
        if let Some(transfer) = transfer.filter(|transfer| transfer.state == TransferState::Done) {
            done.relays.lock().unwrap().push(transfer.record);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Some(())
}

/// Nothing is wrong at a site, and all of `acknowledged` is there.
async fn whole(site: &Site, person: &Person, acknowledged: &[RecordId]) {
    let report = check(site.layout.root(), false, Show::Nothing)
        .await
        .unwrap();
    assert!(report.faults.is_empty(), "{report}");
    let config = SiteConfig::load(&site.layout).unwrap();
    let store = Store::open(site.layout.clone(), &config.database, &config.objects);
    let store = store.await.unwrap();
    for record in acknowledged {
        let kept = store.record(person.user, *record).await.unwrap();
        assert!(kept.is_some(), "acknowledged, and gone: {record}");
    }
    store.close().await;
}

async fn killed_at_random_moments(homes: [(DatabaseConfig, ObjectsConfig); 2]) {
    let thorough = std::env::var_os("FUROSHIKI_THOROUGH").is_some();
    let kills = if thorough { KILLS.0 } else { KILLS.1 };
    let mut dice = Dice::new();
    let dir = tempfile::tempdir().unwrap();
    let [near, far] = homes;
    let mut near = Site::new(dir.path(), "near", near).await;
    let mut far = Site::new(dir.path(), "far", far).await;
    for (at, of) in [(&near, &far), (&far, &near)] {
        let id = SiteConfig::load(&of.layout).unwrap().site;
        admin::site_add(at.layout.root(), id, "other", &of.url())
            .await
            .unwrap();
    }
    let people = [Person::new("hanako"), Person::new("taro")];
    let done = [Acknowledged::default(), Acknowledged::default()];
    for person in &people {
        register(near.layout.root(), person).await;
    }
    for n in 0..kills {
        near.spawn();
        far.spawn();
        // Now and then while it starts: it cleans up what the last one left.
        if n == 0 || dice.below(5) > 0 {
            near.listens().await;
            far.listens().await;
        }
        let victim = dice.below(3);
        let moment = Duration::from_millis(dice.below(if thorough { 1500 } else { 900 }));
        let stop = AtomicBool::new(false);
        // Both are killed by their numbers: the load borrows them.
        let pids: Vec<_> = [&near, &far]
            .into_iter()
            .enumerate()
            .filter(|(n, _)| victim == 2 || victim == *n as u64)
            .map(|(_, site)| rustix::process::Pid::from_child(site.server.as_ref().unwrap()))
            .collect();
        let load = async {
            let of = |n: usize| {
                let (person, done) = (&people[n], &done[n]);
                let (near, far, stop) = (&near, &far, &stop);
                futures_util::future::join(
                    pushes(near, person, done, stop),
                    relays(far, person, done, stop),
                )
            };
            futures_util::future::join(of(0), of(1)).await
        };
        let killer = async {
            tokio::time::sleep(moment).await;
            for pid in &pids {
                rustix::process::kill_process(*pid, rustix::process::Signal::KILL).unwrap();
            }
            stop.store(true, Ordering::Relaxed);
        };
        futures_util::future::join(load, killer).await;
        if victim != 1 {
            near.kill();
        }
        if victim != 0 {
            far.kill();
        }
        for (person, done) in people.iter().zip(&done) {
            let commits = done.commits.lock().unwrap().clone();
            let relays = done.relays.lock().unwrap().clone();
            whole(&near, person, &commits).await;
            whole(&far, person, &relays).await;
        }
    }
    near.spawn();
    far.spawn();
    near.listens().await;
    far.listens().await;
    // It works on, and what was saved last arrives at the other site.
    for (person, done) in people.iter().zip(&done) {
        let stop = AtomicBool::new(false);
        let one = async {
            let before = done.commits.lock().unwrap().len();
            eventually("a commit", async || {
                done.commits.lock().unwrap().len() > before
            })
            .await;
            stop.store(true, Ordering::Relaxed);
        };
        futures_util::future::join(pushes(&near, person, done, &stop), one).await;
        let last = *done.commits.lock().unwrap().last().unwrap();
        eventually("the last snapshot is at the other site", async || {
            let Some(token) = far.sign_in(person).await else {
                return false;
            };
            let at = (Method::POST, path::HEAD_FETCH);
            let answer = far.ask::<Transfer>(at, &token, &()).await;
            let transfer = answer.and_then(|(_, transfer)| transfer);
            transfer.is_some_and(|t| t.record == last && t.state == TransferState::Done)
        })
        .await;
        whole(&far, person, &[last]).await;
    }
    let count = |of: fn(&Acknowledged) -> usize| done.iter().map(of).sum::<usize>();
    println!(
        "{kills} kills, {} commits and {} relays acknowledged",
        count(|done| done.commits.lock().unwrap().len()),
        count(|done| done.relays.lock().unwrap().len()),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_nothing_on_sqlite_and_files() {
    let home = || (DatabaseConfig::default(), ObjectsConfig::default());
    killed_at_random_moments([home(), home()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_nothing_on_postgresql_and_files() {
    let postgres = Postgres::start();
    let home = async || (postgres.database().await, ObjectsConfig::default());
    killed_at_random_moments([home().await, home().await]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_nothing_on_postgresql_and_s3() {
    let postgres = Postgres::start();
    let cluster = Cluster::start().await;
    let home = async || (postgres.database().await, cluster.bucket().await);
    killed_at_random_moments([home().await, home().await]).await;
}
