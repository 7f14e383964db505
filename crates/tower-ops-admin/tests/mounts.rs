//! What is answered for mounted services, whatever they do.
#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, StreamBody};
use tower::{ServiceExt, service_fn};
use tower_ops_admin::{Access, Admin, AdminBody, AdminRequestBody, Mount};
use tower_ops_testing::Readied;

const VERSION: &str = "x-tower-ops-version";

type Given = Request<AdminRequestBody>;

fn echo() -> Mount {
    let service = service_fn(async |request: Given| {
        let path = request.uri().to_string();
        match request.into_body().collect().await {
            Ok(body) => {
                let text = format!("{path} {:?}", body.to_bytes());
                Ok::<_, Infallible>(Response::new(text))
            }
            Err(error) => {
                let is_limit = error.downcast_ref::<LengthLimitError>().is_some();
                let mut response = Response::new(format!("limited: {is_limit}"));
                *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
                Ok(response)
            }
        }
    });
    Mount::new("/echo", service).changes_need(Access::Public)
}

fn admin(mount: Mount) -> Admin {
    let admin = Admin::builder("test").mount(mount).build().unwrap();
    // As on a port of its own: what is open to everybody stays so.
    admin.on_private_port()
}

async fn ask(admin: &Admin, request: Request<Full<Bytes>>) -> Response<AdminBody> {
    let response = admin.clone().oneshot(request).await.unwrap();
    assert_eq!(response.headers()[VERSION], env!("CARGO_PKG_VERSION"));
    response
}

async fn get(admin: &Admin, path: &str) -> (StatusCode, String) {
    let response = ask(admin, Request::get(path).body(Full::default()).unwrap()).await;
    let status = response.status();
    (status, text(response).await)
}

