//! The main job of the product, told once: for the demo, which prints it, and for the tests,
//! which assert each of its promises.
//!
//! Three sites, two shared PCs, two users. The first user works at Site 1, chooses Site 2 in the
//! portal, and goes on working there; the next user takes the old desk; Site 3 is chosen by nobody.

mod act;
mod canary;
mod checks;
mod evidence;
mod scene;

use std::path::Path;

use anyhow::Result;

pub use checks::{PROMISES, Promise};
pub use evidence::{Bytes, Desk, Evidence, Step};
pub use scene::Scene;

use crate::release::Release;

/// Tells the story in `folder` (emptied first) and gives what it left to look at; `progress` hears
/// one sentence for each step. The sites still run when this returns.
///
/// # Errors
/// A step that could not be done at all. A promise that was not kept is in the evidence.
pub fn tell(
    folder: &Path,
    release: &Release,
    scale: f64,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<(Scene, Evidence)> {
    let mut steps = evidence::Steps::new(progress);
    let mut scene = scene::set(folder, release, scale, &mut steps)?;
    let evidence = act::play(&mut scene, release, steps)?;
    Ok((scene, evidence))
}
