use std::fmt;
use std::sync::Arc;

use redis::RedisError;
use redis::aio::ConnectionLike;
use tower_ops_health::{Check, CheckResult};

use crate::limits::Limits;

/// Checks that Redis answers, over a connection that the service has anyway.
///
/// Sends `PING`, or reads the length of a list. Give it a `ConnectionManager`, which reconnects:
/// a `MultiplexedConnection` that broke stays broken, and the check stays down. A manager waits
/// longer and longer between attempts, up to seconds. Its `set_max_delay` bounds how late requests,
/// and the check, detect that Redis is back.
///
/// # Examples
///
/// ```
/// use tower_ops_health_checks::Redis;
///
/// # fn example(connection: redis::aio::ConnectionManager) {
/// let ping = Redis::new(connection.clone()).into_check("redis");
/// let jobs = Redis::new(connection).list("jobs").degraded_at(1_000);
/// let jobs = jobs.into_check("jobs");
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a check does nothing until it is given to a Health"]
pub struct Redis<C> {
    connection: C,
    list: Option<String>,
    limits: Limits,
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> Redis<C> {
    /// Checks over clones of that connection.
    pub const fn new(connection: C) -> Self {
        Self {
            connection,
            list: None,
            limits: Limits {
                degraded: None,
                down: None,
            },
        }
    }

    /// Reads the length of this list in place of `PING`.
    pub fn list(mut self, key: impl Into<String>) -> Self {
        self.list = Some(key.into());
        self
    }

    /// Sets the length of the list from which on it is degraded. Default: never.
    #[expect(clippy::cast_precision_loss, reason = "of no weight in so long a list")]
    pub const fn degraded_at(mut self, length: u64) -> Self {
        self.limits.degraded = Some(length as f64);
        self
    }

    /// Sets the length of the list from which on it is down. Default: never.
    #[expect(clippy::cast_precision_loss, reason = "of no weight in so long a list")]
    pub const fn down_at(mut self, length: u64) -> Self {
        self.limits.down = Some(length as f64);
        self
    }

    /// Makes the check.
    pub fn into_check(self, name: impl Into<Arc<str>>) -> Check {
        let problems = match (&self.list, self.limits.degraded.or(self.limits.down)) {
            (Some(key), _) if key.is_empty() => vec!["list: the key is empty".to_owned()],
            (Some(_), _) => self.limits.problems("degraded_at", "down_at"),
            (None, Some(_)) => vec!["degraded_at, down_at: there is no list".to_owned()],
            (None, None) => Vec::new(),
        };
        let Self {
            connection,
            list,
            limits,
        } = self;
        let list: Option<Arc<str>> = list.map(Into::into);
        let check = Check::new(name, move || {
            let (mut connection, list) = (connection.clone(), list.clone());
            async move {
                let list = list.as_deref();
                match ask(&mut connection, list, &limits).await {
                    // Redis may have been restarted: a manager detects that by an error, and
                    // reconnects for the next command.
                    Err(error)
                        if error.is_connection_dropped() || error.is_unrecoverable_error() =>
                    {
                        ask(&mut connection, list, &limits).await
                    }
                    answer => answer,
                }
            }
        });
        check.problems(problems)
    }
}

async fn ask(
    connection: &mut (impl ConnectionLike + Send),
    list: Option<&str>,
    limits: &Limits,
) -> Result<CheckResult, RedisError> {
    let Some(list) = list else {
        redis::cmd("PING").query_async::<()>(connection).await?;
        return Ok(CheckResult::ok());
    };
    let mut command = redis::cmd("LLEN");
    let length: u64 = command.arg(list).query_async(connection).await?;
    #[expect(clippy::cast_precision_loss, reason = "of no weight in so long a list")]
    let length = length as f64;
    Ok(limits.judge(length, "items"))
}

impl<C> fmt::Debug for Redis<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("list", &self.list)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
