use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tower_ops_health::{Check, CheckResult};

use crate::limits::Limits;

/// Checks how much of the memory that this process may use is used.
///
/// Looks at the tightest limit among the process's cgroup (v2, v1) and those around it, or else at
/// the machine. Page cache that can be dropped does not count as used, as in `kubectl top`. Linux
/// only: on other systems the check is down.
///
/// # Examples
///
/// ```
/// use tower_ops_health_checks::Memory;
///
/// let check = Memory::new().degraded_at(0.85).into_check("memory");
/// # let _ = check;
/// ```
#[derive(Clone, Debug)]
#[must_use = "a check does nothing until it is given to a Health"]
pub struct Memory {
    root: PathBuf,
    limits: Limits,
}

impl Memory {
    /// Makes a check that is degraded when 90 % are used.
    pub fn new() -> Self {
        Self {
            root: PathBuf::from("/"),
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
        let problems = self.limits.part_problems();
        Check::blocking(name, move || self.look()).problems(problems)
    }

    fn look(&self) -> CheckResult {
        let Some(usage) = usage(&self.root) else {
            return CheckResult::down("neither a cgroup nor /proc/meminfo can be read");
        };
        let of = if usage.of_cgroup { "cgroup" } else { "machine" };
        let (used, total) = (usage.used / MIB, usage.total / MIB);
        let text = format!("{used} of {total} MiB of the {of} are used");
        self.limits.judge_part(usage.percent(), "%", text)
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

const MIB: u64 = 1_024 * 1_024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Usage {
    used: u64,
    total: u64,
    of_cgroup: bool,
}

impl Usage {
    #[expect(clippy::cast_precision_loss, reason = "to a tenth of a per cent")]
    fn percent(&self) -> f64 {
        (self.used as f64 / self.total.max(1) as f64 * 1_000.0).round() / 10.0
    }
}

fn usage(root: &Path) -> Option<Usage> {
    let machine = machine(root);
    let total = machine.map_or(u64::MAX, |machine| machine.total);
    // v1 writes "none" as a limit above what the machine has.
    let cgroup = cgroups(root)
        .into_iter()
        .filter(|usage| usage.total < total)
        .max_by(|one, other| one.percent().total_cmp(&other.percent()));
    cgroup.or(machine)
}

/// Returns the usage of each cgroup that this process is in, and of those around it.
fn cgroups(root: &Path) -> Vec<Usage> {
    let text = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut found = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let v2 = controllers.is_empty();
        let top = match v2 {
            true => root.join("sys/fs/cgroup"),
            false if controllers.split(',').any(|name| name == "memory") => {
                root.join("sys/fs/cgroup/memory")
            }
            false => continue,
        };
        // In a container the path may be the host's, which is not mounted there. The container's
        // own cgroup is at the top.
        let own = top.join(path.trim_start_matches('/'));
        let around = own.ancestors().take_while(|dir| dir.starts_with(&top));
        found.extend(around.filter_map(|dir| cgroup(dir, v2)));
    }
    found
}

fn cgroup(dir: &Path, v2: bool) -> Option<Usage> {
    let (limit, usage, cache) = match v2 {
        true => ("memory.max", "memory.current", "inactive_file"),
        false => (
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "total_inactive_file",
        ),
    };
    let number = |file: &str| {
        let text = fs::read_to_string(dir.join(file)).ok()?;
        text.trim().parse::<u64>().ok()
    };
    // "max" is not a number: there is no limit.
    let total = number(limit)?;
    let stat = fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
    let cache = field(&stat, cache).unwrap_or(0);
    Some(Usage {
        used: number(usage)?.saturating_sub(cache),
        total,
        of_cgroup: true,
    })
}

fn machine(root: &Path) -> Option<Usage> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let total = field(&text, "MemTotal:")?.saturating_mul(1_024);
    let available = field(&text, "MemAvailable:")?.saturating_mul(1_024);
    Some(Usage {
        used: total.saturating_sub(available),
        total,
        of_cgroup: false,
    })
}

fn field(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_whitespace);
    let mut line = lines.find(|line| line.clone().next() == Some(name))?;
    line.nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const MEMINFO: (&str, &str) = (
        "proc/meminfo",
        "MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:    400 kB\n",
    );

    #[test]
    fn without_a_limit_the_machine_counts() {
        let root = tree(&[
            MEMINFO,
            ("proc/self/cgroup", "0::/user\n"),
            ("sys/fs/cgroup/user/memory.max", "max\n"),
            ("sys/fs/cgroup/user/memory.current", "5000\n"),
        ]);
        let usage = usage(root.path()).unwrap();
        assert_eq!((usage.of_cgroup, usage.percent()), (false, 60.0));
    }

    #[test]
    fn the_tightest_cgroup_without_its_page_cache() {
        let root = tree(&[
            MEMINFO,
            ("proc/self/cgroup", "0::/pod/app\n"),
            ("sys/fs/cgroup/pod/memory.max", "200000\n"),
            ("sys/fs/cgroup/pod/memory.current", "150000\n"),
            (
                "sys/fs/cgroup/pod/memory.stat",
                "anon 1\ninactive_file 50000\n",
            ),
            ("sys/fs/cgroup/pod/app/memory.max", "150000\n"),
            ("sys/fs/cgroup/pod/app/memory.current", "30000\n"),
        ]);
        let usage = usage(root.path()).unwrap();
        assert_eq!((usage.of_cgroup, usage.percent()), (true, 50.0));
    }

    #[test]
    fn the_first_version_in_a_container() {
        let root = tree(&[
            MEMINFO,
            ("proc/self/cgroup", "5:cpu:/x\n4:memory:/docker/abc\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "100000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "90000\n"),
            (
                "sys/fs/cgroup/memory/memory.stat",
                "total_inactive_file 10000\n",
            ),
        ]);
        let usage = usage(root.path()).unwrap();
        assert_eq!((usage.of_cgroup, usage.percent()), (true, 80.0));
    }

    #[test]
    fn nothing_to_read_is_down() {
        let root = tree(&[("proc/self/cgroup", "garbage\n1\n::\n")]);
        assert_eq!(usage(root.path()), None);
        let memory = Memory {
            root: root.path().to_owned(),
            ..Memory::new()
        };
        assert_eq!(memory.look().status(), tower_ops_health::Status::Down);
    }
}
