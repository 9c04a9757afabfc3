//! The emulator: the one `cargo xtask` unpacked below `target/tools`, where this machine's own has a
//! fault that stops guests, or else this machine's own.

use std::path::PathBuf;
use std::process::Command;

use crate::lab;
use crate::place;

/// The emulator's command, in a network namespace where one is named.
#[must_use]
pub fn command(namespace: Option<&str>) -> Command {
    let tree = place::target().join("tools/qemu");
    let unpacked = tree.join("usr/bin/qemu-system-x86_64");
    let newer = unpacked.exists();
    let program = if newer {
        unpacked
    } else {
        PathBuf::from("qemu-system-x86_64")
    };
    let mut command = match namespace {
        Some(namespace) => lab::inside(namespace, &program),
        None => Command::new(&program),
    };
    if newer {
        command.env(
            "QEMU_MODULE_DIR",
            tree.join("usr/lib/x86_64-linux-gnu/qemu"),
        );
        let here = ["usr/share/qemu", "usr/share/seabios"].map(|folder| tree.join(folder));
        let installed = ["/usr/lib/ipxe/qemu", "/usr/share/qemu"].map(PathBuf::from);
        for folder in here.iter().chain(&installed) {
            command.arg("-L").arg(folder);
        }
    }
    command
}
