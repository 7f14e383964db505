use std::fmt;
use std::sync::Arc;

use tower_ops_core::panic::catch;

use crate::check::{LIVENESS, READINESS, STARTUP, name_problem};
use crate::status::{CheckKind, Status};

/// Checks whose statuses make one status.
///
/// A group has a path, `/health/{name}`, and is a service name over gRPC.
///
/// # Examples
///
/// ```
/// use tower_ops_health::{Check, Group, Health, Status};
///
/// // Two of three replicas are enough.
/// let quorum = Group::new("replicas").aggregate(|checks| {
///     match checks.iter().filter(|check| check.status == Status::Ok).count() {
///         3.. => Status::Ok,
///         2 => Status::Degraded,
///         _ => Status::Down,
///     }
/// });
/// let health = Health::builder()
///     .group(quorum)
///     .check(Check::always_ok("replica-1").group("replicas"))
///     .build()?;
/// # Ok::<_, tower_ops_health::ConfigError>(())
/// ```
#[derive(Clone)]
#[must_use = "a group does nothing until it is given to a builder"]
pub struct Group {
    pub(crate) name: Arc<str>,
    pub(crate) unknown: Status,
    aggregate: Option<Aggregate>,
}

type Aggregate = Arc<dyn Fn(&[Standing<'_>]) -> Status + Send + Sync>;

/// The status of one check, for an aggregator.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Standing<'a> {
    /// The check's name.
    pub name: &'a str,
    /// What its failure means.
    pub kind: CheckKind,
    /// Its status, by its thresholds and the age of its last result.
    pub status: Status,
}

impl Group {
    /// Makes a group of that name. Its status is the worst of its checks', as far as their
    /// [`CheckKind`]s allow, and an unknown check counts as down.
    ///
    /// A group named `readiness`, `liveness` or `startup` replaces the one of that name. In
    /// `liveness` an unknown check is ok by default: that it did not run is no reason to restart.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        let name = name.into();
        let unknown = match &*name {
            LIVENESS => Status::Ok,
            _ => Status::Down,
        };
        Self {
            name,
            unknown,
            aggregate: None,
        }
    }

    /// Sets what an unknown check counts as: one that has not run yet, or not for three periods.
    /// Default: down, and ok in `liveness`. [`Status::Unknown`] is refused.
    pub const fn unknown_is(mut self, status: Status) -> Self {
        self.unknown = status;
        self
    }

    /// Sets how the status of the group is made from its checks.
    ///
    /// Called by probes: it must not block. If it panics, or returns [`Status::Unknown`], the
    /// status is that of an [unknown check](Self::unknown_is).
    pub fn aggregate(
        mut self,
        aggregate: impl Fn(&[Standing<'_>]) -> Status + Send + Sync + 'static,
    ) -> Self {
        self.aggregate = Some(Arc::new(aggregate));
        self
    }

    pub(crate) fn built_in() -> [Self; 3] {
        [READINESS, LIVENESS, STARTUP].map(Self::new)
    }

    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems: Vec<_> = name_problem(&self.name).into_iter().collect();
        if self.unknown == Status::Unknown {
            problems.push("unknown_is: must be ok, degraded or down".to_owned());
        }
        let named = |problem| format!("group {:?}: {problem}", self.name);
        problems.into_iter().map(named).collect()
    }

    /// Returns the status of the group, which is never unknown.
    pub(crate) fn status<'a>(&self, checks: impl Iterator<Item = Standing<'a>>) -> Status {
        let Some(aggregate) = &self.aggregate else {
            return checks
                .map(|check| check.kind.weigh(self.known(check.status)))
                .max()
                .unwrap_or(Status::Ok);
        };
        let checks: Vec<_> = checks.collect();
        let status = catch(|| aggregate(&checks));
        self.known(status.unwrap_or(Status::Unknown))
    }

    fn known(&self, status: Status) -> Status {
        match status {
            Status::Unknown => self.unknown,
            Status::Ok | Status::Degraded | Status::Down => status,
        }
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("name", &self.name)
            .field("unknown_is", &self.unknown)
            .finish_non_exhaustive()
    }
}
