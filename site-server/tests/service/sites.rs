//! Two and three real servers over TLS on loopback.

use std::{path::Path, sync::Arc, time::Duration};

use axum::http::StatusCode;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{Client, Method};
use serde::{Serialize, de::DeserializeOwned};
use site_api::{
    Head, PutHead, SignIn, SignInChallenge, SignInChallengeRequest, SiteInfo, Transfer,
    TransferState, path, peer::path as peer_path,
};
use site_server::{admin, config::Layout, serve::Running};
use snapshot::{id::ObjectId, record::SignedRecord};
use tempfile::TempDir;

use crate::support::{Person, answer, csrf, make_under, random_bytes, register};

/// Everything here happens within this, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// Sites under one CA.
struct World {
    dir: TempDir,
    sites: Vec<Served>,
}

struct Served {
    layout: Layout,
    running: Option<Running>,
    port: u16,
    client: Client,
}

impl World {
    /// That many sites, each of which knows all others.
    async fn of(n: usize) -> Self {
        let mut world = Self {
            dir: tempfile::tempdir().unwrap(),
            sites: Vec::new(),
        };
        for number in 0..n {
            world.add(&format!("site-{number}")).await;
        }
        for a in 0..n {
            for b in 0..n {
                if a != b {
                    world.introduce(a, b).await;
                }
            }
        }
        world
    }

    async fn add(&mut self, name: &str) -> usize {
        let layout = make_under(self.dir.path(), name, &self.dir.path().join("ca")).await;
        let mut served = Served {
            client: browser(&layout.ca()),
            layout,
            running: None,
            port: 0,
        };
        served.start().await;
        self.sites.push(served);
        self.sites.len() - 1
    }

    /// Tells site `a` of site `b`, as its operator does beside the running server.
    async fn introduce(&self, a: usize, b: usize) {
        let other = &self.sites[b];
        let id = site_server::config::SiteConfig::load(&other.layout)
            .unwrap()
            .site;
        admin::site_add(
            self.sites[a].layout.root(),
            id,
            &format!("site-{b}"),
            &other.url(),
        )
        .await
        .unwrap();
    }

    async fn stop(self) {
        for mut site in self.sites {
            site.stop().await;
        }
    }
}

impl Served {
    async fn start(&mut self) {
        let address = ([127, 0, 0, 1], self.port).into();
        let running = Running::start(self.layout.clone(), address).await.unwrap();
        self.port = running.address.port();
        self.running = Some(running);
    }

    async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    fn site(&self) -> &Arc<site_server::app::Site> {
        &self.running.as_ref().unwrap().site
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    async fn counter(&self, name: &str) -> u64 {
        let text = self
            .client
            .get(self.url() + path::METRICS)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with(name) && !line.starts_with('#'))
            .unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    async fn knows(&self, person: &Person) {
        eventually("the user is known", async || {
            self.site().store.user(person.user).await.unwrap().is_some()
        })
        .await;
    }

    async fn sign_in(&self, person: &Person) -> Pc<'_> {
        let ask = SignInChallengeRequest {
            card: person.card.id,
        };
        let pc = Pc {
            site: self,
            token: String::new(),
        };
        let asked: SignInChallenge = pc.json(Method::POST, path::SIGN_IN_CHALLENGE, &ask).await.1;
        let answered = answer(&person.card, &asked, &person.name, &person.password);
        let (status, signed_in): (_, SignIn) =
            pc.json(Method::POST, path::SIGN_IN, &answered).await;
        assert_eq!(status, StatusCode::OK);
        Pc {
            token: signed_in.token,
            ..pc
        }
    }
}

/// A shared PC at a site.
struct Pc<'a> {
    site: &'a Served,
    token: String,
}

