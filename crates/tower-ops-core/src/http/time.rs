use std::time::Duration;

/// Returns a duration as it stands in JSON, in members whose names end in `_ms`: milliseconds, with
/// microseconds as fractions, since latencies are often shorter than a millisecond.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    reason = "exact up to 285 years in microseconds"
)]
pub fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microseconds_are_fractions() {
        assert!((millis(Duration::from_nanos(1_234_567)) - 1.234).abs() < 1e-9);
        assert!((millis(Duration::from_secs(86_400)) - 86_400_000.0).abs() < 1e-9);
    }
}
