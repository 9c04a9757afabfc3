//! The program itself: killed, with a full disk, and looked at from outside.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use serde::{Serialize, de::DeserializeOwned};
use site_api::{PutHead, SignIn, SignInChallenge, SignInChallengeRequest, path};
use snapshot::id::ObjectId;

use crate::support::{Person, answer, csrf, random_bytes};

pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn site() -> Command {
    Command::new(env!("CARGO_BIN_EXE_furoshiki-site"))
}

/// Runs to the end; standard output when it succeeds, standard error when it does not.
pub(crate) fn run(command: &mut Command, input: &str) -> Result<String, String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() {
        Ok(text(output.stdout))
    } else {
        Err(text(output.stderr))
    }
}

pub(crate) fn init(dir: &Path) {
    init_with(dir, &[]);
}

pub(crate) fn init_with(dir: &Path, more: &[String]) {
    let mut command = site();
    command.args(["init", "--name", "Site A", "--url", "https://127.0.0.1:1"]);
    command.args(more);
    run(
        command
            .arg("--data")
            .arg(dir.join("data"))
            .arg("--ca")
            .arg(dir.join("ca")),
        "",
    )
    .unwrap();
}

pub(crate) fn add_user(dir: &Path, person: &Person) -> Result<String, String> {
    let file = dir.join(format!("{}.json", person.name));
    std::fs::write(&file, serde_json::to_vec(&person.registration()).unwrap()).unwrap();
    let mut command = site();
    command
        .args(["user", "add", &person.name, "--data"])
        .arg(dir.join("data"))
        .arg("--card")
        .arg(file);
    run(&mut command, &format!("{}\n", person.password))
}

/// A server that is killed when it goes.
pub(crate) struct Server {
    pub(crate) child: Child,
    port: u16,
    pub(crate) log: std::path::PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    pub(crate) fn start(dir: &Path, mut command: Command) -> Self {
        let log = dir.join(format!("log-{}", std::fs::read_dir(dir).unwrap().count()));
        command
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let port = line.trim().rsplit(':').next().unwrap().parse();
        let port =
            port.unwrap_or_else(|_| panic!("{line:?}: {}", std::fs::read_to_string(&log).unwrap()));
        Self { child, port, log }
    }

    pub(crate) fn serve(dir: &Path) -> Self {
        let mut command = site();
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(dir.join("data"));
        Self::start(dir, command)
    }

    pub(crate) fn connect(&self, dir: &Path) -> Https {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(dir.join("ca/ca.pem")).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let session = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        rustls::StreamOwned::new(session, socket)
    }

