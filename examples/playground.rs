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
//! {"host":"127.0.0.1:3000","x-request-id":"demo-2"}
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
//! | `GET /status/{code}` | answers with that status |
//! | `GET /panic` | panics in the handler |
//! | `GET /panic-body` | panics in the body, after the first chunk |
//! | `GET /error-body/{chunks}` | sends chunks, then a body error |
//! | `POST /echo` | streams the request body back |
//! | `GET /sse` | sends server-sent events until the process drains |
//! | `GET /ws` | echoes over a WebSocket; says goodbye when the process drains |
//! | `GET /nested/users/{id}` | the user's route, under `nest` |
//! | `GET /service/users/{id}` | the user's route, under `nest_service` |
//! | `POST /counters/{name}` | adds one to a counter |
//! | `GET /counters` | answers with all of them |
//! | `GET /call?to=/path` | calls itself; answers with the request headers that the callee saw |
//! | `GET /headers` | answers with the request headers that it saw |
//! | `playground.Echo`, `grpc.health.v1` | over gRPC, on the same port |
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
//! stopped, and it says how that went: 5 seconds (`PRE_DRAIN_MS`) not ready and still serving, at
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
//! What a client may ask for is bounded: a million chunks, an hour. Beyond that, and for what is no
//! number or no final status, the answer is a 400 that says so.
use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    env,
    error::Error,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use axum::{
    Extension, Json, Router,
    body::{Body, Bytes},
    extract::{
        Path, Query, Request, State, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket, close_code},
    },
    middleware::{self, Next},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
    routing::{any, get, post},
};
use futures_util::stream::{self, Stream, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};
use tower::{ServiceBuilder, ServiceExt};
use tower_ops::{
    Ops,
    connections::Tls,
    health::Details,
    lifecycle::{DEFAULT_DRAIN, DEFAULT_PRE_DRAIN, DrainToken},
    observe::RouteHook,
    request_id::{self, RequestId, RequestIdClientLayer},
};
use tower_ops_examples::{
    counters::Counters, echo::Playground, playground::echo_server::EchoServer,
};

/// One chunk of a streamed body.
const CHUNK: [u8; 100] = {
    let mut chunk = [b'.'; 100];
    chunk[99] = b'\n';
    chunk
};
/// The most chunks a client may ask for.
const MAX_CHUNKS: u64 = 1_000_000;
/// The longest wait a client may ask for: an hour.
const MAX_MS: u64 = 3_600_000;
/// The largest WebSocket message that is echoed.
const MAX_MESSAGE: usize = 1024 * 1024;
/// How long `/call` waits for the callee.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How much of the callee's body `/call` reads, so that a short one ends well.
const CALL_BODY: usize = 64 * 1024;
/// How long `/call` reads the callee's body.
const CALL_BODY_TIMEOUT: Duration = Duration::from_secs(1);

/// On a request: please say which headers you saw. On its response: these, as JSON.
const SEEN_HEADERS: HeaderName = HeaderName::from_static("x-playground-seen-headers");

/// The gRPC services, on the same port as the rest.
const ECHO: &str = "/playground.Echo/{*method}";
const HEALTH: &str = "/grpc.health.v1.Health/{*method}";

/// How long a client may neither read nor send what it is waited for.
const STALL: Duration = Duration::from_secs(10);

