//! An axum service with every way a request can end: for tests, demonstrations and load.
//!
//! ```text
//! cargo run --example playground
//! ```
//!
//! The application listens on `APP_ADDR` (127.0.0.1:3000), its operations endpoint on `OPS_ADDR`
//! (127.0.0.1:8080). HTTP/1.1 and HTTP/2 are both spoken on the application's port. From a second
//! terminal:
//!
//! ```text
//! $ curl http://127.0.0.1:3000/id -H 'x-request-id: demo-1'
//! {"extension":"demo-1","handler":"demo-1","header":"demo-1","spawned":"demo-1"}
//! $ curl 'http://127.0.0.1:3000/call?to=/status/503' -H 'x-request-id: demo-2'
//! {"host":"127.0.0.1:3000","traceparent":"00-…","x-request-id":"demo-2"}
//! $ curl http://127.0.0.1:3000/error-body/1
//! ....................(100 bytes)
//! curl: (18) transfer closed with outstanding read data remaining
//! $ curl -s http://127.0.0.1:8080/metrics | grep ^server_requests_total
//! server_requests_total{outcome="completed",class="success"} 2
//! server_requests_total{outcome="completed",class="server_error"} 1
//! server_requests_total{outcome="body_failed",class="server_error"} 1
//! ```
//!
//! | route | does |
//! |---|---|
//! | `GET /` | answers with text |
//! | `GET /users/{id}` | answers `{"id":"…"}` |
//! | `GET /slow/{ms}` | answers after that many milliseconds |
//! | `GET /block/{ms}` | blocks a thread of the runtime for that long, as no handler should |
//! | `GET /stream/{chunks}/{ms}` | sends chunks of 100 bytes, milliseconds apart |
//! | `GET /status/{code}` | answers with that status, with a text where there may be one |
//! | `GET /final/{code}` | answers with any status as the final one, without a body: 1xx too |
//! | `GET /short/{announced}/{sent}` | announces so many bytes in `Content-Length` and sends so many, in chunks of 100 |
//! | `GET /panic` | panics in the handler |
//! | `GET /panic-body` | panics in the body, after the first chunk |
//! | `GET /error-body/{chunks}` | sends chunks, then a body error |
//! | `POST /echo` | streams the request body back |
//! | `POST /accept` | answers 202 at once, and reads the request body on in a task |
//! | `GET /accepted` | answers with how many bytes `/accept` has read in all |
//! | `POST /think/{ms}` | asks for the request body once, works that long, reads the rest; answers with its length |
//! | `GET /sse` | sends server-sent events until the process drains |
//! | `GET /ws` | echoes over a WebSocket, over HTTP/2 as well (RFC 8441); closes with 1001 when the process drains |
//! | `GET /nested/users/{id}` | the user's route, under `nest` |
//! | `GET /service/users/{id}` | the user's route, under `nest_service` |
//! | `POST /counters/{name}` | adds one to a counter |
//! | `GET /counters` | answers with all of them |
//! | `GET /call?to=/path` | calls itself; answers with the request headers that the callee saw |
//! | `GET /headers` | answers with the request headers that it saw |
//! | `playground.Echo`, `grpc.health.v1` | over gRPC, on the same port; `playground.Echo` over gRPC-Web as well |
//! | `GET /id` | the request id as the task-local, a spawned task, the header and the extension have it |
//!
//! The operations endpoint shows the connections; whoever has the token of
//! `OPERATIONS_TOKEN` may close one:
//!
//! ```text
//! $ curl -s http://127.0.0.1:8080/connections?limit=1
//! {"connections":[{"id":7,"listener":"default","peer":"127.0.0.1:50712","protocol":"http1", …
//! $ curl -X DELETE http://127.0.0.1:8080/connections/7 -H "authorization: Bearer $OPERATIONS_TOKEN"
//! ```
//!
//! SIGTERM, Ctrl-C and `curl http://127.0.0.1:8080/prestop` stop it as a service in production is
//! stopped, and it prints a report: 5 seconds (`PRE_DRAIN_MS`) not ready and still serving, at
//! most 15 (`DRAIN_MS`) to end what is in flight. A second signal ends it at once.
//!
//! The counters are its state: whoever has the token of `TOWER_OPS_STATE_TOKEN` moves them to another
//! instance, which takes them before it is ready (`AWAIT_STATE=1`) or by force. `STATE_FILE` keeps them
//! from one process to the next.
//!
//! ```text
//! $ curl -sf -H "authorization: Bearer $TOKEN" 'http://127.0.0.1:8080/state?fence=1' |
//!     curl -sf -H "authorization: Bearer $TOKEN" -H 'content-type: application/json' \
//!       --data-binary @- http://127.0.0.1:8081/state
//! ```
//!
//! With `TLS_CERT` and `TLS_KEY`, files in PEM, it serves TLS; a renewed certificate is
//! taken up within a minute.
//!
//! It logs one line for each request, and what handlers log, with the ids of the request, to the
//! standard output: text, or JSON with `LOG_FORMAT=json`. `/logs` has the last of them, and with the
//! token of `OPERATIONS_TOKEN` the level changes while it runs:
//!
//! ```text
//! $ curl -X PUT 'http://127.0.0.1:8080/loglevel?for=10m' -d debug -H "authorization: Bearer $OPERATIONS_TOKEN"
//! $ curl http://127.0.0.1:3000/users/7 -H 'x-request-id: demo-3'
//! $ curl 'http://127.0.0.1:8080/logs?request_id=demo-3'
//! … DEBUG playground::answers: asked for a user user=7 request_id=demo-3 trace_id=…
//! … INFO tower_ops::access: request method=GET route=/users/{id} status=200 outcome=completed …
//! ```
//!
//! Spans go by OTLP to `OTEL_EXPORTER_OTLP_ENDPOINT`, if that is set, such as
//! `http://127.0.0.1:4318`; those of `/status/{code}` are not recorded.
//!
//! More that the environment sets:
//!
//! | variable | default | sets |
//! |---|---|---|
//! | `PRE_DRAIN_MS` | 5000 | how long it is not ready and still serves |
//! | `DRAIN_MS` | 15000 | how long what is in flight then gets |
//! | `IDLE_MS` | the library's | `idle_timeout` |
//! | `MAX_AGE_MS` | off | `max_age` |
//! | `STALL_MS` | 10000 | `stall_timeout` |
//! | `TIMEOUT_MS` | off | `with_timeout` |
//! | `CATCH_PANIC=1` | off | `with_catch_panic` |
//! | `PUBLIC=1` | off | that every request begins a new trace, which links to the caller's |
//! | `UNIX_PATH` | off | a Unix socket on which it serves as well |
//! | `OPS_ON_APP` | off | a prefix, such as `/ops`, below which the operations endpoint is on the application's port as well |
//!
//! What a client may ask for is bounded: 100 MB, a million chunks, an hour. Beyond that, and for what is no
//! number or no final status, the answer is a 400 with the reason.
mod answers;
mod bodies;
mod call;
mod counting;
mod limits;
mod live;
mod routes;
mod settings;
mod uploads;

