//! Whatever a client or a handler puts into a line: it is one line, valid, bounded, and holds what
//! was put there.

use std::error::Error;
use std::fmt;

use http::HeaderValue;
use proptest::prelude::*;
use tower_ops_logs::{Format, Logs, LogsBuilder, MAX_LINE};
use tower_ops_observe::RequestIdScope;

use super::sink::{Log, json};

/// Ends a line, ends a string, moves the cursor, turns the direction of text, or is just large.
fn hostile() -> Vec<String> {
    let mut all: Vec<String> = [
        "",
        "\n",
        "\r\n{\"level\":\"ERROR\",\"message\":\"forged\"}\n",
        "\",\"level\":\"ERROR\",\"x\":\"",
        "\\",
        "\\\"",
        "\\u000a",
        "\0",
        "\u{1b}[2J\u{1b}[1;1H\u{1b}]0;title\u{7}",
        "\u{9b}31m\u{85}\u{90}",
        "\u{7f}\u{8}\u{b}\u{c}",
        "\u{2028}\u{2029}",
        "\u{202e}gnp.exe\u{202c}\u{2066}\u{2069}\u{200e}\u{200f}\u{61c}",
        "a=b level=ERROR \u{a0}\u{feff}",
        "größer 大 🦀 \u{10ffff}",
    ]
    .map(str::to_owned)
    .into();
    let megabyte = |text: &str| text.repeat((1 << 20) / text.len());
    all.extend(["x", "\0", "\"", "é", "🦀", "\n\u{202e}"].map(megabyte));
    all
}

