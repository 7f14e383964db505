use serde_json::Value as Json;

use super::*;
use crate::fields::Value;
use crate::ids::IdField;

const AT: Stamp = Stamp(1_795_610_821_123_456);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn ids() -> Ids {
    let mut ids = Ids::default();
    ids.take(IdField::RequestId, "0e37df36");
    ids.take(IdField::TraceId, TRACE);
    ids.take(IdField::SpanId, "00f067aa0ba902b7");
    ids.take(IdField::TraceFlags, "01");
    ids
}

fn fields(style: Style) -> Fields {
    let mut fields = Fields::default();
    fields.put_named(style, "user", Value::U64(7));
    fields.put_named(style, "basket", Value::Str("not empty"));
    fields
}

fn constants(style: Style) -> Fields {
    let mut fields = Fields::default();
    fields.put_named(style, "service", Value::Str("orders"));
    fields
}

fn access() -> Access {
    let mut access = Access::default();
    for (name, value) in [
        ("method", Value::Str("GET")),
        ("path", Value::Str("/users/7")),
        ("status", Value::U64(200)),
        ("bytes_in", Value::U64(0)),
        ("bytes_out", Value::U64(11)),
        ("peer", Value::Str("[2001:db8::1]:4711")),
        ("user_agent", Value::Str("curl/8")),
        ("duration_ms", Value::F64(500.0)),
    ] {
        assert!(access.take(name, value, 1000), "{name}");
    }
    assert!(!access.take("route", Value::Str("/users/{id}"), 1000));
    access
}

fn line(style: Style, ids: &Ids, access: Option<&Access>) -> String {
    let mut out = Vec::new();
    let line = Line {
        at: AT,
        head: None,
        level: Level::WARN,
        target: "orders::api",
        message: b"it is late",
        ids,
        constants: &constants(style),
        fields: &fields(style),
        access,
        project: Some("orders-42"),
    };
    let place = line.write(style, &mut Memory::default(), &mut out);
    let id = &out[usize::from(place.begin)..][..usize::from(place.length)];
    assert_eq!(id, ids.request_id);
    let line = String::from_utf8(out).unwrap();
    line.strip_suffix('\n').unwrap().to_owned()
}

