//! Real servers over TLS on loopback, and PCs at them.

use std::{path::Path, sync::Arc, time::Duration};

use axum::http::StatusCode;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::Method;
use serde::{Serialize, de::DeserializeOwned};
use site_api::{
    Head, PutHead, SignIn, SignInChallenge, SignInChallengeRequest, Transfer, TransferState, path,
};
use site_server::{admin, config::Layout, serve::Running};
use snapshot::{id::ObjectId, record::SignedRecord};
use tempfile::TempDir;

use crate::{
    balance::{Balancer, Second, is_disturbed},
    patient::{Client, again, lost},
    support::{Person, answer, make_under, random_bytes},
};

/// Everything here happens within this, also on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Sites under one CA.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) sites: Vec<Served>,
}

pub(crate) struct Served {
    pub(crate) layout: Layout,
    pub(crate) running: Option<Running>,
    /// Where everything is shared: a second server of the site, and what is before both.
    second: Option<(Second, Arc<Balancer>)>,
    pub(crate) port: u16,
    pub(crate) client: Client,
}

impl World {
    /// That many sites, each of which knows all others.
    pub(crate) async fn of(n: usize) -> Self {
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

    pub(crate) async fn add(&mut self, name: &str) -> usize {
        let layout = make_under(self.dir.path(), name, &self.dir.path().join("ca")).await;
        let mut served = Served::at(layout, 0);
        served.start().await;
        self.sites.push(served);
        self.sites.len() - 1
    }

    /// Tells site `a` of site `b`, as its operator does beside the running server.
    pub(crate) async fn introduce(&self, a: usize, b: usize) {
        let other = &self.sites[b];
        let id = site_server::config::SiteConfig::load(&other.layout)
            .unwrap()
            .site;
        let (data, name, url) = (
            self.sites[a].layout.root(),
            format!("site-{b}"),
            other.url(),
        );
        again(async || admin::site_add(data, id, &name, &url).await).await;
    }

    pub(crate) async fn stop(self) {
        for mut site in self.sites {
            site.stop().await;
        }
    }
}

impl Served {
    /// A site that does not run yet, at a port; 0: any.
    pub(crate) fn at(layout: Layout, port: u16) -> Self {
        Self {
            client: browser(&layout.ca()),
            layout,
            running: None,
            second: None,
            port,
        }
    }

