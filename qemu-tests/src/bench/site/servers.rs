//! The three servers: a real site, nginx, restic's rest-server, each with the same objects.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustls::ClientConfig;
use sha2::{Digest as _, Sha256};

use super::load::{Target, trusting};
use crate::child::{self, Running};
use crate::machine::free_port;
use crate::place;
use crate::site::TestSite;
use crate::wait::Deadline;

/// A server listens within this, also on a busy machine.
const LISTEN: Duration = Duration::from_secs(60);
/// Ticks of the clock in /proc/PID/stat, a second (proc_pid_stat(5); 100 wherever Linux runs on x86 and ARM).
const TICKS: u64 = 100;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// The product.
    Site,
    /// Sends files; takes them by WebDAV, without looking at them and without asking for the disk.
    Nginx,
    /// Checks names and asks for the disk, as a site does.
    Rest,
}

impl Server {
    /// Its name in figures.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Site => "site",
            Self::Nginx => "nginx",
            Self::Rest => "rest-server",
        }
    }
}

/// Plain HTTP or TLS 1.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// HTTP.
    Plain,
    /// HTTPS.
    Tls,
}

/// All of them, running.
#[derive(Debug)]
pub struct Servers {
    /// The site.
    pub site: TestSite,
    folder: PathBuf,
    ports: Ports,
    trust: Arc<ClientConfig>,
    token: String,
    peers: Vec<Running>,
}

#[derive(Debug)]
struct Ports {
    site: u16,
    nginx: u16,
    nginx_tls: u16,
    rest: u16,
    rest_tls: u16,
}

/// An object that all of them have.
#[derive(Debug, Clone)]
pub struct Object {
    blake3: String,
    sha256: String,
}

impl Object {
    /// The names these bytes have.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            blake3: blake3::hash(bytes).to_hex().to_string(),
            sha256: hex::encode(Sha256::digest(bytes)),
        }
    }

    /// Where it is at a server.
    #[must_use]
    pub fn path(&self, server: Server) -> String {
        match server {
            Server::Site => format!("/v1/objects/{}", self.blake3),
            Server::Nginx => format!("/{}", self.sha256),
            Server::Rest => format!("/data/{}", self.sha256),
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for peer in &mut self.peers {
            peer.terminate();
        }
    }
}

impl Servers {
    /// Starts them with their stores below `folder`.
    ///
    /// # Errors
    /// One does not start, or is not there: `cargo xtask bench site` provides it.
    pub fn start(folder: &Path) -> Result<Self> {
        place::fresh(folder)?;
        let mut site = TestSite::start_alone(folder, "site")?;
        let port = site.serve_plain_too()?;
        let trust = trusting(site.ca())?;
        let token = people(&site, 1)?.pop().context("no user")?;
        let ports = Ports {
            site: port,
            nginx: free_port()?,
            nginx_tls: free_port()?,
            rest: free_port()?,
            rest_tls: free_port()?,
        };
        let mut servers = Self {
            site,
            folder: folder.to_path_buf(),
            ports,
            trust,
            token,
            peers: Vec::new(),
        };
        servers.start_nginx()?;
        servers.start_rest(None)?;
        servers.start_rest(Some(()))?;
        Ok(servers)
    }

    fn certificate(&self) -> (PathBuf, PathBuf) {
        let tls = self.site.data.join("tls");
        (tls.join("site.pem"), tls.join("site.key"))
    }

