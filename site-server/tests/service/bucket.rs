//! A bucket for one test, in a cluster of SeaweedFS: three masters, three volume servers, two copies of everything.

use std::{
    net::Ipv4Addr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use site_server::store::ObjectsConfig;

use crate::support::random;

/// Where the sites of this process keep their objects, if not in files.
pub(crate) const ADDRESS: &str = "FUROSHIKI_TEST_S3";
pub(crate) const SECRET_FILE: &str = "FUROSHIKI_TEST_S3_SECRET_FILE";
pub(crate) const ACCESS_KEY: &str = "site";
pub(crate) const SECRET: &str = "for this test";
/// Before them are the masters.
const FIRST_VOLUME_SERVER: usize = 3;
/// How long a cluster may take to be whole; it does in 10 s.
const WHOLE: Duration = Duration::from_secs(120);

/// Runs until dropped.
pub(crate) struct Cluster {
    /// What each was started with, and its process.
    servers: Vec<(Vec<String>, Child)>,
    dir: tempfile::TempDir,
    address: Ipv4Addr,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        // An address of its own, and so no port that somebody else may take.
        let [a, b, c] = random::<3>();
        let mut cluster = Self {
            servers: Vec::new(),
            dir: tempfile::tempdir().unwrap(),
            address: Ipv4Addr::new(127, a, b, c.clamp(1, 254)),
        };
        let identities = serde_json::json!({"identities": [{
            "name": "site",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List"],
        }]});
        let dir = cluster.dir.path().to_owned();
        std::fs::write(dir.join("secret"), SECRET).unwrap();
        std::fs::write(dir.join("identities.json"), identities.to_string()).unwrap();
        let at = |port: u16| format!("{}:{port}", cluster.address);
        let masters = [9333, 9334, 9335].map(at);
        let (masters, filer) = (masters.join(","), at(8888));
        for port in 9333..9336 {
            // It would tell its makers about itself.
            let quiet = "-telemetry=false".into();
            let two = "-defaultReplication=001".into();
            let small = "-volumeSizeLimitMB=64".into();
            let peers = format!("-peers={masters}");
            cluster.run(
                "master",
                port,
                &[quiet, two, small, peers, folder("-mdir", &dir, port)],
            );
        }
        for port in 8080..8083 {
            let ours = format!("-master={masters}");
            let places = "-max=40".into();
            cluster.run("volume", port, &[ours, places, folder("-dir", &dir, port)]);
        }
        let ours = format!("-master={masters}");
        let two = "-defaultReplicaPlacement=001".into();
        cluster.run(
            "filer",
            8888,
            &[ours, two, folder("-defaultStoreDir", &dir, 8888)],
        );
        let identities = format!("-config={}", dir.join("identities.json").display());
        cluster.run("s3", 8333, &[format!("-filer={filer}"), identities]);
        cluster.whole().await;
        cluster
    }

    fn run(&mut self, role: &str, port: u16, more: &[String]) {
        let address = match role {
            "s3" => vec![format!("-ip.bind={}", self.address)],
            _ => ["-ip", "-ip.bind"]
                .map(|name| format!("{name}={}", self.address))
                .to_vec(),
        };
        let mut told = vec![weed().display().to_string()];
        told.extend(["-logtostderr".into(), role.into(), format!("-port={port}")]);
        told.extend(address.into_iter().chain(more.iter().cloned()));
        let server = self.spawned(&told, &format!("{role}-{port}"));
        self.servers.push((told, server));
    }

    fn spawned(&self, told: &[String], name: &str) -> Child {
        let log = self.dir.path().join(format!("{name}.log"));
        // Ends with this process, however that ends.
        Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .args(told)
            .current_dir(self.dir.path())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(log).unwrap())
            .spawn()
            .unwrap()
    }

    /// Waits until three volume servers are known and S3 answers.
    async fn whole(&self) {
        let web = client();
        let get = async |port: u16, path: &str| {
            let answer = web
                .get(format!("http://{}:{port}{path}", self.address))
                .send()
                .await;
            match answer {
                Ok(answer) if answer.status().is_success() => answer.text().await.ok(),
                _ => None,
            }
        };
        let until = Instant::now() + WHOLE;
        while Instant::now() < until {
            let volumes = get(9333, "/dir/status").await.unwrap_or_default();
            let known = (8080..8083)
                .filter(|port| volumes.contains(&format!("{}:{port}\"", self.address)))
                .count();
            if known == 3 && get(8333, "/status").await.is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("SeaweedFS is not whole after {WHOLE:?}:\n{}", self.said());
    }

    /// The last lines of every server.
    fn said(&self) -> String {
        let logs = std::fs::read_dir(self.dir.path()).unwrap().flatten();
        let logs = logs.filter(|entry| entry.path().extension().is_some_and(|end| end == "log"));
        let last = logs.map(|entry| {
            let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
            let lines: Vec<_> = text.lines().rev().take(8).collect();
            format!("{}:\n{}\n", entry.path().display(), lines.join("\n"))
        });
        last.collect()
    }

    /// A bucket nobody else has.
    pub(crate) async fn bucket(&self) -> ObjectsConfig {
        let name = format!("site-{}", hex::encode(random::<6>()));
        let made = Command::new(weed())
            .args(["shell", &format!("-master={}:9333", self.address)])
            .arg(format!("-filer={}:8888", self.address))
            .stdin(Stdio::from(
                self.command(&format!("s3.bucket.create -name {name}\n")),
            ))
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let bucket = format!("http://{}:8333/{name}", self.address);
        below(&bucket, self.dir.path().join("secret"))
    }

    fn command(&self, text: &str) -> std::fs::File {
        let path = self
            .dir
            .path()
            .join(format!("command-{}", hex::encode(random::<6>())));
        std::fs::write(&path, text).unwrap();
        std::fs::File::open(path).unwrap()
    }

    /// Kills one of the three volume servers: two copies of everything are left, or one.
    pub(crate) fn kill_volume_server(&mut self, n: usize) {
        let (_, server) = &mut self.servers[FIRST_VOLUME_SERVER + n];
        server.kill().unwrap();
        server.wait().unwrap();
    }

    /// Starts it again, with what it has.
    pub(crate) fn start_volume_server(&mut self, n: usize) {
        let at = FIRST_VOLUME_SERVER + n;
        let again = self.spawned(&self.servers[at].0, &format!("volume-{n}-again"));
        self.servers[at].1 = again;
    }
}

