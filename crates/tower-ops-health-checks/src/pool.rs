use std::fmt;
use std::sync::Arc;

use sqlx::{Connection, Database};
use tower_ops_health::Check;

/// Checks that a database answers, over a pool of sqlx that the service has anyway.
///
/// Takes a connection out of the pool and pings it. A broken connection is replaced on the way, as
/// for a request. If all are in use and none comes back within the check's timeout, the check is
/// down, as the service is then.
///
/// Before each run the gauge `db_pool_connections{name,state}` gets how many connections are
/// `idle` and `used`, and the `max`.
///
/// # Examples
///
/// ```
/// use tower_ops_health_checks::Pool;
///
/// # fn example(pool: &sqlx::PgPool) {
/// let check = Pool::new(pool).into_check("postgres").critical();
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a check does nothing until it is given to a Health"]
pub struct Pool<DB: Database> {
    pool: sqlx::Pool<DB>,
}

impl<DB: Database> Pool<DB> {
    /// Checks that pool.
    pub fn new(pool: &sqlx::Pool<DB>) -> Self {
        Self { pool: pool.clone() }
    }

    /// Makes the check.
    pub fn into_check(self, name: impl Into<Arc<str>>) -> Check {
        let pool = self.pool.clone();
        let check = Check::new(name, move || {
            let pool = pool.clone();
            async move { pool.acquire().await?.ping().await }
        });
        let pool = self.pool;
        check.gauge(NAME, HELP, move || {
            let (size, idle) = (pool.size(), pool.num_idle());
            // Read one after the other: they may not quite fit.
            let used = (size as usize).saturating_sub(idle);
            let max = pool.options().get_max_connections() as usize;
            #[expect(clippy::cast_precision_loss, reason = "of no weight in so many")]
            [("idle", idle), ("used", used), ("max", max)]
                .map(|(state, number)| (state, number as f64))
                .into()
        })
    }
}

const NAME: &str = "db_pool_connections";
const HELP: &str = "Connections of a database pool by state";

impl<DB: Database> fmt::Debug for Pool<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}