#[test]
fn json_is_flat_and_begins_with_the_same_keys() {
    let head = r#"{"timestamp":"2026-11-25T12:47:01.123456Z","level":"WARN","target":"orders::api","message":"it is late""#;
    let fields = r#","service":"orders","user":7,"basket":"not empty"}"#;
    let known = format!(
        r#","request_id":"0e37df36","trace_id":"{TRACE}","span_id":"00f067aa0ba902b7","trace_flags":"01""#
    );
    assert_eq!(
        line(Style::Json, &ids(), None),
        format!("{head}{known}{fields}")
    );
    assert_eq!(
        line(Style::Json, &Ids::default(), None),
        format!("{head}{fields}")
    );
    let mut no_span = Ids::default();
    no_span.take(IdField::TraceId, TRACE);
    let trace = format!(r#","trace_id":"{TRACE}""#);
    assert_eq!(
        line(Style::Json, &no_span, None),
        format!("{head}{trace}{fields}")
    );
}

#[test]
fn ecs_is_nested() {
    let head = r#"{"@timestamp":"2026-11-25T12:47:01.123456Z","log.level":"warn","message":"it is late","ecs.version":"8.11","log":{"logger":"orders::api"}"#;
    let labels = r#","labels":{"service":"orders","user":7,"basket":"not empty"}}"#;
    assert_eq!(
        line(Style::Ecs, &Ids::default(), None),
        format!("{head}{labels}")
    );
    let whole = line(Style::Ecs, &ids(), Some(&access()));
    assert!(
        whole.starts_with(head) && whole.ends_with(labels),
        "{whole}"
    );
    let json: Json = serde_json::from_str(&whole).unwrap();
    assert_eq!(json["trace"]["id"], TRACE);
    assert_eq!(json["span"]["id"], "00f067aa0ba902b7");
    let http = r#"{"request":{"body":{"bytes":0},"id":"0e37df36","method":"GET"},"response":{"body":{"bytes":11},"status_code":200}}"#;
    assert_eq!(json["http"].to_string(), http);
    assert_eq!(json["event"]["duration"], 500_000_000);
    assert_eq!(json["client"]["address"], "2001:db8::1");
    assert_eq!(json["url"]["path"], "/users/7");
    assert_eq!(json["user_agent"]["original"], "curl/8");
}

#[test]
fn gcp_has_its_own_names() {
    let json: Json = serde_json::from_str(&line(Style::Gcp, &ids(), Some(&access()))).unwrap();
    assert_eq!(json["severity"], "WARNING");
    assert_eq!(json["timestamp"], "2026-11-25T12:47:01.123456Z");
    assert_eq!(json["message"], "it is late");
    let trace = format!("projects/orders-42/traces/{TRACE}");
    assert_eq!(json["logging.googleapis.com/trace"], trace);
    assert_eq!(json["logging.googleapis.com/spanId"], "00f067aa0ba902b7");
    assert_eq!(json["logging.googleapis.com/trace_sampled"], true);
    assert_eq!(json["request_id"], "0e37df36");
    assert_eq!(json["user"], 7);
    let http = r#"{"latency":"0.5s","remoteIp":"2001:db8::1","requestMethod":"GET","requestSize":"0","requestUrl":"/users/7","responseSize":"11","status":200,"userAgent":"curl/8"}"#;
    assert_eq!(json["httpRequest"].to_string(), http);
    let json: Json = serde_json::from_str(&line(Style::Gcp, &Ids::default(), None)).unwrap();
    assert_eq!(json.get("httpRequest"), None);
    let nothing = Access::default();
    let json = line(Style::Gcp, &Ids::default(), Some(&nothing));
    let json: Json = serde_json::from_str(&json).unwrap();
    assert_eq!(json.get("httpRequest"), None);
}

#[test]
fn text_has_the_ids_last() {
    let head = "2026-11-25T12:47:01.123456Z  WARN orders::api: it is late";
    let fields = " service=orders user=7 basket=\"not empty\"";
    assert_eq!(
        line(Style::Text, &Ids::default(), None),
        format!("{head}{fields}")
    );
    let ids = format!(
        "{head}{fields} request_id=0e37df36 trace_id={TRACE} span_id=00f067aa0ba902b7 trace_flags=01"
    );
    assert_eq!(line(Style::Text, &self::ids(), None), ids);
}

#[test]
fn colours_are_those_of_the_level_and_end() {
    let line = line(Style::Color, &Ids::default(), None);
    let expected = "\u{1b}[2m12:47:01.123Z\u{1b}[0m \u{1b}[33m WARN\u{1b}[0m \
        \u{1b}[2morders::api:\u{1b}[0m it is late \u{1b}[2mservice=\u{1b}[0morders \
        \u{1b}[2muser=\u{1b}[0m7 \u{1b}[2mbasket=\u{1b}[0m\"not empty\"";
    assert_eq!(line, expected);
}

#[test]
fn the_largest_line_is_within_its_bound() {
    for style in [
        Style::Json,
        Style::Ecs,
        Style::Gcp,
        Style::Text,
        Style::Color,
    ] {
        let full = |size| {
            let mut fields = Fields::default();
            let mut names = (0..).map(|number| &*Box::leak(format!("n{number}").into_boxed_str()));
            let value = "\0".repeat(1000);
            while fields.as_bytes().len() + 1100 < size {
                fields.put_named(style, names.next().unwrap(), Value::Str(&value));
            }
            fields
        };
        let mut fields = full(crate::fields::FIELDS);
        fields.is_cut = true;
        let mut constants = Fields::default();
        constants.put_named(style, "constant", Value::Str(&"c".repeat(CONSTANTS - 100)));
        let mut ids = ids();
        ids.request_id = vec![b'\\'; 128];
        let target = "\u{1b}".repeat(1000);
        let access = access();
        let line = Line {
            at: AT,
            head: None,
            level: Level::ERROR,
            target: &target,
            message: &[b'm'; MESSAGE],
            ids: &ids,
            constants: &constants,
            fields: &fields,
            access: Some(&access).filter(|_| style.groups_access()),
            project: Some(&"p".repeat(64)),
        };
        let mut out = Vec::new();
        line.write(style, &mut Memory::default(), &mut out);
        let slack = crate::fields::FIELDS - fields.as_bytes().len() + 100;
        assert!(
            out.len() + slack <= MAX_LINE,
            "{style:?}: {} of {MAX_LINE}",
            out.len()
        );
    }
}

#[test]
fn a_format_is_found_by_its_name_in_any_case() {
    for format in Format::ALL {
        assert_eq!(format.as_str().to_uppercase().parse(), Ok(format));
        assert_eq!(format.to_string(), format.as_str());
    }
    assert_eq!("".parse::<Format>(), Err(UnknownFormat));
}
