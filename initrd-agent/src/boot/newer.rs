//! The site allows this baseline no longer: the next one comes now, before anybody works, and the PC starts again.

use std::{convert::Infallible, thread::JoinHandle};

use rustix::{
    fs::sync,
    system::{RebootCommand, reboot},
};

use super::{BootError, prepare::Ready};
use crate::{
    baseline::ReleaseKey,
    events::Events,
    screen::{Screen, Sentence},
    site::Finder,
    update,
};

/// Fetches what the site wants into the other slot and restarts.
///
/// # Errors
/// [`BootError::Outdated`]: this PC does not start from its own disk, so it would come back with the same baseline;
/// [`BootError::Update`].
pub(super) fn fetch_and_restart(
    why: String,
    worker: JoinHandle<Ready>,
    key: ReleaseKey,
    finder: &Finder,
    screen: &Screen,
    events: &Events,
) -> Result<Infallible, BootError> {
    let restored = worker.join().map_err(|_| BootError::Worker)?;
    let plan = restored.update.filter(update::Plan::starts_from_disk);
    let plan = plan.ok_or(BootError::Outdated(why))?;
    screen.say(Sentence::FetchingNewer);
    update::now(&plan, key, &finder.wait(), screen, events)?;
    sync();
    reboot(RebootCommand::Restart).map_err(|error| BootError::Restart(error.into()))?;
    Err(BootError::Worker)
}
