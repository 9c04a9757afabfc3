//! A PostgreSQL server for one test: Debian's, with a data folder of its own.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use site_server::store::DatabaseConfig;

/// PostgreSQL refuses to run as root.
const USER: &str = "postgres";

/// Runs until dropped.
pub(crate) struct Postgres {
    server: Child,
    dir: tempfile::TempDir,
    port: u16,
}

impl Postgres {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let programs = programs();
        std::fs::write(dir.path().join("password"), "for this test\n").unwrap();
        if root() {
            let done = Command::new("chown")
                .args(["-R", USER])
                .arg(dir.path())
                .status();
            assert!(
                done.unwrap().success(),
                "there must be a user {USER}: apt install postgresql"
            );
        }
        let data = dir.path().join("data");
        let made = as_user(&programs.join("initdb"))
            .arg("--pgdata")
            .arg(&data)
            .args(["--username=site", "--auth=scram-sha-256", "--encoding=UTF8"])
            .args(["--locale=C.UTF-8", "--no-sync", "--pwfile"])
            .arg(dir.path().join("password"))
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        // Freed at once: nobody else takes it in between but by chance, and then the server says so.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut server = as_user(&programs.join("postgres"))
            .arg("-D")
            .arg(&data)
            .args([
                "-p",
                &port.to_string(),
                "-c",
                "listen_addresses=127.0.0.1",
                "-k",
            ])
            .arg(dir.path())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = Vec::new();
        for line in BufReader::new(server.stderr.take().unwrap()).lines() {
            said.push(line.unwrap());
            if said.last().unwrap().contains("ready to accept connections") {
                return Self { server, dir, port };
            }
        }
        panic!("PostgreSQL did not start: {said:#?}");
    }

    /// What a site is told.
    pub(crate) fn config(&self) -> DatabaseConfig {
        DatabaseConfig {
            postgres: Some(format!("postgres://site@127.0.0.1:{}/postgres", self.port)),
            password_file: Some(self.dir.path().join("password")),
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

fn root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Ends with this process, however that ends.
fn as_user(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if root() {
        command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]);
    }
    command
        .args(["--pdeathsig", "INT"])
        .arg(program)
        .current_dir("/");
    command
}

/// Debian keeps the programs of each version in a folder of their own.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("apt install postgresql");
    let mut bins: Vec<_> = versions
        .map(|version| version.unwrap().path().join("bin"))
        .collect();
    bins.retain(|bin| bin.join("initdb").exists());
    bins.sort();
    bins.pop().expect("apt install postgresql")
}
