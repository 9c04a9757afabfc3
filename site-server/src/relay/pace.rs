//! How fast, and at which hours. A user who sits here and waits is held back by neither.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{app::Site, clock::now_ms, store::StoreError};

/// No pause between two pieces is longer: the store takes a stream that stands still for broken.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// What the operator decided, as it is at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Whether announced relays may run now.
    pub open: bool,
    /// Bytes a second for all announced relays together.
    pub bytes_per_s: Option<u64>,
}

/// What holds back, at this moment.
pub(super) async fn limits(site: &Site) -> Result<Limits, StoreError> {
    let policies = site.store.policies().await?;
    let minute = minute_of_day(now_ms(), site.config.utc_offset_minutes);
    Ok(Limits {
        open: policies
            .relay_window
            .is_none_or(|window| window.holds(minute)),
        bytes_per_s: policies.relay_bytes_per_s,
    })
}

/// Minutes after midnight on the site's clock.
fn minute_of_day(ms: i64, offset_minutes: i16) -> u16 {
    let minutes = ms.div_euclid(60_000) + i64::from(offset_minutes);
    u16::try_from(minutes.rem_euclid(24 * 60)).unwrap_or(0)
}

/// Shares one rate among all streams that take from it, and knows the hours.
#[derive(Debug)]
pub(super) struct Pace {
    free: Mutex<Instant>,
    limits: Mutex<Limits>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            free: Mutex::new(Instant::now()),
            limits: Mutex::new(Limits {
                open: true,
                bytes_per_s: None,
            }),
        }
    }
}

impl Pace {
    /// What holds back from now on.
    pub(super) fn keep(&self, limits: Limits) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    /// What holds back, as it was found last.
    pub(super) fn limits(&self) -> Limits {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until so many bytes more may have come.
    pub(super) async fn take(&self, bytes: usize, bytes_per_s: u64) {
        let pause = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let (pause, next) = turn(*free, now, bytes, bytes_per_s);
            *free = next;
            pause
        };
        tokio::time::sleep(pause).await;
    }
}

/// How long who takes `bytes` waits, and from when on the next one may. Who took is who waits, so that a stream that
/// is alone never gets ahead of the rate by more than one piece.
fn turn(free: Instant, now: Instant, bytes: usize, bytes_per_s: u64) -> (Duration, Instant) {
    let micros = (bytes as u64)
        .saturating_mul(1_000_000)
        .checked_div(bytes_per_s)
        .unwrap_or(0);
    let next = free.max(now) + Duration::from_micros(micros).min(LONGEST_PAUSE);
    ((next - now).min(LONGEST_PAUSE), next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_that_of_the_clock_on_the_wall() {
        let noon_utc = 1_700_000_000_000_i64.div_euclid(86_400_000) * 86_400_000 + 12 * 3_600_000;
        for (offset, want) in [(0, 720), (540, 1260), (-720, 0), (-721, 1439), (720, 0)] {
            assert_eq!(minute_of_day(noon_utc, offset), want, "{offset}");
        }
    }

    #[test]
    fn two_streams_share_one_rate() {
        let now = Instant::now();
        let (mut free, mut sum) = (now, 0);
        let mut last = Duration::ZERO;
        for _ in 0..10 {
            let (pause, next) = turn(free, now, 1000, 10_000);
            assert!(pause > last, "each waits for those before it");
            (free, last) = (next, pause);
            sum += 1000;
        }
        assert_eq!((sum, last), (10_000, Duration::from_secs(1)));
        // After a silence nobody may catch up.
        let later = now + Duration::from_secs(100);
        assert_eq!(
            turn(free, later, 1000, 10_000).0,
            Duration::from_millis(100)
        );
        assert_eq!(turn(free, later, 1 << 30, 1).0, LONGEST_PAUSE);
    }
}
