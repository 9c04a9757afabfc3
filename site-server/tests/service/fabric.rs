//! Lines between sites that are processes: each site is reached through a proxy of this test, which knows who calls and
//! may be silent to some, slow, or cut.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp},
};

/// From the calling site to the called one.
type Pair = (usize, usize);

#[derive(Default)]
struct Line {
    silent: AtomicBool,
    /// Grows with every cut; a connection of an earlier one ends.
    cuts: AtomicU64,
    /// Bytes from the called site to the caller.
    answered: AtomicU64,
    /// Pause after every piece of an answer, microseconds.
    pause_us: AtomicU64,
}

/// All lines of a test.
#[derive(Default)]
pub(crate) struct Fabric {
    lines: Mutex<HashMap<Pair, Arc<Line>>>,
    pids: Mutex<Vec<u32>>,
    ports: Mutex<Vec<Arc<AtomicU16>>>,
}

impl Fabric {
    /// Opens the way to one more site; its address for others. Nobody is behind it yet.
    pub(crate) async fn open(self: &Arc<Self>) -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap().port();
        let port = Arc::new(AtomicU16::new(0));
        let to = {
            let mut ports = self.ports.lock().unwrap();
            ports.push(port.clone());
            self.pids.lock().unwrap().push(0);
            ports.len() - 1
        };
        let fabric = self.clone();
        tokio::spawn(async move {
            while let Ok((socket, from)) = listener.accept().await {
                let Ok(server) =
                    TcpStream::connect(("127.0.0.1", port.load(Ordering::SeqCst))).await
                else {
                    continue;
                };
                let line = match fabric.caller(from.port()) {
                    Some(caller) => fabric.line((caller, to)),
                    // A command beside a server, or one that has gone: nobody cuts its line.
                    None => Arc::default(),
                };
                let (up, down) = (socket.into_split(), server.into_split());
                tokio::spawn(carry(line.clone(), up.0, down.1, false));
                tokio::spawn(carry(line, down.0, up.1, true));
            }
        });
        address
    }

    /// Puts the process of a site behind its address.
    pub(crate) fn runs(&self, site: usize, pid: u32, port: u16) {
        self.pids.lock().unwrap()[site] = pid;
        self.ports.lock().unwrap()[site].store(port, Ordering::SeqCst);
    }

    fn line(&self, pair: Pair) -> Arc<Line> {
        self.lines.lock().unwrap().entry(pair).or_default().clone()
    }

    /// Which site a connection comes from: the one whose process has the socket.
    fn caller(&self, port: u16) -> Option<usize> {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let local = format!("0100007F:{port:04X}");
        let inode = table.lines().find_map(|line| {
            let columns: Vec<_> = line.split_whitespace().collect();
            (columns.get(1) == Some(&local.as_str())).then(|| columns[9].to_owned())
        })?;
        let socket = format!("socket:[{inode}]");
        let pids = self.pids.lock().unwrap().clone();
        pids.iter().position(|pid| {
            let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
                return false;
            };
            files.flatten().any(|file| {
                std::fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == socket.as_str())
            })
        })
    }

    /// Nothing passes between the two sides, and nobody is told so.
    pub(crate) fn part(&self, left: &[usize], right: &[usize], silent: bool) {
        for a in left {
            for b in right {
                for pair in [(*a, *b), (*b, *a)] {
                    self.line(pair).silent.store(silent, Ordering::SeqCst);
                }
            }
        }
    }

    /// Ends every connection of a line.
    pub(crate) fn cut(&self, from: usize, to: usize) {
        self.line((from, to)).cuts.fetch_add(1, Ordering::SeqCst);
    }

    /// Answers on a line pass at so many bytes a second, about.
    pub(crate) fn slow(&self, from: usize, to: usize, bytes_per_s: u64) {
        let pause_us = PIECE as u64 * 1_000_000 / bytes_per_s;
        let line = self.line((from, to));
        line.pause_us.store(pause_us, Ordering::SeqCst);
    }

    /// Bytes that `to` has answered `from` until now.
    pub(crate) fn answered(&self, from: usize, to: usize) -> u64 {
        self.line((from, to)).answered.load(Ordering::SeqCst)
    }
}

const PIECE: usize = 16 << 10;

async fn carry(
    line: Arc<Line>,
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    answers: bool,
) {
    let cuts = line.cuts.load(Ordering::SeqCst);
    let mut piece = vec![0; PIECE];
    loop {
        let read = tokio::select! {
            read = from.read(&mut piece) => read,
            () = until_cut(&line, cuts) => return,
        };
        let Ok(n @ 1..) = read else { return };
        while line.silent.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if line.cuts.load(Ordering::SeqCst) != cuts || to.write_all(&piece[..n]).await.is_err() {
            return;
        }
        if answers {
            line.answered.fetch_add(n as u64, Ordering::SeqCst);
            let pause = line.pause_us.load(Ordering::SeqCst);
            if pause > 0 {
                tokio::time::sleep(Duration::from_micros(pause)).await;
            }
        }
    }
}

async fn until_cut(line: &Line, cuts: u64) {
    while line.cuts.load(Ordering::SeqCst) == cuts {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
