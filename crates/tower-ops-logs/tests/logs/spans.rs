//! Fields of spans in the lines of their events.

use std::fmt;

use tower_ops_logs::{Format, Logs};
use tracing::field::Empty;

use super::sink::Log;

fn log() -> Log {
    Log::new(Logs::builder().format(Format::Json).filter("trace"))
}

#[test]
fn the_event_wins_over_the_inner_span_and_that_over_the_outer_one() {
    let log = log();
    let _outer = tracing::info_span!("outer", a = "outer", b = "outer", c = "outer").entered();
    let _inner = tracing::info_span!("inner", a = "inner", b = "inner", d = 1.5).entered();
    tracing::info!(a = "event", e = -1, "the message");
    let line = log.lines().remove(0);
    let fields = line.split_once("\"the message\"").unwrap().1;
    assert_eq!(
        fields,
        r#","a":"event","e":-1,"b":"inner","d":1.5,"c":"outer"}"#
    );
}

#[test]
fn what_is_spawned_in_the_span_of_an_exchange_has_its_ids() {
    let log = log();
    let span = tracing::info_span!(
        target: "tower_ops::span",
        "request",
        request_id = "order-7",
        trace_id = "4bf92f3577b34da6a3ce929d0e0e4736",
        span_id = "00f067aa0ba902b7",
        trace_flags = "03",
    );
    // No exchange is current there.
    span.in_scope(|| tracing::info!("spawned"));
    let line = log.lines().remove(0);
    let ids = line.split_once("\"spawned\"").unwrap().1;
    assert_eq!(
        ids,
        r#","request_id":"order-7","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7","trace_flags":"03"}"#
    );
}

#[test]
fn what_is_recorded_later_takes_the_place_of_what_was_before() {
    let log = log();
    let span = tracing::info_span!("span", status = 200, route = Empty, untouched = true);
    span.in_scope(|| tracing::info!("1"));
    span.record("status", 500);
    span.record("route", "/users/{id}");
    span.in_scope(|| tracing::info!("2"));
    let empty = tracing::info_span!("empty", late = Empty);
    empty.record("late", 1);
    empty.in_scope(|| tracing::info!("3"));
    let lines = log.json();
    assert_eq!(lines[0]["status"], 200);
    assert_eq!(lines[0].get("route"), None);
    assert_eq!(lines[1]["status"], 500);
    assert_eq!(lines[1]["route"], "/users/{id}");
    assert_eq!(lines[1]["untouched"], true);
    assert_eq!(lines[2]["late"], 1);
}

#[test]
fn a_value_that_logs_while_it_is_formatted_does_no_harm() {
    struct Chatty;
    impl fmt::Debug for Chatty {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            tracing::info!(inner = 1, "from within");
            f.write_str("chatty")
        }
    }
    let log = log();
    let span = tracing::info_span!("span", value = ?Chatty, later = Empty);
    let _entered = span.enter();
    span.record("later", tracing::field::debug(Chatty));
    tracing::info!(value = ?Chatty, "outside");
    let lines = log.json();
    let outside = lines.last().unwrap();
    assert_eq!(
        (&outside["message"], &outside["value"]),
        (&"outside".into(), &"chatty".into())
    );
    assert_eq!(outside["later"], "chatty");
    // The macro of a span may be formatted outside of the dispatcher, or be silent in it.
    let within = lines.iter().filter(|line| line["message"] == "from within");
    assert!(within.clone().all(|line| line["inner"] == 1));
    assert_eq!(within.count(), lines.len() - 1);
}

#[test]
fn a_value_that_panics_while_it_is_formatted_leaves_the_next_lines_whole() {
    struct Panics;
    impl fmt::Debug for Panics {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("in fmt");
        }
    }
    let log = log();
    let panics = || tracing::info!(a = 1, value = ?Panics, "never");
    tower_ops_core::panic::catch(panics).unwrap_err();
    tracing::info!(b = 1, "next");
    let line = log.one();
    assert_eq!((&line["message"], line.get("a")), (&"next".into(), None));
}

#[test]
fn constant_fields_stand_in_every_line_or_in_those_of_a_target() {
    let builder = Logs::builder().format(Format::Json).filter("trace");
    let log = Log::new(
        builder
            .field("service", "orders")
            .field("version", 7)
            .field_of("payments", "component", "payments")
            .field_of("payments::ledger", "component", "ledger")
            .field_of("payments::ledger", "version", "8"),
    );
    tracing::info!("1");
    tracing::info!(target: "payments::api", service = "mine", "2");
    tracing::info!(target: "payments::ledger", "3");
    let lines = log.lines();
    let fields = |index: usize| {
        lines[index]
            .split_once("\"message\":")
            .unwrap()
            .1
            .to_owned()
    };
    assert_eq!(fields(0), r#""1","version":"7","service":"orders"}"#);
    assert_eq!(
        fields(1),
        r#""2","component":"payments","version":"7","service":"mine"}"#
    );
    assert_eq!(
        fields(2),
        r#""3","version":"8","component":"ledger","service":"orders"}"#
    );
}
