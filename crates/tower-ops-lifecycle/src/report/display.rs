use std::fmt;
use std::time::Duration;

use crate::report::{HookOutcome, ParticipantOutcome, PreDrainEnd, ShutdownEnding, ShutdownReport};

impl fmt::Display for ShutdownEnding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completed => f.write_str("completed"),
            Self::SecondSignal(signal) => write!(f, "ended at once by another {signal}"),
            Self::Overdue => f.write_str("overdue, exited"),
            Self::CutOff => f.write_str("cut off by the end of the runtime"),
        }
    }
}

impl fmt::Display for PreDrainEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "in full",
            Self::Quiet => "until it was quiet",
            Self::Skipped => "skipped, as nothing was served",
        })
    }
}

impl fmt::Display for ParticipantOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Panicked(message) => write!(f, "panicked: {message}"),
            Self::Unfinished => f.write_str("unfinished"),
        }
    }
}

impl fmt::Display for HookOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Failed(cause) => write!(f, "failed: {cause}"),
            Self::Panicked(message) => write!(f, "panicked: {message}"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Unfinished => f.write_str("unfinished"),
            Self::NotRun => f.write_str("not run"),
        }
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = &*self.facts;
        match facts.trigger {
            Some(trigger) => write!(f, "shutdown by {trigger}: ")?,
            None => f.write_str("no shutdown: ")?,
        }
        if self.is_clean() {
            f.write_str("clean")?;
        } else {
            write!(f, "{}", facts.ending)?;
        }
        let (total, uptime) = (Seconds(facts.total), Seconds(facts.uptime));
        write!(f, ", took {total}, up {uptime}")?;
        if let Some(failure) = &facts.failure {
            write!(f, "\n  start-up   {failure}")?;
        }
        for (trigger, after) in &facts.later {
            write!(f, "\n  also       {:>9}  {trigger}", Seconds(*after))?;
        }
        self.fmt_phases(f)?;
        Ok(())
    }
}

impl ShutdownReport {
    fn fmt_phases(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = &*self.facts;
        let participants = facts.participants.iter().map(|it| it.name.chars().count());
        let hooks = facts.hooks.iter().map(|it| it.name.chars().count());
        let width = participants.chain(hooks).max().unwrap_or(0);

        write!(f, "\n  pre-drain  {}", Time(facts.pre_drain))?;
        if let Some(end) = facts.pre_drain_end {
            write!(f, "  {end}")?;
        }
        if let Some(last) = facts.last_connection {
            write!(f, "; the last connection came after {}", Seconds(last))?;
        }
        write!(f, "\n  drain      {}", Time(facts.drain))?;
        for it in &facts.participants {
            let took = Seconds(it.took);
            write!(f, "\n    {:width$}  {took:>9}  {}", it.name, it.outcome)?;
            if it.aborted > 0 {
                write!(f, ", {} aborted", it.aborted)?;
            }
            for line in &it.lines {
                write!(f, "\n      {line}")?;
            }
            let named = u64::try_from(it.lines.len()).unwrap_or(u64::MAX);
            if !it.lines.is_empty() && it.aborted > named && named > 1 {
                write!(f, "\n      and {} more", it.aborted - named)?;
            }
        }
        write!(f, "\n  hooks      {}", Time(facts.hooks_took))?;
        for it in &facts.hooks {
            let took = Seconds(it.took);
            write!(f, "\n    {:width$}  {took:>9}  {}", it.name, it.outcome)?;
        }
        Ok(())
    }

    /// Logs the report, and its parts that did not end well.
    pub(crate) fn log(&self) {
        let facts = &*self.facts;
        for it in &facts.participants {
            if it.outcome != ParticipantOutcome::Done || it.aborted > 0 {
                tracing::warn!(
                    participant = &*it.name,
                    took_ms = millis(it.took),
                    aborted = it.aborted,
                    lines = it.lines.join("; "),
                    "drain: {}",
                    it.outcome
                );
            }
        }
        for it in &facts.hooks {
            if it.outcome != HookOutcome::Done {
                let (hook, took_ms) = (&*it.name, millis(it.took));
                tracing::warn!(hook, took_ms, "shutdown hook: {}", it.outcome);
            }
        }
        let clean = self.is_clean();
        let trigger = facts.trigger.map_or("none", |trigger| trigger.as_str());
        let total_ms = millis(facts.total);
        let pre_drain_ms = facts.pre_drain.map(millis);
        let drain_ms = facts.drain.map(millis);
        let hooks_ms = facts.hooks_took.map(millis);
        let aborted = self.aborted();
        let ending = facts.ending;
        if clean {
            tracing::info!(
                trigger,
                clean,
                total_ms,
                pre_drain_ms,
                drain_ms,
                hooks_ms,
                aborted,
                "shutdown {ending}"
            );
        } else {
            tracing::warn!(
                trigger,
                clean,
                total_ms,
                pre_drain_ms,
                drain_ms,
                hooks_ms,
                aborted,
                "shutdown {ending}"
            );
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// How long a part took, or a dash.
struct Time(Option<Duration>);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(time) => write!(f, "{:>9}", Seconds(time)),
            None => write!(f, "{:>9}", "-"),
        }
    }
}

/// Writes a time for people: `1.204s`, `4m 12s`, `3h 2m`.
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

/// Cuts a line that came from other code, and replaces control characters.
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