use std::error::Error;

use axum::{Extension, Router};
use tokio::net::TcpListener;
use tower_ops::{
    Ops, axum_and_grpc,
    connections::{Tls, UnixSocket},
    health::Details,
    logs::{Logs, LogsGuard},
    otel::Telemetry,
    trace::{Inbound, RouteRule},
};
use tower_ops_examples::counters::Counters;
use tracing_subscriber::layer::SubscriberExt as _;

use self::settings::Settings;

/// How many bytes of log lines `/logs` has.
const RING: usize = 1024 * 1024;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let telemetry = Telemetry::builder("playground", env!("CARGO_PKG_VERSION")).start()?;
    let logs = Logs::builder().ring(RING).build()?;
    let _flushed_at_the_end = install(&logs, &telemetry)?;
    let settings = Settings::from_env()?;
    let counters = Counters::default();
    let ops = operations(&settings, counters.clone(), logs, telemetry.clone())?;

    let app_addr = &settings.app_addr;
    let listener = TcpListener::bind(app_addr)
        .await
        .map_err(|error| format!("cannot listen on {app_addr}: {error}"))?;
    let own = listener.local_addr()?;
    // The fallback is that of what is merged last.
    let app = counting::routes(counters, &ops)
        .merge(routes::app(own, &telemetry))
        .layer(Extension(ops.lifecycle().drain_token()));
    let app = axum_and_grpc(app, routes::grpc(&ops));
    let app = operated(app, &ops, &settings);

    let mut servers = ops.servers();
    if let Some(path) = &settings.unix_path {
        servers = servers.listen_as("unix", unix(path)?, app.clone());
    }
    eprintln!("{}", servers.listen(listener, app).run().await?);
    Ok(())
}

