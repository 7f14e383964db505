//! Every problem of a configuration, in one error.

use std::convert::Infallible;
use std::time::Duration;

use http::{Request, Response};
use tower::service_fn;
use tower_ops_admin::{Admin, AdminRequestBody, Mount};

fn mount(path: &'static str) -> Mount {
    let service = service_fn(async |_: Request<AdminRequestBody>| {
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    Mount::new(path, service)
}

#[test]
fn all_problems_come_in_one_error() {
    let error = Admin::builder(" ")
        .version_header("not a header")
        .base("ops/")
        .info("", "x")
        .info("commit", "a")
        .info("commit", "b")
        .mount(mount("metrics"))
        .mount(mount("/jobs/"))
        .mount(mount("/a//b"))
        .mount(mount("/a b"))
        .mount(mount("/info"))
        .mount(mount("/twice"))
        .mount(mount("/twice"))
        .mount(mount("/outer").subpaths())
        .mount(mount("/outer/inner"))
        .mount(mount("/slow").timeout(Duration::ZERO))
        .mount(mount("/linked").link("/elsewhere", ""))
        .build()
        .expect_err("nothing here is right");
    let text = error.to_string();
    for problem in [
        "name: is empty",
        "version_header: \"not a header\" is not a valid header name",
        "base: does not begin with a slash",
        "info: a name is empty",
        "info: \"commit\" is given twice",
        "mount \"metrics\": does not begin with a slash",
        "mount \"/jobs/\": ends with a slash",
        "mount \"/a//b\": has an empty segment",
        "mount \"/a b\": has characters that no path has",
        "mount \"/info\": the operations endpoint has that path itself",
        "mount \"/twice\": overlaps with \"/twice\"",
        "mount \"/outer/inner\": overlaps with \"/outer\"",
        "mount \"/slow\": with a timeout of 0 s",
        "mount \"/linked\": the link \"/elsewhere\" is not a path of it",
    ] {
        assert!(text.contains(problem), "{problem:?} is not in {text}");
    }
    assert_eq!(error.problems().len(), 14, "{error}");
}

#[test]
fn an_endpoint_with_nothing_on_it_is_fine() {
    assert!(Admin::builder("orders").build().is_ok());
}
