//! Time: how long since power-on, what time it is, how to wait.

use std::{
    sync::LazyLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jiff::{Timestamp, tz::TimeZone};
use rustix::{
    event::poll,
    time::{ClockId, Timespec, clock_gettime},
};

use crate::cmdline;

/// Milliseconds since power-on, suspend included.
#[must_use]
pub fn boot_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1000
        + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}

/// Milliseconds since 1970-01-01 UTC by this PC's clock, which may be wrong.
#[must_use]
pub fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// `HH:MM` of a time in milliseconds since 1970, with the date in front when it is not today; in the time zone of
/// the kernel command line, which is UTC where it names none.
#[must_use]
pub fn when(then_ms: i64, now_ms: i64) -> String {
    static ZONE: LazyLock<TimeZone> = LazyLock::new(|| {
        let text = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
        cmdline::timezone(&text)
    });
    when_in(&ZONE, then_ms, now_ms)
}

fn when_in(zone: &TimeZone, then_ms: i64, now_ms: i64) -> String {
    let local = |ms| {
        // Out of range: a clock that far off shows a year nobody takes for true.
        let time = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX);
        zone.to_datetime(time)
    };
    let (then, now) = (local(then_ms), local(now_ms));
    let clock = format!("{:02}:{:02}", then.hour(), then.minute());
    if then.date() == now.date() {
        clock
    } else {
        format!("{} {clock}", then.date())
    }
}

/// Waits, for retries and for hardware that announces nothing.
///
/// Never used where an event can be waited for.
pub fn pause(how_long: Duration) {
    let timeout = Timespec {
        tv_sec: i64::try_from(how_long.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(how_long.subsec_nanos()),
    };
    // Interrupted early is harmless: every caller loops around its own deadline.
    let _ = poll(&mut [], Some(&timeout));
}

/// Waits between tries: 250 ms, doubling, never over `limit`.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
    limit: Duration,
}

impl Backoff {
    /// Starts at 250 ms.
    #[must_use]
    pub fn up_to(limit: Duration) -> Self {
        Self {
            next: Duration::from_millis(250).min(limit),
            limit,
        }
    }

    /// Waits this time, longer next time.
    pub fn wait(&mut self) {
        self.wait_for(None);
    }

    /// The same, but no less than somebody asked for.
    pub fn wait_for(&mut self, asked: Option<Duration>) {
        pause(self.next.max(asked.unwrap_or_default()));
        self.next = (self.next * 2).min(self.limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_shows_its_date_only_when_it_is_not_today() {
        let cases = [
            (1_700_000_000_000, 1_700_000_100_000, "22:13"),
            (1_700_000_000_000, 1_700_100_000_000, "2023-11-14 22:13"),
            (951_782_400_000, 0, "2000-02-29 00:00"),
            (0, 0, "00:00"),
            (-60_000, 0, "1969-12-31 23:59"),
        ];
        for (then, now, want) in cases {
            assert_eq!(when_in(&TimeZone::UTC, then, now), want, "{then}");
        }
    }

    #[test]
    fn a_time_is_that_of_the_place() {
        let tokyo = cmdline::timezone("quiet furoshiki.timezone=JST-9");
        let new_york = cmdline::timezone("furoshiki.timezone=EST5EDT,M3.2.0,M11.1.0");
        let at = 1_700_000_000_000; // 2023-11-14 22:13 UTC
        let summer = 1_690_000_000_000; // 2023-07-22 04:26 UTC
        assert_eq!(when_in(&tokyo, at, at), "07:13");
        assert_eq!(when_in(&tokyo, at, at - 86_400_000), "2023-11-15 07:13");
        assert_eq!(when_in(&new_york, at, at), "17:13");
        assert_eq!(when_in(&new_york, summer, summer), "00:26");
    }
}
