use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tower_ops_health::{Check, CheckResult};

use crate::limits::Limits;

/// Checks that a file is written often enough: a backup, a heartbeat, an export.
///
/// Down if the file is missing. Runs on a thread of its own, since a file system may hang.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tower_ops_health_checks::FileAge;
///
/// let check = FileAge::new("/var/backups/orders.dump")
///     .degraded_after(Duration::from_secs(26 * 60 * 60))
///     .into_check("backup");
/// # let _ = check;
/// ```
#[derive(Clone, Debug)]
#[must_use = "a check does nothing until it is given to a Health"]
pub struct FileAge {
    path: PathBuf,
    limits: Limits,
}

impl FileAge {
    /// Checks the file at that path. Needs at least one of the two limits.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            limits: Limits::default(),
        }
    }

    /// Sets the age from which on it is degraded. Default: never.
    pub const fn degraded_after(mut self, age: Duration) -> Self {
        self.limits.degraded = Some(age.as_secs_f64());
        self
    }

    /// Sets the age from which on it is down. Default: never.
    pub const fn down_after(mut self, age: Duration) -> Self {
        self.limits.down = Some(age.as_secs_f64());
        self
    }

    /// Makes the check.
    pub fn into_check(self, name: impl Into<Arc<str>>) -> Check {
        let mut problems = self.limits.problems("degraded_after", "down_after");
        if self.path.as_os_str().is_empty() {
            problems.push("path: is empty".to_owned());
        }
        let Self { path, limits } = self;
        Check::blocking(name, move || -> io::Result<CheckResult> {
            let written = std::fs::metadata(&path)?.modified()?;
            // A time in the future is an age of 0.
            let age = written.elapsed().unwrap_or_default();
            Ok(limits.judge(age.as_secs_f64().round(), "s"))
        })
        .problems(problems)
    }
}
