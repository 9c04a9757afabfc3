//! What hashing a password costs on this machine.

use std::path::Path;

use super::AdminError;
use crate::{
    auth::Cost,
    config::{Layout, SiteConfig},
};

/// Measures this machine and writes what a password hash costs into `site.toml`. A running server takes it at its next
/// start. Takes some seconds.
///
/// # Errors
/// [`AdminError::Config`], [`AdminError::Password`]; nothing changed then.
pub fn calibrate(data: &Path) -> Result<Cost, AdminError> {
    let layout = Layout::new(data);
    let mut config = SiteConfig::load_file(&layout)?;
    config.passwords = Cost::calibrate()?;
    config.save(&layout)?;
    Ok(config.passwords)
}
