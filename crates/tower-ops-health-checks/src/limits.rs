use tower_ops_health::CheckResult;

/// The values from which on a check is degraded, and down. Greater is worse.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) degraded: Option<f64>,
    pub(crate) down: Option<f64>,
}

impl Limits {
    /// Degraded from `value` on.
    #[cfg(any(feature = "disk", feature = "memory", feature = "runtime"))]
    pub(crate) const fn degraded_at(value: f64) -> Self {
        Self {
            degraded: Some(value),
            down: None,
        }
    }

    pub(crate) fn judge(&self, value: f64, unit: &'static str) -> CheckResult {
        self.judge_with(value, unit, |limit| {
            format!("{value} {unit}, and the limit is {limit}")
        })
    }

    /// The same with a text of the caller, which is a remark while it is ok.
    #[cfg(any(feature = "disk", feature = "memory"))]
    pub(crate) fn judge_part(&self, value: f64, unit: &'static str, text: String) -> CheckResult {
        let result = self.judge_with(value, unit, |_| text.clone());
        match result.status() {
            tower_ops_health::Status::Ok => result.detail(text),
            _ => result,
        }
    }

    fn judge_with(
        &self,
        value: f64,
        unit: &'static str,
        text: impl Fn(f64) -> String,
    ) -> CheckResult {
        let reached = |limit: Option<f64>| limit.filter(|limit| value >= *limit);
        let result = if let Some(limit) = reached(self.down) {
            CheckResult::down(text(limit))
        } else if let Some(limit) = reached(self.degraded) {
            CheckResult::degraded(text(limit))
        } else {
            CheckResult::ok()
        };
        result.value(value, unit)
    }

    /// Returns what is wrong with them. `degraded` and `down` are the names of their setters.
    pub(crate) fn problems(&self, degraded: &str, down: &str) -> Vec<String> {
        let mut problems = Vec::new();
        for (name, limit) in [(degraded, self.degraded), (down, self.down)] {
            if let Some(limit) = limit.filter(|limit| !(limit.is_finite() && *limit > 0.0)) {
                problems.push(format!("{name}: {limit} is not a number above 0"));
            }
        }
        match (self.degraded, self.down) {
            (None, None) => problems.push(format!("{degraded}: neither it nor {down} is set")),
            (Some(first), Some(second)) if first > second => {
                problems.push(format!("{degraded}: {first} is more than {down}, {second}"));
            }
            _ => {}
        }
        problems
    }

    /// The same of per cents, which were set as parts.
    #[cfg(any(feature = "disk", feature = "memory"))]
    pub(crate) fn part_problems(&self) -> Vec<String> {
        let mut problems = self.problems("degraded_at", "down_at");
        let limits = [self.degraded, self.down].into_iter().flatten();
        for limit in limits.filter(|limit| *limit > 100.0) {
            let part = limit / 100.0;
            problems.push(format!("degraded_at, down_at: {part} is more than 1"));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use tower_ops_health::Status;

    use super::*;

    #[test]
    fn the_worst_limit_that_is_reached_decides() {
        let limits = Limits {
            degraded: Some(10.0),
            down: Some(20.0),
        };
        for (value, expected) in [
            (9.9, Status::Ok),
            (10.0, Status::Degraded),
            (19.9, Status::Degraded),
            (20.0, Status::Down),
        ] {
            assert_eq!(limits.judge(value, "jobs").status(), expected);
        }
        assert!(limits.problems("a", "b").is_empty());
    }

    #[test]
    fn names_what_is_wrong() {
        let problems = |degraded, down| Limits { degraded, down }.problems("many", "too_many");
        assert_eq!(
            problems(None, None),
            ["many: neither it nor too_many is set"]
        );
        assert_eq!(
            problems(Some(2.0), Some(1.0)),
            ["many: 2 is more than too_many, 1"]
        );
        assert_eq!(problems(Some(f64::NAN), None).len(), 1);
        assert_eq!(problems(None, Some(0.0)).len(), 1);
    }
}
