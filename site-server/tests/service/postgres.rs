//! A PostgreSQL server for one test: Debian's, with a data folder of its own.

use std::{
    io::{BufRead as _, BufReader},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

use site_server::store::DatabaseConfig;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, postgres::PgConnectOptions};

use crate::{
    patient::{PATIENCE, PAUSE},
    support::random,
};

/// PostgreSQL refuses to run as root.
const USER: &str = "postgres";

/// Where the sites of this process keep their rows, if not in SQLite: set by [`crate::rerun`].
pub(crate) const ADDRESS: &str = "FUROSHIKI_TEST_POSTGRES";
pub(crate) const PASSWORD_FILE: &str = "FUROSHIKI_TEST_POSTGRES_PASSWORD_FILE";
/// Sites that run at once, with eight connections each.
const CONNECTIONS: &str = "max_connections=400";

/// Runs until dropped.
pub(crate) struct Postgres {
    server: Child,
    dir: tempfile::TempDir,
    address: Ipv4Addr,
}

impl Postgres {
    pub(crate) fn start() -> Self {
        let new = Self::folder();
        std::fs::write(new.path().join("password"), "for this test\n").unwrap();
        own(new.path());
        let made = as_user(&programs().join("initdb"))
            .arg("--pgdata")
            .arg(new.path().join("data"))
            .args(["--username=site", "--auth=scram-sha-256", "--encoding=UTF8"])
            .args(["--locale=C.UTF-8", "--no-sync", "--pwfile"])
            .arg(new.path().join("password"))
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        Self::run(new, somewhere())
    }

    /// Another server that follows this one. From now on this one acknowledges nothing the other does not have.
    pub(crate) async fn standby(&self) -> Self {
        self.standby_at(somewhere()).await
    }

    /// As [`Self::standby`], in the place of one that is gone.
    pub(crate) async fn standby_for(&self, gone: &Self) -> Self {
        self.standby_at(gone.address).await
    }

    async fn standby_at(&self, address: Ipv4Addr) -> Self {
        let new = Self::folder();
        std::fs::copy(
            self.dir.path().join("password"),
            new.path().join("password"),
        )
        .unwrap();
        own(new.path());
        let copied = as_user(&programs().join("pg_basebackup"))
            .arg("--pgdata")
            .arg(new.path().join("data"))
            .args(["--username=site", "--write-recovery-conf", "--no-sync"])
            .args(["--checkpoint=fast", "--wal-method=stream"])
            .arg(format!("--host={}", self.address))
            .env("PGPASSWORD", "for this test")
            .output()
            .unwrap();
        assert!(copied.status.success(), "{copied:?}");
        let standby = Self::run(new, address);
        self.does("ALTER SYSTEM SET synchronous_standby_names = '*'")
            .await;
        self.does("SELECT pg_reload_conf()").await;
        standby
    }

    /// Where its files are.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Writes what it has in memory to its files.
    pub(crate) async fn checkpoint(&self) {
        self.does("CHECKPOINT").await;
    }

    /// Makes a standby the server that writes.
    pub(crate) async fn promote(&self) {
        self.does("SELECT pg_promote()").await;
    }

    /// Ends it in the middle of what it does.
    pub(crate) fn crash(&mut self) {
        let server = rustix::process::Pid::from_child(&self.server);
        // Killed, it would leave shared memory behind; this ends it as hard and cleans up.
        rustix::process::kill_process(server, rustix::process::Signal::QUIT).unwrap();
        self.server.wait().unwrap();
    }

