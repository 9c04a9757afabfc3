//! Several servers of one site: nothing that was acknowledged is lost when one of anything dies.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use crate::{
    balance::{Balancer, Server, replica_of},
    bucket::Cluster,
    patient::Client,
    postgres::Postgres,
    support::{Person, answer, random_bytes, register},
    world::{World, browser, eventually},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{Method, StatusCode};
use site_api::{
    Head, PutHead, SignIn, SignInChallenge, SignInChallengeRequest, TransferState, path,
};
use site_server::{
    admin,
    config::{Layout, SiteConfig},
    init::{Init, init},
    retention::Retention,
    store::Store,
};
use snapshot::{
    id::{BaselineId, ObjectId},
    record::SignedRecord,
};

/// Everybody saves so many snapshots after each thing that dies.
fn saves() -> usize {
    if std::env::var_os("FUROSHIKI_THOROUGH").is_some() {
        60
    } else {
        5
    }
}
const PEOPLE: usize = 3;
/// How long one save may take, however often it is tried.
const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody who saves again and again, and tries again as a PC does.
struct Saver {
    person: Person,
    client: Client,
    url: String,
    token: Option<String>,
    /// Acknowledged, in order.
    saved: Vec<(SignedRecord, Vec<Vec<u8>>)>,
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

impl Saver {
    async fn ask(
        &mut self,
        method: Method,
        at: &str,
        body: impl Into<reqwest::Body>,
    ) -> Result<reqwest::Response, Failed> {
        let mut request = self.client.request(method, self.url.clone() + at);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let request = request
            .header("content-type", "application/json")
            .timeout(Duration::from_secs(10))
            .body(body);
        let answer = request.send().await?;
        match answer.status() {
            status if status.is_success() => Ok(answer),
            StatusCode::UNAUTHORIZED => {
                self.token = None;
                Err("signed out".into())
            }
            StatusCode::PRECONDITION_FAILED => {
                panic!("an acknowledged save is gone: {}", answer.text().await?)
            }
            status => Err(format!("{status} {}", answer.text().await?).into()),
        }
    }

    async fn sign_in(&mut self) -> Result<(), Failed> {
        let asked = SignInChallengeRequest {
            card: self.person.card.id,
            baseline: BaselineId::new([7; 32]),
        };
        let body = serde_json::to_vec(&asked)?;
        let asked: SignInChallenge = self
            .ask(Method::POST, path::SIGN_IN_CHALLENGE, body)
            .await?
            .json()
            .await?;
        let person = &self.person;
        let answered = answer(&person.card, &asked, &person.name, &person.password);
        let body = serde_json::to_vec(&answered)?;
        let signed_in: SignIn = self
            .ask(Method::POST, path::SIGN_IN, body)
            .await?
            .json()
            .await?;
        self.token = Some(signed_in.token);
        Ok(())
    }

    async fn push(&mut self, record: &SignedRecord, objects: &[Vec<u8>]) -> Result<(), Failed> {
        if self.token.is_none() {
            self.sign_in().await?;
        }
        for bytes in objects {
            let at = path::object(ObjectId::of(bytes));
            self.ask(Method::PUT, &at, bytes.clone()).await?;
        }
        let put = PutHead {
            expected: self.saved.last().map(|(record, _)| record.id()),
            record_b64: STANDARD.encode(record.as_bytes()),
            pc: "pc-1".into(),
        };
        let body = serde_json::to_vec(&put)?;
        self.ask(Method::PUT, path::HEAD, body).await.map(drop)
    }

