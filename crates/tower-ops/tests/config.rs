//! Every problem of a configuration comes back in one error, and a refused build leaves no trace.

use std::convert::Infallible;
use std::sync::Arc;

use http::Response;
use tower::service_fn;
use tower_ops::admin::{AdminBuilder, Mount};
use tower_ops::{Ops, OpsBuilder};

/// Changes a valid configuration, and returns the problems.
fn problems(change: impl FnOnce(OpsBuilder) -> OpsBuilder) -> Vec<String> {
    let builder = Ops::builder("orders").private_recorder();
    let built = change(builder).build();
    built.map_or_else(|error| error.problems().to_vec(), |_| Vec::new())
}

/// There is one problem, of this setting, and it shows the value that it is about.
#[track_caller]
fn assert_one(problems: &[String], setting: &str, value: &str) {
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].starts_with(&format!("{setting}: ")),
        "{problems:?}"
    );
    assert!(problems[0].contains(value), "{problems:?}");
}

#[test]
fn the_defaults_are_valid() {
    assert_eq!(problems(|builder| builder), [""; 0]);
}

#[test]
fn the_name_is_not_empty() {
    for name in ["", " ", "\t\n"] {
        let builder = Ops::builder(name).private_recorder();
        // Also of the parts that are given the name.
        let builder = builder.state(|state| state.single(|| 1, |_: u8| Ok(())));
        let error = builder.validate().unwrap_err();
        assert_one(error.problems(), "name", "empty");
        assert_eq!(builder.build().unwrap_err(), error);
    }
}

#[test]
fn a_name_that_is_too_long_for_an_envelope_is_refused_with_a_state() {
    let long = "o".repeat(200);
    let builder = || Ops::builder(&long).private_recorder();
    assert!(builder().validate().is_ok());
    let builder = builder().state(|state| state.single(|| 1, |_: u8| Ok(())));
    let error = builder.validate().unwrap_err();
    assert_one(error.problems(), "state: application", "128 bytes");
}

#[test]
fn an_application_cannot_mount_what_the_operations_endpoint_has() {
    let mount = |path: &'static str| {
        move |admin: AdminBuilder| {
            let page = service_fn(async |_| Ok::<_, Infallible>(Response::new(String::new())));
            admin.mount(Mount::new(path, page))
        }
    };
    for path in ["/metrics", "/requests/mine", "/health/ping"] {
        let found = problems(|builder| builder.operations(mount(path)));
        assert_one(&found, "operations", &format!("{path:?}: overlaps with"));
    }
    for path in ["/livez", "/metricsz"] {
        let builder = |builder: OpsBuilder| builder.operations(mount(path));
        assert_eq!(problems(builder), [""; 0]);
    }
    let found = problems(|it| it.probe_aliases(true).operations(mount("/livez")));
    assert_one(&found, "operations", "\"/livez\"");
}

#[test]
fn the_operations_address_is_an_ip_address_with_a_port() {
    for addr in [
        "",
        "8080",
        ":8080",
        "localhost:8080",
        "0.0.0.0",
        "0.0.0.0:99999",
        "::1:80 ",
    ] {
        let found = problems(|builder| builder.ops_addr(addr));
        assert_one(&found, "ops_addr", &format!("{addr:?}"));
    }
    for addr in ["127.0.0.1:0", "0.0.0.0:8080", "[::]:8080"] {
        assert_eq!(problems(|builder| builder.ops_addr(addr)), [""; 0]);
    }
}

#[test]
fn the_request_id_header_is_a_header_name() {
    for name in ["", "x request id", "x-id:", "ö", "a\r\nb", "a\0"] {
        let found = problems(|builder| builder.request_id_header(name));
        assert_one(&found, "request_id_header", &format!("{name:?}"));
    }
    let long = "x".repeat(100_000);
    assert_eq!(
        problems(|builder| builder.request_id_header(&long)).len(),
        1
    );
    for name in [
        "content-length",
        "Host",
        "connection",
        "transfer-encoding",
        "cookie",
    ] {
        let found = problems(|builder| builder.request_id_header(name));
        assert_one(&found, "request_id_header", &name.to_lowercase());
    }
    let found = problems(|builder| builder.request_id_header("X-Correlation-ID"));
    assert_eq!(found, [""; 0]);
}

#[test]
fn problems_of_the_tracking_are_named_as_theirs() {
    let found = problems(|builder| builder.requests(|it| it.max_history(0)));
    assert_one(&found, "requests", "max_history");
}

#[test]
fn a_grpc_method_is_a_service_and_a_method() {
    for method in ["", "/", "a", "a/", "/b", "/a.B/C", "a/b/c"] {
        let found = problems(|builder| builder.grpc_methods(["a.B/C", method]));
        assert_one(&found, "grpc_methods", &format!("{method:?}"));
    }
}

#[test]
fn problems_of_the_metrics_are_named_as_theirs() {
    let found = problems(|builder| builder.metrics(|it| it.duration_buckets([2.0, 1.0])));
    assert_one(&found, "metrics: duration_buckets", "2 stands before 1");
    let found = problems(|builder| builder.metrics(|it| it.prefix("a-")));
    assert_one(&found, "metrics: prefix", "\"a-\"");
    let found = problems(|builder| builder.metrics(|it| it.max_series(0)));
    assert_one(&found, "metrics: max_series", "0");
    let recorder = Arc::new(metrics::NoopRecorder);
    let found = problems(|builder| builder.metrics(|it| it.recorder(recorder)));
    assert_one(&found, "metrics: recorder", "only one");
}

#[test]
fn all_problems_come_in_one_error_and_nothing_is_installed() {
    let recorder = Arc::new(metrics::NoopRecorder);
    let error = Ops::builder("")
        .ops_addr("nowhere")
        .request_id_header("a b")
        .grpc_methods(["one", "two"])
        .metrics(|it| {
            it.prefix("-")
                .duration_buckets([])
                .size_buckets([2.0, 1.0])
                .max_series(0)
                .recorder(recorder)
        })
        .build()
        .unwrap_err();
    let begins = [
        "name: ",
        "ops_addr: ",
        "request_id_header: ",
        "grpc_methods: \"one\"",
        "grpc_methods: \"two\"",
        "metrics: prefix: ",
        "metrics: duration_buckets: ",
        "metrics: size_buckets: ",
        "metrics: max_series: ",
        "metrics: recorder: ",
    ];
    assert_eq!(error.problems().len(), begins.len(), "{error}");
    for (problem, begin) in error.problems().iter().zip(begins) {
        assert!(
            problem.starts_with(begin),
            "{problem:?} does not begin with {begin:?}"
        );
    }
    let text = error.to_string();
    assert!(
        text.starts_with("the configuration of the service is invalid:\n"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 11, "{text}");

    // Nothing else in this file installs a recorder: the place is free.
    assert!(metrics::set_global_recorder(metrics::NoopRecorder).is_ok());
}
