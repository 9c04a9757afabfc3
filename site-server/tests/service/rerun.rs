//! The tests of the service once more: rows in PostgreSQL, objects in a bucket, two servers for each site behind a
//! balancer. With `--thorough` one of everything is killed in turn while they run.
//!
//! What dies when comes from a seed, which is printed; `FUROSHIKI_SEED` repeats it.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use crate::{
    balance::SEED,
    bucket::{self, Cluster},
    kills::Dice,
    patient::LOST,
    postgres::{ADDRESS, PASSWORD_FILE, Postgres},
};

/// They start servers and engines of their own, or sites by the command line.
const APART: [&str; 12] = [
    "rerun::",
    "postgres::",
    "store_contract::",
    "program::",
    "replicas::",
    "ceph::",
    "canary::",
    "kills::",
    "disk_full::",
    "operation::",
    "silent::",
    "on_the_disk",
];

/// They are disturbed by definition, and so run after the others, when nothing dies any more.
const CALM: [(&str, &str); 9] = [
    ("busy::", "lines of waiting requests at one server, counted"),
    (
        "hostile::wire::",
        "raw connections, which end with the server that has them",
    ),
    (
        "schemathesis::",
        "somebody else's program, which reports every connection that breaks",
    ),
    (
        "throttle::",
        "tries that failed, counted: one made twice counts twice",
    ),
    (
        "desk::staff_wait_after_wrong_passwords",
        "tries that failed, counted",
    ),
    (
        "sign_in::after_five_wrong_passwords",
        "tries that failed, counted",
    ),
    (
        "objects::what_moved_is_counted_once",
        "bytes, counted: what a killed server did not write down is not counted",
    ),
    (
        "relay::a_snapshot_goes_to_the_chosen_site_and_nowhere_else",
        "bytes, counted",
    ),
    (
        "portal_settings::an_invitation_gives_a_first_password_once",
        "what opens once, tried again after the answer was lost, does not open",
    ),
];

/// What a test says of whose own look into the store the database went away. See [`StoreError::is_away`].
///
/// [`StoreError::is_away`]: site_server::store::StoreError::is_away
const AWAY: [&str; 5] = ["source: Io(", "PoolTimedOut", "57P0", "25006", "code: \"08"];
/// So often a test is made that proved nothing.
const ROUNDS: usize = 3;

/// Between two deaths, and from the death of a volume server to its return, in milliseconds.
const BETWEEN_MS: (u64, u64) = (4000, 12_000);
const AWAY_MS: (u64, u64) = (1000, 6000);

struct Engines {
    primary: Postgres,
    standby: Postgres,
    cluster: Cluster,
    dice: Dice,
    begun: Instant,
    /// Whether anything dies at all.
    deadly: bool,
}

impl Engines {
    /// Runs a program, and has everything die meanwhile, in turn. What died is back when the program has ended.
    async fn die_while(&mut self, mut program: Command) -> Output {
        let program = program.spawn().unwrap();
        let mut ends = tokio::task::spawn_blocking(move || program.wait_with_output().unwrap());
        let mut database = false;
        while self.deadly {
            tokio::select! {
                output = &mut ends => return output.unwrap(),
                () = self.pause(BETWEEN_MS) => {}
            }
            if database {
                self.the_database_changes_hands().await;
            } else {
                self.a_volume_server_dies().await;
            }
            database = !database;
        }
        ends.await.unwrap()
    }

    async fn a_volume_server_dies(&mut self) {
        let n = usize::try_from(self.dice.below(3)).unwrap();
        self.says(&format!("volume server {n} is killed"));
        self.cluster.kill_volume_server(n);
        self.pause(AWAY_MS).await;
        self.cluster.start_volume_server(n);
        self.says("and started again");
    }

    /// The server that writes is killed, its standby becomes the one, and gets a standby where the other was.
    async fn the_database_changes_hands(&mut self) {
        self.says("the PostgreSQL server that writes is killed");
        self.primary.crash();
        self.standby.promote().await;
        self.says("its standby writes");
        let again = self.standby.standby_for(&self.primary).await;
        self.primary = std::mem::replace(&mut self.standby, again);
        self.says("and has a standby again");
    }

