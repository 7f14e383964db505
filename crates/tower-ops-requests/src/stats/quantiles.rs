use std::time::Duration;

use hdrhistogram::Histogram;

use crate::record::SECOND;

/// Durations of one route, of the last five to ten minutes.
///
/// Two histograms take turns, so that a slow hour is not told for the rest of the
/// week. Each is 13 kB at most, and there only if something was recorded; between
/// 1 µs and an hour a value is told within 1 %.
pub(crate) struct Windows {
    since: u64,
    current: Option<Histogram<u32>>,
    previous: Option<Histogram<u32>>,
}

const WINDOW: u64 = 5 * 60 * SECOND;
const LONGEST_MICROS: u32 = 60 * 60 * 1_000_000;

/// What both histograms of a route take at most, in bytes.
pub(crate) const MOST_BYTES: usize = 28_000;

/// Three quantiles of a route's durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quantiles {
    pub(crate) p50: Duration,
    pub(crate) p95: Duration,
    pub(crate) p99: Duration,
}

/// A duration as it is recorded.
pub(crate) fn micros(nanos: u64) -> u32 {
    u32::try_from(nanos / 1_000).map_or(LONGEST_MICROS, |micros| micros.min(LONGEST_MICROS))
}

impl Windows {
    pub(crate) const fn new(now: u64) -> Self {
        Self {
            since: now,
            current: None,
            previous: None,
        }
    }

    pub(crate) fn record(&mut self, now: u64, samples: &[u32]) {
        self.turn(now);
        record(self.current.get_or_insert_with(histogram), samples);
    }

    /// The quantiles, with samples that were not recorded yet. `None` without any.
    pub(crate) fn quantiles(&mut self, now: u64, unrecorded: &[u32]) -> Option<Quantiles> {
        self.turn(now);
        let mut all = histogram();
        record(&mut all, unrecorded);
        for window in self.current.iter().chain(&self.previous) {
            // All have the same bounds.
            let _ = all.add(window);
        }
        let at = |quantile| Duration::from_micros(all.value_at_quantile(quantile));
        (!all.is_empty()).then(|| Quantiles {
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
        })
    }

    fn turn(&mut self, now: u64) {
        let passed = now.saturating_sub(self.since);
        if passed < WINDOW {
            return;
        }
        self.previous = self.current.take().filter(|_| passed < 2 * WINDOW);
        self.since = now;
    }
}

fn histogram() -> Histogram<u32> {
    Histogram::new_with_bounds(1, u64::from(LONGEST_MICROS), 2).expect("these bounds are valid")
}

fn record(histogram: &mut Histogram<u32>, samples: &[u32]) {
    for sample in samples {
        histogram.saturating_record(u64::from(*sample));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_percent() {
        let now = 0;
        let mut windows = Windows::new(now);
        let samples: Vec<u32> = (1..=10_000).collect();
        windows.record(now, &samples[..9_000]);
        let quantiles = windows.quantiles(now, &samples[9_000..]).unwrap();
        for (told, micros) in [
            (quantiles.p50, 5_000.0),
            (quantiles.p95, 9_500.0),
            (quantiles.p99, 9_900.0),
        ] {
            let told = told.as_secs_f64() * 1e6;
            assert!((told / micros - 1.0).abs() < 0.01, "{told} for {micros}");
        }
    }

    #[test]
    fn a_window_is_told_for_five_minutes_more_and_then_forgotten() {
        let start = 7 * SECOND;
        let mut windows = Windows::new(start);
        windows.record(start, &[1_000]);
        let median = |windows: &mut Windows, after| {
            let quantiles = windows.quantiles(start + after, &[])?;
            Some(quantiles.p50.as_millis())
        };
        assert_eq!(median(&mut windows, WINDOW), Some(1));
        let nearly = 2 * WINDOW - SECOND;
        assert_eq!(median(&mut windows, nearly), Some(1));
        assert_eq!(median(&mut windows, 2 * WINDOW), None);
    }

    #[test]
    fn after_a_long_silence_nothing_old_is_told() {
        let start = 7 * SECOND;
        let mut windows = Windows::new(start);
        windows.record(start, &[1_000]);
        assert_eq!(windows.quantiles(start + 3 * WINDOW, &[]), None);
    }

    #[test]
    fn two_histograms_are_as_small_as_stated() {
        let counts = histogram().distinct_values() * size_of::<u32>();
        let fixed = size_of::<Histogram<u32>>();
        assert!(2 * (counts + fixed) <= MOST_BYTES, "{counts} {fixed}");
    }

    #[test]
    fn a_duration_beyond_the_range_is_the_longest() {
        assert_eq!(micros(1_000_000 * SECOND), LONGEST_MICROS);
        assert_eq!(micros(4_000 * SECOND), LONGEST_MICROS);
        assert_eq!(micros(5 * SECOND), 5_000_000);
    }
}
