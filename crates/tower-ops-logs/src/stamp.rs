//! Moments as RFC 3339, in UTC and with microseconds.

use std::time::{Duration, SystemTime};

/// A moment: microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp(pub(crate) u64);

impl Stamp {
    pub(crate) fn now() -> Self {
        Self::of(SystemTime::now())
    }

    pub(crate) fn of(time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH);
        let since = since.unwrap_or(Duration::ZERO);
        let micros = since.as_secs().saturating_mul(1_000_000);
        Self(micros.saturating_add(since.subsec_micros().into()))
    }

    /// Returns it as text, such as `2026-11-25T13:53:41.123456Z`.
    pub(crate) fn text(self) -> String {
        let mut text = Vec::new();
        Dates::default().push(self, &mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}

/// Writes moments, and computes the date once a second.
#[derive(Debug)]
pub(crate) struct Dates {
    second: u64,
    text: [u8; 19],
}

impl Default for Dates {
    fn default() -> Self {
        Self {
            second: 0,
            text: *b"1970-01-01T00:00:00",
        }
    }
}

impl Dates {
    /// Appends the moment with its date: 27 bytes.
    pub(crate) fn push(&mut self, stamp: Stamp, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.text(stamp));
    }

    /// Returns the moment with its date.
    pub(crate) fn text(&mut self, stamp: Stamp) -> [u8; 27] {
        let fraction = self.turn_to(stamp);
        let mut text = [0; 27];
        text[..19].copy_from_slice(&self.text);
        text[19..].copy_from_slice(&fraction);
        text
    }

    /// Appends the time of the day, with milliseconds: 13 bytes.
    pub(crate) fn push_time(&mut self, stamp: Stamp, out: &mut Vec<u8>) {
        let fraction = self.turn_to(stamp);
        out.extend_from_slice(&self.text[11..]);
        out.extend_from_slice(&fraction[..4]);
        out.push(b'Z');
    }

    /// Returns the fraction of the second.
    fn turn_to(&mut self, stamp: Stamp) -> [u8; 8] {
        let (second, micros) = (stamp.0 / 1_000_000, stamp.0 % 1_000_000);
        if second != self.second {
            self.second = second;
            self.text = date(second);
        }
        let pair = |number: u64| PAIRS[(number % 100) as usize];
        let [[a, b], [c, d], [e, f]] = [pair(micros / 10_000), pair(micros / 100), pair(micros)];
        [b'.', a, b, c, d, e, f, b'Z']
    }
}

/// The digits of the numbers below 100.
pub(crate) const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < pairs.len() {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

/// Returns the date and the time of a second. After 9999 it stays there.
fn date(second: u64) -> [u8; 19] {
    const LAST: u64 = 253_402_300_799;
    let second = second.min(LAST);
    let (days, time) = (second / 86_400, second % 86_400);
    // Howard Hinnant's civil_from_days: eras of 400 years that begin on 1 March.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = year + era * 400 + next;
    let mut text = *b"0000-00-00T00:00:00";
    for (at, length, mut number) in [
        (0, 4, year),
        (5, 2, month),
        (8, 2, day),
        (11, 2, time / 3600),
        (14, 2, time / 60 % 60),
        (17, 2, time % 60),
    ] {
        for digit in text[at..at + length].iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399_999_999, "2000-02-28T23:59:59.999999Z"),
            (951_782_400_000_001, "2000-02-29T00:00:00.000001Z"),
            (951_868_800_000_000, "2000-03-01T00:00:00.000000Z"),
            (1_582_934_400_500_000, "2020-02-29T00:00:00.500000Z"),
            (1_795_610_821_123_456, "2026-11-25T12:47:01.123456Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
            (253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
            (u64::MAX, "9999-12-31T23:59:59.551615Z"),
        ] {
            assert_eq!(Stamp(micros).text(), text);
        }
    }

    #[test]
    fn the_date_is_computed_again_when_the_second_changes_either_way() {
        let mut dates = Dates::default();
        let mut text = Vec::new();
        for second in [59, 60, 59] {
            dates.push_time(Stamp(second * 1_000_000 + 7_999), &mut text);
        }
        assert_eq!(text, b"00:00:59.007Z00:01:00.007Z00:00:59.007Z");
    }
}