    async fn does(&self, statement: &'static str) {
        let address = self.config().postgres.unwrap();
        let server: PgConnectOptions = address.parse().unwrap();
        let server = server.password("for this test");
        let mut line = server.connect().await.unwrap();
        sqlx::raw_sql(statement).execute(&mut line).await.unwrap();
        line.close().await.unwrap();
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn run(dir: tempfile::TempDir, address: Ipv4Addr) -> Self {
        let mut server = as_user(&programs().join("postgres"))
            .arg("-D")
            .arg(dir.path().join("data"))
            .args(["-c", &format!("listen_addresses={address}")])
            // What it wrote outlives its processes, and needs not outlive the machine.
            .args(["-c", "fsync=off", "-c", "full_page_writes=off"])
            .args(["-c", CONNECTIONS, "-k"])
            .arg(dir.path())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(server.stderr.take().unwrap());
        let running = Self {
            server,
            dir,
            address,
        };
        let mut lines = Vec::new();
        for line in said.lines() {
            lines.push(line.unwrap());
            // Of a standby: "to accept read-only connections".
            if lines.last().unwrap().contains("ready to accept") {
                return running;
            }
        }
        panic!("PostgreSQL did not start: {lines:#?}");
    }

    /// What a site is told that may use this server or another.
    pub(crate) fn config_with(&self, other: &Self) -> DatabaseConfig {
        DatabaseConfig {
            postgres: Some(format!(
                "postgres://site@{},{}/postgres",
                self.address, other.address
            )),
            ..self.config()
        }
    }

    /// What a site is told.
    pub(crate) fn config(&self) -> DatabaseConfig {
        DatabaseConfig {
            postgres: Some(format!("postgres://site@{}/postgres", self.address)),
            password_file: Some(self.dir.path().join("password")),
        }
    }

    /// A database nobody else has.
    pub(crate) async fn database(&self) -> DatabaseConfig {
        let config = self.config();
        let (address, password) = (config.postgres.unwrap(), config.password_file.unwrap());
        new_database(&address, password).await
    }
}

/// A database for one more site: SQLite, or a new one in the server this process was given.
pub(crate) async fn database_of_a_site() -> DatabaseConfig {
    let (Ok(address), Some(password)) = (std::env::var(ADDRESS), std::env::var_os(PASSWORD_FILE))
    else {
        return DatabaseConfig::default();
    };
    new_database(&address, password.into()).await
}

/// Of several servers one takes writes, or will soon.
async fn new_database(address: &str, password: PathBuf) -> DatabaseConfig {
    let name = format!("site_{}", hex::encode(random::<8>()));
    let secret = std::fs::read_to_string(&password).unwrap();
    let (server, _) = address.rsplit_once('/').unwrap();
    let (user, hosts) = server.rsplit_once('@').unwrap();
    let until = Instant::now() + PATIENCE;
    for host in hosts.split(',').cycle() {
        let one: PgConnectOptions = format!("{user}@{host}/postgres").parse().unwrap();
        match create(one.password(secret.trim()), &name).await {
            Ok(()) => break,
            Err(error) if Instant::now() > until => panic!("{error}"),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
    DatabaseConfig {
        postgres: Some(format!("{server}/{name}")),
        password_file: Some(password),
    }
}

async fn create(server: PgConnectOptions, name: &str) -> sqlx::Result<()> {
    let mut admin = server.connect().await?;
    let made = sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .execute(&mut admin)
        .await;
    admin.close().await.ok();
    match made {
        // The answer to an earlier try was lost; nobody else knows the name.
        Err(sqlx::Error::Database(error)) if error.code().is_some_and(|code| code == "42P04") => {
            Ok(())
        }
        made => made.map(drop),
    }
}

/// An address of its own, and so no port that somebody else may take.
fn somewhere() -> Ipv4Addr {
    let [a, b, c] = random::<3>();
    Ipv4Addr::new(127, a, b, c.clamp(1, 254))
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A fast shutdown: killed, it would leave shared memory behind.
        let server = rustix::process::Pid::from_child(&self.server);
        rustix::process::kill_process(server, rustix::process::Signal::INT).ok();
        self.server.wait().ok();
    }
}

/// PostgreSQL refuses to run as root, and to use what is not its own.
fn own(folder: &Path) {
    if root() {
        let mut done = Command::new("chown");
        done.args(["-R", USER]).arg(folder);
        assert!(
            done.status().unwrap().success(),
            "there must be a user {USER}: apt install postgresql"
        );
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
