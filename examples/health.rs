//! A service whose health is that of its database, its Redis and its queue.
//!
//! ```text
//! cargo run --example health
//! ```
//!
//! The application listens on `APP_ADDR` (127.0.0.1:3000), its operations endpoint on `OPS_ADDR`
//! (127.0.0.1:8080). The database is the Postgres at `DATABASE_URL`, or else SQLite in a file; Redis
//! is checked where `REDIS_URL` is set. Details are for who has `HEALTH_TOKEN`, if that is set. From
//! a second terminal:
//!
//! ```text
//! $ curl http://127.0.0.1:8080/ready
//! {"status":"ok"}
//! $ for job in $(seq 20); do curl -X POST http://127.0.0.1:3000/jobs; done
//! 1 waiting
//! ...
//! $ curl http://127.0.0.1:8080/ready
//! {"status":"degraded"}
//! $ curl http://127.0.0.1:3000/orders
//! 0 orders
//! ```
//!
//! With `HEALTH_TOKEN=demo-demo-demo-demo` (16 characters at least):
//!
//! ```text
//! $ curl 'http://127.0.0.1:8080/checks?auth=demo-demo-demo-demo' -H 'accept: text/plain'
//! [+]database ok
//! [!]jobs degraded: 17 items, and the limit is 10
//! degraded
//! ```
use std::env;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use http::StatusCode;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{PgPool, SqlitePool};
use tokio::net::TcpListener;
use tower_ops::Ops;
use tower_ops::health::checks::{Pool, QueueDepth, Redis};
use tower_ops::health::{Check, Details};
use tower_ops::logs::{self, Logs};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[derive(Clone)]
struct App {
    database: Database,
    waiting: Arc<AtomicU64>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let _flushed_at_the_end = logs::init();
    let app_addr = env::var("APP_ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let ops_addr = env::var("OPS_ADDR").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
    let app = App {
        database: Database::open().await?,
        waiting: Arc::default(),
    };
    let waiting = Arc::clone(&app.waiting);
    let jobs = QueueDepth::new(move || waiting.load(Ordering::Relaxed)).degraded_at(10);

    // Without the database this service is of no use; without the rest it is of less.
    let mut ops = Ops::builder("health")
        .logs(Logs::active())
        .ops_addr(&ops_addr)
        .check(often(app.database.check().critical().affects("/orders")))
        .check(often(jobs.into_check("jobs")));
    if let Ok(url) = env::var("REDIS_URL") {
        // By default it waits for seconds between attempts to connect, and its requests with it.
        let config = ConnectionManagerConfig::new().set_max_delay(Duration::from_millis(100));
        let connection = ConnectionManager::new_with_config(redis::Client::open(url)?, config)
            .await
            .map_err(|error| format!("cannot connect to REDIS_URL: {error}"))?;
        ops = ops.check(often(Redis::new(connection).into_check("redis")));
    }
    let details = env::var("HEALTH_TOKEN").map_or_else(|_| Details::never(), Details::token);
    let ops = ops.health(|health| health.details(details)).build()?;

    tokio::spawn(work(Arc::clone(&app.waiting)));
    let router = Router::new()
        .route("/orders", get(orders))
        .route("/jobs", post(add_job))
        // 503 with `retry-after` on `/orders` for as long as its database is down.
        .layer(ops.health().shed_layer())
        .layer(ops.layer())
        .with_state(app);
    let listener = TcpListener::bind(&app_addr)
        .await
        .map_err(|error| format!("cannot listen on {app_addr}: {error}"))?;
    eprintln!("{}", ops.serve(listener, router).await?);
    Ok(())
}

fn often(check: Check) -> Check {
    check
        .period(Duration::from_secs(1))
        .timeout(Duration::from_millis(500))
}

async fn orders(State(app): State<App>) -> std::result::Result<String, StatusCode> {
    match app.database.orders().await {
        Ok(orders) => Ok(format!("{orders} orders\n")),
        Err(_) => Err(StatusCode::SERVICE_UNAVAILABLE),
    }
}

async fn add_job(State(app): State<App>) -> String {
    let before = app.waiting.fetch_add(1, Ordering::Relaxed);
    format!("{} waiting\n", before + 1)
}

/// Does one job a second.
async fn work(waiting: Arc<AtomicU64>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let one_less = |jobs: u64| jobs.checked_sub(1);
        // None is waiting: nothing to do.
        let _ = waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
    }
}

#[derive(Clone)]
enum Database {
    Postgres(PgPool),
    Sqlite(SqlitePool),
}

const TABLE: &str = "create table if not exists orders (id bigint primary key)";
const COUNT: &str = "select count(*) from orders";

impl Database {
    async fn open() -> Result<Self> {
        if let Ok(url) = env::var("DATABASE_URL") {
            let pool = PgPool::connect(&url)
                .await
                .map_err(|error| format!("cannot connect to DATABASE_URL: {error}"))?;
            sqlx::query(TABLE).execute(&pool).await?;
            return Ok(Self::Postgres(pool));
        }
        let file = env::temp_dir().join("tower-ops-health.sqlite");
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true);
        let pool = SqlitePool::connect_with(options).await?;
        sqlx::query(TABLE).execute(&pool).await?;
        Ok(Self::Sqlite(pool))
    }

    /// Over the pool that requests use, too.
    fn check(&self) -> Check {
        match self {
            Self::Postgres(pool) => Pool::new(pool).into_check("database"),
            Self::Sqlite(pool) => Pool::new(pool).into_check("database"),
        }
    }

    async fn orders(&self) -> sqlx::Result<i64> {
        match self {
            Self::Postgres(pool) => sqlx::query_scalar(COUNT).fetch_one(pool).await,
            Self::Sqlite(pool) => sqlx::query_scalar(COUNT).fetch_one(pool).await,
        }
    }
}
