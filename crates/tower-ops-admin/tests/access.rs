//! Who may do what.
#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::fs;
use std::time::Duration;

use http::{HeaderMap, Method, Request, Response};
use tower::{ServiceExt, service_fn};
use tower_ops_admin::{Access, Admin, AdminRequestBody, Mount, Role, Secret, Tokens};

const READ: &str = "a-token-to-look-at-things";
const WRITE: &str = "a-token-to-change-things";

fn admin(tokens: Tokens) -> Admin {
    let service = || {
        service_fn(async |_: Request<AdminRequestBody>| {
            Ok::<_, Infallible>(Response::new(String::new()))
        })
    };
    let mount = |path, access, changes| {
        Mount::new(path, service())
            .access(access)
            .changes_need(changes)
    };
    Admin::builder("test")
        .tokens(tokens)
        .mount(mount("/public", Access::Public, Access::Public))
        .mount(mount("/read", Access::Read, Access::Write))
        .mount(mount("/write", Access::Write, Access::Write))
        .build()
        .unwrap()
        .on_private_port()
}

async fn status(admin: &Admin, method: &Method, path: &str, header: Option<&str>) -> u16 {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(header) = header {
        request = request.header("authorization", header);
    }
    let request = request.body(String::new()).unwrap();
    let response = admin.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let asks = response.headers().contains_key("www-authenticate");
    assert_eq!(asks, status == 401, "{method} {path}");
    status
}

fn bearer(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let value = format!("Bearer {token}").parse().unwrap();
    headers.insert("authorization", value);
    headers
}

#[tokio::test]
async fn every_role_on_every_mount() {
    let none = || Tokens::builder();
    let read = || none().read(READ);
    let write = || none().write(WRITE);
    let both = || read().write(WRITE);
    // Of no header, a wrong token, the one for reading, the one for writing.
    let table = [
        (none(), "GET /public", [200, 200, 200, 200]),
        (none(), "GET /read", [200, 200, 200, 200]),
        (none(), "POST /read", [403, 403, 403, 403]),
        (none(), "GET /write", [403, 403, 403, 403]),
        (read(), "GET /public", [200, 200, 200, 200]),
        (read(), "POST /public", [200, 200, 200, 200]),
        (read(), "GET /read", [401, 401, 200, 401]),
        (read(), "HEAD /read", [401, 401, 200, 401]),
        (read(), "OPTIONS /read", [401, 401, 200, 401]),
        (read(), "DELETE /read", [403, 403, 403, 403]),
        (read(), "GET /", [401, 401, 200, 401]),
        (read(), "GET /info", [401, 401, 200, 401]),
        (read(), "GET /nothing", [404, 404, 404, 404]),
        (write(), "GET /public", [200, 200, 200, 200]),
        (write(), "GET /read", [200, 200, 200, 200]),
        (write(), "PUT /read", [401, 401, 401, 200]),
        (write(), "GET /write", [401, 401, 401, 200]),
        (both(), "GET /read", [401, 401, 200, 200]),
        (both(), "POST /read", [401, 401, 403, 200]),
        (both(), "GET /write", [401, 401, 403, 200]),
        (both(), "GET /", [401, 401, 200, 200]),
    ];
    let wrong = format!("Bearer {READ}!");
    let (read, write) = (format!("Bearer {READ}"), format!("bearer  {WRITE} "));
    let headers = [None, Some(&*wrong), Some(&*read), Some(&*write)];
    for (tokens, request, expected) in table {
        let admin = admin(tokens.clone().build().unwrap());
        let (method, path) = request.split_once(' ').unwrap();
        let method = method.parse().unwrap();
        for (header, expected) in headers.iter().zip(expected) {
            let status = status(&admin, &method, path, *header).await;
            assert_eq!(status, expected, "{tokens:?} {request} {header:?}");
        }
    }
}

#[tokio::test]
async fn what_is_no_bearer_token_opens_nothing() {
    let tokens = Tokens::builder().read(READ).build().unwrap();
    let admin = admin(tokens);
    for header in [
        READ.to_owned(),
        format!("Basic {READ}"),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Bearer {READ} {READ}"),
        format!("Bearer {}", &READ[1..]),
        format!("Bearer {}", "x".repeat(10_000)),
    ] {
        let status = status(&admin, &Method::GET, "/read", Some(&header)).await;
        assert_eq!(status, 401, "{header}");
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_change_with_their_file_and_stay_if_that_breaks() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens");
    let current = "the-current-token,long-enough";
    let next = "the-next-token,long-enough";
    fs::write(&path, format!("{current}\n")).unwrap();
    let tokens = Tokens::builder().write(Secret::from_file(&path));
    let tokens = tokens.build().unwrap();
    let may = |token| tokens.role(&bearer(token)) == Some(Role::Write);
    assert!(may(current) && !may(next));
    // The file is read on a thread, which a busy machine may hold up for longer than is waited.
    let becomes = |what: &dyn Fn() -> bool| {
        let mut tries = 0;
        while !what() {
            tries += 1;
            assert!(tries < 20_000, "it is never taken up");
            std::thread::sleep(Duration::from_millis(1));
        }
    };

    fs::write(&path, format!("{current}\r\n\n{next}")).unwrap();
    tokio::time::advance(Duration::from_secs(9)).await;
    assert!(!may(next), "the file is looked at every 10 s");
    tokio::time::advance(Duration::from_secs(1)).await;
    becomes(&|| may(current) && may(next));

    for broken in [
        "",
        "short",
        "with blanks, but long enough",
        &"x".repeat(5_000),
    ] {
        fs::write(&path, broken).unwrap();
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(may(current) && may(next), "{broken:?}");
    }
    fs::remove_file(&path).unwrap();
    tokio::time::advance(Duration::from_secs(10)).await;
    assert!(may(current) && may(next));

    fs::write(&path, next).unwrap();
    tokio::time::advance(Duration::from_secs(10)).await;
    becomes(&|| !may(current) && may(next));
}

#[test]
fn every_missing_token_is_told_at_once_and_none_is_shown() {
    let builder = Tokens::builder()
        .read("short")
        .read(Secret::from_env("TOWER_OPS_ADMIN_NEVER_SET"))
        .write(Secret::from_file("/nowhere/token"));
    let error = builder.validate().unwrap_err();
    assert_eq!(error.problems().len(), 3, "{error}");
    assert_eq!(builder.clone().build().unwrap_err(), error);
    let text = error.to_string();
    for part in [
        "read token: is shorter than 16 characters",
        "TOWER_OPS_ADMIN_NEVER_SET is not set",
        "write token: the file /nowhere/token cannot be read",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(!text.contains("short\""), "{text}");
    let tokens = Tokens::builder().read(READ).build().unwrap();
    assert!(!format!("{tokens:?}{builder:?}").contains(READ));
}
