//! The program and its machine: settings, sockets, systemd, certificates, metrics, units.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::Command,
};

use site_server::{
    config::{Layout, SiteConfig},
    tls::Ca,
};

use crate::{
    program::{DEADLINE, Server, add_user, init, run, site, until},
    support::{Person, TestSite, random, random_bytes},
};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn settings_say_where_they_are_from_and_a_mistyped_variable_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    let config = |variables: &[(&str, &str)]| {
        let mut command = site();
        command
            .arg("config")
            .env("FUROSHIKI_SITE_DATA", dir.path().join("data"));
        run(command.envs(variables.iter().copied()), "")
    };
    let plain = config(&[]).unwrap();
    assert!(plain.contains("name = \"Site A\"  # site.toml"), "{plain}");
    assert!(plain.contains("retention.newest = 5  # default"), "{plain}");
    let other = config(&[
        ("FUROSHIKI_SITE_NAME", "B"),
        ("FUROSHIKI_SITE_RETENTION_NEWEST", "9"),
    ]);
    let other = other.unwrap();
    assert!(
        other.contains("name = \"B\"  # FUROSHIKI_SITE_NAME"),
        "{other}"
    );
    assert!(
        other.contains("retention.newest = 9  # FUROSHIKI_SITE_RETENTION_NEWEST"),
        "{other}"
    );
    let wrong = config(&[("FUROSHIKI_SITE_NAMES", "B")]).unwrap_err();
    assert!(
        wrong.contains("FUROSHIKI_SITE_NAMES is no setting"),
        "{wrong}"
    );
    let wrong = config(&[("FUROSHIKI_SITE_URL", "http://b")]).unwrap_err();
    assert!(wrong.contains("https"), "{wrong}");
    let wrong = config(&[
        ("FUROSHIKI_SITE_DATABASE_POSTGRES", "postgres://h/n"),
        ("FUROSHIKI_SITE_DATABASE_PASSWORD_FILE", "/nowhere"),
    ]);
    assert!(wrong.unwrap_err().contains("/nowhere"));
    let mut serve = site();
    serve
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(dir.path().join("data"))
        .env("FUROSHIKI_SITE_LISTENS", "x");
    assert!(
        run(&mut serve, "")
            .unwrap_err()
            .contains("FUROSHIKI_SITE_LISTENS")
    );
    // What the operator sets is written without what the environment says.
    let key = dir.path().join("release.pub");
    std::fs::write(&key, "ab".repeat(32)).unwrap();
    let mut set = site();
    set.env("FUROSHIKI_SITE_NAME", "B")
        .arg("release-key")
        .arg(&key);
    run(set.arg("--data").arg(dir.path().join("data")), "").unwrap();
    assert!(
        config(&[])
            .unwrap()
            .contains("name = \"Site A\"  # site.toml")
    );
}

#[test]
fn a_socket_of_systemd_is_served_and_systemd_is_told() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    let told = UnixDatagram::bind(dir.path().join("notify")).unwrap();
    told.set_read_timeout(Some(DEADLINE)).unwrap();
    let hear = |want: &str| {
        let mut heard = Vec::new();
        loop {
            let mut message = [0; 4096];
            let len = told
                .recv(&mut message)
                .unwrap_or_else(|error| panic!("no {want}: {error}, {heard:?}"));
            let text = String::from_utf8_lossy(&message[..len]).into_owned();
            if text.contains(want) {
                return;
            }
            heard.push(text);
        }
    };
    let [a, b, c] = random::<3>();
    let address = Ipv4Addr::new(127, a, b, c.clamp(1, 254));
    let mut command = Command::new("systemd-socket-activate");
    command
        .args(["--listen", &format!("{address}:8443")])
        .arg(format!(
            "--setenv=NOTIFY_SOCKET={}",
            dir.path().join("notify").display()
        ))
        .args(["--setenv=WATCHDOG_USEC=400000", "--"])
        .arg(env!("CARGO_BIN_EXE_furoshiki-site"))
        .args(["serve", "--data"])
        .arg(dir.path().join("data"));
    let log = dir.path().join("log");
    let mut child = command
        .stdout(std::process::Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    // The first connection starts it; it waits in the socket meanwhile.
    until("the socket is there", || {
        TcpStream::connect((address, 8443)).is_ok()
    });
    hear("READY=1");
    hear("WATCHDOG=1");
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.contains(&format!("{address}:8443")), "{said}");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    hear("RELOADING=1");
    hear("READY=1");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    hear("STOPPING=1");
    assert!(child.wait().unwrap().success());

    let mut nowhere = site();
    nowhere
        .args(["serve", "--data"])
        .arg(dir.path().join("data"));
    assert!(
        run(&mut nowhere, "")
            .unwrap_err()
            .contains("furoshiki-site.socket")
    );
}

