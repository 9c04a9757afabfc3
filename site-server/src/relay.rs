//! Snapshots move between sites when a user names a site or arrives there, and only what lacks.
//!
//! The target pulls: it asks for the signed record, verifies it with the user's key, and fetches the
//! objects it does not have, each checked by size and BLAKE3. What it has is in the database, so a
//! relay that stops goes on where it was.

mod decide;
mod leave;
mod pace;
mod pull;
mod run;
mod tell;

pub use decide::{LONGEST_TRIES, Outcome, Step, lacking, next_step};
pub use leave::drop_unused;
pub use pace::Limits;
pub use run::run;
