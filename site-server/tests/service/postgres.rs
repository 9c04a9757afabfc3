//! A PostgreSQL server for one test: Debian's, with a data folder of its own.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use site_server::store::DatabaseConfig;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, postgres::PgConnectOptions};

use crate::{
    bucket::{self, Cluster},
    support::random,
};

/// PostgreSQL refuses to run as root.
const USER: &str = "postgres";

/// Where the sites of this process keep their rows, if not in SQLite: set by
/// [`every_test_of_the_service_passes_on_postgresql_and_s3`].
const ADDRESS: &str = "FUROSHIKI_TEST_POSTGRES";
const PASSWORD_FILE: &str = "FUROSHIKI_TEST_POSTGRES_PASSWORD_FILE";
/// Sites that run at once, with eight connections each.
const CONNECTIONS: &str = "max_connections=400";

/// Runs until dropped.
pub(crate) struct Postgres {
    server: Child,
    dir: tempfile::TempDir,
    address: std::net::Ipv4Addr,
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
        // An address of its own, and so no port that somebody else may take.
        let [a, b, c] = random::<3>();
        let address = std::net::Ipv4Addr::new(127, a, b, c.clamp(1, 254));
        let mut server = as_user(&programs.join("postgres"))
            .arg("-D")
            .arg(&data)
            .args(["-c", &format!("listen_addresses={address}")])
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
            if lines
                .last()
                .unwrap()
                .contains("ready to accept connections")
            {
                return running;
            }
        }
        panic!("PostgreSQL did not start: {lines:#?}");
    }

    /// What a site is told.
    pub(crate) fn config(&self) -> DatabaseConfig {
        DatabaseConfig {
            postgres: Some(format!("postgres://site@{}/postgres", self.address)),
            password_file: Some(self.dir.path().join("password")),
        }
    }
}

/// A database for one more site: SQLite, or a new one in the server this process was given.
pub(crate) async fn database_of_a_site() -> DatabaseConfig {
    let (Ok(address), Some(password)) = (std::env::var(ADDRESS), std::env::var_os(PASSWORD_FILE))
    else {
        return DatabaseConfig::default();
    };
    let name = format!("site_{}", hex::encode(random::<8>()));
    let secret = std::fs::read_to_string(&password).unwrap();
    let server: PgConnectOptions = address.parse().unwrap();
    let mut admin = server.password(secret.trim()).connect().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .execute(&mut admin)
        .await
        .unwrap();
    admin.close().await.unwrap();
    let (server, _) = address.rsplit_once('/').unwrap();
    DatabaseConfig {
        postgres: Some(format!("{server}/{name}")),
        password_file: Some(password.into()),
    }
}

/// Runs this program again, its sites' rows in PostgreSQL and their objects in a bucket.
#[tokio::test]
async fn every_test_of_the_service_passes_on_postgresql_and_s3() {
    let postgres = Postgres::start();
    let cluster = Cluster::start().await;
    let bucket = cluster.bucket().await;
    let config = postgres.config();
    let again = Command::new(std::env::current_exe().unwrap())
        .env(ADDRESS, config.postgres.unwrap())
        .env(PASSWORD_FILE, config.password_file.unwrap())
        .env(bucket::ADDRESS, bucket.s3.unwrap())
        .env(bucket::SECRET_FILE, bucket.secret_file.unwrap())
        // They start servers of their own, or sites by the command line.
        .args([
            "--skip",
            "postgres::",
            "--skip",
            "store_contract::",
            "--skip",
            "program::",
            "--skip",
            "on_the_disk",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&again.stdout);
    assert!(
        again.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&again.stderr)
    );
    let passed = said.matches(" ... ok").count();
    assert!(passed >= 60, "only {passed} tests ran:\n{said}");
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A fast shutdown: killed, it would leave shared memory behind.
        let server = rustix::process::Pid::from_child(&self.server);
        rustix::process::kill_process(server, rustix::process::Signal::INT).ok();
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