#[derive(Debug)]
struct Failed(String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Failed {}

/// Logs it in every place that there is, and returns how many events that were.
fn log_everywhere(text: &str) -> usize {
    let error = Failed(text.to_owned());
    let error: &(dyn Error + 'static) = &error;
    tracing::info!("{text}");
    tracing::info!(text);
    tracing::info!(display = %text, debug = ?text, bytes = text.as_bytes(), error);
    tracing::info!(list = ?[text; 3], option = ?Some(text), "{text}{text}");
    tracing::info!(request_id = text, trace_id = text, span_id = %text, trace_flags = text);
    tracing::info!(
        timestamp = text,
        level = text,
        target = text,
        truncated = text,
        "reserved"
    );
    tracing::info!(
        severity = text,
        time = text,
        httpRequest = text,
        "reserved by GCP"
    );
    tracing::info!(
        "logging.googleapis.com/trace" = text,
        "field.level" = text,
        "prefixed"
    );
    tracing::info!(a = text, a = 2, b = text, "twice");
    tracing::info!("k\"e\ny\u{202e}" = text, "" = text, "keys");
    let span = tracing::info_span!("span", a = text, level = %text, later = tracing::field::Empty);
    span.record("later", text);
    span.record("a", tracing::field::debug(text));
    span.in_scope(|| {
        let _inner =
            tracing::info_span!("inner", a = text, request_id = text, message = text).entered();
        tracing::info!(b = text, "in spans");
    });
    tracing::info!(
        target: "tower_ops::access",
        method = text,
        path = text,
        status = text,
        bytes_in = text,
        bytes_out = %text,
        duration_ms = text,
        peer = text,
        user_agent = text,
        request_id = text,
        route = text,
        "{text}"
    );
    tracing::info!(
        target: "tower_ops::access",
        method = "GET",
        path = text,
        status = 200,
        duration_ms = 1.5,
        peer = %text,
        user_agent = ?text,
        trace_id = "4bf92f3577b34da6a3ce929d0e0e4736",
        "{text}"
    );
    13
}

fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn builders() -> [(bool, LogsBuilder); 4] {
    let builder = |format| Logs::builder().format(format).queue(64 << 20);
    [
        (true, builder(Format::Json)),
        (true, builder(Format::Ecs).field("service", "a\nb")),
        (true, builder(Format::Gcp).gcp_project("orders-42")),
        (false, builder(Format::Text).field("service", "a\nb")),
    ]
}

fn check(lines: &[String], is_json: bool) {
    for line in lines {
        assert!(line.len() < MAX_LINE, "{} bytes", line.len());
        assert!(!line.contains(is_dangerous), "{line:?}");
        if is_json {
            let json = json(line);
            let level = ["level", "log.level", "severity"].map(|key| json[key].as_str());
            let level = level.into_iter().flatten().next().unwrap();
            assert!(level.eq_ignore_ascii_case("info"), "{line}");
        } else {
            let after_time = line.split_once("Z ").unwrap().1;
            assert!(after_time.starts_with(" INFO "), "{line}");
        }
    }
}

#[test]
fn every_event_is_one_valid_line_whatever_is_in_it() {
    for (is_json, builder) in builders() {
        let log = Log::new(builder);
        for text in hostile() {
            let events = log_everywhere(&text);
            // And with whatever stands in the header, where an observer lets it through.
            let mut events_in_scope = 0;
            if let Ok(id) = HeaderValue::from_bytes(text.as_bytes()) {
                let mut scope = RequestIdScope::new(Some(id));
                events_in_scope = scope.enter(|| log_everywhere(&text));
            }
            let lines = log.lines();
            assert_eq!(
                lines.len(),
                events + events_in_scope,
                "{is_json} {text:.20}"
            );
            check(&lines, is_json);
        }
    }
}

#[test]
fn with_colours_the_only_escape_sequences_are_the_own_ones() {
    let log = Log::new(Logs::builder().color(true).queue(64 << 20));
    for text in hostile() {
        let events = log_everywhere(&text);
        let lines = log.lines();
        assert_eq!(lines.len(), events);
        for line in lines {
            let without = ["[0m", "[2m", "[32m"]
                .iter()
                .fold(line, |line, own| line.replace(&format!("\u{1b}{own}"), ""));
            assert!(!without.contains(is_dangerous), "{without:?}");
            assert!(without.len() < MAX_LINE);
        }
    }
}

#[test]
fn what_is_cut_is_marked() {
    let log = Log::new(Logs::builder().format(Format::Json));
    let large = "é".repeat(1 << 20);
    tracing::info!(large, small = 1, "the message");
    let line = log.one();
    assert_eq!(line["truncated"], true);
    assert_eq!(line["small"], 1);
    let kept = line["large"].as_str().unwrap();
    assert!(kept.len() <= 1024 && kept.ends_with("é…"), "{}", kept.len());
    tracing::info!(small = 1, "{large}");
    let line = log.one();
    assert_eq!(
        (&line["truncated"], &line["small"]),
        (&true.into(), &1.into())
    );
    assert!(line["message"].as_str().unwrap().len() <= 4096);
    tracing::info!("small");
    assert_eq!(log.one().get("truncated"), None);
}

#[test]
fn bytes_that_are_no_text_are_replaced() {
    let log = Log::new(Logs::builder().format(Format::Json));
    let bytes: &[u8] = b"a\xff\x1b\xc0\xaf";
    tracing::info!(bytes);
    assert_eq!(log.one()["bytes"], "a\u{fffd}\u{1b}\u{fffd}\u{fffd}");
    let header = HeaderValue::from_bytes(b"id\xff").unwrap();
    RequestIdScope::new(Some(header)).enter(|| tracing::info!("in scope"));
    assert_eq!(log.one()["request_id"], "id\u{fffd}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_comes_back_as_it_was(text in ".{0,150}") {
        let log = Log::new(Logs::builder().format(Format::Json));
        let span = tracing::info_span!("span", span = &*text);
        span.in_scope(|| tracing::info!(field = &*text, display = %text, "{text}"));
        let line = log.one();
        for key in ["message", "field", "display", "span"] {
            prop_assert_eq!(line[key].as_str(), Some(&*text));
        }
    }
}
