use crate::result::CheckResult;

/// From which number on something is degraded, and from which on it is down.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) degraded: Option<f64>,
    pub(crate) down: Option<f64>,
}

impl Limits {
    /// Says what it thinks of `value`, of which more is worse.
    pub(crate) fn judge(&self, value: f64, unit: &'static str) -> CheckResult {
        let reached = |limit: Option<f64>| limit.filter(|limit| value >= *limit);
        let result = if let Some(limit) = reached(self.down) {
            CheckResult::down(format!("{value} {unit}, and {limit} are too many"))
        } else if let Some(limit) = reached(self.degraded) {
            CheckResult::degraded(format!("{value} {unit}, and {limit} are many"))
        } else {
            CheckResult::ok()
        };
        result.value(value, unit)
    }

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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Status;

    #[test]
    fn judges_by_the_worst_limit_that_is_reached() {
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
            assert_eq!(limits.judge(value, "jobs").status, expected);
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
