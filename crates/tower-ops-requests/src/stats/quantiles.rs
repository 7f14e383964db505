use std::time::Duration;

use hdrhistogram::Histogram;

use crate::two_windows::TwoWindows;

/// Durations of one route, of the last five to ten minutes.
///
/// Each of the two histograms takes 13 kB at most, and exists only if something was recorded. A
/// value between 1 µs and an hour is kept within 1 %.
pub(crate) struct Windows(TwoWindows<Option<Histogram<u32>>>);

const LONGEST_MICROS: u32 = 60 * 60 * 1_000_000;

/// The most bytes of both histograms of a route.
pub(crate) const MOST_BYTES: usize = 28_000;

/// Three quantiles of a route's durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quantiles {
    pub(crate) p50: Duration,
    pub(crate) p95: Duration,
    pub(crate) p99: Duration,
}

/// Converts a duration to what is recorded: microseconds, an hour at most.
pub(crate) fn micros(nanos: u64) -> u32 {
    u32::try_from(nanos / 1_000).map_or(LONGEST_MICROS, |micros| micros.min(LONGEST_MICROS))
}

impl Windows {
    pub(crate) fn new(now: u64) -> Self {
        Self(TwoWindows::new(now))
    }

    pub(crate) fn record(&mut self, now: u64, samples: &[u32]) {
        self.0.turn(now);
        record(self.0.current.get_or_insert_with(histogram), samples);
    }

    /// The quantiles, those of `unrecorded` samples included. `None` if there are no samples.
    pub(crate) fn quantiles(&mut self, now: u64, unrecorded: &[u32]) -> Option<Quantiles> {
        self.0.turn(now);
        let mut all = histogram();
        record(&mut all, unrecorded);
        for window in self.0.current.iter().chain(&self.0.previous) {
            // This cannot fail: all have the same bounds.
            let _ = all.add(window);
        }
        let at = |quantile| Duration::from_micros(all.value_at_quantile(quantile));
        (!all.is_empty()).then(|| Quantiles {
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
        })
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
    use crate::record::SECOND;
    use crate::two_windows::WINDOW;

    #[test]
    fn quantiles_are_within_a_percent() {
        let now = 0;
        let mut windows = Windows::new(now);
        let samples: Vec<u32> = (1..=10_000).collect();
        windows.record(now, &samples[..9_000]);
        let quantiles = windows.quantiles(now, &samples[9_000..]).unwrap();
        for (shown, micros) in [
            (quantiles.p50, 5_000.0),
            (quantiles.p95, 9_500.0),
            (quantiles.p99, 9_900.0),
        ] {
            let shown = shown.as_secs_f64() * 1e6;
            assert!((shown / micros - 1.0).abs() < 0.01, "{shown} for {micros}");
        }
    }

    #[test]
    fn a_window_is_shown_for_five_minutes_more_and_then_forgotten() {
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
    fn after_a_long_silence_nothing_old_is_shown() {
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
