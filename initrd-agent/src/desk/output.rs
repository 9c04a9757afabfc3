//! Where a tar goes: a file that appears when it is whole, or standard output.

use std::{
    env,
    io::{self, BufWriter, IsTerminal as _, Write},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use super::DeskError;

/// Level of zstd for a tar: that of packs.
const LEVEL: i32 = snapshot::frame::LEVEL;
/// Written at once, in bytes.
const BUFFER_BYTES: usize = 1 << 20;

/// A place for a tar.
pub(super) struct Output {
    /// `None`: standard output.
    path: Option<PathBuf>,
    zstd: bool,
}

impl Output {
    /// Checks where the tar is to go. `-`, or nothing, is standard output.
    pub(super) fn new(path: Option<&Path>, zstd: bool) -> Result<Self, DeskError> {
        let path = path.filter(|path| path.as_os_str() != "-");
        let Some(path) = path else {
            if io::stdout().is_terminal() {
                return Err(DeskError::ToTerminal);
            }
            return Ok(Self { path: None, zstd });
        };
        if path.symlink_metadata().is_ok() {
            return Err(DeskError::Exists(path.into()));
        }
        let by_name = matches!(path.extension(), Some(e) if e == "zst" || e == "tzst");
        Ok(Self {
            path: Some(path.into()),
            zstd: zstd || by_name,
        })
    }

    /// The folder the tar goes to, or the one for temporary files.
    pub(super) fn folder(&self) -> PathBuf {
        let folder = self.path.as_deref().map(folder_of);
        folder.map_or_else(env::temp_dir, Path::to_owned)
    }

    /// Writes what `fill` writes. A file has another name until all of it is on the disk.
    pub(super) fn write<T>(
        self,
        fill: impl FnOnce(&mut dyn Write) -> Result<T, DeskError>,
    ) -> Result<T, DeskError> {
        let Some(path) = &self.path else {
            return self.through(io::stdout().lock(), fill);
        };
        let fail = |source| DeskError::Write {
            path: path.clone(),
            source,
        };
        let part = tempfile::Builder::new()
            .prefix(".furoshiki-export-")
            .tempfile_in(folder_of(path))
            .map_err(fail)?;
        let done = self.through(part.as_file(), fill)?;
        keep(part, path).map_err(fail)?;
        Ok(done)
    }

    fn through<T>(
        &self,
        out: impl Write,
        fill: impl FnOnce(&mut dyn Write) -> Result<T, DeskError>,
    ) -> Result<T, DeskError> {
        let fail = |source| DeskError::Write {
            path: self.path.clone().unwrap_or_else(|| "-".into()),
            source,
        };
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, out);
        if !self.zstd {
            let done = fill(&mut out)?;
            out.flush().map_err(fail)?;
            return Ok(done);
        }
        let mut zstd = zstd::Encoder::new(out, LEVEL).map_err(fail)?;
        zstd.include_checksum(true).map_err(fail)?;
        let done = fill(&mut zstd)?;
        zstd.finish()
            .and_then(|mut out| out.flush())
            .map_err(fail)?;
        Ok(done)
    }
}

fn keep(part: NamedTempFile, path: &Path) -> io::Result<()> {
    part.as_file().sync_all()?;
    part.persist(path).map_err(|error| error.error)?;
    // Some file systems sync no folders; the file is whole on the disk either way.
    if let Err(error) = std::fs::File::open(folder_of(path)).and_then(|folder| folder.sync_all()) {
        tracing::debug!(%error, "the folder of the tar is not synced");
    }
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_or_not_at_all_and_none_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.tar");
        let there = || std::fs::read_dir(folder.path()).unwrap().count();
        let half = Output::new(Some(&path), false).unwrap().write(|out| {
            out.write_all(b"half").unwrap();
            Err::<(), _>(DeskError::HeadMoved)
        });
        assert!(half.is_err());
        assert_eq!(there(), 0);
        let write = |output: Output| {
            output.write(|out| out.write_all(b"whole").map_err(|_| DeskError::HeadMoved))
        };
        write(Output::new(Some(&path), false).unwrap()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert!(matches!(
            Output::new(Some(&path), false),
            Err(DeskError::Exists(_))
        ));
        let packed = folder.path().join("x.tar.zst");
        write(Output::new(Some(&packed), false).unwrap()).unwrap();
        let packed = std::fs::read(&packed).unwrap();
        assert_eq!(zstd::decode_all(&packed[..]).unwrap(), b"whole");
        assert_eq!(there(), 2);
    }
}
