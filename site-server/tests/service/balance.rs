//! Two servers of one site behind a balancer: the second is a process, and may be killed again and again.

use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use site_server::config::Layout;
use tokio::net::{TcpListener, TcpStream};

use crate::{
    kills::Dice,
    patient::{LOST, PATIENCE},
};

/// The seed of what dies when, if anything is to die while the tests of this process run: set by [`crate::rerun`].
pub(crate) const SEED: &str = "FUROSHIKI_TEST_KILLS";
/// A server lives so long before it is killed, in milliseconds, and is away so long.
const LIVES_MS: (u64, u64) = (500, 6000);
const AWAY_MS: (u64, u64) = (100, 2000);

/// Whether anything may die at any moment.
pub(crate) fn is_disturbed() -> bool {
    std::env::var_os(SEED).is_some()
}

/// Hands each connection to the next server that takes it.
pub(crate) struct Balancer {
    pub(crate) port: u16,
    servers: Arc<Mutex<VecDeque<SocketAddr>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Balancer {
    pub(crate) async fn start(port: u16, servers: &[SocketAddr]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let servers = Arc::new(Mutex::new(VecDeque::from(servers.to_vec())));
        let known = servers.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (mut from, _) = listener.accept().await.unwrap();
                let known = known.clone();
                connections.spawn(async move {
                    for _ in 0..2 {
                        let server = {
                            let mut known = known.lock().unwrap();
                            known.rotate_left(1);
                            known[0]
                        };
                        if let Ok(mut to) = TcpStream::connect(server).await {
                            // Either side may break off.
                            tokio::io::copy_bidirectional(&mut from, &mut to).await.ok();
                            return;
                        }
                    }
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            port,
            servers,
            task,
        }
    }

    pub(crate) fn replace(&self, old: SocketAddr, new: SocketAddr) {
        let mut servers = self.servers.lock().unwrap();
        servers.retain(|server| *server != old);
        servers.push_back(new);
    }

    pub(crate) fn add(&self, server: SocketAddr) {
        self.servers.lock().unwrap().push_back(server);
    }

    pub(crate) async fn stop(&self) {
        self.task.abort();
        while !self.task.is_finished() {
            tokio::task::yield_now().await;
        }
    }
}

/// What an operator copies to another machine: settings, certificates, the token.
pub(crate) fn replica_of(layout: &Layout) -> Layout {
    let name = layout.root().file_name().unwrap().to_string_lossy();
    let data = layout.root().with_file_name(format!("{name}-replica"));
    std::fs::create_dir_all(data.join("tls")).unwrap();
    let other = Layout::new(&data);
    for (from, to) in [
        (layout.config(), other.config()),
        (layout.operator_token(), other.operator_token()),
        (layout.second_factor_key(), other.second_factor_key()),
        (layout.certificate(), other.certificate()),
        (layout.private_key(), other.private_key()),
        (layout.ca(), other.ca()),
    ] {
        std::fs::copy(from, to).unwrap();
    }
    other
}

/// A server as a process; killed when it goes.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    pub(crate) fn start(data: &Path) -> Self {
        let until = Instant::now() + PATIENCE;
        loop {
            match Self::try_start(data) {
                Ok(server) => return server,
                // Whoever started it starts it again.
                Err(said) if is_disturbed() && Instant::now() < until => println!("{LOST}{said}"),
                Err(said) => panic!("{said}"),
            }
        }
    }

    /// Or what it said instead of listening.
    fn try_start(data: &Path) -> Result<Self, String> {
        let log = data.with_extension("log");
        let log = std::fs::File::options().create(true).append(true).open(log);
        // Ends with this process, however that ends.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(env!("CARGO_BIN_EXE_furoshiki-site"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .env("FUROSHIKI_LOG", "warn,site_server::relay=info")
            .stdout(Stdio::piped())
            .stderr(log.unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let Some(address) = line.trim().strip_prefix("listening https://") else {
            child.wait().unwrap();
            let log = std::fs::read_to_string(data.with_extension("log"));
            return Err(format!("{line:?}: {}", log.unwrap()));
        };
        Ok(Self {
            address: address.parse().unwrap(),
            child,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The second server of a site. While the tests are disturbed it is killed at random moments, and started again.
pub(crate) struct Second {
    place: Arc<Place>,
    /// A server ends with the thread that started it, so this one stays.
    thread: Option<std::thread::JoinHandle<()>>,
}

struct Place {
    data: PathBuf,
    address: Mutex<SocketAddr>,
    stop: AtomicBool,
}

impl Second {
    /// Waits until it listens. `moved` is told of each address it has after the first.
    pub(crate) fn start(
        first: &Layout,
        moved: impl Fn(SocketAddr, SocketAddr) + Send + 'static,
    ) -> Self {
        let place = Arc::new(Place {
            data: replica_of(first).root().to_owned(),
            address: Mutex::new(([127, 0, 0, 1], 1).into()),
            stop: AtomicBool::new(false),
        });
        let (listens, listening) = std::sync::mpsc::channel();
        let here = place.clone();
        let thread = std::thread::spawn(move || {
            let server = Server::start(&here.data);
            *here.address.lock().unwrap() = server.address;
            listens.send(()).unwrap();
            here.lives(server, &moved);
        });
        listening.recv().expect("the second server starts");
        Self {
            place,
            thread: Some(thread),
        }
    }

    pub(crate) fn data(&self) -> &Path {
        &self.place.data
    }

    pub(crate) fn address(&self) -> SocketAddr {
        *self.place.address.lock().unwrap()
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        self.place.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            thread.join().ok();
        }
    }
}

impl Place {
    fn lives(&self, mut server: Server, moved: &impl Fn(SocketAddr, SocketAddr)) {
        let mut dice = Dice::of(&self.data.display().to_string());
        loop {
            let lives = is_disturbed().then(|| dice.between(LIVES_MS));
            if self.stops_within(lives) {
                return;
            }
            drop(server);
            if self.stops_within(Some(dice.between(AWAY_MS))) {
                return;
            }
            server = Server::start(&self.data);
            let mut address = self.address.lock().unwrap();
            moved(*address, server.address);
            *address = server.address;
        }
    }

    /// Waits, without end when nothing is said; whether the site stops meanwhile.
    fn stops_within(&self, ms: Option<u64>) -> bool {
        let until = ms.map(|ms| Instant::now() + Duration::from_millis(ms));
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if self.stop.load(Ordering::SeqCst) {
                return true;
            }
            match left {
                None => std::thread::park(),
                Some(Duration::ZERO) => return false,
                Some(left) => std::thread::park_timeout(left),
            }
        }
    }
}
