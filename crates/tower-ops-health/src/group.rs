use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::check::{LIVENESS, READINESS, STARTUP, is_name};
use crate::status::{Kind, Status};

/// Checks that are asked together, and how their statuses make one.
///
/// Each has a path, `/health/{name}`, and is a service name over gRPC.
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

/// How one check stands, for an aggregator.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Standing<'a> {
    /// The check's name.
    pub name: &'a str,
    /// What its failure means.
    pub kind: Kind,
    /// Its status, thresholds and age considered.
    pub status: Status,
}

impl Group {
    /// A group of that name. What is unknown counts as down, and the worst decides, as
    /// far as a check's kind lets it.
    ///
    /// Give one of the name `readiness`, `liveness` or `startup` to change that group. In
    /// `liveness`, what is unknown is ok unless told otherwise: a check that did not run
    /// is no reason to restart.
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

    /// What it means for the group that a check is unknown: it has not run yet, or not
    /// for three periods. [`Status::Unknown`] is refused: something has to be answered.
    pub const fn unknown_is(mut self, status: Status) -> Self {
        self.unknown = status;
        self
    }

    /// Makes the group's status from its checks'.
    ///
    /// Called by probes: it must be quick. If it panics, or returns
    /// [`Status::Unknown`], the group is what unknown is.
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
        let mut problems = Vec::new();
        if !is_name(&self.name) || &*self.name == "ping" {
            problems.push(format!(
                "group {:?}: name: not 1 to 64 letters, digits, '-', '_' and '.' that begin with a \
                 letter or digit, or \"ping\", which is taken",
                self.name
            ));
        }
        if self.unknown == Status::Unknown {
            problems.push(format!(
                "group {:?}: unknown_is: must be ok, degraded or down",
                self.name
            ));
        }
        problems
    }

    /// The status of the group. Never unknown.
    pub(crate) fn status<'a>(&self, checks: impl Iterator<Item = Standing<'a>>) -> Status {
        let Some(aggregate) = &self.aggregate else {
            return checks
                .map(|check| check.kind.weigh(self.known(check.status)))
                .max()
                .unwrap_or(Status::Ok);
        };
        let checks: Vec<_> = checks.collect();
        let status = catch_unwind(AssertUnwindSafe(|| aggregate(&checks)));
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
