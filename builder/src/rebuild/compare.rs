//! Comparing a released file with the one made again, and looking inside where they differ.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use serde::Serialize;
use site_api::ReleaseFile;

use crate::{
    boot::entries,
    command::{self, CommandError, Tree},
    contents::{self, Change, Owners, Times, What},
    files::{self, FileError},
};

/// Lines about the inside of one file that a person is shown; a program gets all.
const LINES_SHOWN: usize = 40;

/// Why two files could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// Not readable.
    #[error("read a file of the release")]
    File(#[from] FileError),
    /// fsck.erofs.
    #[error("take {name} apart")]
    Command {
        /// The file.
        name: String,
        /// What fsck.erofs said.
        #[source]
        source: CommandError,
    },
}

/// What came out of comparing one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The same, byte for byte.
    Same,
    /// The same but for the Secure Boot signature, which has the time it was made in it.
    SameUnsigned,
    /// Not the same.
    Differs,
    /// The release has no such file.
    Missing,
}

impl Verdict {
    /// Whether everything that can be made again is the same.
    #[must_use]
    pub const fn is_same(self) -> bool {
        matches!(self, Self::Same | Self::SameUnsigned)
    }
}

/// One file of a release, compared.
#[derive(Debug, Clone, Serialize)]
pub struct Artefact {
    /// Its name.
    pub file: String,
    /// What came out.
    pub verdict: Verdict,
    /// Length of the released file in bytes.
    pub released_bytes: u64,
    /// Length of the file made again, in bytes.
    pub rebuilt_bytes: u64,
    /// Offset of the first byte that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<u64>,
    /// What differs inside, from the released file to the one made again; paths begin with the archive's number
    /// where there is more than one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inside: Vec<Change>,
    /// What a person should know beside that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Artefact {
    /// Lines for people.
    #[must_use]
    pub fn text(&self) -> String {
        let word = match self.verdict {
            Verdict::Same => "same",
            Verdict::SameUnsigned => "same but signature",
            Verdict::Differs => "DIFFERS",
            Verdict::Missing => "MISSING",
        };
        let mut text = format!("{word:<20} {} ({} bytes", self.file, self.released_bytes);
        if self.released_bytes != self.rebuilt_bytes {
            let _to_a_string = write!(text, ", made again {}", self.rebuilt_bytes);
        }
        text.push(')');
        if let Some(at) = self.first_byte {
            let _to_a_string = write!(text, ", first at byte {at}");
        }
        for change in self.inside.iter().take(LINES_SHOWN) {
            let _to_a_string = write!(text, "\n    {}", line(change));
        }
        if let Some(more) = self
            .inside
            .len()
            .checked_sub(LINES_SHOWN)
            .filter(|more| *more > 0)
        {
            let _to_a_string = write!(text, "\n    and {more} more; --json has them all");
        }
        if let Some(note) = &self.note {
            let _to_a_string = write!(text, "\n    {note}");
        }
        text
    }
}

fn line(change: &Change) -> String {
    let path = &change.path;
    match change.what {
        What::Added => format!("{path}: only in the one made again"),
        What::Removed => format!("{path}: only in the released one"),
        What::Changed => {
            let mut text = format!("{path}: {}", change.differs.join(", "));
            if let Some(at) = change.first_byte {
                let _to_a_string = write!(text, ", first at byte {at}");
            }
            text
        }
    }
}

/// Compares bytes in memory.
#[must_use]
pub fn bytes(name: &str, released: &[u8], rebuilt: &[u8]) -> Artefact {
    let first_byte = first_difference(released, rebuilt);
    Artefact {
        file: name.to_owned(),
        verdict: match first_byte {
            None => Verdict::Same,
            Some(_) => Verdict::Differs,
        },
        released_bytes: released.len() as u64,
        rebuilt_bytes: rebuilt.len() as u64,
        first_byte,
        inside: vec![],
        note: None,
    }
}

/// Offset of the first byte that differs; where one ends before the other, that end.
fn first_difference(a: &[u8], b: &[u8]) -> Option<u64> {
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    (same < a.len().max(b.len())).then_some(same as u64)
}

/// A released file and the one made again.
#[derive(Debug)]
pub struct Pair {
    /// Name in the release.
    pub name: String,
    /// The released file.
    pub released: PathBuf,
    /// The one made again.
    pub rebuilt: PathBuf,
}