    async fn pause(&mut self, ms: (u64, u64)) {
        tokio::time::sleep(Duration::from_millis(self.dice.between(ms))).await;
    }

    fn says(&self, what: &str) {
        println!("{:6.1} s: {what}", self.begun.elapsed().as_secs_f32());
    }
}

/// This program, as it is to run again.
fn again(sites: &[(&str, String)]) -> Command {
    // Ends with this process, however that ends.
    let mut again = Command::new("setpriv");
    again
        .args(["--pdeathsig", "KILL"])
        .arg(std::env::current_exe().unwrap())
        .envs(sites.iter().map(|(name, value)| (name, value)))
        // They wait for servers more than for processors.
        .arg("--test-threads=6")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    again
}

/// Tests that failed, and whether each proved nothing: what it did it may have done twice, after an answer that was
/// lost, and it knows of once. One that fails for another reason has found something.
fn failed(output: &Output) -> Vec<(String, bool)> {
    let said = String::from_utf8_lossy(&output.stdout);
    let parts = said.split("\n---- ").skip(1).filter_map(|part| {
        let (name, told) = part.split_once(" stdout ----")?;
        let lost = AWAY.iter().chain([&LOST]).any(|mark| told.contains(mark));
        Some((name.to_owned(), lost))
    });
    parts.collect()
}

fn count(output: &Output) -> usize {
    let said = String::from_utf8_lossy(&output.stdout);
    said.matches(" ... ok").count()
}

fn all_said(output: &Output) -> String {
    let both = [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said));
    both.join("\n")
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_test_of_the_service_passes_on_two_servers_a_site() {
    let deadly = std::env::var_os("FUROSHIKI_THOROUGH").is_some();
    let mut dice = Dice::new();
    let seed = dice.below(u64::MAX);
    let primary = Postgres::start();
    let standby = primary.standby().await;
    let cluster = Cluster::start().await;
    let bucket = cluster.bucket().await;
    // The servers' own folders come and go.
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    let database = primary.config_with(&standby);
    std::fs::copy(database.password_file.unwrap(), &password).unwrap();
    let sites = [
        (ADDRESS, database.postgres.unwrap()),
        (PASSWORD_FILE, text(&password)),
        (bucket::ADDRESS, bucket.s3.unwrap()),
        (bucket::SECRET_FILE, text(&bucket.secret_file.unwrap())),
    ];

    let mut engines = Engines {
        primary,
        standby,
        cluster,
        dice,
        begun: Instant::now(),
        deadly,
    };
    let mut disturbed = again(&sites);
    if deadly {
        disturbed.env(SEED, seed.to_string());
    }
    for name in APART.into_iter().chain(CALM.map(|(name, _)| name)) {
        disturbed.args(["--skip", name]);
    }
    let mut passed = 0;
    for round in 1.. {
        let output = engines.die_while(disturbed).await;
        passed += count(&output);
        let failed = failed(&output);
        if output.status.success() {
            break;
        }
        let found = failed.is_empty() || failed.iter().any(|(_, lost)| !lost);
        assert!(deadly && !found && round < ROUNDS, "{}", all_said(&output));
        disturbed = again(&sites);
        disturbed.env(SEED, (seed + round as u64).to_string());
        disturbed.arg("--exact");
        for (name, _) in failed {
            engines.says(&format!("once more: {name}"));
            disturbed.arg(name);
        }
    }
    engines.says(&format!(
        "{passed} tests passed, killing one of everything meanwhile: {deadly}"
    ));
    assert!(passed >= 100);

    let mut calm = again(&sites);
    calm.args(CALM.map(|(name, _)| name));
    engines.deadly = false;
    let output = engines.die_while(calm).await;
    assert!(output.status.success(), "{}", all_said(&output));
    let passed = count(&output);
    engines.says(&format!("{passed} tests passed when nothing died any more"));
    assert!(passed >= CALM.len());
}
