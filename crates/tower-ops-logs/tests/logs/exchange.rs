//! Lines of an exchange have its ids, whatever the handler names its fields.

use std::convert::Infallible;

use http::{HeaderValue, Request, Response};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_ops_logs::{Format, Logs};
use tower_ops_observe::{Ending, Facts, Observe, ObserveLayer, TraceIds};
use tracing::Instrument;

use super::sink::Log;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Gives ids to an exchange and logs it at its end, as tower-ops-trace does.
struct Ids;

impl Observe for Ids {
    type Exchange = ();

    fn on_request<B>(&self, _: &mut Request<B>, facts: &mut Facts) {
        facts.set_request_id(HeaderValue::from_static("of-the-exchange"));
        let trace = u128::from_str_radix(TRACE, 16).unwrap();
        facts.set_trace_ids(TraceIds::new(trace, 0xf067, TraceIds::SAMPLED).unwrap());
    }

    fn on_end(&self, _: &mut (), _: &Ending<'_>, facts: &Facts) {
        let ids = facts.trace_ids().unwrap();
        tracing::info!(
            target: "tower_ops::access",
            request_id = facts.request_id().unwrap().to_str().unwrap(),
            trace_id = %ids.trace_id_hex(),
            span_id = %ids.span_id_hex(),
            trace_flags = %ids.flags_hex(),
            method = "GET",
            route = "/users/{id}",
            status = 200,
            duration_ms = 1.25,
            "request"
        );
    }
}

async fn exchange(handler: impl AsyncFn()) {
    let service = service_fn(async |_: Request<String>| {
        handler().await;
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    let service = ServiceBuilder::new()
        .layer(ObserveLayer::new(Ids))
        .service(service);
    let response = service.oneshot(Request::new(String::new())).await.unwrap();
    drop(response);
}

#[tokio::test]
async fn every_line_of_an_exchange_begins_with_the_same_keys() {
    let log = Log::new(Logs::builder().format(Format::Json));
    exchange(async || tracing::info!(user = 7, "from the handler")).await;
    tracing::info!("outside");
    let lines = log.lines();
    let ids = format!(
        r#""request_id":"of-the-exchange","trace_id":"{TRACE}","span_id":"000000000000f067","trace_flags":"01""#
    );
    let rest = |line: &str| line.split_once(r#","level":"#).unwrap().1.to_owned();
    let target = module_path!();
    let expected =
        format!(r#""INFO","target":"{target}","message":"from the handler",{ids},"user":7}}"#);
    assert_eq!(rest(&lines[0]), expected);
    let expected = format!(
        r#""INFO","target":"tower_ops::access","message":"request",{ids},"method":"GET","route":"/users/{{id}}","status":200,"duration_ms":1.25}}"#
    );
    assert_eq!(rest(&lines[1]), expected);
    assert_eq!(
        rest(&lines[2]),
        format!(r#""INFO","target":"{target}","message":"outside"}}"#)
    );
}

#[tokio::test]
async fn ids_that_a_handler_notes_do_not_take_the_place_of_those_of_the_exchange() {
    let log = Log::new(Logs::builder().format(Format::Json));
    exchange(async || {
        tracing::info!(request_id = "another", trace_id = %"0".repeat(32), span_id = 7, "other");
        tracing::info!(request_id = "of-the-exchange", trace_id = TRACE, "the same");
        let span = tracing::info_span!("span", request_id = "of-the-span");
        span.in_scope(|| tracing::info!("in a span"));
    })
    .await;
    let lines = log.json();
    for line in &lines {
        assert_eq!(line["request_id"], "of-the-exchange");
        assert_eq!(line["trace_id"], TRACE);
    }
    assert_eq!(lines[0]["field.request_id"], "another");
    assert_eq!(lines[0]["field.trace_id"], "0".repeat(32));
    assert_eq!(lines[0]["field.span_id"], 7);
    assert_eq!(lines[1].get("field.request_id"), None);
    assert_eq!(lines[2]["field.request_id"], "of-the-span");
}

#[tokio::test]
async fn a_span_takes_the_ids_along_into_a_task() {
    let log = Log::new(Logs::builder().format(Format::Json));
    exchange(async || {
        let task = async { tracing::info!(step = 1, "in a task") };
        let task = task.instrument(tracing::info_span!("job", job = 7));
        tokio::spawn(task).await.unwrap();
        tokio::spawn(async { tracing::info!("bare") })
            .await
            .unwrap();
    })
    .await;
    let lines = log.json();
    assert_eq!(lines[0]["request_id"], "of-the-exchange");
    assert_eq!(lines[0]["trace_id"], TRACE);
    assert_eq!(
        (&lines[0]["job"], &lines[0]["step"]),
        (&7.into(), &1.into())
    );
    assert_eq!(lines[1].get("request_id"), None);
}

#[test]
fn outside_of_an_exchange_fields_are_ids_where_they_are_well_formed() {
    let log = Log::new(Logs::builder().format(Format::Json));
    tracing::info!(
        request_id = "nightly",
        trace_id = TRACE,
        trace_flags = "03",
        "1"
    );
    tracing::info!(request_id = "has spaces", trace_id = "4bf92f", "2");
    let span = tracing::info_span!("span", request_id = "of-the-span");
    span.in_scope(|| tracing::info!("3"));
    let lines = log.json();
    assert_eq!(lines[0]["request_id"], "nightly");
    assert_eq!(
        (&lines[0]["trace_id"], &lines[0]["trace_flags"]),
        (&TRACE.into(), &"03".into())
    );
    assert_eq!(lines[1]["field.request_id"], "has spaces");
    assert_eq!(lines[1]["field.trace_id"], "4bf92f");
    assert_eq!(lines[1].get("request_id"), None);
    assert_eq!(lines[2]["request_id"], "of-the-span");
}

#[tokio::test]
async fn ecs_and_gcp_group_what_an_access_event_knows() {
    let log = Log::new(Logs::builder().format(Format::Gcp));
    exchange(async || ()).await;
    let line = log.one();
    let http = serde_json::json!({"requestMethod": "GET", "status": 200, "latency": "0.00125s"});
    assert_eq!(line["httpRequest"], http);
    assert_eq!(line["route"], "/users/{id}");
    assert_eq!(line["logging.googleapis.com/trace"], TRACE);
    let log = Log::new(Logs::builder().format(Format::Ecs));
    exchange(async || ()).await;
    let line = log.one();
    assert_eq!(line["http"]["request"]["id"], "of-the-exchange");
    assert_eq!(line["event"]["duration"], 1_250_000);
    assert_eq!(line["labels"]["route"], "/users/{id}");
}