/// What a client did wrong, in words.
type Refusal = (StatusCode, String);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt::init();
    let app_addr = env::var("APP_ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let ops_addr = env::var("OPS_ADDR").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
    let pre_drain = millis("PRE_DRAIN_MS")?.unwrap_or(DEFAULT_PRE_DRAIN);
    let drain = millis("DRAIN_MS")?.unwrap_or(DEFAULT_DRAIN);
    let counters = Counters::default();
    let participant = counters.clone();
    let mut ops = Ops::builder("playground")
        .version(env!("CARGO_PKG_VERSION"))
        .state(move |state| {
            let state = state.participant(participant);
            match env::var("STATE_FILE") {
                Ok(path) => state.file(path),
                Err(_) => state,
            }
        })
        .ops_addr(&ops_addr)
        // Nothing here is secret: `/requests` shows everybody who asked for what.
        .request_details(true)
        .health(|health| health.details(Details::Always))
        .lifecycle(|lifecycle| lifecycle.pre_drain(pre_drain).drain(drain))
        .connections(|connections| connections.stall_timeout(STALL));
    if env::var("AWAIT_STATE").is_ok() {
        ops = ops.state_before_ready();
    }
    if let Ok(token) = env::var("OPERATIONS_TOKEN") {
        ops = ops.operations_token(token);
    }
    if let (Ok(certificate), Ok(key)) = (env::var("TLS_CERT"), env::var("TLS_KEY")) {
        ops = ops.tls(Tls::from_pem_files(certificate, key)?);
    }
    let ops = ops.build()?;

    let listener = TcpListener::bind(&app_addr)
        .await
        .map_err(|error| format!("cannot listen on {app_addr}: {error}"))?;
    let own = listener.local_addr()?;
    let app = counting(counters, &ops)
        // The fallback is that of what is merged last.
        .merge(app(own))
        .route_service(ECHO, EchoServer::new(Playground))
        .route_service(HEALTH, ops.health().grpc())
        .layer(Extension(ops.lifecycle().drain_token()))
        .layer(ops.layer());

    eprintln!("application on http://{own}, operations on http://{ops_addr}");
    eprintln!("try: curl -i http://{own}/users/42");
    eprintln!("{}", ops.serve(listener, app).await?);
    Ok(())
}

/// The counters, which nobody adds to once they were handed over.
fn counting(counters: Counters, ops: &Ops) -> Router {
    let mut routes = Router::new()
        .route("/counters", get(counted))
        .route("/counters/{name}", post(add_one))
        .with_state(counters);
    if let Some(state) = ops.state() {
        routes = routes.layer(state.fence().layer());
    }
    routes
}

async fn counted(State(counters): State<Counters>) -> Json<BTreeMap<String, u64>> {
    Json(counters.all())
}

async fn add_one(
    State(counters): State<Counters>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let count = counters.add(&name).ok_or_else(|| {
        let text = "a counter's name is too long, or there are too many\n".to_owned();
        (StatusCode::BAD_REQUEST, text)
    })?;
    Ok(Json(json!({ name: count })))
}

/// The milliseconds in an environment variable, if it is set.
fn millis(variable: &str) -> Result<Option<Duration>, String> {
    let Ok(text) = env::var(variable) else {
        return Ok(None);
    };
    let millis = text
        .parse()
        .map_err(|_| format!("{variable}: {text:?} is not a number of milliseconds"))?;
    Ok(Some(Duration::from_millis(millis)))
}

/// Every route, without the operations layer; `own` is where `/call` finds this service.
fn app(own: SocketAddr) -> Router {
    let users = Router::new().route("/users/{id}", get(user));
    let caller = Caller {
        client: Client::builder(TokioExecutor::new()).build_http(),
        address: reachable(own),
    };
    Router::new()
        .route("/", get(async || "tower-ops playground\n"))
        .route("/users/{id}", get(user))
        .route("/slow/{ms}", get(slow))
        .route("/block/{ms}", get(block))
        .route("/stream/{chunks}/{ms}", get(streamed))
        .route("/status/{code}", get(status))
        .route("/panic", get(panic_in_handler))
        .route("/panic-body", get(panic_in_body))
        .route("/error-body/{chunks}", get(error_in_body))
        .route("/echo", post(echo))
        .route("/sse", get(events))
        .route("/ws", any(websocket))
        .nest("/nested", users.clone())
        // Outer layers see only `/service/…`; the hook tells them the rest of the route.
        .nest_service("/service", users.layer(RouteHook::new()))
        .route("/call", get(call).with_state(caller))
        .route("/headers", get(headers))
        .route("/id", get(id))
        .layer(middleware::from_fn(report_seen_headers))
}

// === short answers ===

async fn user(Path(id): Path<String>) -> Json<Value> {
    Json(json!({ "id": id }))
}

async fn slow(Path(ms): Path<u64>) -> Result<String, Refusal> {
    sleep(wait(ms)?).await;
    Ok(format!("waited {ms} ms\n"))
}

async fn block(Path(ms): Path<u64>) -> Result<String, Refusal> {
    std::thread::sleep(wait(ms)?);
    Ok(format!("blocked for {ms} ms\n"))
}