async fn text(response: Response<AdminBody>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn a_mount_gets_its_path_and_those_below_with_subpaths() {
    let alone = admin(echo());
    assert_eq!(get(&alone, "/echo?a=b").await.1, "/echo?a=b b\"\"");
    assert_eq!(get(&alone, "/echo/").await.0, 200, "a slash at the end");
    for path in ["/echo/7", "/echoes", "/ech", "/", "/nothing"] {
        let (status, body) = get(&alone, path).await;
        let expected = if path == "/" { 200 } else { 404 };
        assert_eq!(status, expected, "{path}: {body}");
    }
    let (_, body) = get(&alone, "/nothing").await;
    assert_eq!(body, "{\"error\":\"not found\",\"paths\":[\"/echo\"]}\n");

    let below = admin(echo().subpaths());
    for path in ["/echo", "/echo/", "/echo/7/8"] {
        assert_eq!(get(&below, path).await.0, 200, "{path}");
    }
    assert_eq!(get(&below, "/echoes").await.0, 404);
}

#[tokio::test]
async fn a_body_is_bounded_with_a_length_and_without() {
    let admin = admin(echo().max_body(10));
    for (length, status) in [(0, 200), (10, 200), (11, 413)] {
        let mut request = Request::post("/echo").header("content-length", length);
        // What it says and what it is agree, as hyper makes sure of.
        let body = Full::from(vec![b'x'; length]);
        let response = ask(&admin, request.body(body.clone()).unwrap()).await;
        assert_eq!(response.status(), status, "{length}");
        if length == 11 {
            let expected = "the body has 11 bytes; at most 10 are accepted";
            assert!(text(response).await.contains(expected));
        }
        request = Request::post("/echo");
        let response = ask(&admin, request.body(body).unwrap()).await;
        assert_eq!(response.status(), status, "{length} without");
        if length == 11 {
            assert_eq!(text(response).await, "limited: true");
        }
    }
}

#[tokio::test]
async fn a_body_that_breaks_is_the_services_to_see() {
    let frames = futures_util::stream::iter([Err::<http_body::Frame<Bytes>, _>("broken")]);
    let request = Request::post("/echo")
        .body(StreamBody::new(frames))
        .unwrap();
    let response = admin(echo()).oneshot(request).await.unwrap();
    assert_eq!(text(response).await, "limited: false");
}

fn panics() -> Result<Response<String>, Infallible> {
    panic!("in the future");
}

#[tokio::test]
async fn a_panic_anywhere_is_answered_with_500() {
    fn mount(when: &str) -> Mount {
        let in_call = when == "call";
        let service = service_fn(move |_: Given| {
            assert!(!in_call, "in the call");
            async {
                tokio::task::yield_now().await;
                panics()
            }
        });
        Mount::new("/panics", service)
    }
    for when in ["call", "future"] {
        let admin = admin(mount(when));
        for _ in 0..2 {
            let (status, body) = get(&admin, "/panics").await;
            assert_eq!(status, 500, "{when}");
            assert!(body.contains("panicked"), "{body}");
        }
    }
}

#[tokio::test]
async fn an_error_is_answered_with_500_and_not_shown() {
    let fails = service_fn(async |_: Given| Err::<Response<String>, _>("the secret cause"));
    let (status, body) = get(&admin(Mount::new("/fails", fails)), "/fails").await;
    assert_eq!(status, 500);
    assert!(!body.contains("secret"), "{body}");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_hangs_is_answered_with_504_unless_it_may() {
    let hangs = || service_fn(async |_: Given| std::future::pending::<Answered>().await);
    type Answered = Result<Response<String>, Infallible>;
    let began = tokio::time::Instant::now();
    let (status, body) = get(&admin(Mount::new("/hangs", hangs())), "/hangs").await;
    assert_eq!((status.as_u16(), began.elapsed().as_secs()), (504, 30));
    assert!(body.contains("within 30s"), "{body}");

    let admin = admin(Mount::new("/hangs", hangs()).timeout(None));
    let hour = Duration::from_secs(3_600);
    let asked = tokio::time::timeout(hour, get(&admin, "/hangs"));
    asked.await.unwrap_err();
}

#[tokio::test]
async fn a_service_is_polled_ready_before_it_is_called() {
    // Panics if it is not.
    let service = Readied::from_fn(|_: Given| async {
        Ok::<_, Infallible>(Response::new("ready".to_owned()))
    });
    let admin = admin(Mount::new("/readied", service));
    for _ in 0..2 {
        assert_eq!(
            get(&admin, "/readied").await,
            (StatusCode::OK, "ready".into())
        );
    }
}

#[tokio::test]
async fn the_index_is_for_people_and_programs() {
    let admin = Admin::builder("orders")
        .version("1.4.2")
        .info("commit", "ab12cd")
        .phase(|| "ready".into())
        .mount(
            echo()
                .subpaths()
                .about("says it again")
                .link("/echo/twice", "and again"),
        )
        .build()
        .unwrap();
    let (status, index) = get(&admin, "/").await;
    assert_eq!(status, 200);
    assert_eq!(
        index,
        "orders 1.4.2, ready, up 0s\n\
         commit ab12cd\n\
         \n\
         /echo        says it again\n\
         /echo/twice  and again\n\
         /info        name, version, phase and build, as JSON\n"
    );
    let request = |method: Method, path| {
        let request = Request::builder().method(method).uri(path);
        let json = request.header("accept", "text/html;q=0.5, application/json; q=0.9");
        json.body(Full::default()).unwrap()
    };
    let json = text(ask(&admin, request(Method::GET, "/")).await).await;
    assert_eq!(
        json,
        "{\"name\":\"orders\",\"version\":\"1.4.2\",\"phase\":\"ready\",\"info\":{\"commit\":\"ab12cd\"},\
         \"links\":[{\"path\":\"/echo\",\"about\":\"says it again\"},\
         {\"path\":\"/echo/twice\",\"about\":\"and again\"}]}\n"
    );
    let info: serde_json::Value =
        serde_json::from_str(&text(ask(&admin, request(Method::GET, "/info")).await).await)
            .unwrap();
    assert_eq!(info["name"], "orders");
    assert_eq!(info["tower_ops"], env!("CARGO_PKG_VERSION"));
    assert_eq!(info["pid"], std::process::id());
    assert_eq!(info["info"]["commit"], "ab12cd");
    assert!(info["uptime_ms"].is_f64(), "{info}");

    for path in ["/", "/info"] {
        let head = ask(&admin, request(Method::HEAD, path)).await;
        let length = head.headers()["content-length"]
            .to_str()
            .unwrap()
            .to_owned();
        assert_ne!(length, "0");
        assert_eq!(text(head).await, "", "{path}");
        let post = ask(&admin, request(Method::POST, path)).await;
        assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
}

#[tokio::test]
async fn the_header_can_have_another_name_or_none() {
    for (name, expected) in [(Some("x-orders-ops"), Some("x-orders-ops")), (None, None)] {
        let admin = Admin::builder("orders")
            .version_header(name)
            .build()
            .unwrap();
        let request = Request::get("/").body(Full::<Bytes>::default()).unwrap();
        let response = admin.oneshot(request).await.unwrap();
        assert!(!response.headers().contains_key(VERSION));
        if let Some(expected) = expected {
            assert!(response.headers().contains_key(expected));
        }
    }
}
