//! Running other programs: what they said is part of the error.

use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::surroundings;

/// Last lines of a failed program's messages that an error repeats.
const LINES_SHOWN: usize = 12;

/// A program that did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It is not installed.
    #[error("{program} is not installed on this machine; install the Debian package {package}")]
    NotInstalled {
        /// The program.
        program: String,
        /// Debian package that has it.
        package: &'static str,
    },
    /// The system would not start it.
    #[error("start {program}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ended with an error.
    #[error("{program} failed ({status}):\n{messages}")]
    Failed {
        /// The program.
        program: String,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// The end of what it said.
        messages: String,
    },
}

/// Runs `command` to its end, in an environment that is the same everywhere. Out: what it wrote to standard output.
///
/// # Errors
/// [`CommandError`], with the end of what it said. `package` is what to install when it is missing.
pub fn run(command: &mut Command, package: &'static str) -> Result<String, CommandError> {
    run_bytes(command, package).map(|said| String::from_utf8_lossy(&said).into_owned())
}

/// [`run`] for a program whose output is not text.
///
/// # Errors
/// As [`run`].
pub fn run_bytes(command: &mut Command, package: &'static str) -> Result<Vec<u8>, CommandError> {
    let program = name(command);
    let output = surroundings::clean(command)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => CommandError::NotInstalled {
                program: program.clone(),
                package,
            },
            _ => CommandError::Start {
                program: program.clone(),
                source,
            },
        })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stdout);
    Err(CommandError::Failed {
        program,
        status: output.status,
        messages: tail(&format!(
            "{said}{}",
            String::from_utf8_lossy(&output.stderr)
        )),
    })
}

fn name(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(program.as_os_str());
    // A program run by the loader of another tree is the loader's first path argument.
    let inner = command.get_args().map(Path::new).find(|arg| {
        arg.parent()
            .is_some_and(|dir| dir.ends_with("bin") || dir.ends_with("sbin"))
    });
    let shown = match inner {
        Some(inner) if program.to_string_lossy().starts_with("ld-linux") => {
            inner.file_name().unwrap_or(program)
        }
        _ => program,
    };
    shown.to_string_lossy().into_owned()
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let from = lines.len().saturating_sub(LINES_SHOWN);
    lines.get(from..).unwrap_or_default().join("\n")
}

/// Programs of an unpacked Debian tree, run without entering it: by that tree's own loader and
/// libraries. So results do not depend on the building machine, and neither root nor a mount is needed.
#[derive(Debug, Clone)]
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// Programs of the tree unpacked at `root`.
    #[must_use]
    pub const fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// A path inside the tree.
    #[must_use]
    pub fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside)
    }

    /// A command that runs `program` (path inside the tree).
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let libraries = self.path("usr/lib/x86_64-linux-gnu");
        let mut search = libraries.clone().into_os_string();
        search.push(":");
        search.push(libraries.join("systemd")); // libsystemd-shared lies there
        let mut command = Command::new(self.path("usr/lib64/ld-linux-x86-64.so.2"));
        command
            .arg("--library-path")
            .arg(search)
            .arg(self.path(program));
        command
    }

    /// A command that runs a Python `script` (path inside the tree) by the tree's Python.
    #[must_use]
    pub fn python(&self, script: &str) -> Command {
        let mut command = self.command("usr/bin/python3");
        command
            .args([OsStr::new("-I"), self.path(script).as_os_str()])
            // -I ignores PYTHONHOME, so the tree's modules are found by where python3 itself is.
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_its_package() {
        let error = run(&mut Command::new("no-such-program-here"), "some-package").unwrap_err();
        assert!(error.to_string().contains("some-package"));
    }

    #[test]
    fn a_failed_program_is_quoted() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo it went wrong >&2; exit 3"]);
        let error = run(&mut command, "dash").unwrap_err().to_string();
        assert!(
            error.contains("it went wrong") && error.contains('3'),
            "{error}"
        );
    }
}
