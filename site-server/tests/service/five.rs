//! Five sites as processes of the real program, on lines that break.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use site_api::TransferState;
use site_server::{
    config::{Layout, SiteConfig},
    store::Store,
};

use crate::{
    fabric::Fabric,
    support::{Person, random_bytes},
    world::{Served, bytes_of},
};

/// A record is at every site within this.
const EVERYWHERE: Duration = Duration::from_secs(5);
/// And within this after a line is mended.
const AFTER_HEALING: Duration = Duration::from_secs(10);
const PACK: usize = 1 << 20;

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_furoshiki-site"))
}

fn done(command: &mut Command, input: &str) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

struct Site {
    data: PathBuf,
    child: Option<Child>,
    served: Served,
    /// Beside the server, as the operator's commands are.
    store: Store,
    config: SiteConfig,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Site {
    async fn of(data: &Path) -> Self {
        let layout = Layout::new(data);
        let config = SiteConfig::load(&layout).unwrap();
        let store = Store::open(layout.clone(), &config.database, &config.objects)
            .await
            .unwrap();
        Self {
            data: data.to_owned(),
            child: None,
            served: Served::at(layout, 0),
            store,
            config,
        }
    }

    /// Starts the program; where it listens.
    fn start(&mut self, fabric: &Fabric, number: usize) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.data.with_extension("log"))
            .unwrap();
        let mut child = program()
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(&self.data)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let port = line.trim().rsplit(':').next().unwrap().parse();
        self.served.port = port.unwrap_or_else(|_| panic!("{line:?}: {}", self.log()));
        fabric.runs(number, child.id(), self.served.port);
        self.child = Some(child);
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.data.with_extension("log")).unwrap_or_default()
    }

    /// `user add`; a process beside the server.
    fn add(&self, person: &Person) {
        let card = self.data.with_extension("card");
        std::fs::write(&card, serde_json::to_vec(&person.registration()).unwrap()).unwrap();
        let mut command = program();
        command
            .args(["user", "add", &person.name, "--data"])
            .arg(&self.data);
        done(
            command.arg("--card").arg(card),
            &format!("{}\n", person.password),
        );
    }

    fn remove(&self, person: &Person) {
        let mut command = program();
        command.args(["user", "remove", &person.name, "--data"]);
        done(command.arg(&self.data), "");
    }
}

struct Five {
    dir: tempfile::TempDir,
    fabric: Arc<Fabric>,
    sites: Vec<Site>,
}

impl Five {
    /// The first by `init`, the others by `site invite` there and `join` here.
    async fn new() -> Self {
        let (dir, fabric) = (tempfile::tempdir().unwrap(), Arc::new(Fabric::default()));
        let ca = dir.path().join("ca");
        let mut five = Self {
            dir,
            fabric,
            sites: Vec::new(),
        };
        let port = five.fabric.open().await;
        let url = format!("https://127.0.0.1:{port}");
        let first = five.data(0);
        let mut command = program();
        command.args(["init", "--name", "Site 0", "--url", &url, "--data"]);
        done(command.arg(&first).arg("--ca").arg(&ca), "");
        five.serve().await;
        for number in 1..5 {
            let port = five.fabric.open().await;
            let mut inviting = program();
            inviting.args([
                "site",
                "invite",
                "--name",
                &format!("Site {number}"),
                "--url",
            ]);
            let mut inviting = inviting
                .arg(format!("https://127.0.0.1:{port}"))
                .arg("--data")
                .arg(&first)
                .arg("--ca")
                .arg(&ca)
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut said = BufReader::new(inviting.stdout.take().unwrap()).lines();
            let token = said.next().unwrap().unwrap();
            let token = token.strip_prefix("token ").unwrap().to_owned();
            let mut joining = program();
            joining.args(["join", "--via", &url, "--token", &token, "--data"]);
            let data = five.data(number);
            // A command that waits must not hold up the proxy.
            let joined = tokio::task::spawn_blocking(move || done(joining.arg(data), ""));
            joined.await.unwrap();
            assert!(inviting.wait().unwrap().success());
            five.serve().await;
        }
        five
    }

