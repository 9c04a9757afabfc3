//! A full disk below the bytes, and one below the database: refused, nothing torn, reads go on, and it works again.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use site_api::{PutHead, path};
use snapshot::id::ObjectId;

use crate::{
    program::{Server, add_user, init, run, site},
    support::{Person, random_bytes},
};

/// A server that sees a small file system at `small/`, and the token of a user there.
struct Small {
    dir: tempfile::TempDir,
    server: Server,
    hanako: Person,
    token: String,
    data: &'static str,
}

impl Small {
    /// `script`: what becomes of `data/` and `small/` before the server starts with `data` of these.
    fn start(size: &str, script: &str, data: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path());
        let hanako = Person::new("hanako");
        add_user(dir.path(), &hanako).unwrap();
        std::fs::create_dir(dir.path().join("small")).unwrap();
        let mut command = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            // Root needs no user namespace of its own, and in a chroot may not have one.
            command.arg("--map-root-user");
        }
        let script = format!(
            "cd $1 && mount -t tmpfs -o size={size},mode=700 tmpfs small && {script} && \
             exec $2 serve --data $1/{data} --listen 127.0.0.1:0"
        );
        command
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                &script,
                "sh",
            ])
            .arg(dir.path())
            .arg(env!("CARGO_BIN_EXE_furoshiki-site"));
        let server = Server::start(dir.path(), command);
        let token = server.sign_in(dir.path(), &hanako).token;
        Self {
            dir,
            server,
            hanako,
            token,
            data,
        }
    }

    /// A path as the server sees it.
    fn seen(&self, below: &str) -> PathBuf {
        let root = format!("/proc/{}/root", self.server.child.id());
        Path::new(&root)
            .join(self.dir.path().strip_prefix("/").unwrap())
            .join(below)
    }

    /// Takes all space but so many bytes.
    fn fill(&self, but: usize) {
        let filler = self.seen("small/filler");
        let mut file = std::fs::File::create(&filler).unwrap();
        let piece = vec![1; 4096];
        while file.write_all(&piece).is_ok() {}
        let bytes = file.metadata().unwrap().len();
        file.set_len(bytes.saturating_sub(but as u64)).unwrap();
    }

    fn empty(&self) {
        std::fs::remove_file(self.seen("small/filler")).unwrap();
    }

    fn put(&self, bytes: &[u8]) -> (u16, String) {
        self.server.put(self.dir.path(), &self.token, bytes)
    }

    fn get(&self, bytes: &[u8]) -> bool {
        let headers = format!("Authorization: Bearer {}\r\n", self.token);
        let at = path::object(ObjectId::of(bytes));
        let (status, back, _) = self.server.ask(self.dir.path(), "GET", &at, &headers, b"");
        status == 200 && back == bytes
    }

    fn commit(&self, objects: &[Vec<u8>]) -> u16 {
        let record = self.hanako.record(1, None, objects);
        let put = PutHead {
            expected: None,
            record_b64: STANDARD.encode(record.as_bytes()),
            pc: "pc-1".into(),
        };
        let headers = format!(
            "Content-Type: application/json\r\nAuthorization: Bearer {}\r\n",
            self.token
        );
        let body = serde_json::to_vec(&put).unwrap();
        let server = &self.server;
        server
            .ask(self.dir.path(), "PUT", path::HEAD, &headers, &body)
            .0
    }

    /// `check` as an operator beside the server runs it.
    fn is_whole(&self) {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &self.server.child.id().to_string()]);
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        command
            .arg(site().get_program())
            .args(["check", "--data"])
            .arg(self.dir.path().join(self.data));
        let said = run(&mut command, "").unwrap();
        assert!(said.contains("all is well"), "{said}");
    }
}

#[track_caller]
fn is_full((status, body): &(u16, String)) {
    assert_eq!(*status, 507, "{body}");
    assert!(body.contains("\"site-full\""), "{body}");
}

#[test]
fn when_the_disk_of_the_bytes_is_full_commits_and_reads_go_on() {
    let script = "mv data/objects data/staging small/ && ln -s ../small/objects data/objects && \
                  ln -s ../small/staging data/staging";
    let small = Small::start("4m", script, "data");
    let first = random_bytes(100_000);
    assert_eq!(small.put(&first).0, 201);
    small.fill(200_000);
    let large = random_bytes(1 << 20);
    is_full(&small.put(&large));
    let staged = std::fs::read_dir(small.seen("small/staging")).unwrap();
    assert_eq!(staged.count(), 0, "nothing of it is kept");
    assert!(small.get(&first));
    assert_eq!(small.commit(std::slice::from_ref(&first)), 201);
    small.is_whole();
    small.empty();
    assert_eq!(small.put(&large).0, 201, "there is space again");
    assert!(small.get(&large));
    small.is_whole();
}

#[test]
fn when_the_disk_of_the_database_is_full_reads_go_on() {
    let script = "mv data/objects data/staging . && cp -a data/. small/ && ln -s ../objects small/objects && \
                  ln -s ../staging small/staging";
    let small = Small::start("2m", script, "small");
    let first = random_bytes(100_000);
    assert_eq!(small.put(&first).0, 201);
    small.fill(0);
    // The log of the database has room of its own for some rows.
    let mut kept = Vec::new();
    let refused = loop {
        let bytes = random_bytes(1000);
        let put = small.put(&bytes);
        if put.0 != 201 {
            break put;
        }
        kept.push(bytes);
        assert!(kept.len() < 2000, "the database is never full");
    };
    is_full(&refused);
    assert_eq!(small.commit(std::slice::from_ref(&first)), 507);
    assert!(small.get(&first));
    assert!(kept.iter().rev().take(20).all(|bytes| small.get(bytes)));
    small.empty();
    assert_eq!(
        small.put(&random_bytes(1000)).0,
        201,
        "there is space again"
    );
    assert_eq!(small.commit(std::slice::from_ref(&first)), 201);
    small.is_whole();
}