impl Pc<'_> {
    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        at: &str,
        body: &impl Serialize,
    ) -> (StatusCode, T) {
        let request = self
            .site
            .client
            .request(method, self.site.url() + at)
            .bearer_auth(&self.token);
        let response = request.json(body).send().await.unwrap();
        let (status, text) = (response.status(), response.text().await.unwrap());
        (
            status,
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{status} {error}: {text}")),
        )
    }

    async fn push(
        &self,
        record: &SignedRecord,
        previous: Option<&SignedRecord>,
        objects: &[Vec<u8>],
    ) {
        for bytes in objects {
            let at = self.site.url() + &path::object(ObjectId::of(bytes));
            let put = self
                .site
                .client
                .put(at)
                .bearer_auth(&self.token)
                .body(bytes.clone())
                .send()
                .await
                .unwrap();
            assert!(put.status().is_success());
        }
        let put = PutHead {
            expected: previous.map(SignedRecord::id),
            record_b64: STANDARD.encode(record.as_bytes()),
            pc: "pc-1".into(),
        };
        let (status, _): (_, Head) = self.json(Method::PUT, path::HEAD, &put).await;
        assert_eq!(status, StatusCode::CREATED);
    }

    async fn head(&self) -> Head {
        self.json(Method::GET, path::HEAD, &()).await.1
    }

    async fn fetched(&self, want: TransferState) -> Transfer {
        let mut transfer: Transfer = self.json(Method::POST, path::HEAD_FETCH, &()).await.1;
        let end = tokio::time::Instant::now() + DEADLINE;
        while transfer.state != want {
            assert!(tokio::time::Instant::now() < end, "still {transfer:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
            transfer = self.json(Method::GET, path::HEAD_FETCH, &()).await.1;
        }
        transfer
    }

    async fn object(&self, bytes: &[u8]) -> Vec<u8> {
        let at = self.site.url() + &path::object(ObjectId::of(bytes));
        self.site
            .client
            .get(at)
            .bearer_auth(&self.token)
            .send()
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap()
            .to_vec()
    }
}

