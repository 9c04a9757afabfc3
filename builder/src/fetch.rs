//! Fetch: every package of a lock into the cache, each checked by its digest.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use sha2::{Digest as _, Sha256};

use crate::{
    files::{self, Doing, FileError},
    lock::{Lock, Package},
    mirrors::{MirrorError, Mirrors},
    progress::{Amount, Progress, Stage},
};

/// Packages fetched at the same time. More does not help: mirrors send faster than disks write.
const AT_ONCE: usize = 6;
/// How often a package is asked for before the build gives up.
const TRIES: usize = 3;

/// Why packages are not in the cache.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The cache could not be written.
    #[error("keep packages in the cache")]
    File(#[from] FileError),
    /// No HTTP client.
    #[error("prepare the HTTP client")]
    Client(#[source] reqwest::Error),
    /// The archives have moved on since the lock was made.
    #[error(
        "nobody has {} any more; asked were {}. Put the package files into a folder and name it with --packages, \
         name an archive that keeps old packages with --snapshot, or make a new lock with --update-lock",
        packages.join(", "), tried.join(", ")
    )]
    Gone {
        /// Name and version of each.
        packages: Vec<String>,
        /// Folders and addresses.
        tried: Vec<String>,
    },
    /// No answer.
    #[error("fetch {uri}; check the network")]
    Network {
        /// What was asked for.
        uri: String,
        /// What happened.
        #[source]
        source: reqwest::Error,
    },
    /// It broke off.
    #[error("receive {uri}; check the network")]
    Broken {
        /// What was asked for.
        uri: String,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// An archive has no address.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// Something else has that name.
    #[error("{uri} is not what the lock names: {bytes} bytes with SHA-256 {sha256}")]
    WrongBytes {
        /// What was asked for.
        uri: String,
        /// Bytes that came.
        bytes: u64,
        /// Their SHA-256.
        sha256: String,
    },
}

impl FetchError {
    /// Whether another try may help.
    fn may_pass(&self) -> bool {
        matches!(self, Self::Network { .. } | Self::Broken { .. })
    }
}

/// Where a cache keeps packages.
#[must_use]
pub fn folder(cache: &Path) -> PathBuf {
    cache.join("packages")
}

/// The cache's folder of packages.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
    mirrors: Mirrors,
    folders: Vec<PathBuf>,
}

impl Store {
    /// Packages in `cache`, taken from `folders` where they have them, else fetched from `mirrors`.
    #[must_use]
    pub fn new(cache: &Path, mirrors: Mirrors, folders: &[PathBuf]) -> Self {
        Self {
            dir: folder(cache),
            mirrors,
            folders: folders.to_owned(),
        }
    }

    /// Where archives are fetched.
    #[must_use]
    pub const fn mirrors(&self) -> &Mirrors {
        &self.mirrors
    }

    /// Where a fetched package is.
    #[must_use]
    pub fn path(&self, package: &Package) -> PathBuf {
        self.dir.join(package.file_name())
    }