    fn data(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("site-{number}"))
    }

    async fn serve(&mut self) {
        let number = self.sites.len();
        let mut site = Site::of(&self.data(number)).await;
        site.start(&self.fabric, number);
        self.sites.push(site);
    }

    async fn within(&self, what: &str, limit: Duration, check: impl AsyncFn(&Site) -> bool) {
        let begun = Instant::now();
        for (number, site) in self.sites.iter().enumerate() {
            while !check(site).await {
                assert!(
                    begun.elapsed() < limit,
                    "{what}: not at site {number} within {limit:?}\n{}",
                    site.log()
                        .lines()
                        .rev()
                        .take(20)
                        .collect::<Vec<_>>()
                        .join("\n")
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        eprintln!("{what}: everywhere after {:?}", begun.elapsed());
    }

    /// Waits until so many bytes of the relay to `site` are there.
    async fn arrived(&self, site: usize, person: &Person, bytes: u64) {
        until("bytes arrive", async || {
            let relay = self.sites[site].store.transfer(person.user).await.unwrap();
            relay.is_some_and(|relay| {
                assert_ne!(relay.transfer.state, TransferState::Failed, "{relay:?}");
                relay.transfer.bytes_done >= bytes
            })
        })
        .await;
    }

    async fn has(&self, site: usize, person: &Person, record: snapshot::id::RecordId) {
        until("the snapshot is there", async || {
            let store = &self.sites[site].store;
            store.record(person.user, record).await.unwrap().is_some()
        })
        .await;
    }
}

async fn until(what: &str, check: impl AsyncFn() -> bool) {
    let end = Instant::now() + Duration::from_secs(90);
    while !check().await {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn known(site: &Site, person: &Person) -> bool {
    site.store.user(person.user).await.unwrap().is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn five_sites_join_and_a_record_is_everywhere_in_seconds_also_after_a_partition_on_the_disk()
{
    let five = Five::new().await;
    five.within(
        "every site knows the four others",
        AFTER_HEALING,
        async |site| site.store.sites().await.unwrap().len() == 4,
    )
    .await;
    let [hanako, taro, jiro] = ["hanako", "taro", "jiro"].map(Person::new);
    five.sites[2].add(&hanako);
    five.within("a user", EVERYWHERE, async |site| {
        known(site, &hanako).await
    })
    .await;

    let (left, right) = ([0, 1], [2, 3, 4]);
    five.fabric.part(&left, &right, true);
    five.sites[0].add(&taro);
    five.sites[3].add(&jiro);
    // One side deletes her, the other gives her a new password, twice.
    five.sites[1].remove(&hanako);
    five.sites[4].add(&hanako);
    five.sites[4].add(&hanako);
    for (side, person, other) in [(&left[..], &taro, &jiro), (&right[..], &jiro, &taro)] {
        for number in side {
            let site = &five.sites[*number];
            until("its own side knows", async || known(site, person).await).await;
            assert!(!known(site, other).await, "the line is cut");
        }
    }
    // Long enough for every connection to have been given up once.
    tokio::time::sleep(Duration::from_secs(6)).await;
    five.fabric.part(&left, &right, false);
    five.within("both sides' users", AFTER_HEALING, async |site| {
        known(site, &taro).await && known(site, &jiro).await
    })
    .await;
    five.within("the deletion", AFTER_HEALING, async |site| {
        !known(site, &hanako).await
    })
    .await;
    // What was cut off from its first minute on is heard too, once a site asks again.
    five.within("every site was heard", AFTER_HEALING, async |site| {
        let status = site.store.peer_status().await.unwrap();
        status
            .iter()
            .all(|peer| peer.heard_ms > 0 && peer.clock_ms.is_some())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_moves_what_is_new_once_through_kills_and_cuts_and_nothing_goes_elsewhere_on_the_disk()
 {
    let mut five = Five::new().await;
    let hanako = Person::new("hanako");
    five.sites[0].add(&hanako);
    five.within("a user", EVERYWHERE, async |site| {
        known(site, &hanako).await
    })
    .await;
    let packs = |n: usize| (0..n).map(|_| random_bytes(PACK)).collect::<Vec<_>>();
    let first_packs = packs(6);
    let first = hanako.record(1, None, &first_packs);
    let pc = five.sites[0].served.sign_in(&hanako).await;
    pc.push(&first, None, &first_packs).await;
    let token = pc.token.clone();
    let (here, there) = (0, 1);
    let target = five.sites[there].config.site;
    five.sites[here]
        .store
        .choose_next_site(hanako.user, target, Some(first.id()), None)
        .await
        .unwrap();
    five.has(there, &hanako, first.id()).await;

    // The second day.
    let received = "furoshiki_relay_bytes_received_total";
    let before = five.sites[there].served.counter(received).await;
    let on_the_line = five.fabric.answered(there, here);
    let mut second_packs = first_packs.clone();
    second_packs.extend(packs(2));
    let second = hanako.record(2, Some(first.id()), &second_packs);
    let pc = crate::world::Pc {
        site: &five.sites[here].served,
        token: token.clone(),
    };
    pc.push(&second, Some(&first), &second_packs[6..]).await;
    five.has(there, &hanako, second.id()).await;
    let new = bytes_of(&second_packs[6..]);
    let moved = five.sites[there].served.counter(received).await - before;
    let carried = five.fabric.answered(there, here) - on_the_line;
    eprintln!("second day: {new} bytes are new, {moved} moved, {carried} on the line");
    assert!(moved * 100 <= new * 105 && carried * 100 <= new * 105);

    // The third day, on a slow line: the target dies, the source dies, the line breaks.
    let mut third_packs = second_packs.clone();
    third_packs.extend(packs(12));
    let third = hanako.record(3, Some(second.id()), &third_packs);
    let new = bytes_of(&third_packs[8..]);
    let before = five.sites[there].served.counter(received).await;
    let on_the_line = five.fabric.answered(there, here);
    five.fabric.slow(there, here, 4 << 20);
    pc.push(&third, Some(&second), &third_packs[8..]).await;
    let pack = PACK as u64;
    five.arrived(there, &hanako, 2 * pack).await;
    five.sites[there].kill();
    let fabric = five.fabric.clone();
    five.sites[there].start(&fabric, there);
    five.arrived(there, &hanako, 5 * pack).await;
    five.sites[here].kill();
    five.sites[here].start(&fabric, here);
    five.arrived(there, &hanako, 8 * pack).await;
    five.fabric.cut(there, here);
    five.has(there, &hanako, third.id()).await;
    let moved = five.sites[there].served.counter(received).await - before;
    let carried = five.fabric.answered(there, here) - on_the_line;
    eprintln!("third day: {new} bytes are new, {moved} kept, {carried} on the line");
    assert!(moved * 100 <= new * 105, "no pack was stored twice");
    // Three packs are on their way at a time; those of the killed target begin again, those of the killed source and of
    // the cut line go on in the middle or begin again. None that was finished does.
    assert!(
        carried <= new * 105 / 100 + 9 * pack,
        "finished packs were sent again"
    );

    for number in 2..5 {
        for name in [
            "furoshiki_stored_object_bytes",
            received,
            "furoshiki_object_bytes_received_total",
        ] {
            let site = &five.sites[number].served;
            assert_eq!(
                site.counter(name).await,
                0,
                "{name} at site {number}, which nobody named"
            );
        }
    }
    // What that saved, as every site tells the others.
    let meter = five.sites[here].store.usage().await.unwrap();
    let pushed = bytes_of(&third_packs);
    assert_eq!(meter.own_bytes, pushed);
    assert_eq!(meter.mirroring_bytes, 4 * pushed, "to each of four others");
    let at_target = five.sites[there].store.usage().await.unwrap();
    assert_eq!((at_target.own_bytes, at_target.copy_bytes), (0, pushed));
}