    /// One request on a connection of its own; the whole answer as text.
    pub(crate) fn ask(
        &self,
        dir: &Path,
        method: &str,
        at: &str,
        headers: &str,
        body: &[u8],
    ) -> (u16, Vec<u8>, String) {
        let mut stream = self.connect(dir);
        let length = body.len();
        let head = format!(
            "{method} {at} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        // A server that refuses early closes while we still send; its answer is there all the same.
        let _ = stream.write_all(body).and_then(|()| stream.flush());
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let end = bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .expect("an HTTP answer");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        (
            head[9..12].parse().unwrap(),
            bytes[end + 4..].to_vec(),
            head,
        )
    }

    pub(crate) fn json<T: DeserializeOwned>(
        &self,
        dir: &Path,
        method: &str,
        at: &str,
        token: &str,
        body: &impl Serialize,
    ) -> T {
        let headers =
            format!("Content-Type: application/json\r\nAuthorization: Bearer {token}\r\n");
        let (status, body, _) = self.ask(
            dir,
            method,
            at,
            &headers,
            &serde_json::to_vec(body).unwrap(),
        );
        assert!(
            (200..300).contains(&status),
            "{status}: {}",
            String::from_utf8_lossy(&body)
        );
        serde_json::from_slice(&body).unwrap()
    }

    pub(crate) fn sign_in(&self, dir: &Path, person: &Person) -> SignIn {
        let ask = SignInChallengeRequest {
            card: person.card.id,
            baseline: snapshot::id::BaselineId::new([7; 32]),
        };
        let asked: SignInChallenge = self.json(dir, "POST", path::SIGN_IN_CHALLENGE, "", &ask);
        let answered = answer(&person.card, &asked, &person.name, &person.password);
        self.json(dir, "POST", path::SIGN_IN, "", &answered)
    }

    pub(crate) fn put(&self, dir: &Path, token: &str, bytes: &[u8]) -> (u16, String) {
        let headers = format!("Authorization: Bearer {token}\r\n");
        let (status, body, _) = self.ask(
            dir,
            "PUT",
            &path::object(ObjectId::of(bytes)),
            &headers,
            bytes,
        );
        (status, String::from_utf8_lossy(&body).into_owned())
    }
}

type Https = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

pub(crate) fn until(what: &str, check: impl Fn() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !check() {
        assert!(Instant::now() < end, "not within {DEADLINE:?}: {what}");
        std::thread::yield_now();
    }
}

fn staged(dir: &Path) -> Vec<u64> {
    let entries = std::fs::read_dir(dir.join("data/staging")).unwrap();
    entries
        .filter_map(|entry| entry.ok()?.metadata().ok())
        .map(|about| about.len())
        .collect()
}

#[test]
fn a_server_killed_during_an_upload_leaves_nothing_visible() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    let hanako = Person::new("hanako");
    add_user(dir.path(), &hanako).unwrap();
    let mut server = Server::serve(dir.path());
    let token = server.sign_in(dir.path(), &hanako).token;
    let kept = random_bytes(100_000);
    assert_eq!(server.put(dir.path(), &token, &kept).0, 201);

    let bytes = random_bytes(4 << 20);
    let at = path::object(ObjectId::of(&bytes));
    let mut stream = server.connect(dir.path());
    let head = format!(
        "PUT {at} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n",
        bytes.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&bytes[..3 << 20]).unwrap();
    stream.flush().unwrap();
    until("half of the upload is on the disk", || {
        staged(dir.path()).iter().any(|len| *len >= 1 << 20)
    });
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    assert_eq!(staged(dir.path()).len(), 1, "the kill came in the middle");

    let server = Server::serve(dir.path());
    assert!(
        staged(dir.path()).is_empty(),
        "what was in the middle is gone"
    );
    let headers = format!("Authorization: Bearer {token}\r\n");
    assert_eq!(server.ask(dir.path(), "GET", &at, &headers, b"").0, 404);
    let (status, back, _) = server.ask(
        dir.path(),
        "GET",
        &path::object(ObjectId::of(&kept)),
        &headers,
        b"",
    );
    assert_eq!(
        (status, back),
        (200, kept),
        "what was acknowledged is there, and the sign-in too"
    );
    assert_eq!(server.put(dir.path(), &token, &bytes).0, 201);
}

#[test]
fn a_full_disk_is_507_and_keeps_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    // The folder on a file system of 3 MiB that only this server sees.
    let script = "mount -t tmpfs -o size=3m,mode=700 tmpfs $1/data && $2 init --data $1/data --ca $1/ca --name A \
                  --url https://127.0.0.1:1 >&2 && $2 user add hanako --data $1/data --card $1/hanako.json <$1/password >&2 \
                  && exec $2 serve --data $1/data --listen 127.0.0.1:0";
    let hanako = Person::new("hanako");
    std::fs::write(
        dir.path().join("hanako.json"),
        serde_json::to_vec(&hanako.registration()).unwrap(),
    )
    .unwrap();
    std::fs::write(
        dir.path().join("password"),
        format!("{}\n", hanako.password),
    )
    .unwrap();
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        // Root needs no user namespace of its own, and in a chroot may not have one.
        command.arg("--map-root-user");
    }
    command
        .args(["--mount", "--propagation", "private"])
        .args(["sh", "-c", script, "sh"])
        .arg(dir.path());
    let server = Server::start(dir.path(), {
        command.arg(env!("CARGO_BIN_EXE_furoshiki-site"));
        command
    });
    let token = server.sign_in(dir.path(), &hanako).token;
    let small = random_bytes(100_000);
    assert_eq!(server.put(dir.path(), &token, &small).0, 201);
    let (status, body) = server.put(dir.path(), &token, &random_bytes(4 << 20));
    assert_eq!(status, 507, "{body}");
    assert!(body.contains("\"site-full\""), "{body}");
    let headers = format!("Authorization: Bearer {token}\r\n");
    let (status, back, _) = server.ask(
        dir.path(),
        "GET",
        &path::object(ObjectId::of(&small)),
        &headers,
        b"",
    );
    assert_eq!((status, back), (200, small));
    assert_eq!(
        server.put(dir.path(), &token, &random_bytes(50_000)).0,
        201,
        "there is room for less"
    );
}