    pub(crate) async fn start(&mut self) {
        // Two have nothing to share where rows or objects lie in the data folder.
        let config = site_server::config::SiteConfig::load(&self.layout).unwrap();
        let shared = !config.database.is_default() && !config.objects.is_default();
        if crate::bucket::is_shared() && shared {
            self.start_two().await;
            return;
        }
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], self.port));
        let running = Running::start(self.layout.clone(), address).await.unwrap();
        self.port = running.address.port();
        self.running = Some(running);
    }

    /// Two servers behind one address. They have nothing in common but settings, database and bucket.
    async fn start_two(&mut self) {
        let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let one = again(async || Running::start(self.layout.clone(), any).await).await;
        let balancer = Arc::new(Balancer::start(self.port, &[one.address]).await);
        self.port = balancer.port;
        self.running = Some(one);
        let (layout, known) = (self.layout.clone(), balancer.clone());
        let second = tokio::task::spawn_blocking(move || {
            let moves = known.clone();
            let second = Second::start(&layout, move |from, to| moves.replace(from, to));
            known.add(second.address());
            second
        });
        self.second = Some((second.await.unwrap(), balancer));
    }

    pub(crate) async fn stop(&mut self) {
        if let Some((second, balancer)) = self.second.take() {
            tokio::task::spawn_blocking(move || drop(second))
                .await
                .unwrap();
            balancer.stop().await;
        }
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    pub(crate) fn site(&self) -> &Arc<site_server::app::Site> {
        &self.running.as_ref().unwrap().site
    }

    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    pub(crate) async fn counter(&self, name: &str) -> u64 {
        let mut text = String::new();
        // The server asked writes what it has in memory by itself: so the other one is asked before.
        for url in self.servers() {
            match self.client.0.get(url + path::METRICS).send().await {
                Ok(answer) => text = answer.text().await.unwrap(),
                // Killed just now: what it did not write down is not counted.
                Err(error) if is_disturbed() => lost(&error).await,
                Err(error) => panic!("{error:?}"),
            }
        }
        let line = text
            .lines()
            .find(|line| line.starts_with(name) && !line.starts_with('#'))
            .unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Where each server of the site is.
    fn servers(&self) -> Vec<String> {
        match (&self.second, &self.running) {
            (Some((second, _)), Some(running)) => [second.address(), running.address]
                .map(|address| format!("https://{address}"))
                .to_vec(),
            _ => vec![self.url()],
        }
    }

    pub(crate) async fn knows(&self, person: &Person) {
        eventually("the user is known", async || {
            self.site().store.user(person.user).await.unwrap().is_some()
        })
        .await;
    }

    pub(crate) async fn sign_in(&self, person: &Person) -> Pc<'_> {
        let ask = SignInChallengeRequest {
            card: person.card.id,
            baseline: snapshot::id::BaselineId::new([7; 32]),
        };
        let pc = Pc {
            site: self,
            token: String::new(),
        };
        // Of a challenge that was answered the second answer counts for nothing: a PC begins anew.
        let sign_in = async || {
            let asked: SignInChallenge =
                pc.json(Method::POST, path::SIGN_IN_CHALLENGE, &ask).await.1;
            let answered = answer(&person.card, &asked, &person.name, &person.password);
            let (status, said): (_, serde_json::Value) =
                pc.json(Method::POST, path::SIGN_IN, &answered).await;
            match status {
                StatusCode::OK => Ok(serde_json::from_value::<SignIn>(said).unwrap()),
                _ => Err(format!("{status} {said}")),
            }
        };
        let token = again(sign_in).await.token;
        Pc { token, ..pc }
    }
}

/// A shared PC at a site.
pub(crate) struct Pc<'a> {
    pub(crate) site: &'a Served,
    pub(crate) token: String,
}

impl Pc<'_> {
    pub(crate) async fn json<T: DeserializeOwned>(
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

    pub(crate) async fn push(
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
        // The second time it is there already.
        let good = [StatusCode::CREATED, StatusCode::OK];
        assert!(good[..1 + usize::from(is_disturbed())].contains(&status));
    }

    pub(crate) async fn head(&self) -> Head {
        self.json(Method::GET, path::HEAD, &()).await.1
    }

    pub(crate) async fn fetched(&self, want: TransferState) -> Transfer {
        let mut transfer: Transfer = self.json(Method::POST, path::HEAD_FETCH, &()).await.1;
        let end = tokio::time::Instant::now() + DEADLINE;
        while transfer.state != want {
            assert!(tokio::time::Instant::now() < end, "still {transfer:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
            transfer = self.json(Method::GET, path::HEAD_FETCH, &()).await.1;
        }
        transfer
    }

    pub(crate) async fn object(&self, bytes: &[u8]) -> Vec<u8> {
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

pub(crate) async fn eventually(what: &str, check: impl AsyncFn() -> bool) {
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
pub(crate) fn browser(ca: &Path) -> Client {
    client(ca, None)
}

/// A client that trusts the CA; with a certificate and its key when it is a site.
pub(crate) fn client(ca: &Path, own: Option<(String, String)>) -> Client {
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
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .no_proxy()
        .redirect(policy);
    Client(client.build().unwrap())
}

pub(crate) fn objects(n: usize) -> Vec<Vec<u8>> {
    (0..n).map(|_| random_bytes(200_000)).collect()
}

pub(crate) fn bytes_of(objects: &[Vec<u8>]) -> u64 {
    objects.iter().map(|object| object.len() as u64).sum()
}
