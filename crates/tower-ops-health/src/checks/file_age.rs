use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::check::Check;
use crate::checks::limits::Limits;
use crate::result::CheckResult;

/// Whether a file is written often enough: a backup, a heartbeat, an export.
///
/// Down if the file is not there. Runs on a thread of its own: a file system may hang.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tower_ops_health::checks::FileAge;
///
/// let check = FileAge::new("/var/backups/orders.dump")
///     .degraded_after(Duration::from_secs(26 * 60 * 60))
///     .check("backup");
/// # let _ = check;
/// ```
#[derive(Clone, Debug)]
#[must_use = "a check does nothing until it is given to a Health"]
pub struct FileAge {
    path: PathBuf,
    limits: Limits,
}

impl FileAge {
    /// Of the file at that path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            limits: Limits::default(),
        }
    }

    /// From which age on it is degraded.
    pub const fn degraded_after(mut self, age: Duration) -> Self {
        self.limits.degraded = Some(age.as_secs_f64());
        self
    }

    /// From which age on it is down.
    pub const fn down_after(mut self, age: Duration) -> Self {
        self.limits.down = Some(age.as_secs_f64());
        self
    }

    /// Makes the check.
    pub fn check(self, name: impl Into<Arc<str>>) -> Check {
        let mut problems = self.limits.problems("degraded_after", "down_after");
        if self.path.as_os_str().is_empty() {
            problems.push("path: is empty".to_owned());
        }
        let Self { path, limits } = self;
        Check::blocking(name, move || {
            let written = std::fs::metadata(&path)?.modified()?;
            // One from the future is as new as can be.
            let age = written.elapsed().unwrap_or_default();
            std::io::Result::<CheckResult>::Ok(limits.judge(age.as_secs_f64().round(), "s"))
        })
        .with_problems(problems)
    }
}