    fn start_nginx(&mut self) -> Result<()> {
        let program = place::target().join("tools/peers/bin/nginx");
        let folder = self.folder.join("nginx");
        for part in ["data", "temp"] {
            let part = folder.join(part);
            fs::create_dir_all(&part).with_context(|| format!("make {}", part.display()))?;
        }
        let (certificate, key) = self.certificate();
        let mut text = String::new();
        let shown = folder.display();
        // As its manual says for speed; two workers for two cores; no log, which ours has.
        write!(
            text,
            "daemon off;\nuser root;\nworker_processes auto;\npid {shown}/pid;\nerror_log {shown}/error.log;\n\
             events {{ worker_connections 2048; }}\n\
             http {{\n access_log off;\n sendfile on;\n tcp_nopush on;\n keepalive_requests 1000000;\n\
             client_max_body_size 128m;\n client_body_temp_path {shown}/temp;\n\
             proxy_temp_path {shown}/t1;\n fastcgi_temp_path {shown}/t2;\n uwsgi_temp_path {shown}/t3;\n scgi_temp_path {shown}/t4;\n\
             ssl_protocols TLSv1.3;\n ssl_certificate {};\n ssl_certificate_key {};\n\
             server {{\n  listen 127.0.0.1:{};\n  listen 127.0.0.1:{} ssl;\n  root {shown}/data;\n  dav_methods PUT;\n }}\n}}\n",
            certificate.display(),
            key.display(),
            self.ports.nginx,
            self.ports.nginx_tls,
        )
        .context("write a configuration")?;
        let file = folder.join("nginx.conf");
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        let mut command = Command::new(program);
        command.arg("-c").arg(&file).arg("-p").arg(&folder);
        command.stdout(Stdio::null());
        self.peer(&mut command, "nginx", self.ports.nginx_tls)
    }

    fn start_rest(&mut self, tls: Option<()>) -> Result<()> {
        let program = place::target().join("tools/peers/bin/restic-rest-server");
        let folder = self.folder.join("rest");
        for part in 0..=255_u8 {
            let part = folder.join("data").join(hex::encode([part]));
            fs::create_dir_all(&part).with_context(|| format!("make {}", part.display()))?;
        }
        let port = tls.map_or(self.ports.rest, |()| self.ports.rest_tls);
        let mut command = Command::new(program);
        command.arg("--no-auth").arg("--path").arg(&folder);
        command.args(["--listen", &format!("127.0.0.1:{port}")]);
        if tls.is_some() {
            let (certificate, key) = self.certificate();
            // The client speaks TLS 1.3 alone.
            command.args(["--tls", "--tls-cert"]);
            command.arg(certificate).arg("--tls-key").arg(key);
        }
        command.stdout(Stdio::null());
        self.peer(&mut command, "rest-server", port)
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "nothing tells when a server of somebody else listens; the deadline ends it"
    )]
    fn peer(&mut self, command: &mut Command, name: &str, port: u16) -> Result<()> {
        let log = self.folder.join(format!("{name}-{port}.log"));
        let mut running = Running::start(command, &log)?;
        let deadline = Deadline::after(LISTEN);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            running.still_runs(&log)?;
            if deadline.passed() {
                bail!("{name} does not listen\n{}", child::tail_of(&log));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.peers.push(running);
        Ok(())
    }

    /// How a server is spoken to.
    ///
    /// # Errors
    /// The site does not run.
    pub fn target(&self, server: Server, wire: Wire) -> Result<Target> {
        let port = match (server, wire) {
            (Server::Site, Wire::Plain) => self.ports.site,
            (Server::Site, Wire::Tls) => self.site.port(),
            (Server::Nginx, Wire::Plain) => self.ports.nginx,
            (Server::Nginx, Wire::Tls) => self.ports.nginx_tls,
            (Server::Rest, Wire::Plain) => self.ports.rest,
            (Server::Rest, Wire::Tls) => self.ports.rest_tls,
        };
        let headers = match server {
            Server::Site => bearer(&self.token),
            Server::Nginx | Server::Rest => String::new(),
        };
        Ok(Target {
            address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, port),
            tls: (wire == Wire::Tls).then(|| self.trust.clone()),
            headers,
        })
    }

    /// Puts an object at all of them: at the site as a PC does, at the others as files.
    ///
    /// # Errors
    /// The site does not take it, or the disk.
    pub fn put(&self, bytes: &[u8]) -> Result<Object> {
        let object = Object::of(bytes);
        let mut line = self.target(Server::Site, Wire::Plain)?.connect()?;
        let answer = line.send("PUT", &object.path(Server::Site), bytes)?;
        ensure!(
            answer.status == 201,
            "the site answers a PUT with {}",
            answer.status
        );
        let file = self.folder.join("nginx/data").join(&object.sha256);
        fs::write(&file, bytes).with_context(|| format!("write {}", file.display()))?;
        let shelf = object.sha256.get(..2).unwrap_or_default();
        let same = self
            .folder
            .join("rest/data")
            .join(shelf)
            .join(&object.sha256);
        fs::hard_link(&file, &same).with_context(|| format!("link {}", same.display()))?;
        Ok(object)
    }

    /// Forgets what was put at the peers; the site keeps what it has.
    ///
    /// # Errors
    /// The disk's.
    pub fn forget(&self, objects: &[Object]) -> Result<()> {
        for object in objects {
            let shelf = object.sha256.get(..2).unwrap_or_default();
            let files = [
                self.folder.join("nginx/data").join(&object.sha256),
                self.folder
                    .join("rest/data")
                    .join(shelf)
                    .join(&object.sha256),
            ];
            for file in files.iter().filter(|file| file.exists()) {
                fs::remove_file(file).with_context(|| format!("remove {}", file.display()))?;
            }
        }
        Ok(())
    }

    /// What a server used so far, with all its processes.
    ///
    /// # Errors
    /// It is gone.
    pub fn cpu(&self, server: Server) -> Result<Duration> {
        let roots: Vec<u32> = match server {
            Server::Site => vec![self.site.process_id()?],
            Server::Nginx => self
                .peers
                .iter()
                .take(1)
                .map(|peer| peer.child.id())
                .collect(),
            Server::Rest => self
                .peers
                .iter()
                .skip(1)
                .map(|peer| peer.child.id())
                .collect(),
        };
        let mut ticks = 0;
        for (_, used) in processes(&roots)? {
            ticks += used;
        }
        Ok(Duration::from_millis(ticks * 1000 / TICKS))
    }
}

