//! Summary: what a release says about its insides beside its manifest: lists of files, shares of packages.
//!
//! Nothing on a PC reads it; it is neither signed nor published. Format: docs/formats/contents.md.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use snapshot::id::BaselineId;

use crate::{
    contents::Entry,
    files::{self, FileError},
    sizes::Share,
};

/// Lists of files, compressed by zstd.
pub const CONTENTS_FILE: &str = "contents.json.zst";
/// Sizes.
pub const REPORT_FILE: &str = "report.json";
/// Version of both formats.
const VERSION: u32 = 1;
/// zstd level of the lists.
const LEVEL: i32 = 9;
/// A list that becomes longer than this is not one of ours, in bytes.
const LONGEST: usize = 1 << 30;

/// Why a summary cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SummaryError {
    /// Not there, not readable.
    #[error("open the lists of files")]
    File(#[from] FileError),
    /// Damaged, or of a program of the future.
    #[error("{} is no list of files this program reads: {why}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// `contents.json.zst`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contents {
    version: u32,
    /// The baseline the first list is of.
    pub baseline_id: BaselineId,
    /// Files of the baseline's image.
    pub baseline: Vec<Entry>,
    /// Files of the initrd's shared part.
    pub initrd: Vec<Entry>,
}

/// A whole and the shares of it.
#[derive(Debug, Serialize)]
pub struct Whole {
    /// Length in bytes.
    pub bytes: u64,
    /// What it may be at most, in bytes, where there is a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Per package, largest first; they add up to `bytes`.
    pub packages: Vec<Share>,
}

/// `report.json`.
#[derive(Debug, Serialize)]
pub struct Report {
    version: u32,
    /// The initrd as it is loaded.
    pub initrd: Whole,
    /// The baseline's file system.
    pub baseline: Whole,
}

impl Contents {
    /// The lists of a release.
    #[must_use]
    pub const fn new(baseline_id: BaselineId, baseline: Vec<Entry>, initrd: Vec<Entry>) -> Self {
        Self {
            version: VERSION,
            baseline_id,
            baseline,
            initrd,
        }
    }

    /// Writes the lists into the release's folder.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn write(&self, out: &Path) -> Result<(), FileError> {
        files::write(&out.join(CONTENTS_FILE), &pack(self))
    }

    /// Reads the lists of the release in the folder `dir`.
    ///
    /// # Errors
    /// [`SummaryError`].
    pub fn read(dir: &Path) -> Result<Self, SummaryError> {
        let path = dir.join(CONTENTS_FILE);
        let invalid = |why: String| SummaryError::Invalid {
            path: path.clone(),
            why,
        };
        let contents: Self = unpack(&files::read(&path)?).map_err(invalid)?;
        if contents.version != VERSION {
            return Err(invalid(format!(
                "version {}, use a newer program",
                contents.version
            )));
        }
        Ok(contents)
    }
}

impl Report {
    /// A report.
    #[must_use]
    pub const fn new(initrd: Whole, baseline: Whole) -> Self {
        Self {
            version: VERSION,
            initrd,
            baseline,
        }
    }

    /// Writes the report into the release's folder.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn write(&self, out: &Path) -> Result<(), FileError> {
        let json = serde_json::to_vec_pretty(self).expect("plain values become JSON");
        files::write(&out.join(REPORT_FILE), &json)
    }
}

/// A value as compressed JSON.
pub(crate) fn pack(value: &impl Serialize) -> Vec<u8> {
    let json = serde_json::to_vec(value).expect("plain values become JSON");
    zstd::bulk::compress(&json, LEVEL).expect("memory takes any length")
}

/// The value again. Err: what is wrong with it.
pub(crate) fn unpack<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T, String> {
    let mut json = Vec::new();
    let reader = zstd::Decoder::new(bytes).map_err(|error| error.to_string())?;
    std::io::Read::read_to_end(&mut std::io::Read::take(reader, LONGEST as u64), &mut json)
        .map_err(|error| error.to_string())?;
    serde_json::from_slice(&json).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contents::{self, Owners};

    /// The example of docs/formats/contents.md.
    const EXAMPLE: &str = concat!(
        r#"{"version":1,"baseline_id":"0101010101010101010101010101010101010101010101010101010101010101","#,
        r#""baseline":[{"path":"etc/hostname","kind":"file","mode":420,"uid":0,"gid":0,"mtime":1700000000,"bytes":6,"#,
        r#""blake3":"0202020202020202020202020202020202020202020202020202020202020202","package":"tulip"}],"initrd":[]}"#
    );

    #[test]
    fn the_example_in_the_documentation_is_read_and_written() {
        let contents: Contents = serde_json::from_str(EXAMPLE).unwrap();
        assert_eq!(serde_json::to_string(&contents).unwrap(), EXAMPLE);
        let documented = include_str!("../../docs/formats/contents.md").replace('\n', "");
        assert!(documented.contains(EXAMPLE));
    }

    #[test]
    fn lists_are_read_back_and_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("tulip"), "red").unwrap();
        let entries = contents::list(dir.path(), &Owners::default()).unwrap();
        let written = Contents::new(BaselineId::new([1; 32]), entries.clone(), vec![]);
        written.write(dir.path()).unwrap();
        assert_eq!(Contents::read(dir.path()).unwrap().baseline, entries);
        let path = dir.path().join(CONTENTS_FILE);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        let error = Contents::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains(CONTENTS_FILE), "{error}");
    }
}
