//! A service whose health is that of its database, its Redis and its queue.
//!
//! ```text
//! cargo run --example health
//! ```
//!
//! The application listens on `APP_ADDR` (127.0.0.1:3000), the probes on `OPS_ADDR` (127.0.0.1:8080),
//! on a thread of their own. The database is the Postgres at `DATABASE_URL`, or else SQLite in a
//! file; Redis is checked where `REDIS_URL` is set. Details are for who has `HEALTH_TOKEN`, if that
//! is set. From a second terminal:
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
//! With `HEALTH_TOKEN=demo`:
//!
//! ```text
//! $ curl 'http://127.0.0.1:8080/checks?auth=demo' -H 'accept: text/plain'
//! [+]database ok
//! [!]jobs degraded: 17 items, and 10 are many
//! degraded
//! ```
use std::error::Error;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{env, thread};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Router, serve};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{PgPool, SqlitePool};
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tower_ops_health::checks::{Pool, QueueDepth, Redis};
use tower_ops_health::{Check, Details, Health};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[derive(Clone)]
struct App {
    database: Database,
    waiting: Arc<AtomicU64>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let app_addr = env::var("APP_ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let ops_addr = env::var("OPS_ADDR").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
    let app = App {
        database: Database::open().await?,
        waiting: Arc::default(),
    };
    let waiting = Arc::clone(&app.waiting);
    let jobs = QueueDepth::new(move || waiting.load(Ordering::Relaxed)).degraded_at(10);

    // Without the database this service is of no use; without the rest it is of less.
    let mut health = Health::builder()
        .details(Details::token(env::var("HEALTH_TOKEN").ok()))
        .check(often(app.database.check().critical().affects("/orders")))
        .check(often(jobs.check("jobs")));
    if let Ok(url) = env::var("REDIS_URL") {
        let connection = redis::Client::open(url)?.get_connection_manager().await?;
        health = health.check(often(Redis::new(connection).check("redis")));
    }
    let health = health.build()?;

    serve_probes(&ops_addr, &health)?;
    tokio::spawn(health.run());
    tokio::spawn(work(Arc::clone(&app.waiting)));

    let router = Router::new()
        .route("/orders", get(orders))
        .route("/jobs", post(add_job))
        .layer(health.shed_layer())
        .with_state(app);
    let listener = TcpListener::bind(&app_addr)
        .await
        .map_err(|error| format!("cannot listen on {app_addr}: {error}"))?;
    eprintln!("application on http://{app_addr}, probes on http://{ops_addr}");
    health.mark_ready();
    serve(listener, router)
        .with_graceful_shutdown(until_signal(health)?)
        .await?;
    Ok(())
}

fn often(check: Check) -> Check {
    check
        .period(Duration::from_secs(1))
        .timeout(Duration::from_millis(500))
}

/// On a thread and a runtime of their own, so that a stuck application cannot make them lie.
fn serve_probes(addr: &str, health: &Health) -> Result<()> {
    let listener =
        StdListener::bind(addr).map_err(|error| format!("cannot listen on {addr}: {error}"))?;
    listener.set_nonblocking(true)?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (watch, probes) = (health.watch(), health.probes());
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::spawn(watch);
            let router: Router = Router::new().fallback_service(probes);
            serve(TcpListener::from_std(listener)?, router).await
        })
    });
    Ok(())
}

/// Is over at Ctrl-C or SIGTERM, when the service is not ready any more.
fn until_signal(health: Health) -> Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        health.drain();
    })
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
            Self::Postgres(pool) => Pool::new(pool).check("database"),
            Self::Sqlite(pool) => Pool::new(pool).check("database"),
        }
    }

    async fn orders(&self) -> sqlx::Result<i64> {
        match self {
            Self::Postgres(pool) => sqlx::query_scalar(COUNT).fetch_one(pool).await,
            Self::Sqlite(pool) => sqlx::query_scalar(COUNT).fetch_one(pool).await,
        }
    }
}