/// Speaks plain HTTP with an engine.
pub(crate) fn client() -> reqwest::Client {
    // One that is there already is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::new()
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for (_, server) in &mut self.servers {
            server.kill().ok();
            server.wait().ok();
        }
    }
}

/// Where one more site keeps its objects: in files, or below a new name in the bucket this process was given.
pub(crate) fn objects_of_a_site() -> ObjectsConfig {
    let (Ok(address), Some(secret)) = (std::env::var(ADDRESS), std::env::var_os(SECRET_FILE))
    else {
        return ObjectsConfig::default();
    };
    below(&address, secret.into())
}

/// Whether the sites of this process keep everything where several servers may use it.
pub(crate) fn is_shared() -> bool {
    std::env::var_os(ADDRESS).is_some()
}

pub(crate) fn below(bucket: &str, secret: PathBuf) -> ObjectsConfig {
    ObjectsConfig {
        s3: Some(format!("{bucket}/{}", hex::encode(random::<6>()))),
        access_key: Some(ACCESS_KEY.into()),
        secret_file: Some(secret),
        ..ObjectsConfig::default()
    }
}

fn folder(option: &str, dir: &std::path::Path, port: u16) -> String {
    let folder = dir.join(port.to_string());
    std::fs::create_dir(&folder).unwrap();
    format!("{option}={}", folder.display())
}

/// `cargo xtask test site` puts it there.
fn weed() -> PathBuf {
    let tools = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools");
    let weed = tools.join("seaweedfs/bin/weed");
    assert!(
        weed.exists(),
        "cargo xtask test site installs {}",
        weed.display()
    );
    weed
}
