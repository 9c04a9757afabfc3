//! Times and sizes as people read them.

use time::{OffsetDateTime, UtcOffset};

/// "2026-11-22 14:02 UTC+09:00".
pub(super) fn when(ms: i64, offset_minutes: i16) -> String {
    let offset =
        UtcOffset::from_whole_seconds(i32::from(offset_minutes) * 60).unwrap_or(UtcOffset::UTC);
    let Ok(at) = OffsetDateTime::from_unix_timestamp(ms.div_euclid(1000)) else {
        return "?".to_owned();
    };
    let at = at.to_offset(offset);
    let (hours, minutes, _) = offset.as_hms();
    let sign = if offset.is_negative() { '-' } else { '+' };
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02} UTC{sign}{:02}:{:02}",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        hours.abs(),
        minutes.abs()
    )
}

/// "12.3 MB": decimal, as on a disk's box.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut tenths = bytes / 100;
    let mut units = UNITS.iter();
    let mut unit = units.next().copied().unwrap_or("kB");
    while tenths >= 10_000 {
        let Some(next) = units.next() else { break };
        tenths /= 1000;
        unit = next;
    }
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_where_the_site_is() {
        assert_eq!(when(0, 0), "1970-01-01 00:00 UTC+00:00");
        assert_eq!(when(1_795_323_720_000, 540), "2026-11-22 14:02 UTC+09:00");
        assert_eq!(when(1_795_323_720_000, -210), "2026-11-22 01:32 UTC-03:30");
    }

    #[test]
    fn a_size_is_short() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (52_428_800, "52.4 MB"),
            (999_999, "999.9 kB"),
            (1_000_000, "1.0 MB"),
            (u64::MAX, "18446744.0 TB"),
        ];
        for (bytes, want) in cases {
            assert_eq!(size(bytes), want);
        }
    }
}
