//! A PostgreSQL server whose machine is gone without a word.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use site_server::{
    config::Layout,
    store::{DatabaseConfig, ObjectsConfig, Store},
};
use snapshot::id::UserId;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};

use crate::postgres::Postgres;

/// What a site does with the database fails after this at the latest, also when it was under way.
const LIMIT: Duration = Duration::from_secs(60);

/// The way to a server: takes connections, and may let nothing pass.
struct Way {
    port: u16,
    silent: Arc<AtomicBool>,
    /// Bytes that arrived while nothing passed.
    held: Arc<AtomicU64>,
}

impl Way {
    async fn to(server: String) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let way = Self {
            port: listener.local_addr().unwrap().port(),
            silent: Arc::default(),
            held: Arc::default(),
        };
        let (silent, held) = (way.silent.clone(), way.held.clone());
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                let to = TcpStream::connect(&server).await.unwrap();
                let (silent, held) = (silent.clone(), held.clone());
                tokio::spawn(carry(from, to, silent, held));
            }
        });
        way
    }
}

/// A connection that was silent once stays so.
async fn carry(from: TcpStream, to: TcpStream, silent: Arc<AtomicBool>, held: Arc<AtomicU64>) {
    let mut piece = vec![0; 16 << 10];
    loop {
        let (source, sink) = tokio::select! {
            ready = from.readable() => ready.map(|()| (&from, &to)).unwrap(),
            ready = to.readable() => ready.map(|()| (&to, &from)).unwrap(),
        };
        let read = match source.try_read(&mut piece) {
            Ok(0) => return,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => return,
        };
        if silent.load(Ordering::SeqCst) {
            held.fetch_add(read as u64, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
        let mut rest = &piece[..read];
        while !rest.is_empty() {
            if sink.writable().await.is_err() {
                return;
            }
            match sink.try_write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_is_not_waited_for_without_end() {
    let postgres = Postgres::start();
    let config = postgres.database().await;
    let address = config.postgres.unwrap();
    let (before, rest) = address.rsplit_once('@').unwrap();
    let (host, name) = rest.split_once('/').unwrap();
    let way = Way::to(format!("{host}:5432")).await;
    let config = DatabaseConfig {
        postgres: Some(format!("{before}@127.0.0.1:{}/{name}", way.port)),
        ..config
    };
    let dir = tempfile::tempdir().unwrap();
    let objects = ObjectsConfig::default();
    let store = Store::open(Layout::new(dir.path()), &config, &objects).await;
    let store = store.unwrap();
    let user = UserId::new([1; 16]);
    // The next statements take a connection that was used just now.
    store.begin_leaving(user).await.unwrap();
    way.silent.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    let looked = async { store.sites().await.map(drop) };
    let (looked, wrote, ended) = tokio::join!(
        timeout(LIMIT, looked),
        timeout(LIMIT, store.begin_leaving(user)),
        timeout(LIMIT, store.mark_synced(snapshot::id::SiteId::new([2; 16]))),
    );
    for result in [looked, wrote, ended] {
        let error = result.expect("it ends by itself").unwrap_err();
        assert!(error.is_away(), "{error:?}");
    }
    assert!(
        way.held.load(Ordering::SeqCst) > 0,
        "something was under way"
    );
    eprintln!("all failed within {:.1} s", begun.elapsed().as_secs_f32());

    // And when the machine is back, it is used again.
    way.silent.store(false, Ordering::SeqCst);
    timeout(LIMIT, store.end_leaving(user))
        .await
        .unwrap()
        .unwrap();
    timeout(LIMIT, store.close()).await.unwrap();
}
