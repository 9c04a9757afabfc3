//! Built images enter, proof leaves.
//!
//! The rooms, in the order a test walks through them: [`place`] knows where the built parts lie,
//! [`tree`] makes what a user might own, [`site`] serves, [`card`] is what the user carries,
//! [`shared_pc`] boots the machine, [`session`] works in it, [`disk`] looks at what is left, and
//! [`story`] is the main job of the product told once, for the demo and for the tests; [`mod@bench`] measures.
//!
//! Everything real: QEMU with an emulated USB reader, `pcscd`, the product's own binaries. Waiting
//! is always for an event with a deadline; when one passes, the report has the console's last lines.
#![forbid(unsafe_code)]

pub mod accel;
pub mod bench;
pub mod card;
pub mod changed;
pub mod child;
pub mod console;
pub mod disk;
pub mod emulator;
pub mod events;
pub mod guest;
pub mod keyboard;
pub mod lab;
pub mod limit;
pub mod machine;
pub mod menu;
pub mod more_initrd;
pub mod picture;
pub mod place;
pub mod portal;
pub mod qmp;
pub mod random;
pub mod release;
pub mod secure_boot;
pub mod session;
pub mod shared_pc;
pub mod site;
pub mod story;
pub mod timeline;
pub mod tools;
pub mod tree;
pub mod wait;