async fn status(Path(code): Path<String>) -> Result<Response, Refusal> {
    let status = StatusCode::from_bytes(code.as_bytes())
        .ok()
        .filter(|status| !status.is_informational())
        .ok_or_else(|| refuse(format!("{code:?} is no final status: ask for 200 to 999\n")))?;
    Ok(match status {
        // These have no body, by definition.
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED => {
            status.into_response()
        }
        _ => (status, format!("{status}\n")).into_response(),
    })
}

async fn headers(headers: HeaderMap) -> Json<Value> {
    Json(headers_as_json(&headers))
}

/// The same id, from everywhere a service might look for it.
async fn id(extension: Option<RequestId>, headers: HeaderMap) -> Json<Value> {
    let as_json = |id: Option<RequestId>| id.map(|id| id.as_str().to_owned());
    let spawned = request_id::spawn(async { RequestId::current() }).await;
    Json(json!({
        "handler": as_json(RequestId::current()),
        "spawned": as_json(spawned.ok().flatten()),
        "header": headers.get("x-request-id").map(|id| String::from_utf8_lossy(id.as_bytes())),
        "extension": as_json(extension),
    }))
}

// === bodies that last, break and never end ===

async fn streamed(Path((chunks, ms)): Path<(u64, u64)>) -> Result<Body, Refusal> {
    Ok(body(count(chunks)?, wait(ms)?, End::Complete))
}

async fn error_in_body(Path(chunks): Path<u64>) -> Result<Body, Refusal> {
    Ok(body(count(chunks)?, Duration::ZERO, End::Error))
}

async fn panic_in_body() -> Body {
    body(1, Duration::ZERO, End::Panic)
}

async fn panic_in_handler() {
    panic!("the playground was asked to panic in the handler");
}

