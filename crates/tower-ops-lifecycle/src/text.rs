//! How times and foreign texts look in a report.

use std::fmt;
use std::time::Duration;

/// A time for people: `1.204s`, `4m 12s`, `3h 2m`.
pub(crate) struct Seconds(pub(crate) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let text = match seconds {
            0..60 => format!("{}.{:03}s", seconds, self.0.subsec_millis()),
            60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
            _ => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        };
        f.pad(&text)
    }
}

const MOST_CHARS: usize = 256;

/// A line that someone else wrote: cut, and without what moves a terminal.
pub(crate) fn line(text: &str) -> String {
    let mut chars = text.chars();
    let clean = |it: char| if it.is_control() { '\u{fffd}' } else { it };
    let mut line: String = chars.by_ref().take(MOST_CHARS).map(clean).collect();
    if chars.next().is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_for_people() {
        for (millis, text) in [
            (0, "0.000s"),
            (1_204, "1.204s"),
            (59_999, "59.999s"),
            (252_000, "4m 12s"),
            (10_920_000, "3h 2m"),
        ] {
            assert_eq!(Seconds(Duration::from_millis(millis)).to_string(), text);
        }
        assert_eq!(format!("{:>8}", Seconds(Duration::ZERO)), "  0.000s");
    }

    #[test]
    fn lines_are_cut_and_stay_lines() {
        assert_eq!(line("GET /a\n\u{1b}[2J"), "GET /a\u{fffd}\u{fffd}[2J");
        assert_eq!(line(&"é".repeat(256)), "é".repeat(256));
        assert_eq!(line(&"é".repeat(257)).chars().count(), 257);
    }
}
