use std::path::PathBuf;
use std::sync::Arc;

use tower_ops_health::{Check, CheckResult};

use crate::limits::Limits;

/// Checks that the file system of a path has space and inodes left.
///
/// Looks at the path itself, so that it is always the right mount. What is reserved for root
/// does not count as free. Runs on a thread of its own, since a network file system may hang.
///
/// # Examples
///
/// ```
/// use tower_ops_health_checks::Disk;
///
/// let check = Disk::new("/var/lib/orders")
///     .degraded_at(0.8)
///     .down_at(0.98)
///     .into_check("disk");
/// # let _ = check;
/// ```
#[derive(Clone, Debug)]
#[must_use = "a check does nothing until it is given to a Health"]
pub struct Disk {
    path: PathBuf,
    limits: Limits,
}

impl Disk {
    /// Checks the file system of that path. It is degraded when 90 % are used.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            limits: Limits::degraded_at(90.0),
        }
    }

    /// Sets the used part from which on it is degraded, 0.0 to 1.0. Default: 0.9.
    pub const fn degraded_at(mut self, used: f64) -> Self {
        self.limits.degraded = Some(used * 100.0);
        self
    }

    /// Sets the used part from which on it is down, 0.0 to 1.0. Default: never.
    pub const fn down_at(mut self, used: f64) -> Self {
        self.limits.down = Some(used * 100.0);
        self
    }

    /// Makes the check.
    pub fn into_check(self, name: impl Into<Arc<str>>) -> Check {
        let mut problems = self.limits.part_problems();
        if self.path.as_os_str().is_empty() {
            problems.push("path: is empty".to_owned());
        }
        Check::blocking(name, move || self.look()).problems(problems)
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
        let text = format!("{used} {unit} used, {free} MiB free");
        Ok(self.limits.judge_part(used, unit, text))
    }
}

/// Returns the used part to a tenth of a per cent. A file system without inodes has none in use.
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
