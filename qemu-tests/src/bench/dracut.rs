//! The same kernel with the initrd a distribution would make: dracut, from Debian packages of its own.
//!
//! Made once for a kernel and kept below `target/bench/`. It is generic (`--no-hostonly`), as ours is: both must
//! start any PC.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::child;
use crate::place;
use crate::release::Release;

/// What dracut needs to make a systemd initrd for any PC.
const PACKAGES: &str = "dracut,systemd,systemd-sysv,udev,kmod,zstd,e2fsprogs";
/// What is in the text of its emergency prompt on every console.
pub const PROMPT: &str = "Press Enter";
/// No root to find and no limit to wait for: dracut stops at its emergency prompt as soon as it knows.
const CMDLINE: &str = "quiet console=tty0 rd.systemd.show_status=no";

/// A release of `ours` with dracut's initrd in the place of ours.
///
/// # Errors
/// No mirror, no package of the kernel in the build cache, or mmdebstrap or dracut failed.
pub fn release(ours: &Release) -> Result<Release> {
    let kernel = kernel_release(ours)?;
    let folder = place::target()
        .join("bench")
        .join(format!("dracut-{kernel}"));
    let release = Release {
        folder: folder.clone(),
        baseline: String::new(),
        cmdline: CMDLINE.to_owned(),
        image_bytes: 0,
        built: 0,
    };
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    fs::copy(ours.kernel(), release.kernel()).context("copy the kernel")?;
    if !release.initrd().exists() {
        eprintln!("bench: dracut makes its initrd for {kernel}; this takes minutes, once");
        make(&kernel, &release.initrd())?;
    }
    Ok(release)
}

fn make(kernel: &str, initrd: &Path) -> Result<()> {
    let package = kernel_package(kernel)?;
    let part = initrd.with_extension("part");
    let text = |path: &Path| path.display().to_string();
    // Hooks are lines of a shell that sees the tree as $1.
    let hooks = [
        format!("dpkg-deb -x '{}' \"$1\"", text(&package)),
        format!("chroot \"$1\" depmod '{kernel}'"),
        format!("chroot \"$1\" dracut --quiet --no-hostonly --zstd --kver '{kernel}' /initrd.img"),
        format!("cp \"$1/initrd.img\" '{}'", text(&part)),
    ];
    let mut command = Command::new("mmdebstrap");
    command
        .args([
            "--mode=root",
            "--variant=minbase",
            "--format=null",
            "--quiet",
        ])
        .arg(format!("--include={PACKAGES}"))
        .args([
            "--aptopt=APT::Install-Recommends \"false\"",
            "--dpkgopt=force-unsafe-io",
        ])
        .arg("--keyring=/usr/share/keyrings/debian-archive-keyring.gpg");
    for hook in hooks {
        command.arg(format!("--customize-hook={hook}"));
    }
    command.args(["trixie", "/dev/null"]).arg(mirror()?);
    child::output(&mut command)?;
    fs::rename(&part, initrd).with_context(|| format!("rename to {}", initrd.display()))
}

fn kernel_release(release: &Release) -> Result<String> {
    let path = release.folder.join("manifest.json");
    let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let manifest: Value = serde_json::from_slice(&text).context("parse the manifest")?;
    let kernel = manifest.get("kernel_release").and_then(Value::as_str);
    kernel
        .map(str::to_owned)
        .context("the manifest names no kernel")
}

/// The package of that kernel, where the builder keeps what it fetched.
fn kernel_package(kernel: &str) -> Result<PathBuf> {
    let folder = place::target().join("build-cache/packages");
    let start = format!("linux-image-{kernel}_");
    for entry in fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
        let entry = entry.with_context(|| format!("list {}", folder.display()))?;
        if entry.file_name().to_string_lossy().starts_with(&start) {
            return Ok(entry.path());
        }
    }
    bail!(
        "no package {start}… in {}: remove target/images and run `cargo xtask image`, which fetches it",
        folder.display()
    )
}

/// Where this machine fetches Debian's packages.
fn mirror() -> Result<String> {
    let mut apt = Command::new("apt-get");
    apt.args([
        "indextargets",
        "--format",
        "$(SITE)",
        "Created-By: Packages",
    ]);
    let said = child::output(&mut apt)?;
    let mut addresses = said.lines().map(|line| line.trim().trim_end_matches('/'));
    let debian = addresses.find(|address| address.ends_with("/debian"));
    debian
        .map(str::to_owned)
        .context("apt on this machine knows no mirror of debian")
}