impl Pair {
    /// Compares, with `tools` and a scratch folder to take images apart.
    ///
    /// # Errors
    /// [`CompareError`]: they could not be read. A damaged image is a difference, not an error.
    pub fn compare(&self, tools: &Tree, scratch: &Path) -> Result<Artefact, CompareError> {
        let rebuilt = files::read(&self.rebuilt)?;
        if !self.released.exists() {
            let mut artefact = bytes(&self.name, &[], &rebuilt);
            artefact.verdict = Verdict::Missing;
            artefact.first_byte = None;
            return Ok(artefact);
        }
        let released = files::read(&self.released)?;
        let mut artefact = bytes(&self.name, &released, &rebuilt);
        if artefact.verdict == Verdict::Same {
            return Ok(artefact);
        }
        if [ReleaseFile::Uki.name(), ReleaseFile::Loader.name()].contains(&self.name.as_str()) {
            self.compare_programs(&mut artefact)?;
        } else if self.name == ReleaseFile::Initrd.name() {
            look_into_initrds(&mut artefact, &released, &rebuilt);
        } else if self.name == ReleaseFile::Baseline.name() {
            self.look_into_images(&mut artefact, tools, scratch)?;
        }
        Ok(artefact)
    }

    fn compare_programs(&self, artefact: &mut Artefact) -> Result<(), CompareError> {
        let (Some(released), Some(rebuilt)) = (
            super::unsigned(&self.released)?,
            super::unsigned(&self.rebuilt)?,
        ) else {
            artefact.note = Some("it is no EFI program whose signature could be taken off".into());
            return Ok(());
        };
        if !released.was_signed && !rebuilt.was_signed {
            return Ok(());
        }
        artefact.first_byte = first_difference(&released.bytes, &rebuilt.bytes);
        let text = "compared without the Secure Boot signature: only who has the key makes that again, and the time \
                    it was made is in it";
        artefact.note = Some(text.into());
        if artefact.first_byte.is_none() {
            artefact.verdict = Verdict::SameUnsigned;
        }
        Ok(())
    }

    fn look_into_images(
        &self,
        artefact: &mut Artefact,
        tools: &Tree,
        scratch: &Path,
    ) -> Result<(), CompareError> {
        let (from, to) = (scratch.join("released"), scratch.join("rebuilt"));
        if let Err(source) = extract(&self.released, &from, tools) {
            artefact.note = Some(format!(
                "the released image cannot be taken apart: {source}"
            ));
            return Ok(());
        }
        extract(&self.rebuilt, &to, tools).map_err(|source| CompareError::Command {
            name: self.name.clone(),
            source,
        })?;
        let nobody = Owners::default();
        let before = contents::list(&from, &nobody)?;
        let after = contents::list(&to, &nobody)?;
        let mut changes = contents::compare(&before, &after, Times::Count);
        for change in &mut changes {
            if change.what == What::Changed && change.differs.iter().any(|what| what == "bytes") {
                let before = files::read(&from.join(&change.path))?;
                let after = files::read(&to.join(&change.path))?;
                change.first_byte = first_difference(&before, &after);
            }
        }
        if changes.is_empty() {
            let text = "every file in it is the same: it was written by another mkfs.erofs, or altered where no file is";
            artefact.note = Some(text.into());
        }
        artefact.inside = changes;
        files::remove_dir(&from)?;
        files::remove_dir(&to)?;
        Ok(())
    }
}

/// Unpacks a baseline image into the new folder `to`, without mounting it.
fn extract(image: &Path, to: &Path, tools: &Tree) -> Result<(), CommandError> {
    let mut extract = tools.command("usr/bin/fsck.erofs");
    extract.arg(format!("--extract={}", to.display()));
    extract.arg("--xattrs").arg(image);
    command::run(&mut extract, "erofs-utils").map(drop)
}

