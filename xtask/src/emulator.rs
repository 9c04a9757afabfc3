//! The emulator, where the release's own has a fault that stops guests.
//!
//! QEMU before 8.1 may translate a guest's instruction while another of its processors rewrites it.
//! Linux rewrites its own instructions while it runs, by way of a breakpoint; the guest then meets
//! that breakpoint after it is gone and panics ("Oops: int3"), about once in a hundred boots here.
//! Debian 12 has 7.2; its backports have a newer one, unpacked below `target/tools` and not installed:
//! the machine's own stays as it is.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::{child, paths, unpacked};

/// The first without the fault, major and minor number.
const WHOLE_SINCE: (u32, u32) = (8, 1);

/// The emulator, its devices in files of their own, what it loads into guests, firmware of BIOS PCs.
const PACKAGES: [&str; 4] = [
    "qemu-system-x86",
    "qemu-system-common",
    "qemu-system-data",
    "seabios",
];

const SOURCE: &str = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \
    http://deb.debian.org/debian bookworm-backports main\n";

/// Unpacks a whole emulator where the installed one is not.
///
/// Without one (no network, another Debian's libraries) the tests go on with the installed one, and
/// this says so: what fails then is a guest's panic that names `int3`.
///
/// # Errors
/// The installed one does not run.
pub(crate) fn provide() -> Result<()> {
    let said = child::output(Command::new("qemu-system-x86_64").arg("--version"))?;
    let whole = version(&said).is_some_and(|version| version >= WHOLE_SINCE);
    let place = paths::target().join("tools/qemu");
    if whole || works(&place) {
        return Ok(());
    }
    eprintln!(
        "xtask: this machine's emulator ({}) may stop a guest with \"Oops: int3\"; unpack a newer one of \
         Debian's backports into {}",
        said.lines().next().unwrap_or_default(),
        place.display()
    );
    let unpacked = unpacked::unpack(&place, &PACKAGES, Some(SOURCE), |tree| {
        ensure!(
            works(tree),
            "the emulator of the backports does not run here"
        );
        Ok(())
    });
    if let Err(error) = unpacked {
        eprintln!(
            "xtask: {error:#}\nxtask: so guests run in this machine's own; a panic of one that names int3 is \
             that fault"
        );
    }
    Ok(())
}

/// "QEMU emulator version 7.2.22 (Debian …)".
fn version(said: &str) -> Option<(u32, u32)> {
    let number = said.split_whitespace().nth(3)?;
    let mut parts = number.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn works(place: &Path) -> bool {
    let program = place.join("usr/bin/qemu-system-x86_64");
    program.exists() && child::output(Command::new(program).arg("--version")).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_emulator_is_told_from_a_new_one() {
        let old = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright";
        let new = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\n";
        assert_eq!(version(old), Some((7, 2)));
        assert!(version(old) < Some(WHOLE_SINCE));
        assert!(version(new) > Some(WHOLE_SINCE));
        assert_eq!(version("no QEMU"), None);
    }
}
