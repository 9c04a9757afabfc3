//! Times and sizes as people read them.

use time::{OffsetDateTime, UtcOffset};

/// "2026-11-22 14:02 UTC+09:00".
pub(crate) fn when(ms: i64, offset_minutes: i16) -> String {
    let offset =
        UtcOffset::from_whole_seconds(i32::from(offset_minutes) * 60).unwrap_or(UtcOffset::UTC);
    let Ok(at) = OffsetDateTime::from_unix_timestamp(ms.div_euclid(1000)) else {
        return "?".to_owned();
    };
    let at = at.to_offset(offset);
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02} {}",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        zone(offset_minutes)
    )
}

/// "UTC+09:00".
pub(super) fn zone(offset_minutes: i16) -> String {
    let sign = if offset_minutes < 0 { '-' } else { '+' };
    let minutes = offset_minutes.unsigned_abs();
    format!("UTC{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

/// What a browser sends of `datetime-local`, or people type where it is a line of text: "2026-11-22T14:02", with a space
/// for the T or seconds behind. Milliseconds since 1970.
pub(super) fn parse_moment(text: &str, offset_minutes: i16) -> Option<i64> {
    let (date, clock) = text.split_once(['T', ' '])?;
    let mut date = date.splitn(3, '-').map(str::parse::<u16>);
    let mut clock = clock.trim().splitn(3, ':').map(str::parse::<u8>);
    let mut part = || date.next()?.ok();
    let (year, month, day) = (part()?, part()?, part()?);
    let (hour, minute) = (clock.next()?.ok()?, clock.next()?.ok()?);
    let month = time::Month::try_from(u8::try_from(month).ok()?).ok()?;
    let day =
        time::Date::from_calendar_date(i32::from(year), month, u8::try_from(day).ok()?).ok()?;
    let at = day.with_hms(hour, minute, 0).ok()?;
    let offset = UtcOffset::from_whole_seconds(i32::from(offset_minutes) * 60).ok()?;
    at.assume_offset(offset).unix_timestamp().checked_mul(1000)
}

/// "12.3 MB": decimal, as on a disk's box.
pub(crate) fn size(bytes: u64) -> String {
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
    fn a_time_is_read_as_it_is_shown() {
        for text in [
            "2026-11-22T14:02",
            "2026-11-22 14:02",
            "2026-11-22T14:02:59",
        ] {
            assert_eq!(parse_moment(text, 540), Some(1_795_323_720_000), "{text}");
        }
        for text in [
            "",
            "2026-11-22",
            "2026-13-01T00:00",
            "2026-11-22T24:00",
            "x-y-zTa:b",
            "99999-01-01T00:00",
        ] {
            assert_eq!(parse_moment(text, 0), None, "{text}");
        }
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
