//! Who may talk as a site: nobody without a good certificate of a known one, and nobody any more who was put out.

use std::{path::Path, sync::Arc, time::Duration};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use site_api::peer::{Digest, path as peer_path};
use site_server::{
    admin, authority,
    config::{Layout, SiteConfig},
    join::{INVITATION, Join, JoinError, admit, invite, join},
    store::{DatabaseConfig, Invitation},
    tls::{Ca, Revoke},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    support::{Person, register},
    world::{Served, World, browser, client, eventually},
};

const HERE: &str = "127.0.0.1";

fn ca(world: &World) -> Ca {
    Ca::load(&world.dir.path().join("ca")).unwrap()
}

fn id(site: &Served) -> snapshot::id::SiteId {
    site.site().config.site
}

fn files(layout: &Layout) -> (String, String) {
    let read = |path| std::fs::read_to_string(path).unwrap();
    (read(layout.certificate()), read(layout.private_key()))
}

/// The status a site answers somebody with this certificate; `None` when it does not even shake hands.
async fn answers(site: &Served, own: Option<(String, String)>) -> Option<u16> {
    let asked = client(&site.layout.ca(), own)
        .post(site.url() + peer_path::DIGEST)
        .json(&Digest::default());
    let response = asked.send().await.ok()?;
    Some(response.status().as_u16())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_good_certificate_of_a_known_site_gets_nowhere() {
    let world = World::of(2).await;
    let [a, b] = [0, 1].map(|n| &world.sites[n]);
    let (ca, hosts) = (ca(&world), [HERE.to_owned()]);
    let of = |(pem, key): (String, zeroize::Zeroizing<String>)| Some((pem, key.to_string()));

    assert_eq!(
        answers(a, of(ca.issue(id(b), &hosts).unwrap())).await,
        Some(200)
    );
    assert_eq!(answers(a, None).await, Some(403), "no certificate");
    let stranger = snapshot::id::SiteId::new([5; 16]);
    assert_eq!(
        answers(a, of(ca.issue(stranger, &hosts).unwrap())).await,
        Some(403)
    );
    let past = time::OffsetDateTime::now_utc() - time::Duration::minutes(5);
    let expired = ca.issue_until(id(b), &hosts, past).unwrap();
    assert_eq!(answers(a, of(expired)).await, None, "expired");
    let other = Ca::load_or_make(&world.dir.path().join("other")).unwrap();
    assert_eq!(
        answers(a, of(other.issue(id(b), &hosts).unwrap())).await,
        None,
        "another CA"
    );
    // A browser's connection opens no address between sites, whatever it sends.
    for at in [peer_path::RECORDS, peer_path::DIGEST, peer_path::TRANSFERS] {
        let request = browser(&a.layout.ca()).post(a.url() + at).body("{}");
        assert_eq!(request.send().await.unwrap().status().as_u16(), 403, "{at}");
    }
    world.stop().await;
}

/// A connection of a site that has asked once and stays open.
async fn open_connection(
    site: &Served,
    (pem, key): (String, String),
) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    for ca in CertificateDer::pem_file_iter(site.layout.ca()).unwrap() {
        roots.add(ca.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    let socket = tokio::net::TcpStream::connect((HERE, site.port))
        .await
        .unwrap();
    let name = ServerName::try_from(HERE).unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(name, socket).await.unwrap();
    stream
        .write_all(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    stream
}

/// Ends when the other side closes; well before an idle connection would be closed anyway.
async fn closed(mut stream: tokio_rustls::client::TlsStream<tokio::net::TcpStream>) -> bool {
    let mut rest = Vec::new();
    let ended = stream.read_to_end(&mut rest);
    tokio::time::timeout(Duration::from_secs(10), ended)
        .await
        .is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_is_refused_everywhere_and_its_open_connection_ends() {
    let world = World::of(3).await;
    let [a, b, c] = [0, 1, 2].map(|n| &world.sites[n]);
    let ca = ca(&world);
    let (pem, key) = ca.issue(id(b), &[HERE.to_owned()]).unwrap();
    let stolen = (pem.clone(), key.to_string());
    assert_eq!(answers(c, Some(stolen.clone())).await, Some(200));
    let open = open_connection(c, stolen.clone()).await;

    // The operator takes it back at site a; b keeps the certificate it has.
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let name = std::fs::read_dir(world.dir.path().join("ca/issued"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| CertificateDer::from_pem_file(path).unwrap() == der)
        .unwrap();
    let serial = name.file_name().unwrap().to_str().unwrap().to_owned();
    let list = ca.revoke(&Revoke::Serial(serial.clone())).unwrap();
    let revoked = Revoke::Serial(serial.clone());
    authority::publish(a.layout.root(), &list, Some(&revoked))
        .await
        .unwrap();
    let rows = a.site().store.audit_after(0, 1000).await.unwrap();
    let rows: Vec<_> = rows
        .iter()
        .map(|row| (row.action.as_str(), row.detail.as_str()))
        .collect();
    assert!(
        rows.contains(&("ca.revoke", format!("certificate {serial}").as_str())),
        "{rows:?}"
    );
    assert!(rows.iter().any(|(action, _)| *action == "ca.publish"));

    assert!(closed(open).await, "the open connection ends");
    for site in [a, c] {
        eventually("it is refused", async || {
            answers(site, Some(stolen.clone())).await.is_none()
        })
        .await;
    }
    let hanako = Person::new("hanako");
    register(b.layout.root(), &hanako).await;
    a.knows(&hanako).await;
    c.knows(&hanako).await;
    // A list that the CA did not sign counts nothing.
    let other = Ca::load_or_make(&world.dir.path().join("other")).unwrap();
    other.issue(id(b), &[HERE.to_owned()]).unwrap();
    let forged = other.revoke(&Revoke::Site(id(b))).unwrap();
    let refused = authority::publish(a.layout.root(), &forged, None).await;
    assert!(refused.is_err());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expelled_site_is_out_at_every_site() {
    let world = World::of(3).await;
    let [a, b, c] = [0, 1, 2].map(|n| &world.sites[n]);
    let own = files(&c.layout);
    let open = open_connection(b, own.clone()).await;
    admin::site_expel(a.layout.root(), id(c)).await.unwrap();
    assert!(closed(open).await, "its open connection ends");
    for site in [a, b] {
        eventually("it is unknown", async || {
            site.site().store.site(id(c)).await.unwrap().is_none()
        })
        .await;
        eventually("its certificate is refused", async || {
            answers(site, Some(own.clone())).await.is_none()
        })
        .await;
    }
    // Nobody adds it again, and nobody tells it anything.
    let again = admin::site_add(b.layout.root(), id(c), "again", &c.url()).await;
    assert!(
        matches!(again, Err(admin::AdminError::Expelled(_))),
        "{again:?}"
    );
    let hanako = Person::new("hanako");
    register(a.layout.root(), &hanako).await;
    b.knows(&hanako).await;
    for site in [a, b] {
        assert!(
            site.site()
                .store
                .waiting(id(c), 9)
                .await
                .unwrap()
                .is_empty()
        );
    }
    // What it says of itself and of others is heard nowhere.
    let taro = Person::new("taro");
    register(c.layout.root(), &taro).await;
    eventually("c is told no by both", async || {
        let status = c.site().store.peer_status().await.unwrap();
        status.len() == 2 && status.iter().all(|peer| peer.error.is_some())
    })
    .await;
    for site in [a, b] {
        assert!(site.site().store.user(taro.user).await.unwrap().is_none());
    }
    assert!(c.site().store.user(hanako.user).await.unwrap().is_none());
    world.stop().await;
}

fn free_port() -> u16 {
    let socket = std::net::TcpListener::bind((HERE, 0)).unwrap();
    socket.local_addr().unwrap().port()
}

async fn joins(told: &Join) -> Result<SiteConfig, JoinError> {
    join(told).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_site_joins_with_one_command_and_is_filled() {
    let mut world = World::of(2).await;
    let people: Vec<_> = (0..3).map(|n| Person::new(&format!("user{n}"))).collect();
    for person in &people {
        register(world.sites[0].layout.root(), person).await;
    }
    let port = free_port();
    let about = Invitation {
        name: "Osaka".into(),
        url: format!("https://{HERE}:{port}"),
        also_names: vec!["localhost".into()],
    };
    let at = world.sites[0].layout.root().to_owned();
    let cadir = world.dir.path().join("ca");
    // The operator wrote another address into site.toml of the test's sites; here it is the one they have.
    let mut config = SiteConfig::load(&world.sites[0].layout).unwrap();
    config.url = world.sites[0].url();
    config.save(&world.sites[0].layout).unwrap();
    let standing = invite(&at, about, INVITATION).await.unwrap();
    let told = Join {
        data: world.dir.path().join("osaka"),
        via: world.sites[0].url(),
        token: standing.token.clone(),
        database: crate::postgres::database_of_a_site().await,
        objects: crate::bucket::objects_of_a_site(),
        patience: Duration::from_secs(60),
    };
    let guessed = Join {
        token: format!("{}{}", "0".repeat(64), &told.token[64..]).into(),
        ..told.clone()
    };
    let refused = joins(&guessed).await;
    assert!(matches!(
        refused,
        Err(JoinError::Refused { status: 403, .. })
    ));
    std::fs::remove_dir_all(&guessed.data).unwrap();
    // At another address than the invitation's the token is not even sent.
    let elsewhere = Join {
        via: world.sites[1].url(),
        ..told.clone()
    };
    assert!(matches!(
        joins(&elsewhere).await,
        Err(JoinError::Down { .. })
    ));

    let (admitted, joined) = tokio::join!(admit(&at, &cadir, &standing), join(&told));
    admitted.unwrap();
    let joined = joined.unwrap();
    assert_eq!(
        (joined.name.as_str(), joined.site),
        ("Osaka", standing.site)
    );
    let second = Join {
        data: world.dir.path().join("second"),
        database: DatabaseConfig::default(),
        ..told.clone()
    };
    let refused = joins(&second).await;
    assert!(
        matches!(refused, Err(JoinError::Refused { status: 403, .. })),
        "good once"
    );

    let layout = Layout::new(&told.data);
    let mut osaka = Served::at(layout, port);
    osaka.start().await;
    world.sites.push(osaka);
    let osaka = &world.sites[2];
    for person in &people {
        osaka.knows(person).await;
    }
    eventually("every site knows every other", async || {
        for site in &world.sites {
            if site.site().store.sites().await.unwrap().len() != 2 {
                return false;
            }
        }
        true
    })
    .await;
    let hanako = Person::new("hanako");
    register(osaka.layout.root(), &hanako).await;
    for site in &world.sites {
        site.knows(&hanako).await;
    }
    world.stop().await;
}

async fn again(site: &mut Served) {
    site.stop().await;
    site.start().await;
}

fn trusts(layout: &Layout, bundle: &Path) {
    authority::trust(layout.root(), bundle).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_takes_the_place_of_another_while_the_sites_go_on_on_the_disk() {
    let mut world = World::of(2).await;
    let cadir = world.dir.path().join("ca");
    let bundle = world.dir.path().join("bundle.pem");
    let told = async |world: &World, from: usize, name: &str| {
        let person = Person::new(name);
        register(world.sites[from].layout.root(), &person).await;
        for site in &world.sites {
            site.knows(&person).await;
        }
    };
    // As an operator sets it up: the address in site.toml is in the certificate.
    for site in &world.sites {
        let mut config = SiteConfig::load(&site.layout).unwrap();
        config.url = site.url();
        config.save(&site.layout).unwrap();
    }
    let old = files(&world.sites[1].layout);
    let new = Ca::load(&cadir).unwrap().rotate().unwrap();
    std::fs::write(&bundle, new.pem()).unwrap();
    assert!(
        authority::trust(world.sites[0].layout.root(), &bundle).is_err(),
        "it would lock itself out"
    );
    std::fs::write(&bundle, new.bundle().unwrap()).unwrap();
    for site in &mut world.sites {
        trusts(&site.layout, &bundle);
        again(site).await;
    }
    told(&world, 0, "both-old").await;
    authority::renew(&cadir, world.sites[0].layout.root()).unwrap();
    again(&mut world.sites[0]).await;
    told(&world, 0, "new-to-old").await;
    told(&world, 1, "old-to-new").await;
    authority::renew(&cadir, world.sites[1].layout.root()).unwrap();
    new.finish().unwrap();
    std::fs::write(&bundle, new.bundle().unwrap()).unwrap();
    for site in &mut world.sites {
        trusts(&site.layout, &bundle);
        again(site).await;
    }
    told(&world, 1, "both-new").await;
    assert_eq!(
        answers(&world.sites[0], Some(old)).await,
        None,
        "the old CA opens nothing"
    );
    world.stop().await;
}
