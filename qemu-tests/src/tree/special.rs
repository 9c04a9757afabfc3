//! Settings, and everything that a careless copy loses: links, odd names, attributes, holes, modes.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, mknodat};

use super::Scale;
use super::rng::{Rng, Text};
use super::writer::Writer;

pub(super) fn settings(writer: &mut Writer, text: &Text, scale: Scale) -> Result<()> {
    let mut rng = Rng::new(writer.seed, "settings");
    let rng = &mut rng;
    for number in 0..scale.of(420) {
        let lines = rng.below(121);
        let content: String = (0..lines)
            .map(|_| format!("{}\n", text.words(rng, 2, "=")))
            .collect();
        let name = format!(
            "home/.config/{}/{}{number}.conf",
            text.nth(number % 70),
            text.nth(number * 3 % 500)
        );
        writer.file(name, content.as_bytes(), None)?;
    }
    for number in 0..scale.of(300) {
        let size = if number % 3 == 0 { 0 } else { rng.below(6000) };
        let content = rng.bytes(size);
        writer.file(
            format!("home/.local/share/{}/{number}.db", text.nth(number % 31)),
            &content,
            None,
        )?;
    }
    let history = text.bytes(rng, 60_000);
    writer.file("home/.bash_history", &history, Some(0o600))?;
    for (folder, count, mode) in [
        ("system/etc/fixture", 40, 0o644),
        ("system/var/lib/fixture", 25, 0o600),
    ] {
        for number in 0..scale.of(count) {
            let size = rng.between(20, 9000);
            let content = text.bytes(rng, size);
            writer.file(
                format!("{folder}/app{}/{number}.cfg", number % 8),
                &content,
                Some(mode),
            )?;
        }
    }
    Ok(())
}

pub(super) fn write(writer: &mut Writer, text: &Text, scale: Scale) -> Result<()> {
    let mut rng = Rng::new(writer.seed, "special");
    let home = writer.place("home");
    let files: Vec<PathBuf> = writer
        .paths
        .iter()
        .filter(|path| path.starts_with(&home))
        .cloned()
        .collect();
    for number in 0..scale.of(150) {
        writer.folder(format!(
            "home/empty/{}/{number}/leaf",
            text.nth(number % 20)
        ))?;
    }
    links(writer, &files, scale, &mut rng)?;
    attributes(writer, &files, scale, &mut rng)?;
    sparse(writer, scale, &mut rng)?;
    names(writer, text)?;
    modes(writer)
}

fn links(writer: &mut Writer, files: &[PathBuf], scale: Scale, rng: &mut Rng) -> Result<()> {
    let folder = writer.folder("home/links")?;
    for number in 0..scale.of(300) {
        let target = match rng
            .pick(files)
            .and_then(|file| file.strip_prefix(folder.parent()?).ok())
        {
            Some(file) if number % 5 != 0 => Path::new("..").join(file),
            _ => PathBuf::from(format!("/nonexistent/あ/{number}")),
        };
        symlink(target, folder.join(format!("l{number:04}"))).context("make a symbolic link")?;
    }
    let folder = writer.folder("home/hard")?;
    for number in 0..scale.of(60) {
        let Some(file) = rng.pick(files) else {
            continue;
        };
        for copy in 0..=number % 3 {
            let name = folder.join(format!("h{number:03}.{copy}"));
            fs::hard_link(file, &name)
                .with_context(|| format!("link {} to {}", name.display(), file.display()))?;
        }
    }
    Ok(())
}

fn attributes(writer: &mut Writer, files: &[PathBuf], scale: Scale, rng: &mut Rng) -> Result<()> {
    let set = |file: &Path, name: &str, value: &[u8]| {
        lsetxattr(file, name, value, XattrFlags::empty()).with_context(|| {
            format!(
                "set {name} of {}: is the file system ext4, xfs or btrfs?",
                file.display()
            )
        })
    };
    for number in 0..scale.of(240) {
        let Some(file) = rng.pick(files) else {
            continue;
        };
        set(
            file,
            "user.xdg.origin.url",
            format!("https://example.org/{number}").as_bytes(),
        )?;
        if number % 8 == 0 {
            set(file, "user.blob", &rng.bytes(1500))?;
        }
        if number % 11 == 0 {
            set(file, "user.empty", b"")?;
        }
    }
    for _ in 0..scale.of(40) {
        let Some(file) = rng.pick(files) else {
            continue;
        };
        set(file, "system.posix_acl_access", &access_list(6, 4))?;
    }
    let folder = writer.folder("home/acl-default")?;
    set(&folder, "system.posix_acl_default", &access_list(7, 5))
}

