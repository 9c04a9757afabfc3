//! Boot: from unpacked packages to kernel, initrd and unified kernel image.
//!
//! [`modules`] chooses drivers, [`elf`] finds the libraries programs need, [`initrd`] makes the part
//! every release shares, [`site_part`] the part with the agent and the site's keys, [`keymaps`] compiles
//! keyboard layouts, [`font`] gives plymouth its font, [`cpio`] writes both, [`uki`] joins kernel, initrd and command line into one file firmware starts. [`entries`] and [`pe`] read
//! them again, to compare.

pub mod cpio;
pub mod elf;
pub mod entries;
pub mod font;
pub mod initrd;
pub mod keymaps;
pub mod modules;
pub mod pe;
pub mod site_part;
pub mod uki;

use std::io;

use crate::{command::CommandError, files::FileError, hardware::HardwareError, tree::TreeError};

/// Why the boot files could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// A file.
    #[error("make the initrd")]
    File(#[from] FileError),
    /// Its tree.
    #[error("make the initrd's tree")]
    Tree(#[from] TreeError),
    /// Its programs.
    #[error("find the libraries of the initrd")]
    Elf(#[from] elf::ElfError),
    /// Its drivers.
    #[error("choose the kernel modules of the initrd")]
    Modules(#[from] modules::ModulesError),
    /// Its firmware.
    #[error("put firmware into the initrd")]
    Hardware(#[from] HardwareError),
    /// The splash would show boxes in the place of text.
    #[error("use the splash's font {path}: {rule}")]
    Font {
        /// Where it is in the initrd.
        path: String,
        /// What is wrong, and what to do.
        rule: String,
    },
    /// A program that makes it.
    #[error("{doing}")]
    Command {
        /// What was being done.
        doing: &'static str,
        /// What the program said.
        #[source]
        source: CommandError,
    },
    /// Not a layout of console-data.
    #[error("there is no keyboard layout {name}; correct `keymaps` in initrd.toml")]
    Keymap {
        /// Which.
        name: String,
    },
    /// zstd.
    #[error("compress the initrd")]
    Compress(#[source] io::Error),
    /// What goes into the site's part is not what it should be.
    #[error("{what}: {rule}")]
    SitePart {
        /// Which file.
        what: String,
        /// What it should be.
        rule: &'static str,
    },
}