#[test]
fn a_second_server_does_not_take_the_data_folder_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    let _first = Server::serve(dir.path());
    let mut second = site();
    second
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(dir.path().join("data"));
    let refused = run(&mut second, "").unwrap_err();
    assert!(
        refused.contains("another furoshiki-site serves this data folder"),
        "{refused}"
    );
}

#[test]
fn a_server_stops_at_sigterm_and_finishes_what_is_under_way() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    let hanako = Person::new("hanako");
    add_user(dir.path(), &hanako).unwrap();
    let mut server = Server::serve(dir.path());
    let token = server.sign_in(dir.path(), &hanako).token;
    let bytes = random_bytes(1 << 20);
    let mut stream = server.connect(dir.path());
    let head = format!(
        "PUT {} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n",
        path::object(ObjectId::of(&bytes)),
        bytes.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&bytes[..600_000]).unwrap();
    stream.flush().unwrap();
    until("the upload runs", || !staged(dir.path()).is_empty());
    let pid = rustix::process::Pid::from_child(&server.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    until("the server stops", || {
        std::fs::read_to_string(&server.log)
            .unwrap()
            .contains("stopping")
    });
    stream.write_all(&bytes[600_000..]).unwrap();
    stream.flush().unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(server.child.wait().unwrap().success());
}

#[test]
fn the_operator_is_told_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    let data = dir.path().join("data");
    let info = run(
        site().args(["site", "info", "--json", "--data"]).arg(&data),
        "",
    )
    .unwrap();
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["name"], "Site A");
    let own = info["site"].as_str().unwrap().to_owned();

    let hanako = Person::new("hanako");
    assert!(add_user(dir.path(), &hanako).unwrap().contains("version 1"));
    assert!(
        add_user(dir.path(), &hanako).unwrap().contains("version 2"),
        "again renews"
    );
    let mut rival = Person::new("hanako");
    assert!(
        add_user(dir.path(), &rival)
            .unwrap_err()
            .contains("belongs to user")
    );
    rival.name = "taro".into();
    rival.password = "short".into();
    assert!(
        add_user(dir.path(), &rival)
            .unwrap_err()
            .contains("8 to 256 bytes")
    );
    rival.password = String::new();
    assert!(
        add_user(dir.path(), &rival)
            .unwrap_err()
            .contains("standard input")
    );

    let add = |id: &str, url: &str| {
        let mut command = site();
        command.args([
            "site", "add", "--id", id, "--name", "B", "--url", url, "--data",
        ]);
        run(command.arg(&data), "")
    };
    assert!(
        add(&own, "https://b")
            .unwrap_err()
            .contains("this site itself")
    );
    assert!(
        add(&"0".repeat(32), "http://b")
            .unwrap_err()
            .contains("https")
    );
    assert!(
        add("zz", "https://b")
            .unwrap_err()
            .contains("site id must be 32")
    );
    assert!(add(&"0".repeat(32), "https://b:8443").is_ok());

    let key = dir.path().join("release.pub");
    std::fs::write(&key, "zz").unwrap();
    let set = || {
        run(
            site().arg("release-key").arg(&key).arg("--data").arg(&data),
            "",
        )
    };
    assert!(set().unwrap_err().contains("64 hex digits"));
    std::fs::write(&key, "ab".repeat(32) + "\n").unwrap();
    set().unwrap();
    let shown = run(site().args(["site", "info", "--data"]).arg(&data), "").unwrap();
    assert!(
        shown.contains(&"ab".repeat(32)) && shown.contains("https://b:8443"),
        "{shown}"
    );
    let nowhere = run(
        site()
            .args(["site", "info", "--data"])
            .arg(dir.path().join("none")),
        "",
    )
    .unwrap_err();
    assert!(nowhere.contains("has init run?"), "{nowhere}");
}

