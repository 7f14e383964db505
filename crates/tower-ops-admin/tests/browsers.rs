//! Who may change something: not a page of another site, not under a foreign name, and nobody
//! without a token on the application's port.
#![cfg(feature = "server")]
#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::fmt::{Debug, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::get;
use http::{Method, Request, Response};
use tower::{ServiceExt, service_fn};
use tower_ops_admin::{Access, Admin, AdminRequestBody, Mount, Tokens};
use tower_ops_testing::RawHttp1;
use tracing::field::{Field, Visit};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

const TOKEN: &str = "a-token-to-change-things";

/// A stop that anybody may ask for with GET or POST, and what was counted.
fn admin(tokens: Tokens) -> (Admin, Arc<AtomicUsize>) {
    let stops = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&stops);
    let stop = service_fn(move |_: Request<AdminRequestBody>| {
        counted.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Ok::<_, Infallible>(Response::new("stopped".to_owned())))
    });
    let read = service_fn(async |_: Request<AdminRequestBody>| {
        Ok::<_, Infallible>(Response::new("read".to_owned()))
    });
    let stop = Mount::new("/stop", stop)
        .access(Access::Public)
        .changes_need(Access::Public)
        .changes_if(|method, _| matches!(*method, Method::GET | Method::POST));
    let admin = Admin::builder("test")
        .tokens(tokens)
        .trusted_host("ops.example.com")
        .mount(stop)
        .mount(Mount::new("/read", read))
        .build()
        .unwrap();
    (admin, stops)
}

async fn send(addr: SocketAddr, request: &str) -> u16 {
    let mut client = RawHttp1::connect(addr).await.unwrap();
    client.send(request).await.unwrap();
    client.read_head().await.unwrap().status.as_u16()
}

#[tokio::test]
async fn a_page_of_another_site_stops_nothing_and_a_kubelet_does() {
    let (admin, stops) = admin(Tokens::none());
    let endpoint = admin.start((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = endpoint.addr();
    for (status, head) in [
        (200, "GET /stop HTTP/1.0\r\n"),
        (200, "GET /stop HTTP/1.1\r\nhost: 10.1.2.3:8080\r\n"),
        (200, "POST /stop HTTP/1.1\r\nhost: ops.example.com\r\n"),
        (
            200,
            "GET /stop/ HTTP/1.1\r\nhost: localhost\r\nsec-fetch-site: none\r\n",
        ),
        (
            200,
            "GET /stop HTTP/1.1\r\nhost: 10.1.2.3\r\nuser-agent: kube-probe/1.31\r\n",
        ),
        // What a browser sends over plain HTTP for a picture on a page of another site.
        (
            403,
            "GET /stop HTTP/1.1\r\nhost: 10.1.2.3\r\nuser-agent: Mozilla/5.0 (X11; Linux)\r\n",
        ),
        (400, "GET /stop HTTP/1.1\r\n"),
        (
            400,
            "GET /read HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n",
        ),
        (421, "GET /stop HTTP/1.1\r\nhost: evil.example\r\n"),
        (421, "GET /read HTTP/1.1\r\nhost: evil.example\r\n"),
        (421, "GET / HTTP/1.1\r\nhost: evil.example\r\n"),
        (421, "GET /nothing HTTP/1.0\r\nhost: evil.example\r\n"),
        (
            421,
            "GET http://evil.example/stop HTTP/1.1\r\nhost: localhost\r\n",
        ),
        (
            403,
            "POST /stop HTTP/1.1\r\nhost: localhost\r\norigin: http://evil.example\r\n",
        ),
        (
            403,
            "POST /stop HTTP/1.1\r\nhost: localhost\r\norigin: null\r\n",
        ),
        (
            403,
            "GET /stop HTTP/1.1\r\nhost: localhost\r\nsec-fetch-site: cross-site\r\n",
        ),
        (
            403,
            "GET /stop HTTP/1.1\r\nhost: localhost\r\nsec-purpose: prefetch\r\n",
        ),
        (
            403,
            "OPTIONS /stop HTTP/1.1\r\nhost: localhost\r\norigin: null\r\n",
        ),
        (200, "OPTIONS /stop HTTP/1.0\r\n"),
        (
            200,
            "GET /read HTTP/1.1\r\nhost: localhost\r\norigin: http://evil.example\r\n",
        ),
    ] {
        let before = stops.load(Ordering::SeqCst);
        assert_eq!(send(addr, &format!("{head}\r\n")).await, status, "{head}");
        let has_stopped = stops.load(Ordering::SeqCst) > before;
        let may = status == 200 && head.contains("/stop") && !head.starts_with("OPTIONS");
        assert_eq!(has_stopped, may, "{head}");
    }
}

#[tokio::test]
async fn on_the_applications_port_nobody_stops_anything_without_a_token() {
    let ask = async |app: Router, path: &str, token: Option<&str>| {
        let mut request = Request::get(path);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(axum::body::Body::empty()).unwrap();
        app.oneshot(request).await.unwrap().status().as_u16()
    };
    let router = || Router::new().route("/", get(async || "hello"));
    let around = |admin: &Admin| {
        router()
            .fallback(async || "none")
            .layer(admin.layer("/ops"))
    };
    let nested = |admin: &Admin| router().nest_service("/ops", admin.clone());
    let (without, stops) = admin(Tokens::none());
    for app in [around(&without), nested(&without)] {
        assert_eq!(ask(app.clone(), "/ops/stop", None).await, 403);
        assert_eq!(ask(app.clone(), "/ops/stop/", Some(TOKEN)).await, 403);
        assert_eq!(ask(app, "/ops/read", None).await, 200);
    }
    assert_eq!(stops.load(Ordering::SeqCst), 0);
    let tokens = Tokens::builder().write(TOKEN).build().unwrap();
    let (with, stops) = admin(tokens);
    for app in [around(&with), nested(&with)] {
        assert_eq!(ask(app.clone(), "/ops/stop", None).await, 401);
        assert_eq!(ask(app, "/ops/stop", Some(TOKEN)).await, 200);
    }
    // Not even if its port is private.
    let app = around(&with.on_private_port());
    assert_eq!(ask(app, "/ops/stop", None).await, 401);
    assert_eq!(stops.load(Ordering::SeqCst), 2);
}

/// What goes to the audit's target, an event a line.
#[derive(Clone, Default)]
struct Audit(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> Layer<S> for Audit {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                let _ = write!(self.0, "{field}={value:?} ");
            }
        }
        if event.metadata().target() == "tower_ops::audit" {
            assert_eq!(*event.metadata().level(), tracing::Level::INFO);
            let mut text = Text(String::new());
            event.record(&mut text);
            self.0.lock().unwrap().push(text.0);
        }
    }
}