/// A POSIX access list that names user 1234 and group 4321, as the kernel stores it
/// (include/uapi/linux/posix_acl_xattr.h: version, then tag, permission, id).
fn access_list(user: u16, group: u16) -> Vec<u8> {
    const NOBODY: u32 = u32::MAX;
    let mut list = 2u32.to_le_bytes().to_vec();
    for (tag, permission, id) in [
        (1u16, 6, NOBODY),
        (2, user, 1234),
        (4, 4, NOBODY),
        (8, group, 4321),
        (16, 7, NOBODY),
        (32, 0, NOBODY),
    ] {
        list.extend(tag.to_le_bytes());
        list.extend(permission.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    list
}

fn sparse(writer: &mut Writer, scale: Scale, rng: &mut Rng) -> Result<()> {
    let path = writer.room("home/.local/share/sparse.img")?;
    let file = File::create(&path).with_context(|| format!("make {}", path.display()))?;
    file.set_len(scale.of(96_000_000))
        .context("stretch a sparse file")?;
    for at in [0, 20_000_000, 63_000_000] {
        let piece = rng.bytes(scale.of(1_000_000));
        file.write_all_at(&piece, scale.of(at) / 4096 * 4096)
            .context("write into a sparse file")?;
    }
    writer.written(path, Some(0o600)).map(drop)
}

fn names(writer: &mut Writer, text: &Text) -> Result<()> {
    let long = "a".repeat(255);
    let wide = "é".repeat(120);
    let odd = [
        "日本語 の ファイル.txt",
        "か\u{3099}く (NFD).txt",
        "がく (NFC).txt",
        "new\nline.txt",
        " leading and trailing ",
        "tab\there",
        "quote'\"`$x.txt",
        "-rf",
        "back\\slash",
        "*?[glob].txt",
        "emoji 🍣.txt",
        &long,
        &wide,
        "..dots",
        "con.",
        "デスクトップ/書類/報告書 第１版.odt",
    ];
    for (number, name) in odd.iter().enumerate() {
        writer.file(
            format!("home/odd/{name}"),
            format!("odd {number}\n").as_bytes(),
            Some(0o644),
        )?;
    }
    writer.file(b"home/odd/latin1-\xe9\xff.txt", b"not utf-8\n", Some(0o644))?;
    writer.file(b"home/odd/\x01ctl\x7f", b"ctl\n", Some(0o644))?;
    let deep: Vec<String> = (0..45)
        .map(|depth| format!("d{depth:02}-{}", text.nth(depth)))
        .collect();
    writer.file(
        format!("home/deep/{}/leaf.txt", deep.join("/")),
        b"deep\n",
        Some(0o644),
    )?;
    Ok(())
}

/// Source: Linux, Documentation/filesystems/overlayfs.rst: a whiteout is a character device 0:0, a folder with
/// `trusted.overlay.opaque` set to `y` hides all of the lower one.
pub(super) fn deleted(system: &Path) -> Result<()> {
    let removed = system.join("usr/share/removed");
    let opaque = system.join("opt/opaque");
    for folder in [&removed, &opaque] {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    for number in 0..30 {
        let name = removed.join(format!("w{number}"));
        mknodat(CWD, &name, FileType::CharacterDevice, Mode::empty(), 0)
            .with_context(|| format!("make whiteout {}", name.display()))?;
    }
    lsetxattr(&opaque, "trusted.overlay.opaque", b"y", XattrFlags::empty())
        .with_context(|| format!("make {} opaque", opaque.display()))
}

fn modes(writer: &mut Writer) -> Result<()> {
    // Only root can pack a file nobody may read.
    let none = if rustix::process::geteuid().is_root() {
        0o000
    } else {
        0o400
    };
    for (name, mode) in [("suid", 0o4755), ("none", none), ("ro", 0o444)] {
        writer.file(format!("home/modes/{name}"), b"x", Some(mode))?;
    }
    let sticky = writer.folder("home/modes/sticky")?;
    fs::set_permissions(&sticky, fs::Permissions::from_mode(0o1777))
        .context("make a sticky folder")?;
    mknodat(
        CWD,
        writer.place("home/modes/fifo"),
        FileType::Fifo,
        Mode::from_raw_mode(0o644),
        0,
    )
    .context("make a pipe")
}