    /// Fetches what is not there yet. A file in the cache has been checked when it came.
    ///
    /// # Errors
    /// [`FetchError`]; [`FetchError::Gone`] names all that are gone, not only the first.
    pub fn fetch(&self, lock: &Lock, progress: &Progress) -> Result<(), FetchError> {
        files::make_dir(&self.dir)?;
        let there = |package: &&Package| {
            std::fs::metadata(self.path(package)).is_ok_and(|m| m.len() == package.bytes)
        };
        let mut lacking: Vec<&Package> = Vec::new();
        for package in lock.packages.iter().filter(|package| !there(package)) {
            if !self.take(package)? {
                lacking.push(package);
            }
        }
        if lacking.is_empty() {
            return Ok(());
        }
        let bytes = lacking.iter().map(|package| package.bytes).sum();
        let stage = progress.stage("fetch", "fetch packages", Amount::Bytes(bytes));
        let client = crate::http::client().build().map_err(FetchError::Client)?;
        let next = AtomicUsize::new(0);
        let gone = Mutex::new(Vec::new());
        let failed = Mutex::new(None);
        let work = || {
            while let Some(package) = lacking.get(next.fetch_add(1, Ordering::Relaxed)) {
                match self.fetch_one(&client, lock, package, &stage) {
                    Ok(true) => {}
                    Ok(false) => {
                        lock_anyway(&gone).push(format!("{} {}", package.name, package.version))
                    }
                    Err(error) => {
                        lock_anyway(&failed).get_or_insert(error);
                        next.store(lacking.len(), Ordering::Relaxed);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(work);
            }
        });
        if let Some(error) = lock_anyway(&failed).take() {
            return Err(error);
        }
        let mut packages = std::mem::take(&mut *lock_anyway(&gone));
        if !packages.is_empty() {
            packages.sort();
            return Err(FetchError::Gone {
                packages,
                tried: self.sources(lock)?,
            });
        }
        stage.end();
        Ok(())
    }

    /// Everything that is asked for the packages of `lock`.
    fn sources(&self, lock: &Lock) -> Result<Vec<String>, MirrorError> {
        let folders = [&self.dir].into_iter().chain(&self.folders);
        let mut all: Vec<String> = folders.map(|folder| folder.display().to_string()).collect();
        let archives: BTreeSet<&str> = lock.packages.iter().map(|p| p.source.as_str()).collect();
        for archive in archives {
            all.extend(self.mirrors.addresses(archive, lock.build_timestamp)?);
        }
        Ok(all)
    }

    /// Takes a package from one of the folders. Out: whether one has it, byte for byte.
    fn take(&self, package: &Package) -> Result<bool, FileError> {
        let names = [package.file_name(), package.archive_name()];
        let all = self
            .folders
            .iter()
            .flat_map(|folder| names.iter().map(|name| folder.join(name)));
        for path in all {
            if !std::fs::metadata(&path).is_ok_and(|found| found.len() == package.bytes) {
                continue;
            }
            let mut hasher = Sha256::new();
            files::for_each_piece(&path, |piece| hasher.update(piece))?;
            if hex::encode(hasher.finalize()) == package.sha256 {
                let to = self.path(package);
                std::fs::hard_link(&path, &to)
                    .or_else(|_| files::copy(&path, &to).map(drop)) // another file system or owner
                    ?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Out: whether an archive still has it.
    fn fetch_one(
        &self,
        client: &reqwest::blocking::Client,
        lock: &Lock,
        package: &Package,
        stage: &Stage,
    ) -> Result<bool, FetchError> {
        for address in self
            .mirrors
            .addresses(&package.source, lock.build_timestamp)?
        {
            let uri = package.uri(&address);
            let mut tries = 1;
            let had = loop {
                match self.try_one(client, &uri, package, stage) {
                    Err(error) if error.may_pass() && tries < TRIES => tries += 1,
                    result => break result?,
                }
            };
            if had {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Puts every package of `lock` into the folder `to`, under the names archives give them: a copy that a later
    /// build takes with `--packages`. They must have been fetched.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn copy_to(&self, lock: &Lock, to: &Path) -> Result<(), FileError> {
        files::make_dir(to)?;
        for package in &lock.packages {
            files::copy(&self.path(package), &to.join(package.archive_name()))?;
        }
        Ok(())
    }

    fn try_one(
        &self,
        client: &reqwest::blocking::Client,
        uri: &str,
        package: &Package,
        stage: &Stage,
    ) -> Result<bool, FetchError> {
        let network = |source| FetchError::Network {
            uri: uri.to_owned(),
            source,
        };
        let answer = client.get(uri).send().map_err(network)?;
        if matches!(answer.status().as_u16(), 404 | 410) {
            return Ok(false);
        }
        let mut answer = answer.error_for_status().map_err(network)?;
        let path = self.path(package);
        let part = path.with_extension("part");
        let mut file = File::create(&part).doing("create", &part)?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 18];
        let mut bytes = 0;
        // One byte too many is enough to know that it is something else.
        while bytes <= package.bytes {
            let have = answer
                .read(&mut buffer)
                .map_err(|source| FetchError::Broken {
                    uri: uri.to_owned(),
                    source,
                })?;
            let Some(piece) = buffer.get(..have).filter(|piece| !piece.is_empty()) else {
                break;
            };
            hasher.update(piece);
            file.write_all(piece).doing("write", &part)?;
            bytes += have as u64;
            stage.add(have as u64);
        }
        let sha256 = hex::encode(hasher.finalize());
        if bytes != package.bytes || sha256 != package.sha256 {
            return Err(FetchError::WrongBytes {
                uri: uri.to_owned(),
                bytes,
                sha256,
            });
        }
        std::fs::rename(&part, &path).doing("rename to", &path)?;
        Ok(true)
    }
}

/// The value of a mutex; a thread that panicked has only left a whole value behind.
fn lock_anyway<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::BufRead, net::TcpListener};

    use super::*;
    use crate::{lock::Set, progress::Reader};

    const BODY: &[u8] = b"a package";

    /// A tiny archive that answers as often as it is asked.
    fn archive(status: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let reader = io::BufReader::new(stream.try_clone().unwrap());
                let _request = reader.lines().map_while(Result::ok).find(String::is_empty);
                let length = BODY.len();
                let head = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
                );
                stream.write_all(head.as_bytes()).unwrap();
                stream.write_all(BODY).unwrap();
            }
        });
        format!("http://{address}")
    }

    fn lock(body: &[u8]) -> Lock {
        Lock {
            format: 1,
            build_timestamp: 1_795_222_383,
            asked: BTreeMap::new(),
            packages: vec![Package {
                name: "tulip".into(),
                version: "1.0".into(),
                source: "debian".into(),
                path: "tulip.deb".into(),
                bytes: body.len() as u64,
                sha256: hex::encode(Sha256::digest(body)),
                sets: vec![Set::Tools],
            }],
        }
    }

    fn fetch(address: String, body: &[u8]) -> Result<Vec<u8>, FetchError> {
        let lock = lock(body);
        let dir = tempfile::tempdir().unwrap();
        let mirrors = BTreeMap::from([("debian".to_owned(), address)]);
        let store = Store::new(dir.path(), mirrors.into(), &[]);
        store.fetch(&lock, &Progress::new(Reader::Log))?;
        Ok(std::fs::read(store.path(&lock.packages[0])).unwrap())
    }

    #[test]
    fn a_package_with_the_right_digest_is_kept() {
        assert_eq!(fetch(archive("200 OK"), BODY).unwrap(), BODY);
    }

    #[test]
    fn other_bytes_are_refused() {
        for other in [b"A package".as_slice(), b"a pack", b"a package and more"] {
            let error = fetch(archive("200 OK"), other).unwrap_err();
            assert!(matches!(error, FetchError::WrongBytes { .. }), "{error}");
        }
    }

    #[test]
    fn a_package_that_is_gone_is_named_with_what_to_do() {
        let error = fetch(archive("404 Not Found"), BODY)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("tulip 1.0") && error.contains("--update-lock"),
            "{error}"
        );
    }

    #[test]
    fn a_package_of_a_folder_is_taken_before_any_archive_is_asked_but_never_other_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, copy) = (dir.path().join("folder"), dir.path().join("copy"));
        std::fs::create_dir(&folder).unwrap();
        let mirrors = BTreeMap::from([("debian".to_owned(), archive("404 Not Found"))]);
        let lock = lock(BODY);
        let store = |cache: &str, folder: &Path| {
            Store::new(
                &dir.path().join(cache),
                mirrors.clone().into(),
                &[folder.to_owned()],
            )
        };
        let progress = Progress::new(Reader::Log);
        std::fs::write(folder.join("tulip.deb"), b"A package").unwrap();
        let error = store("a", &folder).fetch(&lock, &progress).unwrap_err();
        let said = error.to_string();
        for expected in ["tulip 1.0", "folder", "http://127.0.0.1", "--packages"] {
            assert!(said.contains(expected), "{expected}: {said}");
        }
        std::fs::write(folder.join("tulip.deb"), BODY).unwrap();
        let first = store("b", &folder);
        first.fetch(&lock, &progress).unwrap();
        // What one build copied out, another takes in.
        first.copy_to(&lock, &copy).unwrap();
        let second = store("c", &copy);
        second.fetch(&lock, &progress).unwrap();
        assert_eq!(std::fs::read(second.path(&lock.packages[0])).unwrap(), BODY);
    }

    #[test]
    fn an_archive_of_old_packages_is_asked_last_with_the_time_of_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let mirrors = BTreeMap::from([("debian".to_owned(), archive("404 Not Found"))]);
        let mut mirrors = Mirrors::from(mirrors);
        let keeper = format!("{}/archive/debian/{{time}}", archive("200 OK"));
        mirrors
            .add_snapshots(&[format!("debian={keeper}")])
            .unwrap();
        let addresses = mirrors.addresses("debian", 1_795_222_383).unwrap();
        assert!(
            addresses[1].ends_with("/archive/debian/20261121T125303Z"),
            "{addresses:?}"
        );
        let store = Store::new(dir.path(), mirrors, &[]);
        store
            .fetch(&lock(BODY), &Progress::new(Reader::Log))
            .unwrap();
        assert_eq!(
            std::fs::read(store.path(&lock(BODY).packages[0])).unwrap(),
            BODY
        );
    }

    #[test]
    fn no_network_is_said() {
        // Nothing listens on the port of a listener that is closed.
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let error = fetch(format!("http://{address}"), BODY)
            .unwrap_err()
            .to_string();
        assert!(error.contains("check the network"), "{error}");
    }
}
