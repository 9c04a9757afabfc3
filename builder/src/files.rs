//! Reading and writing files with errors that say what was done to which file.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use snapshot::id::Digest;

/// A file system call that failed.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}", path.display())]
pub struct FileError {
    /// What was being done, in the imperative.
    pub doing: &'static str,
    /// To which file.
    pub path: PathBuf,
    /// What the system says.
    #[source]
    pub source: io::Error,
}

/// Adds what was being done to an I/O error.
pub trait Doing<T> {
    /// # Errors
    /// The same error with `doing` and `path`.
    fn doing(self, doing: &'static str, path: impl AsRef<Path>) -> Result<T, FileError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, doing: &'static str, path: impl AsRef<Path>) -> Result<T, FileError> {
        self.map_err(|source| FileError {
            doing,
            path: path.as_ref().to_owned(),
            source: source.into(),
        })
    }
}

/// All bytes of a file.
///
/// # Errors
/// [`FileError`].
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).doing("read", path)
}

/// All text of a file.
///
/// # Errors
/// [`FileError`], also when it is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).doing("read", path)
}

/// Writes a file whole or not at all: beside it first, then renamed.
///
/// # Errors
/// [`FileError`]; `path` keeps what it had.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write_with_mode(path, bytes, 0o644)
}

/// [`write()`] with the permissions the file gets.
///
/// # Errors
/// [`FileError`]; `path` keeps what it had.
pub fn write_with_mode(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let beside = beside(path);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&beside)
        .doing("create", &beside)?;
    file.write_all(bytes).doing("write", &beside)?;
    file.sync_all().doing("write", &beside)?;
    fs::rename(&beside, path).doing("rename to", path)
}

/// Makes a directory and its parents.
///
/// # Errors
/// [`FileError`].
pub fn make_dir(path: &Path) -> Result<(), FileError> {
    fs::create_dir_all(path).doing("make directory", path)
}

/// Removes a directory and all in it, if it is there.
///
/// # Errors
/// [`FileError`].
pub fn remove_dir(path: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).doing("remove directory", path)
        }
        _ => Ok(()),
    }
}

/// Copies a file without its permissions, whole or not at all. Out: its length in bytes.
///
/// # Errors
/// [`FileError`]; `to` keeps what it had.
pub fn copy(from: &Path, to: &Path) -> Result<u64, FileError> {
    let beside = beside(to);
    let mut source = File::open(from).doing("open", from)?;
    let mut target = File::create(&beside).doing("create", &beside)?;
    let bytes = io::copy(&mut source, &mut target).doing("write", &beside)?;
    fs::rename(&beside, to).doing("rename to", to)?;
    Ok(bytes)
}

/// Length in bytes and BLAKE3 of a file.
///
/// # Errors
/// [`FileError`].
pub fn digest(path: &Path) -> Result<(u64, Digest), FileError> {
    let mut hasher = blake3::Hasher::new();
    let bytes = for_each_piece(path, |piece| {
        hasher.update(piece);
    })?;
    Ok((bytes, Digest::new(*hasher.finalize().as_bytes())))
}

/// Hands a file to `use_piece` in order, at most 1 MiB at a time. Out: its length in bytes.
///
/// # Errors
/// [`FileError`].
pub fn for_each_piece(path: &Path, mut use_piece: impl FnMut(&[u8])) -> Result<u64, FileError> {
    let mut file = File::open(path).doing("open", path)?;
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        let have = file.read(&mut buffer).doing("read", path)?;
        let Some(piece) = buffer.get(..have).filter(|piece| !piece.is_empty()) else {
            return Ok(bytes);
        };
        use_piece(piece);
        bytes += piece.len() as u64;
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}
