//! A second engine that speaks S3, written by other people: Ceph, with a monitor, a manager, three disks and a gateway.
//!
//! Only with `FUROSHIKI_TEST_CEPH=1`, as `cargo xtask test site --thorough` says: its packages weigh 70 MB.

use std::{
    net::Ipv4Addr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use site_server::{
    config::Layout,
    store::{ObjectsConfig, Store},
};

use crate::{
    bucket::{ACCESS_KEY, SECRET, below, client},
    postgres::Postgres,
    store_contract::{a_big_object_comes_back, contract},
    support::random,
};

const DISKS: usize = 3;
/// How long each step of its start may take; all of them do in 20 s.
const WHOLE: Duration = Duration::from_secs(120);

struct Ceph {
    servers: Vec<Child>,
    dir: tempfile::TempDir,
    address: Ipv4Addr,
}

impl Ceph {
    async fn start() -> Self {
        let [a, b, c] = random::<3>();
        let mut ceph = Self {
            servers: Vec::new(),
            dir: tempfile::tempdir().unwrap(),
            address: Ipv4Addr::new(127, a, b, c.clamp(1, 254)),
        };
        let dir = ceph.dir.path().to_owned();
        std::fs::write(dir.join("secret"), SECRET).unwrap();
        let fsid = uuid();
        std::fs::write(dir.join("ceph.conf"), settings(&dir, ceph.address, &fsid)).unwrap();
        let monitor = format!("[v2:{0}:3300,v1:{0}:6789]", ceph.address);
        let map = dir.join("monmap").display().to_string();
        ceph.does(
            "monmaptool",
            &[
                "--create",
                "--clobber",
                "--fsid",
                &fsid,
                "--addv",
                "a",
                &monitor,
                &map,
            ],
        );
        ceph.does("ceph-mon", &["--mkfs", "-i", "a", "--monmap", &map]);
        ceph.serves("ceph-mon", &["-f", "-i", "a"]);
        ceph.until("the monitor answers", || ceph.says(&["-s"]).is_some())
            .await;
        ceph.serves("ceph-mgr", &["-f", "-i", "x"]);
        for disk in 0..DISKS {
            let (name, id) = (disk.to_string(), uuid());
            ceph.does("ceph", &["osd", "new", &id, &name]);
            std::fs::create_dir(dir.join(format!("osd.{disk}"))).unwrap();
            ceph.does("ceph-osd", &["-i", &name, "--mkfs", "--osd-uuid", &id]);
            ceph.serves("ceph-osd", &["-f", "-i", &name]);
        }
        let up = format!("{DISKS} up");
        ceph.until("its disks are up", || {
            ceph.says(&["osd", "stat"])
                .is_some_and(|said| said.contains(&up))
        })
        .await;
        ceph.serves("radosgw", &["-f", "-n", "client.rgw"]);
        let web = client();
        let at = ceph.at();
        let until = Instant::now() + WHOLE;
        while web.get(&at).send().await.is_err() {
            assert!(Instant::now() < until, "no gateway: {}", ceph.said());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        ceph.does(
            "radosgw-admin",
            &[
                "-n",
                "client.rgw",
                "user",
                "create",
                "--uid=site",
                "--display-name=site",
                &format!("--access-key={ACCESS_KEY}"),
                &format!("--secret-key={SECRET}"),
            ],
        );
        ceph
    }

    fn at(&self) -> String {
        format!("http://{}:7480", self.address)
    }

    /// A bucket nobody else has. Made as any client makes one; the library a site uses has no word for it.
    async fn bucket(&self) -> ObjectsConfig {
        let name = format!("site-{}", hex::encode(random::<6>()));
        let script = "import sys,hmac,hashlib,base64,urllib.request,email.utils\n\
            at,name,key,secret=sys.argv[1:]\n\
            date=email.utils.formatdate(usegmt=True)\n\
            text=f'PUT\\n\\n\\n{date}\\n/{name}'\n\
            sign=base64.b64encode(hmac.new(secret.encode(),text.encode(),hashlib.sha1).digest()).decode()\n\
            asked=urllib.request.Request(f'{at}/{name}',method='PUT',headers={'Date':date,'Authorization':f'AWS {key}:{sign}'})\n\
            urllib.request.urlopen(asked)\n";
        let made = Command::new("python3")
            .args(["-c", script, &self.at(), &name, ACCESS_KEY, SECRET])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}\n{}", self.said());
        below(
            &format!("{}/{name}", self.at()),
            self.dir.path().join("secret"),
        )
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", program])
            .env("CEPH_CONF", self.dir.path().join("ceph.conf"))
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .current_dir(self.dir.path());
        command
    }

    fn does(&self, program: &str, arguments: &[&str]) {
        let done = self.command(program).args(arguments).output().unwrap();
        assert!(done.status.success(), "{program} {arguments:?}: {done:?}");
    }

    fn says(&self, arguments: &[&str]) -> Option<String> {
        let said = self
            .command("ceph")
            .args(["--connect-timeout", "2"])
            .args(arguments)
            .output();
        let said = said.unwrap();
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        said.status.success().then_some(text)
    }

    fn serves(&mut self, program: &str, arguments: &[&str]) {
        let log = self
            .dir
            .path()
            .join(format!("{program}-{}.log", self.servers.len()));
        let server = self
            .command(program)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(log).unwrap())
            .spawn();
        self.servers.push(server.unwrap());
    }

    async fn until(&self, what: &str, so: impl Fn() -> bool) {
        let until = Instant::now() + WHOLE;
        while !so() {
            assert!(Instant::now() < until, "not {what}: {}", self.said());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The last lines of every server.
    fn said(&self) -> String {
        let logs = std::fs::read_dir(self.dir.path()).unwrap().flatten();
        let logs = logs.filter(|entry| entry.path().extension().is_some_and(|end| end == "log"));
        let last = logs.map(|entry| {
            let text = std::fs::read(entry.path()).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            let lines: Vec<_> = text.lines().rev().take(8).collect();
            format!("{}:\n{}\n", entry.path().display(), lines.join("\n"))
        });
        last.collect()
    }
}

impl Drop for Ceph {
    fn drop(&mut self) {
        for server in self.servers.iter_mut().rev() {
            server.kill().ok();
            server.wait().ok();
        }
    }
}

fn uuid() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/uuid")
        .unwrap()
        .trim()
        .to_owned()
}

/// Without authentication among its own processes, which are on a loopback address; the gateway asks for a key.
fn settings(dir: &Path, address: Ipv4Addr, fsid: &str) -> String {
    let dir = dir.display();
    format!(
        "[global]
fsid = {fsid}
mon host = [v2:{address}:3300,v1:{address}:6789]
mon initial members = a
public network = 127.0.0.0/8
public addr = {address}
cluster addr = {address}
ms bind ipv6 = false
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 2
osd pool default min size = 1
osd crush chooseleaf type = 0
osd pool default pg num = 8
osd pool default pg autoscale mode = off
mon allow pool delete = true
mon data avail crit = 1
mon data avail warn = 2
run dir = {dir}
admin socket = {dir}/$name.$pid.asok
log file = {dir}/$name.log
crash dir = {dir}
pid file = {dir}/$name.pid
[mon]
mon data = {dir}/mon.$id
mon cluster log file = {dir}/cluster.log
[mgr]
mgr data = {dir}/mgr.$id
mgr initial modules =
[osd]
osd data = {dir}/osd.$id
osd objectstore = bluestore
bluestore block create = true
bluestore block size = 8589934592
osd memory target = 939524096
osd mclock profile = high_client_ops
[client.rgw]
ms mon client mode = crc
auth client required = none
rgw data = {dir}/rgw
rgw frontends = beast endpoint={address}:7480
rgw enable usage log = false
rgw dns name = {address}
"
    )
}

#[tokio::test]
async fn postgresql_and_ceph_keep_the_contract() {
    if std::env::var_os("FUROSHIKI_TEST_CEPH").is_none() {
        eprintln!("left out: FUROSHIKI_TEST_CEPH is not set");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (postgres, ceph) = (Postgres::start(), Ceph::start().await);
    let (database, objects) = (postgres.config(), ceph.bucket().await);
    let open = async || {
        let store = Store::open(Layout::new(dir.path()), &database, &objects).await;
        let store = store.unwrap();
        let can = store.probe_objects().await.unwrap();
        eprintln!("Ceph: {can:?}");
        assert!(can.if_none_match && can.list_after_write, "{can:?}");
        store
    };
    contract(&open).await;
    a_big_object_comes_back(&open().await).await;
}
