//! For `cargo xtask bench restore`, as root in a guest: writes a proved image to a disk as a boot does, and with dd.
//!
//! Arguments: device of the image, disk that is given up, `ours` or `dd` for who goes first. The disk is put under
//! dm-crypt as a session's volume is. Prints one JSON object: `ours_ms`, `dd_ms`, `bytes`. Ours is all of the stage,
//! with mounting and growing; dd writes the same bytes to the same device in the same pieces.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use devicemapper::{DM, DevId, DmName, DmOptions};
use initrd_agent::{
    disk::length_bytes,
    events::Events,
    rewrite::Copying,
    screen::{Language, Screen},
};
use rustix::mount::{UnmountFlags, unmount};

/// Name of the mapping.
const NAME: &str = "furoshiki-bench";
/// Where the copy is mounted.
const PLACE: &str = "/run/furoshiki-bench";

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let mut word = |what| words.next().context(what);
    let image = PathBuf::from(word("the device of the image is missing")?);
    let disk = PathBuf::from(word("the disk is missing")?);
    let dd_first = word("say who goes first")? == "dd";
    let image_bytes = length_bytes(&File::open(&image)?)?;
    let volume_bytes = length_bytes(&File::open(&disk)?)? / 4096 * 4096;

    let dm = DM::new()?;
    let id = DevId::Name(DmName::new(NAME)?);
    let options = DmOptions::default();
    dm.device_create(DmName::new(NAME)?, None, options)?;
    let key = "5a".repeat(64);
    let params = format!(
        "aes-xts-plain64 {key} 0 {} 0 2 allow_discards sector_size:4096",
        disk.display()
    );
    let table = [(0, volume_bytes / 512, "crypt".to_owned(), params)];
    dm.table_load(&id, &table, options)?;
    let device = dm.device_suspend(&id, options)?;
    let volume = PathBuf::from(format!("/dev/dm-{}", device.device().minor));

    let copying = Copying {
        image: image.clone(),
        image_bytes,
        volume: volume.clone(),
        volume_bytes,
    };
    fs::create_dir_all(PLACE)?;
    let (mut ours_ms, mut dd_ms) = (0, 0);
    for dd in [dd_first, !dd_first] {
        // Either reads the image from the disk and checks it.
        fs::write("/proc/sys/vm/drop_caches", "3")?;
        let begin = Instant::now();
        if dd {
            with_dd(&image, &volume)?;
            dd_ms = begin.elapsed().as_millis();
        } else {
            let screen = Screen::blind(Events::default(), Language::English);
            copying.onto(Path::new(PLACE), &screen)?;
            ours_ms = begin.elapsed().as_millis();
            unmount(PLACE, UnmountFlags::empty())?;
        }
    }
    dm.device_remove(&id, options)?;
    println!("{{\"ours_ms\": {ours_ms}, \"dd_ms\": {dd_ms}, \"bytes\": {image_bytes}}}");
    Ok(())
}

fn with_dd(image: &Path, volume: &Path) -> Result<()> {
    let status = Command::new("dd")
        .arg(format!("if={}", image.display()))
        .arg(format!("of={}", volume.display()))
        .args(["bs=4M", "oflag=direct", "conv=fsync", "status=none"])
        .status()
        .context("run dd")?;
    ensure!(status.success(), "dd: {status}");
    Ok(())
}