/// The one subscriber of the process: log lines, and what handlers trace.
fn install(logs: &Logs, telemetry: &Telemetry) -> Result<LogsGuard, Box<dyn Error>> {
    let subscriber = tracing_subscriber::registry()
        .with(logs.layer())
        .with(telemetry.layer());
    tracing::subscriber::set_global_default(subscriber)?;
    telemetry.check();
    Ok(logs.activate())
}

fn operations(
    settings: &Settings,
    counters: Counters,
    logs: Logs,
    telemetry: Telemetry,
) -> Result<Ops, Box<dyn Error>> {
    // Whatever the caller wants.
    let sampling = { telemetry.sampling() }.with_route("/status/{code}", RouteRule::Off);
    let is_public = settings.is_public;
    let state_file = settings.state_file.clone();
    let (pre_drain, drain) = (settings.pre_drain, settings.drain);
    let mut ops = Ops::builder("playground")
        .version(env!("CARGO_PKG_VERSION"))
        .state(move |state| {
            let state = state.participant(counters);
            match state_file {
                Some(path) => state.file(path),
                None => state,
            }
        })
        .ops_addr(&settings.ops_addr)
        .logs(logs)
        .telemetry(telemetry)
        .trace(|spans| {
            let spans = spans.with_sampling(sampling);
            if is_public {
                spans.with_inbound(Inbound::public_endpoint())
            } else {
                spans
            }
        })
        // Nothing here is secret: `/requests` shows everybody who asked for what.
        .request_details(true)
        .health(|health| health.details(Details::always()))
        .lifecycle(|lifecycle| lifecycle.pre_drain(pre_drain).drain_timeout(drain))
        .extended_connect(true)
        .connections(|connections| connections.stall_timeout(settings.stall));
    if let Some(idle) = settings.idle {
        ops = ops.connections(|connections| connections.idle_timeout(idle));
    }
    if let Some(age) = settings.max_age {
        ops = ops.connections(|connections| connections.max_age(age));
    }
    if settings.awaits_state {
        ops = ops.state_before_ready();
    }
    if let Some(token) = &settings.operations_token {
        ops = ops.operations_token(token);
    }
    if let Some((certificate, key)) = &settings.tls {
        ops = ops.tls(Tls::from_pem_files(certificate, key)?);
    }
    Ok(ops.build()?)
}

/// The application with the layers that the settings ask for.
fn operated(app: Router, ops: &Ops, settings: &Settings) -> Router {
    let layer = ops.layer();
    let app = match (settings.timeout, settings.catches_panics) {
        (None, false) => app.layer(layer),
        (Some(limit), false) => app.layer(layer.with_timeout(limit)),
        (None, true) => app.layer(layer.with_catch_panic()),
        (Some(limit), true) => app.layer(layer.with_timeout(limit).with_catch_panic()),
    };
    match &settings.ops_on_app {
        // Around everything, so that probes are no requests of the application.
        Some(prefix) => app.layer(ops.operations().layer(prefix)),
        None => app,
    }
}

fn unix(path: &str) -> Result<UnixSocket, String> {
    UnixSocket::bind(path).map_err(|error| error.to_string())
}
