use std::path::PathBuf;
use std::sync::Arc;

use crate::check::Check;
use crate::checks::limits::Limits;
use crate::result::CheckResult;

/// Whether the file system that holds a path has room left, for bytes and for files.
///
/// Asks about the path itself, so that it is always the right mount. What only root may use
/// does not count as free. Runs on a thread of its own: a network's file system may
/// hang.
///
/// # Examples
///
/// ```
/// use tower_ops_health::checks::Disk;
///
/// let check = Disk::new("/var/lib/orders").degraded_at(0.8).down_at(0.98).check("disk");
/// # let _ = check;
/// ```
#[derive(Clone, Debug)]
#[must_use = "a check does nothing until it is given to a Health"]
pub struct Disk {
    path: PathBuf,
    limits: Limits,
}

impl Disk {
    /// Of the file system that holds that path. Degraded from 90 % on.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            limits: Limits {
                degraded: Some(90.0),
                down: None,
            },
        }
    }

    /// From which used part on it is degraded, 0.0 to 1.0. 0.9 by default.
    pub const fn degraded_at(mut self, used: f64) -> Self {
        self.limits.degraded = Some(used * 100.0);
        self
    }

    /// From which used part on it is down, 0.0 to 1.0. Never, unless told.
    pub const fn down_at(mut self, used: f64) -> Self {
        self.limits.down = Some(used * 100.0);
        self
    }

    /// Makes the check.
    pub fn check(self, name: impl Into<Arc<str>>) -> Check {
        let mut problems = self.limits.problems("degraded_at", "down_at");
        for limit in [self.limits.degraded, self.limits.down]
            .into_iter()
            .flatten()
        {
            if limit > 100.0 {
                problems.push(format!(
                    "degraded_at, down_at: {} is more than 1",
                    limit / 100.0
                ));
            }
        }
        if self.path.as_os_str().is_empty() {
            problems.push("path: is empty".to_owned());
        }
        Check::blocking(name, move || self.look()).with_problems(problems)
    }

    fn look(&self) -> std::io::Result<CheckResult> {
        let found = rustix::fs::statvfs(&self.path)?;
        let reserved = found.f_bfree.saturating_sub(found.f_bavail);
        let blocks = used_percent(found.f_blocks.saturating_sub(reserved), found.f_bavail);
        let files = used_percent(found.f_files, found.f_favail);
        let (used, unit) = if files > blocks {
            (files, "% of inodes")
        } else {
            (blocks, "% of space")
        };
        let free = found.f_bavail.saturating_mul(found.f_frsize) / (1_024 * 1_024);
        let detail = format!("{used} {unit} used, {free} MiB free");
        let judged = self.limits.judge(used, unit);
        Ok(match judged.status {
            crate::Status::Down => CheckResult::down(detail).value(used, unit),
            _ => judged.detail(detail),
        })
    }
}

/// To a tenth. Of nothing, which file systems without inodes have, nothing is used.
#[expect(clippy::cast_precision_loss, reason = "to a tenth of a per cent")]
fn used_percent(total: u64, free: u64) -> f64 {
    if total == 0 {
        return 0.0;
    }
    let used = total.saturating_sub(free) as f64 / total as f64;
    (used * 1_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn per_cents_are_of_what_there_is() {
        assert_eq!(used_percent(0, 0), 0.0);
        assert_eq!(used_percent(1_000, 250), 75.0);
        assert_eq!(used_percent(10, 20), 0.0);
    }
}
