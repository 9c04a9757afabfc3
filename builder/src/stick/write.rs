//! Everything but the first MiB, flushed and read back; then the first MiB, without which nothing boots.

use std::{
    fs::{File, OpenOptions},
    io::{Seek, SeekFrom},
    os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::{Advice, OFlags, fadvise};

use super::StickError;
use crate::{
    files::Doing,
    progress::{Amount, Progress},
};

const MIB: usize = 1 << 20;
/// So much is flushed at a time, so that what the bar shows is on the stick.
const FLUSH_MIB: usize = 16;
/// What O_DIRECT wants memory and places aligned to (open(2)); no device has larger sectors.
const ALIGN: usize = 4096;

/// Writes `image`, a whole number of sectors long, to the device or file `target` and reads all of it back.
///
/// # Errors
/// [`StickError`]; after any of them the target does not boot.
pub fn write(image: &[u8], target: &Path, progress: &Progress) -> Result<(), StickError> {
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        // Of a block device: fails while anybody has it mounted (open(2)).
        .custom_flags(OFlags::EXCL.bits().cast_signed())
        .open(target)
        .doing("open", target)?;
    let length = (&device).seek(SeekFrom::End(0)).doing("look at", target)?;
    if length < image.len() as u64 {
        return Err(StickError::Refused {
            device: target.to_owned(),
            why: format!("it has {length} bytes, the image has {}", image.len()),
        });
    }
    let flush = || device.sync_data().doing("flush", target);
    let head_bytes = MIB.min(image.len());
    let (head, rest) = image.split_at(head_bytes);
    // Neither what was on it before nor an old copy of a partition table at its end may start what follows.
    let zeroes = vec![0; MIB];
    let put = |bytes: &[u8], at: u64| device.write_all_at(bytes, at).doing("write", target);
    put(zeroes.get(..head_bytes).unwrap_or_default(), 0)?;
    let end = length.saturating_sub(MIB as u64).max(image.len() as u64);
    let left = usize::try_from(length - end).unwrap_or(0);
    put(zeroes.get(..left).unwrap_or_default(), end)?;
    flush()?;

    let all = Amount::Bytes(rest.len() as u64);
    let stage = progress.stage("write", "write the stick", all);
    for (count, piece) in rest.chunks(MIB).enumerate() {
        put(piece, ((count + 1) * MIB) as u64)?;
        if count % FLUSH_MIB == FLUSH_MIB - 1 {
            flush()?;
        }
        stage.add(piece.len() as u64);
    }
    flush()?;
    stage.end();

    let stage = progress.stage("verify", "read the stick back", all);
    let reader = Reader::open(target)?;
    for (count, piece) in rest.chunks(MIB).enumerate() {
        reader.compare(piece, ((count + 1) * MIB) as u64)?;
        stage.add(piece.len() as u64);
    }
    put(head, 0)?;
    flush()?;
    Reader::open(target)?.compare(head, 0)?;
    stage.end();
    Ok(())
}

/// Reads what is on the device, not what this machine remembers of it.
struct Reader<'a> {
    file: File,
    path: &'a Path,
}

impl<'a> Reader<'a> {
    fn open(path: &'a Path) -> Result<Self, StickError> {
        let file = File::open(path).doing("open", path)?;
        let kind = file.metadata().doing("look at", path)?.file_type();
        if kind.is_block_device() {
            let file = OpenOptions::new()
                .read(true)
                .custom_flags(OFlags::DIRECT.bits().cast_signed())
                .open(path)
                .doing("open", path)?;
            return Ok(Self { file, path });
        }
        // A file: not every file system reads directly, all forget when asked after a flush (posix_fadvise(2)).
        fadvise(&file, 0, None, Advice::DontNeed).doing("forget what is remembered of", path)?;
        Ok(Self { file, path })
    }

    fn compare(&self, want: &[u8], at: u64) -> Result<(), StickError> {
        let mut room = vec![0; want.len() + ALIGN];
        let from = room.as_ptr().align_offset(ALIGN).min(ALIGN);
        let have = room.get_mut(from..from + want.len()).unwrap_or_default();
        self.file
            .read_exact_at(have, at)
            .doing("read back", self.path)?;
        match have.iter().zip(want).position(|(have, want)| have != want) {
            None => Ok(()),
            Some(place) => Err(StickError::Differs {
                device: self.path.to_owned(),
                at: at + place as u64,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Reader as Shown;

    fn image() -> Vec<u8> {
        (0..5 * MIB + 512)
            .map(|n| u8::try_from(n % 251).unwrap() | 1)
            .collect()
    }

    fn stick(bytes: u64) -> tempfile::NamedTempFile {
        let stick = tempfile::NamedTempFile::new().unwrap();
        stick.as_file().set_len(bytes).unwrap();
        // It was something else before: a table at its beginning and at its end.
        stick.as_file().write_all_at(&[7; 4096], 0).unwrap();
        stick
            .as_file()
            .write_all_at(&[7; 4096], bytes - 4096)
            .unwrap();
        stick
    }

    #[test]
    fn a_stick_gets_the_whole_image_and_forgets_its_old_tables() {
        let (image, bytes) = (image(), 9 << 20);
        let stick = stick(bytes);
        write(&image, stick.path(), &Progress::new(Shown::Log)).unwrap();
        let have = std::fs::read(stick.path()).unwrap();
        assert!(have.starts_with(&image));
        assert!(have[have.len() - 4096..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_stick_that_is_too_small_is_left_as_it_was() {
        let stick = stick(5 << 20);
        let before = std::fs::read(stick.path()).unwrap();
        let refused = write(&image(), stick.path(), &Progress::new(Shown::Log));
        assert!(
            matches!(refused, Err(StickError::Refused { .. })),
            "{refused:?}"
        );
        assert!(std::fs::read(stick.path()).unwrap() == before);
    }

    #[test]
    fn a_stick_whose_writing_stops_half_way_does_not_boot() {
        // Longer than the stick can keep: the write past 4 MiB fails as on a dying device (setrlimit(2), FSIZE).
        let stick = stick(image().len() as u64);
        let path = stick.path().to_owned();
        let program = std::env::current_exe().unwrap();
        let output = std::process::Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 8192; exec \"$0\" \"$@\""])
            .arg(program)
            .args(["--exact", "stick::write::tests::writes_for_another_test"])
            .env("FUROSHIKI_TEST_STICK", &path)
            .output()
            .unwrap();
        assert!(!output.status.success(), "{output:?}");
        let have = std::fs::read(&path).unwrap();
        assert!(have[..MIB].iter().all(|byte| *byte == 0), "it could boot");
        assert!(
            have[MIB..2 * MIB] == image()[MIB..2 * MIB],
            "nothing was written"
        );
    }

    /// Alone it does nothing; the test above runs it in a process whose files stay short.
    #[test]
    fn writes_for_another_test() {
        if let Some(path) = std::env::var_os("FUROSHIKI_TEST_STICK") {
            write(&image(), path.as_ref(), &Progress::new(Shown::Log)).unwrap();
        }
    }
}