/// The header line of a signed-in PC.
#[must_use]
pub fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// Registers and signs in so many users; gives their tokens.
///
/// # Errors
/// The site refuses.
pub fn people(site: &TestSite, count: u32) -> Result<Vec<String>> {
    let mut command = Command::new(place::example("people")?);
    command
        .arg(&site.data)
        .arg(site.url())
        .arg(count.to_string());
    let said = child::output(&mut command)?;
    let tokens = said.lines().filter_map(|line| line.split_once(' '));
    Ok(tokens.map(|(_, token)| token.to_owned()).collect())
}

/// These processes and their children, with the ticks each used.
fn processes(roots: &[u32]) -> Result<Vec<(u32, u64)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc").context("list /proc")? {
        let name = entry.context("list /proc")?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // Others come and go meanwhile.
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        // The name of the program, in brackets, may have blanks in it.
        let Some((_, after)) = text.rsplit_once(") ") else {
            continue;
        };
        let field = |n: usize| {
            after
                .split(' ')
                .nth(n)
                .and_then(|field| field.parse::<u64>().ok())
        };
        let (Some(parent), Some(user), Some(system)) = (field(1), field(11), field(12)) else {
            continue;
        };
        all.push((pid, parent, user + system));
    }
    let mut ours: BTreeSet<u64> = roots.iter().map(|pid| u64::from(*pid)).collect();
    let children: Vec<u64> = all
        .iter()
        .filter(|(_, parent, _)| ours.contains(parent))
        .map(|(pid, ..)| u64::from(*pid))
        .collect();
    ours.extend(children);
    let found: Vec<(u32, u64)> = all
        .into_iter()
        .filter(|(pid, ..)| ours.contains(&u64::from(*pid)))
        .map(|(pid, _, ticks)| (pid, ticks))
        .collect();
    ensure!(found.len() >= roots.len(), "a server is gone");
    Ok(found)
}
