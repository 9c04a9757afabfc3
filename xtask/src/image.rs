//! The release of a recipe: programs, keys, authority, then the builder. Skipped when nothing changed.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{build, child, paths};

/// Builds `image-recipes/<recipe>` into `target/images/<recipe>` and gives that folder.
///
/// # Errors
/// There is no such recipe, or a step fails.
pub(crate) fn release(recipe: &str) -> Result<PathBuf> {
    let source = paths::root().join("image-recipes").join(recipe);
    if !source.join("recipe.toml").exists() {
        bail!(
            "no recipe {recipe}: {} does not exist; recipes are {}",
            source.join("recipe.toml").display(),
            recipes()?.join(", ")
        );
    }
    build::programs()?;
    build::virtual_card()?;
    let keys = paths::target().join("keys");
    let authority = keys.join("ca");
    fs::create_dir_all(&keys).with_context(|| format!("make {}", keys.display()))?;
    let secure_boot = keys.join("secure-boot");
    if !keys.join("release.key").exists() || !secure_boot.join("db.key").exists() {
        child::step(
            "make the keys of releases",
            Command::new(paths::program("furoshiki-builder"))
                .arg("keygen")
                .arg(&keys),
        )?;
    }
    if !authority.join("ca.pem").exists() {
        make_authority(&authority)?;
    }
    let folder = paths::target().join("images").join(recipe);
    let inputs = inputs_of(&[
        // A variant is made of another recipe's folder.
        &paths::root().join("image-recipes"),
        &paths::program("furoshiki-agent"),
        &paths::program("furoshiki-builder"),
        &authority.join("ca.pem"),
        &keys.join("release.pub"),
        &secure_boot.join("db.pem"),
    ])?;
    let stamp = folder.with_extension("inputs");
    // The output counts too: another build may have gone to the same folder, with other keys.
    let output = [
        folder.join("manifest.json"),
        folder.join("manifest.sig"),
        folder.join("initrd.img"),
    ];
    let output: Vec<&Path> = output.iter().map(PathBuf::as_path).collect();
    let now = || inputs_of(&output).map(|output| inputs.clone() + &output);
    if now().is_ok_and(|now| fs::read_to_string(&stamp).is_ok_and(|before| before == now)) {
        eprintln!("xtask: release {recipe} is up to date");
        return Ok(folder);
    }
    let mut builder = Command::new(paths::program("furoshiki-builder"));
    builder.arg("build").arg(&source).arg("-o").arg(&folder);
    builder
        .arg("--agent")
        .arg(paths::program("furoshiki-agent"));
    builder.arg("--site-ca").arg(authority.join("ca.pem"));
    builder.arg("--release-key").arg(&keys);
    builder.arg("--secure-boot-keys").arg(&secure_boot);
    builder
        .arg("--cache")
        .arg(paths::target().join("build-cache"));
    // Debian moves on. Then the demo still runs, from newer packages, and says which.
    builder
        .arg("--fallback-lock")
        .arg(folder.with_extension("lock"));
    child::step(&format!("build release {recipe}"), &mut builder)?;
    fs::write(&stamp, now()?).with_context(|| format!("write {}", stamp.display()))?;
    Ok(folder)
}

/// Sites come and go with tests; their authority stays, because the release pins it.
fn make_authority(authority: &Path) -> Result<()> {
    let data = paths::target().join("keys/first-site");
    if data.exists() {
        fs::remove_dir_all(&data).with_context(|| format!("remove {}", data.display()))?;
    }
    let mut site = Command::new(paths::program("furoshiki-site"));
    site.arg("init").arg("--data").arg(&data).args([
        "--name",
        "first-site",
        "--url",
        "https://127.0.0.1:1",
        "--ca",
    ]);
    child::step("make the sites' authority", site.arg(authority))?;
    fs::remove_dir_all(&data).with_context(|| format!("remove {}", data.display()))
}

fn recipes() -> Result<Vec<String>> {
    let folder = paths::root().join("image-recipes");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
        let entry = entry.with_context(|| format!("list {}", folder.display()))?;
        if entry.path().join("recipe.toml").exists() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Name, size and time of every file that goes in: what it says when nothing changed.
fn inputs_of(paths: &[&Path]) -> Result<String> {
    let mut text = String::new();
    let mut rest: Vec<PathBuf> = paths.iter().rev().map(|path| path.to_path_buf()).collect();
    while let Some(path) = rest.pop() {
        let about =
            fs::symlink_metadata(&path).with_context(|| format!("look at {}", path.display()))?;
        if about.is_dir() {
            let mut inside = Vec::new();
            for entry in fs::read_dir(&path).with_context(|| format!("list {}", path.display()))? {
                inside.push(
                    entry
                        .with_context(|| format!("list {}", path.display()))?
                        .path(),
                );
            }
            inside.sort();
            rest.extend(inside.into_iter().rev());
        } else {
            writeln!(
                text,
                "{} {} {}.{}",
                path.display(),
                about.len(),
                about.mtime(),
                about.mtime_nsec()
            )
            .context("write into a string")?;
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_list_every_file_below_a_folder() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let text = inputs_of(&[here]).unwrap();
        assert!(
            text.contains("src/image.rs ") && text.contains("Cargo.toml "),
            "{text}"
        );
        assert_eq!(text, inputs_of(&[here]).unwrap());
    }
}