async fn eventually(what: &str, check: impl AsyncFn() -> bool) {
    let end = tokio::time::Instant::now() + DEADLINE;
    while !check().await {
        assert!(
            tokio::time::Instant::now() < end,
            "not within {DEADLINE:?}: {what}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A client that trusts the CA and has no certificate: a PC, a browser.
fn browser(ca: &Path) -> Client {
    client(ca, None)
}

/// A client that trusts the CA; with a certificate and its key when it is a site.
fn client(ca: &Path, own: Option<(String, String)>) -> Client {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(ca).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match own {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            config.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let policy = reqwest::redirect::Policy::none();
    Client::builder()
        .tls_backend_preconfigured(config)
        .no_proxy()
        .redirect(policy)
        .build()
        .unwrap()
}

fn objects(n: usize) -> Vec<Vec<u8>> {
    (0..n).map(|_| random_bytes(200_000)).collect()
}

fn bytes_of(objects: &[Vec<u8>]) -> u64 {
    objects.iter().map(|object| object.len() as u64).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_added_at_one_site_signs_in_at_every_site() {
    let world = World::of(3).await;
    let hanako = Person::new("hanako");
    register(world.sites[0].layout.root(), &hanako).await;
    for site in &world.sites {
        site.knows(&hanako).await;
        site.sign_in(&hanako).await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn change_and_deletion_of_a_user_travel_too() {
    let world = World::of(2).await;
    let [a, b] = [0, 1].map(|n| &world.sites[n]);
    let mut hanako = Person::new("hanako");
    register(a.layout.root(), &hanako).await;
    b.knows(&hanako).await;
    let pc = b.sign_in(&hanako).await;
    hanako.password = "a new password".into();
    register(a.layout.root(), &hanako).await;
    let at = |site: &Served| site.site().store.clone();
    eventually("the change is at b", async || {
        at(b)
            .user_record(hanako.user)
            .await
            .unwrap()
            .unwrap()
            .version
            == 2
    })
    .await;
    b.sign_in(&hanako).await;

    admin::user_remove(b.layout.root(), "hanako").await.unwrap();
    for site in [a, b] {
        eventually("the deletion is there", async || {
            at(site).user(hanako.user).await.unwrap().is_none()
        })
        .await;
        let asked = SignInChallengeRequest {
            card: hanako.card.id,
        };
        let unknown = Pc {
            site,
            token: String::new(),
        };
        let (status, _): (_, site_api::Problem) = unknown
            .json(Method::POST, path::SIGN_IN_CHALLENGE, &asked)
            .await;
        assert_eq!(status, StatusCode::NOT_FOUND);
    }
    let (status, _): (_, site_api::Problem) = pc.json(Method::GET, path::HEAD, &()).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "sign-ins end");
    assert!(admin::user_remove(b.layout.root(), "hanako").await.is_err());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_was_down_hears_the_news_when_it_returns() {
    let mut world = World::of(2).await;
    world.sites[1].stop().await;
    let hanako = Person::new("hanako");
    register(world.sites[0].layout.root(), &hanako).await;
    let mine = objects(1);
    world.sites[0]
        .sign_in(&hanako)
        .await
        .push(&hanako.record(1, None, &mine), None, &mine)
        .await;
    world.sites[1].start().await;
    world.sites[1].knows(&hanako).await;
    let store = world.sites[1].site().store.clone();
    eventually("the head is known", async || {
        store.head(hanako.user).await.unwrap().is_some()
    })
    .await;
    assert!(
        world.sites[1]
            .sign_in(&hanako)
            .await
            .head()
            .await
            .record_b64
            .is_none(),
        "the head, not the snapshot"
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_added_late_learns_everything_by_comparing_digests() {
    let mut world = World::of(1).await;
    let people: Vec<_> = (0..5).map(|n| Person::new(&format!("user{n}"))).collect();
    for person in &people {
        register(world.sites[0].layout.root(), person).await;
    }
    let late = world.add("late").await;
    world.introduce(late, 0).await;
    world.introduce(0, late).await;
    for person in &people {
        world.sites[late].knows(person).await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_goes_to_the_chosen_site_and_nowhere_else() {
    let world = World::of(3).await;
    let [a, b, c] = [0, 1, 2].map(|n| &world.sites[n]);
    let hanako = Person::new("hanako");
    register(a.layout.root(), &hanako).await;
    b.knows(&hanako).await;
    c.knows(&hanako).await;
    let first_objects = objects(4);
    let first = hanako.record(1, None, &first_objects);
    let pc = a.sign_in(&hanako).await;
    pc.push(&first, None, &first_objects).await;
    eventually("the head is known at c", async || {
        c.site().store.head(hanako.user).await.unwrap().is_some()
    })
    .await;
    for site in [b, c] {
        assert_eq!(
            site.counter("furoshiki_stored_object_bytes").await,
            0,
            "nobody asked"
        );
    }

    // In the portal of site a the user names site b.
    let browser = &a.client;
    let page = browser.get(a.url() + "/").send().await.unwrap();
    let cookie = |response: &reqwest::Response| {
        let set = response
            .headers()
            .get("set-cookie")
            .unwrap()
            .to_str()
            .unwrap();
        set.split(';').next().unwrap().to_owned()
    };
    let mut jar = cookie(&page);
    let form = format!(
        "user=hanako&password={}&csrf={}",
        hanako.password.replace(' ', "+"),
        csrf(&page.text().await.unwrap())
    );
    let kind = "application/x-www-form-urlencoded";
    let post = |at: &str, jar: &str, form: String| {
        browser
            .post(a.url() + at)
            .header("content-type", kind)
            .header("cookie", jar)
            .body(form)
            .send()
    };
    let signed_in = post("/sign-in", &jar, form).await.unwrap();
    assert_eq!(signed_in.status(), 303);
    jar = cookie(&signed_in);
    let environment = async || {
        let page = browser
            .get(a.url() + "/environment")
            .header("cookie", &jar)
            .send()
            .await
            .unwrap();
        page.text().await.unwrap()
    };
    let form = format!(
        "site={}&csrf={}",
        b.site().config.site,
        csrf(&environment().await)
    );
    assert_eq!(post("/next-site", &jar, form).await.unwrap().status(), 303);
    let done = format!("data-site=\"{}\" data-state=\"done\"", b.site().config.site);
    eventually("the portal shows the copy", async || {
        environment().await.contains(&done)
    })
    .await;

    let at_b = b.sign_in(&hanako).await;
    assert_eq!(
        STANDARD
            .decode(at_b.head().await.record_b64.unwrap())
            .unwrap(),
        first.as_bytes()
    );
    for bytes in &first_objects {
        assert_eq!(&at_b.object(bytes).await, bytes);
    }
    let moved = bytes_of(&first_objects) + first.as_bytes().len() as u64;
    assert_eq!(
        b.counter("furoshiki_relay_bytes_received_total").await,
        moved
    );
    assert_eq!(a.counter("furoshiki_relay_bytes_sent_total").await, moved);

    // The choice stands: the next snapshot follows, and only what lacks moves.
    let mut second_objects = first_objects.clone();
    second_objects.push(random_bytes(1000));
    let second = hanako.record(2, Some(first.id()), &second_objects);
    pc.push(&second, Some(&first), &second_objects[4..]).await;
    eventually("the second snapshot is at b", async || {
        b.site()
            .store
            .record(hanako.user, second.id())
            .await
            .unwrap()
            .is_some()
    })
    .await;
    let moved = moved + 1000 + second.as_bytes().len() as u64;
    assert_eq!(
        b.counter("furoshiki_relay_bytes_received_total").await,
        moved
    );

    assert!(
        c.counter("furoshiki_records_received_total").await > 0,
        "user records and heads go everywhere"
    );
    for name in [
        "furoshiki_stored_object_bytes",
        "furoshiki_relay_bytes_received_total",
        "furoshiki_object_bytes_received_total",
    ] {
        assert_eq!(c.counter(name).await, 0, "{name} at the site nobody chose");
    }
    assert_eq!(std::fs::read_dir(c.layout.objects()).unwrap().count(), 0);

    // At b the user goes on; then nothing waits at a any more.
    at_b.push(
        &hanako.record(3, Some(second.id()), &second_objects),
        Some(&second),
        &[],
    )
    .await;
    eventually("the choice ends on arrival", async || {
        a.site()
            .store
            .next_site(hanako.user)
            .await
            .unwrap()
            .is_none()
    })
    .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_arrives_unannounced_gets_the_snapshot_fetched() {
    let world = World::of(2).await;
    let [a, b] = [0, 1].map(|n| &world.sites[n]);
    let hanako = Person::new("hanako");
    register(a.layout.root(), &hanako).await;
    let mine = objects(3);
    let first = hanako.record(1, None, &mine);
    a.sign_in(&hanako).await.push(&first, None, &mine).await;
    eventually("the head is known at b", async || {
        b.site().store.head(hanako.user).await.unwrap().is_some()
    })
    .await;
    b.knows(&hanako).await;
    let pc = b.sign_in(&hanako).await;
    assert!(pc.head().await.record_b64.is_none());
    let done = pc.fetched(TransferState::Done).await;
    assert_eq!((done.bytes_done, done.bytes_total), (600_000, 600_000));
    assert!(pc.head().await.record_b64.is_some());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_goes_on_after_both_sites_were_down() {
    let mut world = World::of(2).await;
    let hanako = Person::new("hanako");
    register(world.sites[0].layout.root(), &hanako).await;
    let mine = objects(3);
    let first = hanako.record(1, None, &mine);
    world.sites[0]
        .sign_in(&hanako)
        .await
        .push(&first, None, &mine)
        .await;
    world.sites[1].knows(&hanako).await;
    let store = world.sites[1].site().store.clone();
    eventually("the head is known at b", async || {
        store.head(hanako.user).await.unwrap().is_some()
    })
    .await;

    world.sites[0].stop().await;
    let pc = world.sites[1].sign_in(&hanako).await;
    let (status, _): (_, Transfer) = pc.json(Method::POST, path::HEAD_FETCH, &()).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    eventually("a failed attempt is noted", async || {
        store
            .transfer(hanako.user)
            .await
            .unwrap()
            .is_some_and(|incoming| incoming.transfer.error.is_some())
    })
    .await;
    world.sites[1].stop().await;
    world.sites[0].start().await;
    world.sites[1].start().await;
    // Nobody asks again: the wish is in the database.
    let store = world.sites[1].site().store.clone();
    eventually("the snapshot is at b", async || {
        store
            .record(hanako.user, first.id())
            .await
            .unwrap()
            .is_some()
    })
    .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_altered_at_the_source_does_not_arrive() {
    let world = World::of(2).await;
    let [a, b] = [0, 1].map(|n| &world.sites[n]);
    let hanako = Person::new("hanako");
    register(a.layout.root(), &hanako).await;
    let mine = objects(2);
    let first = hanako.record(1, None, &mine);
    a.sign_in(&hanako).await.push(&first, None, &mine).await;
    b.knows(&hanako).await;
    eventually("the head is known at b", async || {
        b.site().store.head(hanako.user).await.unwrap().is_some()
    })
    .await;

    let name = ObjectId::of(&mine[1]).to_string();
    let file = a
        .layout
        .objects()
        .join(hanako.user.to_string())
        .join(&name[..2])
        .join(&name);
    let mut bad = mine[1].clone();
    bad[1000] ^= 1;
    std::fs::write(&file, bad).unwrap();
    let pc = b.sign_in(&hanako).await;
    let failed = pc.fetched(TransferState::Failed).await;
    assert!(
        failed.error.as_deref().unwrap().contains(&name),
        "{failed:?}"
    );
    assert!(pc.head().await.record_b64.is_none());

    // Repaired, and asked again, only the rest moves.
    std::fs::write(&file, &mine[1]).unwrap();
    pc.fetched(TransferState::Done).await;
    assert!(pc.head().await.record_b64.is_some());
    assert_eq!(b.counter("furoshiki_stored_object_bytes").await, 400_000);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_the_ca_is_not_enough() {
    let world = World::of(2).await;
    let [a, b] = [0, 1].map(|n| &world.sites[n]);
    // A site of the same CA that a does not know.
    let ca = site_server::tls::Ca::load_or_make(&world.dir.path().join("ca")).unwrap();
    let at = a.url() + peer_path::DIGEST;
    let call = async |own: Option<(String, String)>| {
        let client = client(&a.layout.ca(), own);
        client
            .post(&at)
            .json(&site_api::peer::Digest::default())
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    let (pem, key) = ca
        .issue(snapshot::id::SiteId::new([5; 16]), &["127.0.0.1".into()])
        .unwrap();
    assert_eq!(call(Some((pem, key.to_string()))).await, 403);
    assert_eq!(call(None).await, 403);
    let (pem, key) = ca
        .issue(b.site().config.site, &["127.0.0.1".into()])
        .unwrap();
    assert_eq!(call(Some((pem, key.to_string()))).await, 200);

    // A certificate of another CA does not get past the handshake.
    let other = site_server::tls::Ca::load_or_make(&world.dir.path().join("other")).unwrap();
    let (pem, key) = other
        .issue(b.site().config.site, &["127.0.0.1".into()])
        .unwrap();
    let client = client(&a.layout.ca(), Some((pem, key.to_string())));
    assert!(
        client
            .post(&at)
            .json(&site_api::peer::Digest::default())
            .send()
            .await
            .is_err()
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_at_the_address_of_another_is_told_nothing() {
    let world = World::of(2).await;
    let [a, b] = [0, 1].map(|n| &world.sites[n]);
    // a believes that an unknown site lives where b does.
    let impostor = snapshot::id::SiteId::new([6; 16]);
    admin::site_add(a.layout.root(), impostor, "impostor", &b.url())
        .await
        .unwrap();
    let hanako = Person::new("hanako");
    register(a.layout.root(), &hanako).await;
    b.knows(&hanako).await;
    assert_eq!(
        a.site().store.waiting(impostor, 10).await.unwrap().len(),
        1,
        "the certificate names another site"
    );
    assert_eq!(
        a.site()
            .store
            .site(impostor)
            .await
            .unwrap()
            .unwrap()
            .synced_ms,
        0
    );
    let info: SiteInfo = b
        .client
        .get(b.url() + path::SITE)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(info.site, b.site().config.site);
    world.stop().await;
}