/// The request body is the response body: nothing is collected, trailers included.
///
/// The head goes out at once, so a client that waits for `100 Continue` gets the 200 instead.
async fn echo(request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let mut response = Response::new(body);
    // HTTP/1.1 sends only the trailers that were announced.
    for name in [header::CONTENT_TYPE, header::TRAILER] {
        if let Some(value) = parts.headers.remove(&name) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Ends when the process drains: the client connects again, and somewhere else.
async fn events(Extension(drain): Extension<DrainToken>) -> Sse<impl Stream<Item = Tick>> {
    let events = stream::unfold(0_u64, |number| async move {
        if number > 0 {
            sleep(Duration::from_millis(100)).await;
        }
        let event = Event::default().id(number.to_string()).data("tick");
        Some((Ok(event), number + 1))
    });
    let events = events.take_until(drain.cancelled_owned());
    Sse::new(events).keep_alive(KeepAlive::default())
}

type Tick = Result<Event, Infallible>;

/// Says goodbye when the process drains.
async fn websocket(upgrade: WebSocketUpgrade, Extension(drain): Extension<DrainToken>) -> Response {
    upgrade
        .max_message_size(MAX_MESSAGE)
        .on_upgrade(async move |mut socket: WebSocket| {
            // axum answers pings and closes by itself.
            while let Some(received) = drain.run_until_cancelled(socket.recv()).await {
                let Some(Ok(message)) = received else {
                    return;
                };
                if matches!(message, Message::Text(_) | Message::Binary(_))
                    && socket.send(message).await.is_err()
                {
                    return;
                }
            }
            let goodbye = CloseFrame {
                code: close_code::AWAY,
                reason: "the service stops".into(),
            };
            // A client that is gone has no need of it.
            let _ = socket.send(Message::Close(Some(goodbye))).await;
        })
}

/// How a body made by [`body`] ends.
#[derive(Clone, Copy)]
enum End {
    Complete,
    Error,
    Panic,
}

fn body(chunks: u64, pause: Duration, end: End) -> Body {
    Body::from_stream(stream::unfold(0, move |sent| async move {
        if sent < chunks {
            if sent > 0 && !pause.is_zero() {
                sleep(pause).await;
            }
            return Some((Ok(Bytes::from_static(&CHUNK)), sent + 1));
        }
        if matches!(end, End::Complete) || sent > chunks {
            return None;
        }
        // hyper writes when a body is pending: without a pause nobody would see the chunks.
        sleep(Duration::from_millis(5)).await;
        if matches!(end, End::Panic) {
            panic!("the playground was asked to panic in the body");
        }
        let error = io::Error::other("the playground was asked to break the body");
        Some((Err(error), sent + 1))
    }))
}

// === a call to itself ===

/// Calls this very service.
#[derive(Clone)]
struct Caller {
    client: Client<HttpConnector, Body>,
    address: SocketAddr,
}

async fn call(
    State(caller): State<Caller>,
    Query(mut query): Query<HashMap<String, String>>,
) -> Result<Response, Refusal> {
    let to = query.remove("to").unwrap_or_else(|| "/headers".to_owned());
    let request = caller.request(&to)?;
    // Sets x-request-id to the id of the request that is being answered.
    let client = ServiceBuilder::new()
        .layer(RequestIdClientLayer::new())
        .service(caller.client);

    let mut response = match timeout(CALL_TIMEOUT, client.oneshot(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => {
            let error = json!({ "error": format!("{to}: {}", with_causes(&error)) });
            return Ok((StatusCode::BAD_GATEWAY, Json(error)).into_response());
        }
        Err(_) => {
            let error = json!({ "error": format!("{to}: no answer in {CALL_TIMEOUT:?}") });
            return Ok((StatusCode::GATEWAY_TIMEOUT, Json(error)).into_response());
        }
    };
    let seen = response
        .headers_mut()
        .remove(SEEN_HEADERS)
        .and_then(|seen| serde_json::from_slice::<Value>(seen.as_bytes()).ok());
    // A body read to its end keeps the connection; one that is long, endless or broken is dropped.
    let body = Limited::new(response.into_body(), CALL_BODY).collect();
    let _ = timeout(CALL_BODY_TIMEOUT, body).await;
    Ok(match seen {
        Some(seen) => Json(seen).into_response(),
        None => {
            let error = json!({ "error": format!("{to}: the callee did not say what it saw") });
            (StatusCode::BAD_GATEWAY, Json(error)).into_response()
        }
    })
}

impl Caller {
    /// A request to this service, whatever `to` says: only the path and the query are taken.
    fn request(&self, to: &str) -> Result<Request, Refusal> {
        if !to.starts_with('/') {
            return Err(refuse(format!("to={to:?} has to begin with /\n")));
        }
        let uri = Uri::builder()
            .scheme("http")
            .authority(self.address.to_string())
            .path_and_query(to)
            .build()
            .map_err(|error| refuse(format!("to={to:?} is no path: {error}\n")))?;
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = uri;
        request
            .headers_mut()
            .insert(SEEN_HEADERS, HeaderValue::from_static("please"));
        Ok(request)
    }
}

/// Answers [`SEEN_HEADERS`] for every route, so that `/call` works with any of them.
///
/// The answer is as long as the request's own headers, which hyper limits.
async fn report_seen_headers(mut request: Request, next: Next) -> Response {
    if request.headers_mut().remove(SEEN_HEADERS).is_none() {
        return next.run(request).await;
    }
    let seen = headers_as_json(request.headers()).to_string();
    let mut response = next.run(request).await;
    if let Ok(seen) = HeaderValue::try_from(seen) {
        response.headers_mut().insert(SEEN_HEADERS, seen);
    }
    response
}

/// A header given twice has its values joined by a comma.
fn headers_as_json(headers: &HeaderMap) -> Value {
    headers
        .keys()
        .map(|name| {
            let values = headers.get_all(name).iter();
            let values: Vec<_> = values
                .map(|value| String::from_utf8_lossy(value.as_bytes()))
                .collect();
            (name.as_str().to_owned(), Value::from(values.join(", ")))
        })
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// A server that listens everywhere calls itself over loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// An error and what caused it, on one line.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

// === limits ===

fn wait(ms: u64) -> Result<Duration, Refusal> {
    if ms > MAX_MS {
        return Err(refuse(format!("{ms} ms is too long: at most {MAX_MS}\n")));
    }
    Ok(Duration::from_millis(ms))
}

fn count(chunks: u64) -> Result<u64, Refusal> {
    if chunks > MAX_CHUNKS {
        return Err(refuse(format!(
            "{chunks} chunks are too many: at most {MAX_CHUNKS}\n"
        )));
    }
    Ok(chunks)
}

fn refuse(why: String) -> Refusal {
    (StatusCode::BAD_REQUEST, why)
}
