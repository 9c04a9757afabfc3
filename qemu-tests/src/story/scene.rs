//! The scene: three sites that know one another, two users with cards, a tree, two PCs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::evidence::Steps;
use crate::place;
use crate::release::Release;
use crate::shared_pc::{Person, SharedPc};
use crate::site::{TestSite, acquaint};
use crate::tools;
use crate::tree::{self, Spec};

/// Seed of the first user's tree.
const SEED: u64 = 4471;

/// Everything that stands on the stage.
#[derive(Debug)]
pub struct Scene {
    /// Everything's folder.
    pub folder: PathBuf,
    /// Site 1, Site 2, Site 3.
    pub sites: [TestSite; 3],
    /// The user who travels.
    pub first: Person,
    /// The user who takes the old desk.
    pub next: Person,
    /// At Site 1.
    pub pc1: SharedPc,
    /// At Site 2.
    pub pc2: SharedPc,
}

pub(super) fn set(
    folder: &Path,
    release: &Release,
    scale: f64,
    steps: &mut Steps<'_>,
) -> Result<Scene> {
    place::fresh(folder)?;
    let sites = steps.step("Three sites are made and serve", || {
        let sites = [
            TestSite::start(folder, "site-1")?,
            TestSite::start(folder, "site-2")?,
            TestSite::start(folder, "site-3")?,
        ];
        acquaint(&sites)?;
        Ok(sites)
    })?;
    steps.step("The operator publishes the baseline at every site", || {
        sites.iter().try_for_each(|site| site.publish(release))
    })?;
    let (first, next) = steps.step("Two users get cards and are registered at Site 1", || {
        let first = sites[0].add_user(folder, "hanako", "48291377", "first-pass-phrase-81")?;
        let next = sites[0].add_user(folder, "jiro", "90315526", "next-pass-phrase-27")?;
        Ok((first, next))
    })?;
    let tools = steps.step("A realistic tree is generated", || {
        let (tree, archive) = (folder.join("tree"), folder.join("tree.tar"));
        tree::generate(
            &tree,
            Spec {
                seed: SEED,
                scale,
                owner: 1000,
            },
            |_| {},
        )?;
        tree::pack(&tree, &archive)?;
        let tools = tools::disk(folder, &[&archive])?;
        // Both are on the tools disk now.
        std::fs::remove_dir_all(&tree).with_context(|| format!("remove {}", tree.display()))?;
        std::fs::remove_file(&archive).with_context(|| format!("remove {}", archive.display()))?;
        Ok(tools)
    })?;
    let mut pc1 = SharedPc::new(folder, "pc-1", 1, release)?;
    let mut pc2 = SharedPc::new(folder, "pc-2", 2, release)?;
    pc1.attach_tools(&tools);
    pc2.attach_tools(&tools);
    Ok(Scene {
        folder: folder.to_path_buf(),
        sites,
        first,
        next,
        pc1,
        pc2,
    })
}