#[tokio::test]
async fn each_change_leaves_one_audit_event_and_nothing_else_does() {
    let audit = Audit::default();
    // With one subscriber alone, a thread that has none decides for all that an event which it is
    // the first to reach interests nobody.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let subscriber = tracing_subscriber::registry().with(audit.clone());
    let _set = tracing::subscriber::set_default(subscriber);
    let tokens = Tokens::builder().write(TOKEN).build().unwrap();
    let (admin, _) = admin(tokens);
    let admin = admin.on_private_port();
    let ask = async |method: &str, path: &str, headers: &[(&str, &str)]| {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let peer = SocketAddr::from(([192, 0, 2, 7], 4711));
        request = request.extension(tower_ops_admin::RemoteAddr::new(peer));
        let request = request.body(String::new()).unwrap();
        admin.clone().oneshot(request).await.unwrap().status()
    };
    ask("GET", "/read", &[]).await;
    ask("OPTIONS", "/stop", &[]).await;
    ask("GET", "/stop", &[("origin", "http://evil.example")]).await;
    ask("POST", "/read", &[]).await;
    assert!(audit.0.lock().unwrap().is_empty());
    let agent = "evil\u{e9}\t1";
    ask("GET", "/stop", &[("user-agent", agent)]).await;
    let bearer = format!("Bearer {TOKEN}");
    ask("DELETE", "/read", &[("authorization", &bearer)]).await;
    let events = audit.0.lock().unwrap().clone();
    assert_eq!(events.len(), 2, "{events:#?}");
    for part in [
        "method=GET",
        "path=/stop",
        "peer=192.0.2.7:4711",
        "user_agent=evil\\xc3\\xa9\\t1",
        "token=\"none\"",
        "status=200",
    ] {
        assert!(events[0].contains(part), "{part}: {}", events[0]);
    }
    assert!(events[1].contains("token=\"write\""), "{}", events[1]);
    assert!(events.iter().all(|event| !event.contains(TOKEN)));
}
