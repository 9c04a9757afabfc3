//! Where the software card is; the tests of `furoshiki-agent card` use this file too.

use std::{
    env,
    path::{Path, PathBuf},
};

pub(crate) fn virtual_card() -> PathBuf {
    let default = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../qemu-tests/virtual-card/target/debug/virtual-card");
    let path = env::var_os("VIRTUAL_CARD").map_or(default, PathBuf::from);
    assert!(
        path.exists(),
        "{} does not exist; build it: cargo build --manifest-path qemu-tests/virtual-card/Cargo.toml",
        path.display()
    );
    path
}
