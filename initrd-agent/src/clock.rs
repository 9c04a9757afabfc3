//! Time: how long since power-on, what time it is, how to wait.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::{
    event::poll,
    time::{ClockId, Timespec, clock_gettime},
};

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

/// `HH:MM` (UTC) of a time in milliseconds since 1970, with the date in front when it is not today.
#[must_use]
pub fn when(then_ms: i64, now_ms: i64) -> String {
    const DAY_MS: i64 = 86_400_000;
    let day = then_ms.div_euclid(DAY_MS);
    let minutes = then_ms.rem_euclid(DAY_MS) / 60_000;
    let clock = format!("{:02}:{:02}", minutes / 60, minutes % 60);
    if day == now_ms.div_euclid(DAY_MS) {
        return clock;
    }
    let (year, month, day) = civil(day);
    format!("{year:04}-{month:02}-{day:02} {clock}")
}

/// Date of a day counted from 1970-01-01.
///
/// Source: H. Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`.
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
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
        pause(self.next);
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
            assert_eq!(when(then, now), want, "{then}");
        }
    }
}