    /// Saves until it is acknowledged; how many tries failed.
    async fn save(&mut self) -> usize {
        let objects: Vec<_> = (0..2).map(|_| random_bytes(100_000)).collect();
        let previous = self.saved.last().map(|(record, _)| record.id());
        let seq = self.saved.len() as u64 + 1;
        let record = self.person.record(seq, previous, &objects);
        let until = Instant::now() + PATIENCE;
        let mut failed = 0;
        while let Err(error) = self.push(&record, &objects).await {
            failed += 1;
            assert!(
                Instant::now() < until,
                "no save within {PATIENCE:?}: {error}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.saved.push((record, objects));
        failed
    }
}

/// Everybody saves while `dies` happens, and then some more.
async fn everybody_saves(what: &str, savers: &mut [Saver], dies: impl Future<Output = ()>) {
    let begun = Instant::now();
    let happened = AtomicBool::new(false);
    let failed = AtomicUsize::new(0);
    let saving = savers.iter_mut().map(async |saver| {
        let mut after = 0;
        while after < saves() {
            after += usize::from(happened.load(Ordering::Relaxed));
            failed.fetch_add(saver.save().await, Ordering::Relaxed);
        }
    });
    let dying = async {
        dies.await;
        happened.store(true, Ordering::Relaxed);
    };
    tokio::join!(futures_util::future::join_all(saving), dying);
    let (saved, failed) = (
        savers.iter().map(|saver| saver.saved.len()).sum::<usize>(),
        failed.into_inner(),
    );
    eprintln!(
        "{what}: {saved} saves acknowledged so far, {failed} tries failed, {:.1} s",
        begun.elapsed().as_secs_f32()
    );
}

async fn site(dir: &Path, postgres: [&Postgres; 2], cluster: &Cluster) -> Layout {
    let data = dir.join("site");
    let told = Init {
        data: data.clone(),
        name: "site".into(),
        url: "https://127.0.0.1:1".into(),
        also_names: Vec::new(),
        ca: dir.join("ca"),
        release_key: None,
        database: postgres[0].config_with(postgres[1]),
        objects: cluster.bucket().await,
    };
    init(&told).await.unwrap();
    let layout = Layout::new(&data);
    let mut config = SiteConfig::load(&layout).unwrap();
    config.retention = Retention {
        newest: u32::MAX,
        days: 0,
    };
    config.save(&layout).unwrap();
    layout
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_save_is_lost_while_one_of_everything_dies() {
    let mut cluster = Cluster::start().await;
    let mut primary = Postgres::start();
    let standby = primary.standby().await;
    // The other site is in the folder with the CA, and keeps what it has in a folder.
    let mut world = World::of(0).await;
    let data = site(world.dir.path(), [&primary, &standby], &cluster).await;
    let mut servers = vec![
        Server::start(data.root()),
        Server::start(replica_of(&data).root()),
    ];
    let balancer = Balancer::start(0, &[servers[0].address, servers[1].address]).await;
    let url = format!("https://127.0.0.1:{}", balancer.port);
    let far = world.add("far").await;
    let ids =
        [&data, &world.sites[far].layout].map(|layout| SiteConfig::load(layout).unwrap().site);
    let far_data = world.sites[far].layout.root().to_owned();
    admin::site_add(&far_data, ids[0], "site", &url)
        .await
        .unwrap();
    let far_url = world.sites[far].url();
    admin::site_add(data.root(), ids[1], "far", &far_url)
        .await
        .unwrap();

    let mut savers = Vec::new();
    for n in 0..PEOPLE {
        let person = Person::new(&format!("person-{n}"));
        register(data.root(), &person).await;
        savers.push(Saver {
            person,
            client: browser(&data.ca()),
            url: url.clone(),
            token: None,
            saved: Vec::new(),
        });
    }

    everybody_saves("nothing dies", &mut savers, async {}).await;
    let gone = servers.remove(0);
    let gone_at = gone.address;
    everybody_saves("a server of the site dies", &mut savers, async {
        drop(gone)
    })
    .await;
    let again = Server::start(data.root());
    balancer.replace(gone_at, again.address);
    servers.push(again);
    everybody_saves("a volume server dies", &mut savers, async {
        cluster.kill_volume_server(0);
    })
    .await;
    everybody_saves(
        "the PostgreSQL server that writes dies",
        &mut savers,
        async {
            primary.crash();
            standby.promote().await;
        },
    )
    .await;

    // The other site hears of every user's last save, and gets it when asked.
    let far = &world.sites[far];
    for saver in &savers {
        let last = saver.saved.last().unwrap().0.id();
        far.knows(&saver.person).await;
        eventually("the last save is known at the other site", async || {
            let head = far.site().store.head(saver.person.user).await.unwrap();
            head.is_some_and(|head| head.record == last)
        })
        .await;
    }
    let pc = far.sign_in(&savers[0].person).await;
    pc.fetched(TransferState::Done).await;

    let config = SiteConfig::load(&data).unwrap();
    let store = Store::open(data.clone(), &config.database, &config.objects).await;
    let store = store.unwrap();
    for saver in &mut savers {
        if saver.token.is_none() {
            saver.sign_in().await.unwrap();
        }
        let head = saver.ask(Method::GET, path::HEAD, "").await.unwrap();
        let head: Head = head.json().await.unwrap();
        assert_eq!(head.info.record, saver.saved.last().unwrap().0.id());
        for (record, objects) in saver.saved.clone() {
            let kept = store.record(saver.person.user, record.id()).await.unwrap();
            assert_eq!(kept.unwrap().0, record.as_bytes());
            for bytes in objects {
                let at = path::object(ObjectId::of(&bytes));
                let back = saver.ask(Method::GET, &at, "").await.unwrap();
                assert!(back.bytes().await.unwrap() == bytes, "bit for bit");
            }
        }
    }
    store.close().await;
    world.stop().await;
}
