//! `secret-search`: runs as root in a guest, reads needles from standard input, and prints where one is: in a name or
//! the content of a file that can be written, on the command line or in the environment of a process, in the journal
//! or in the kernel's log. What has them in its memory alone is not looked at.

use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use qemu_tests::disk::{self, Needle};
use walkdir::WalkDir;

/// File systems that a session writes to. Its overlay is searched in its upper layer, which lies on ext4.
const WRITTEN: [&str; 5] = ["ext4", "tmpfs", "ramfs", "vfat", "devtmpfs"];

fn main() -> Result<()> {
    let mut lines = String::new();
    std::io::stdin()
        .read_to_string(&mut lines)
        .context("read the needles")?;
    let needles = lines
        .lines()
        .map(Needle::of_line)
        .collect::<Result<Vec<_>>>()?;
    ensure!(!needles.is_empty(), "nothing to search for");
    let mut found = Vec::new();
    let mounts = fs::read_to_string("/proc/self/mounts").context("read the mounts")?;
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(1);
        if let (Some(place), Some(kind)) = (fields.next(), fields.next())
            && WRITTEN.contains(&kind)
        {
            in_files(Path::new(place), &needles, &mut found)?;
        }
    }
    in_processes(&needles, &mut found)?;
    for (place, command) in [
        (
            "the journal",
            &["journalctl", "--no-pager", "-o", "export"][..],
        ),
        ("the kernel's log", &["dmesg"]),
    ] {
        let (program, arguments) = command.split_first().context("a command")?;
        let said = Command::new(program).args(arguments).output();
        let said = said.with_context(|| format!("run {program}"))?;
        ensure!(
            said.status.success(),
            "{program} ended with {}",
            said.status
        );
        note(&said.stdout, place, &needles, &mut found);
    }
    for line in found {
        println!("{line}");
    }
    Ok(())
}

fn note(bytes: &[u8], place: &str, needles: &[Needle], found: &mut Vec<String>) {
    let here = needles.iter().filter(|needle| needle.is_in(bytes));
    found.extend(here.map(|needle| format!("{} in {place}", needle.name)));
}

fn in_files(folder: &Path, needles: &[Needle], found: &mut Vec<String>) -> Result<()> {
    for entry in WalkDir::new(folder).same_file_system(true) {
        let entry = match entry {
            Ok(entry) => entry,
            // Somebody removed it meanwhile.
            Err(error) if is_gone(error.io_error()) => continue,
            Err(error) => return Err(error).with_context(|| format!("walk {}", folder.display())),
        };
        let place = entry.path().display().to_string();
        note(
            entry.file_name().as_bytes(),
            &format!("the name {place}"),
            needles,
            found,
        );
        if !entry.file_type().is_file() {
            continue;
        }
        match disk::search(entry.path(), needles) {
            Ok(here) => found.extend(here.iter().map(|needle| format!("{needle} in {place}"))),
            // It shrank or went while it was read.
            Err(error) if is_gone(error.root_cause().downcast_ref()) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn in_processes(needles: &[Needle], found: &mut Vec<String>) -> Result<()> {
    let own = std::process::id().to_string();
    for entry in fs::read_dir("/proc").context("list the processes")? {
        let entry = entry.context("list the processes")?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == own || !name.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        for what in ["cmdline", "environ"] {
            let path = entry.path().join(what);
            match fs::read(&path) {
                Ok(bytes) => note(&bytes, &path.display().to_string(), needles, found),
                // It ended meanwhile; a thread of the kernel has no environment.
                Err(error) if is_gone(Some(&error)) => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("read {}", path.display()));
                }
            }
        }
    }
    Ok(())
}

fn is_gone(error: Option<&std::io::Error>) -> bool {
    error.is_some_and(|error| {
        matches!(error.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof)
            || error.raw_os_error() == Some(3)
    })
}