/// What the server shows on a new connection.
fn shown(server: &Server, dir: &Path) -> Vec<u8> {
    let mut stream = server.connect(dir);
    stream
        .write_all(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    stream.conn.peer_certificates().unwrap()[0].to_vec()
}

#[test]
fn a_new_certificate_is_taken_while_an_upload_goes_on_and_a_bad_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    init(dir);
    let hanako = Person::new("hanako");
    add_user(dir, &hanako).unwrap();
    let server = Server::serve(dir);
    let token = server.sign_in(dir, &hanako).token;
    let layout = Layout::new(&dir.join("data"));
    let id = SiteConfig::load(&layout).unwrap().site;
    let ca = Ca::load_or_make(&dir.join("ca")).unwrap();
    let hosts = ["127.0.0.1".to_owned()];
    let put = |certificate: &str, key: &str| {
        for (path, text) in [
            (layout.private_key(), key),
            (layout.certificate(), certificate),
        ] {
            std::fs::write(path.with_extension("tmp"), text).unwrap();
            std::fs::rename(path.with_extension("tmp"), path).unwrap();
        }
    };
    let said = |what: &str| {
        let log = std::fs::read_to_string(&server.log).unwrap();
        log.matches(what).count()
    };
    let hangup = || {
        let pid = rustix::process::Pid::from_child(&server.child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    };
    let first = shown(&server, dir);

    let bytes = random_bytes(500_000);
    let mut upload = server.connect(dir);
    let at = site_api::path::object(snapshot::id::ObjectId::of(&bytes));
    let head = format!(
        "PUT {at} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n",
        bytes.len()
    );
    upload.write_all(head.as_bytes()).unwrap();
    upload.write_all(&bytes[..300_000]).unwrap();
    upload.flush().unwrap();
    let (certificate, key) = ca.issue(id, &hosts).unwrap();
    put(&certificate, &key);
    // Nobody says so: the server looks.
    until("the new one is in use", || {
        said("a new certificate is in use") > 0
    });
    let second = shown(&server, dir);
    assert_ne!(first, second);
    upload.write_all(&bytes[300_000..]).unwrap();
    upload.flush().unwrap();
    let mut answer = String::new();
    let _ = upload.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");

    let refused = "the old one stays in use";
    let (other, other_key) = ca
        .issue(snapshot::id::SiteId::new(random()), &hosts)
        .unwrap();
    for (certificate, key) in [
        ("nonsense", key.as_str()),
        (certificate.as_str(), other_key.as_str()),
        (other.as_str(), other_key.as_str()),
    ] {
        let before = said(refused);
        put(certificate, key);
        hangup();
        until("it is refused", || said(refused) > before);
        assert_eq!(shown(&server, dir), second);
    }
    let (_, metrics, _) = server.ask(dir, "GET", "/metrics", "", b"");
    let metrics = String::from_utf8(metrics).unwrap();
    let line = "furoshiki_certificate_reloads_total{outcome=\"refused\"} 0";
    assert!(
        !metrics.contains(line) && metrics.contains(&line[..line.len() - 1]),
        "{metrics}"
    );
}

#[test]
fn each_request_has_an_id_in_its_answer_and_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    let server = Server::serve(dir.path());
    let (status, body, head) = server.ask(dir.path(), "GET", "/ready?secret=hidden", "", b"");
    assert_eq!((status, body.as_slice()), (200, b"ready\n".as_slice()));
    let (_, id) = head.split_once("x-request-id: ").unwrap();
    let id = id.lines().next().unwrap();
    until("its line is in the log", || {
        let log = std::fs::read_to_string(&server.log).unwrap();
        log.lines()
            .any(|line| line.contains(id) && line.contains("\"/ready\""))
    });
    let log = std::fs::read_to_string(&server.log).unwrap();
    assert!(!log.contains("hidden"));
    for line in log.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    }
}