/// Everything below a folder, names and contents.
pub(crate) fn all_bytes(folder: &Path, into: &mut Vec<u8>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        into.extend_from_slice(path.as_os_str().as_encoded_bytes());
        if path.is_dir() {
            all_bytes(&path, into);
        } else {
            into.extend_from_slice(&std::fs::read(&path).unwrap());
        }
    }
}

pub(crate) fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}

#[test]
fn neither_the_data_folder_nor_the_log_holds_a_password_a_token_or_a_key() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    let hanako = Person::new("hanako");
    let server = Server::serve(dir.path());
    add_user(dir.path(), &hanako).unwrap();
    let signed_in = server.sign_in(dir.path(), &hanako);
    // What a PC pushes is sealed with the user's keys before it leaves the PC.
    let sealed = random_bytes(50_000);
    assert_eq!(server.put(dir.path(), &signed_in.token, &sealed).0, 201);
    let record = hanako.record(1, None, std::slice::from_ref(&sealed));
    let put = PutHead {
        expected: None,
        record_b64: STANDARD.encode(record.as_bytes()),
        pc: "pc-1".into(),
    };
    let _: site_api::Head = server.json(dir.path(), "PUT", path::HEAD, &signed_in.token, &put);

    let (_, page, head) = server.ask(dir.path(), "GET", "/", "", b"");
    let cookie = |head: &str| {
        let (_, rest) = head.split_once("set-cookie: ").unwrap();
        rest.split_once(';').unwrap().0.to_owned()
    };
    let form = format!(
        "user=hanako&password={}&csrf={}",
        hanako.password.replace(' ', "+"),
        csrf(&String::from_utf8(page).unwrap())
    );
    let headers = format!(
        "Content-Type: application/x-www-form-urlencoded\r\nCookie: {}\r\n",
        cookie(&head)
    );
    let (status, _, head) = server.ask(dir.path(), "POST", "/sign-in", &headers, form.as_bytes());
    assert_eq!(status, 303);
    let session = cookie(&head).split_once('=').unwrap().1.to_owned();

    let mut stored = Vec::new();
    all_bytes(&dir.path().join("data"), &mut stored);
    let log = std::fs::read(&server.log).unwrap();
    assert!(
        contains(&stored, b"$argon2id$") && contains(&stored, &sealed),
        "the search sees what is there"
    );
    assert!(
        contains(&log, b"snapshot saved"),
        "the log is the right one"
    );
    let keys = hanako.keys.to_bytes();
    let operator = std::fs::read_to_string(dir.path().join("data/operator.token")).unwrap();
    let secrets: [(&str, &[u8]); 6] = [
        ("password", hanako.password.as_bytes()),
        ("password as typed into the form", b"password+of"),
        ("token of the PC", signed_in.token.as_bytes()),
        ("cookie of the portal", session.as_bytes()),
        ("user key", &hanako.user_key),
        ("derived keys", &keys[32..]),
    ];
    for (what, secret) in secrets {
        assert!(!contains(&stored, secret), "{what} in the data folder");
        assert!(
            !contains(&stored, hex::encode(secret).as_bytes()),
            "{what} as hex in the data folder"
        );
        assert!(!contains(&log, secret), "{what} in the log");
    }
    assert!(!contains(&log, operator.trim().as_bytes()));
}
