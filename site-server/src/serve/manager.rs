//! What systemd is told, when it asks: ready, alive, about to stop (sd_notify(3)). Without it nothing happens.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::AbortHandle;

/// Ends with the server.
pub(super) struct Alive(Option<AbortHandle>);

impl Drop for Alive {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd was not told how the server is");
    }
}

pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Says twice in each period of the watchdog that the runtime goes on, also while requests are finished.
pub(super) fn keep_alive() -> Alive {
    let period = sd_notify::watchdog_enabled().filter(|period| !period.is_zero());
    let task = period.map(|period| {
        let beat = async move {
            let mut beat = tokio::time::interval((period / 2).max(Duration::from_millis(1)));
            loop {
                beat.tick().await;
                tell(&[NotifyState::Watchdog]);
            }
        };
        tokio::spawn(beat).abort_handle()
    });
    Alive(task)
}