/// Every name of a metric of ours in a text.
fn names(text: &str) -> BTreeSet<String> {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text
        .split(|c| !part(c))
        .filter(|word| word.starts_with("furoshiki_"));
    words.map(str::to_owned).collect()
}

#[tokio::test]
async fn the_dashboard_and_the_alerts_ask_for_metrics_that_are_there() {
    let site = TestSite::new().await;
    let other = snapshot::id::SiteId::new(random());
    site.site
        .store
        .add_site(other, "other", "https://other")
        .await
        .unwrap();
    assert_eq!(site.get("/health", &[]).await.text(), "ok\n");
    let metrics = site.get("/metrics", &[]).await.text();
    let printed: BTreeSet<_> = metrics
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .flat_map(|line| line.split(['{', ' ']).next().map(str::to_owned))
        .collect();
    for name in &printed {
        let of = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end).filter(|of| of.ends_with("_seconds")))
            .unwrap_or(name);
        assert!(
            metrics.contains(&format!("# HELP {of} ")),
            "no help: {of}\n{metrics}"
        );
        assert!(
            metrics.contains(&format!("# TYPE {of} ")),
            "no type: {of}\n{metrics}"
        );
    }
    for file in ["dashboard/grafana.json", "dashboard/alerts.yml"] {
        let text = std::fs::read_to_string(folder(file)).unwrap();
        let asked = names(&text);
        assert!(asked.len() >= 7, "{file} asks for {asked:?}");
        let lacking: Vec<_> = asked.difference(&printed).collect();
        assert!(lacking.is_empty(), "{file} asks for {lacking:?}\n{metrics}");
    }
    let dashboard = std::fs::read_to_string(folder("dashboard/grafana.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 10);
}

#[test]
fn the_units_are_right_and_the_sandbox_is_tight() {
    let dir = tempfile::tempdir().unwrap();
    let units = folder("systemd");
    let service = std::fs::read_to_string(units.join("furoshiki-site.service")).unwrap();
    assert!(service.contains("/usr/bin/furoshiki-site serve"));
    let here = service.replace(
        "/usr/bin/furoshiki-site",
        env!("CARGO_BIN_EXE_furoshiki-site"),
    );
    std::fs::write(dir.path().join("furoshiki-site.service"), here).unwrap();
    std::fs::copy(
        units.join("furoshiki-site.socket"),
        dir.path().join("furoshiki-site.socket"),
    )
    .unwrap();
    let analyze = |arguments: &[&str]| {
        let done = Command::new("systemd-analyze")
            .args(arguments)
            .arg(dir.path().join("furoshiki-site.service"))
            .output()
            .unwrap();
        let said = [done.stdout, done.stderr].concat();
        (done.status.success(), String::from_utf8(said).unwrap())
    };
    let (right, said) = analyze(&["verify"]);
    let about_ours: Vec<_> = said
        .lines()
        .filter(|line| line.contains("furoshiki"))
        .collect();
    assert!(right && about_ours.is_empty(), "{said}");
    // In tenths: 0 is the tightest there is, 100 none at all.
    let (right, said) = analyze(&["security", "--offline=true", "--threshold=15", "--no-pager"]);
    assert!(right, "{said}");
}