fn look_into_initrds(artefact: &mut Artefact, released: &[u8], rebuilt: &[u8]) {
    let (before, after) = match (entries::read(released), entries::read(rebuilt)) {
        (Ok(before), Ok(after)) => (before, after),
        (Err(error), _) => {
            artefact.note = Some(format!(
                "the released initrd cannot be taken apart: {error}"
            ));
            return;
        }
        (_, Err(error)) => {
            artefact.note = Some(format!(
                "the initrd made again cannot be taken apart: {error}"
            ));
            return;
        }
    };
    for number in 0..before.len().max(after.len()) {
        let (a, b) = (before.get(number), after.get(number));
        let list = |archive: Option<&entries::Archive>| {
            archive.map_or_else(Vec::new, |archive| archive.entries.clone())
        };
        for mut change in contents::compare(&list(a), &list(b), Times::Count) {
            let data = |archive: Option<&'_ entries::Archive>| {
                archive.and_then(|archive| archive.data(&change.path).map(<[u8]>::to_vec))
            };
            if let (Some(a), Some(b)) = (data(a), data(b)) {
                change.first_byte = first_difference(&a, &b);
            }
            change.path = format!("archive {}: {}", number + 1, change.path);
            artefact.inside.push(change);
        }
    }
    if artefact.inside.is_empty() {
        artefact.note = Some("every entry in it is the same: it was compressed otherwise".into());
    }
    let archives: BTreeSet<usize> = [before.len(), after.len()].into();
    if archives.len() > 1 {
        let text = format!(
            "the released one has {} archives, the one made again {}",
            before.len(),
            after.len()
        );
        artefact.note = Some(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::{cpio, initrd};

    fn initrd_of(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
        let mut archive = cpio::Archive::new();
        archive.directory("etc");
        for (path, mode, data) in files {
            archive.file(path, *mode, data);
        }
        initrd::compress(&archive.end(), 3).unwrap()
    }

    fn compared(name: &str, released: &[u8], rebuilt: &[u8]) -> Artefact {
        let dir = tempfile::tempdir().unwrap();
        let pair = Pair {
            name: name.to_owned(),
            released: dir.path().join("a"),
            rebuilt: dir.path().join("b"),
        };
        std::fs::write(&pair.released, released).unwrap();
        std::fs::write(&pair.rebuilt, rebuilt).unwrap();
        let no_tools = Tree::new(dir.path().to_owned());
        pair.compare(&no_tools, dir.path()).unwrap()
    }

    #[test]
    fn the_same_bytes_are_the_same() {
        let artefact = compared("vmlinuz", b"kernel", b"kernel");
        assert!(artefact.verdict.is_same() && artefact.first_byte.is_none());
    }

    #[test]
    fn the_first_byte_that_differs_is_named() {
        for (released, rebuilt, at) in [
            (b"kernel".as_slice(), b"kerNel".as_slice(), 3),
            (b"kernel", b"kernel and more", 6),
            (b"kernel and more", b"kernel", 6),
        ] {
            let artefact = compared("vmlinuz", released, rebuilt);
            assert_eq!(artefact.verdict, Verdict::Differs);
            assert_eq!(artefact.first_byte, Some(at));
        }
    }

    #[test]
    fn entries_of_an_initrd_that_differ_are_named_with_mode_size_and_byte() {
        let released = initrd_of(&[
            ("etc/a", 0o644, b"same"),
            ("etc/b", 0o600, b"tulip"),
            ("etc/c", 0o644, b""),
        ]);
        let rebuilt = initrd_of(&[
            ("etc/a", 0o644, b"same"),
            ("etc/b", 0o644, b"tuLips"),
            ("etc/d", 0o644, b""),
        ]);
        let text = compared("initrd.img", &released, &rebuilt).text();
        for expected in [
            "DIFFERS",
            "archive 1: etc/b: mode 0644, was 0600, length 6, was 5, bytes, first at byte 2",
            "archive 1: etc/c: only in the released one",
            "archive 1: etc/d: only in the one made again",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        assert!(!text.contains("etc/a"), "{text}");
    }

    #[test]
    fn a_damaged_initrd_is_a_difference() {
        let rebuilt = initrd_of(&[("etc/a", 0o644, b"same")]);
        let mut released = rebuilt.clone();
        let middle = released.len() / 2;
        released[middle] ^= 0xff;
        let artefact = compared("initrd.img", &released, &rebuilt);
        assert_eq!(artefact.verdict, Verdict::Differs);
        assert!(artefact.note.is_some() || !artefact.inside.is_empty());
    }
}
