//! Who asks: passwords, card challenges, tokens.
//!
//! A PC signs in with card *and* password; a browser with the password. Either way the password is
//! compared with Argon2id under a semaphore, and every wrong one counts.

mod challenge;
mod cost;
pub(crate) mod first_step;
mod password;
pub(crate) mod second_step;
pub(crate) mod throttle;
pub(crate) mod totp;

pub use challenge::{AskError, Challenges, NOBODY_YET, Proven, Sealed};
pub use cost::Cost;
pub use password::{Checked, PasswordError, Passwords, new_phc, new_phc_at};

/// A PC's token lives this long: a working day and the shutdown after it.
pub const PC_TOKEN_MS: i64 = 24 * 3600 * 1000;
/// Leave to deliver one snapshot lives this long; asking again continues.
pub const DELIVERY_TOKEN_MS: i64 = 15 * 60 * 1000;
/// A browser's sign-in lives this long after its last page.
pub const PORTAL_IDLE_MS: i64 = 20 * 60 * 1000;
/// And never longer than this after it began.
pub const PORTAL_WHOLE_MS: i64 = 8 * 3600 * 1000;
