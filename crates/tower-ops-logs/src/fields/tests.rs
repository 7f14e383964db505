use std::error::Error;
use std::fmt;

use super::*;

fn text(fields: &Fields) -> &str {
    str::from_utf8(fields.as_bytes()).unwrap()
}

fn render(style: Style, value: Value<'_>) -> String {
    let mut out = Vec::new();
    value.render(&mut out, style);
    String::from_utf8(out).unwrap()
}

#[derive(Debug)]
struct Outer(fmt::Error);

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("outer")
    }
}

impl Error for Outer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

#[test]
fn values_are_numbers_and_words_where_they_can_be() {
    let error = Outer(fmt::Error);
    for (value, json, plain) in [
        (Value::Bool(true), "true", "true"),
        (Value::U64(0), "0", "0"),
        (
            Value::U64(u64::MAX),
            "18446744073709551615",
            "18446744073709551615",
        ),
        (
            Value::I64(i64::MIN),
            "-9223372036854775808",
            "-9223372036854775808",
        ),
        (Value::U128(7), "7", "7"),
        (
            Value::U128(1 << 64),
            "\"18446744073709551616\"",
            "18446744073709551616",
        ),
        (Value::I128(-1), "-1", "-1"),
        (
            Value::I128(i128::from(i64::MIN) - 1),
            "\"-9223372036854775809\"",
            "-9223372036854775809",
        ),
        (Value::F64(0.5), "0.5", "0.5"),
        (Value::F64(1e300), "1e300", "1e300"),
        (Value::F64(-0.0), "-0.0", "-0.0"),
        (Value::F64(f64::NAN), "\"NaN\"", "NaN"),
        (Value::F64(f64::NEG_INFINITY), "\"-inf\"", "-inf"),
        (Value::Str("word"), "\"word\"", "word"),
        (Value::Str(""), "\"\"", "\"\""),
        (Value::Str("two words"), "\"two words\"", "\"two words\""),
        (Value::Str("a=b"), "\"a=b\"", "\"a=b\""),
        (Value::Str("\"\\"), "\"\\\"\\\\\"", "\"\\\"\\\\\""),
        (Value::Str("a\nb"), "\"a\\nb\"", "\"a\\nb\""),
        (Value::Bytes(b"\xffabc"), "\"\u{fffd}abc\"", "\u{fffd}abc"),
        (Value::Debug(&Some(1)), "\"Some(1)\"", "Some(1)"),
        (Value::Debug(&"a b"), "\"\\\"a b\\\"\"", "\"\\\"a b\\\"\""),
        (
            Value::Error(&error),
            "\"outer: an error occurred when formatting an argument\"",
            "\"outer: an error occurred when formatting an argument\"",
        ),
    ] {
        assert_eq!(render(Style::Json, value), json);
        assert_eq!(render(Style::Text, value), plain);
        let _: serde_json::Value = serde_json::from_str(json).unwrap();
    }
}

#[test]
fn numbers_with_few_decimals_are_written_as_the_standard_library_does() {
    for number in [
        0.0,
        1.0,
        -1.0,
        1.25,
        0.353637,
        0.35363700000000003,
        0.0001,
        0.000099,
        0.5,
        -0.125,
        0.001,
        0.0005,
        1.2345,
        100.1,
        3.25,
        0.1 + 0.2,
        999_999_999_999.999,
        1e12,
        1e15,
        123_456.789,
        -42.42,
        1e-300,
        f64::MAX,
        f64::MIN_POSITIVE,
    ] {
        assert_eq!(
            render(Style::Json, Value::F64(number)),
            format!("{number:?}")
        );
    }
    for millionths in (-2_000..2_000).chain((0..2_000_000_000).step_by(99_991)) {
        let number = f64::from(millionths) / 1e6;
        assert_eq!(
            render(Style::Json, Value::F64(number)),
            format!("{number:?}")
        );
    }
}

#[test]
fn a_key_stands_once_and_reserved_ones_get_a_prefix() {
    let mut fields = Fields::default();
    for (name, value) in [
        ("a", 1),
        ("r#type", 2),
        ("level", 3),
        ("a", 4),
        ("field.level", 5),
        ("request_id", 6),
    ] {
        fields.put_named(Style::Json, name, Value::U64(value));
    }
    let json = r#","a":1,"type":2,"field.level":3,"field.field.level":5,"field.request_id":6"#;
    assert_eq!(text(&fields), json);
    let mut fields = Fields::default();
    for name in [
        "severity",
        "httpRequest",
        "logging.googleapis.com/trace",
        "time",
    ] {
        fields.put_named(Style::Gcp, name, Value::U64(1));
        fields.put_named(Style::Json, name, Value::U64(2));
    }
    assert!(text(&fields).starts_with(r#","field.severity":1,"severity":2,"#));
}

#[test]
fn keys_are_cut_and_those_that_then_are_the_same_stand_once() {
    let mut fields = Fields::default();
    let long: &'static str = Box::leak("k".repeat(100).into_boxed_str());
    let longer: &'static str = Box::leak("k".repeat(101).into_boxed_str());
    fields.put_named(Style::Json, long, Value::U64(1));
    fields.put_named(Style::Json, longer, Value::U64(2));
    assert_eq!(text(&fields), format!(",\"{}\":1", "k".repeat(KEY)));
    let mut fields = Fields::default();
    fields.put_named(Style::Json, "a\"\n\u{202e}", Value::U64(1));
    assert_eq!(text(&fields), r#","a\"\n\u202e":1"#);
}

#[test]
fn inner_fields_win_over_outer_ones_and_new_ones_over_old_ones() {
    let mut event = Fields::default();
    event.put_named(Style::Text, "a", Value::U64(1));
    let mut span = Fields::default();
    for (name, value) in [("b", 2), ("a", 3), ("c", 4)] {
        span.put_named(Style::Text, name, Value::U64(value));
    }
    event.add(&span, false);
    assert_eq!(text(&event), " a=1 b=2 c=4");
    let mut news = Fields::default();
    news.put_named(Style::Text, "a", Value::U64(5));
    news.put_named(Style::Text, "d", Value::U64(6));
    span.replace(&news);
    assert_eq!(text(&span), " b=2 c=4 a=5 d=6");
    news.clear();
    news.put_named(Style::Text, "b", Value::U64(7));
    span.replace(&news);
    assert_eq!(text(&span), " c=4 a=5 d=6 b=7");
    let mut constants = Fields::default();
    constants.put_named(Style::Text, "a", Value::U64(8));
    constants.put_named(Style::Text, "z", Value::U64(9));
    let mut left = Vec::new();
    constants.for_each_but(&span, |field| left.extend_from_slice(field));
    assert_eq!(left, b" z=9");
}

#[test]
fn what_does_not_fit_is_left_out_and_the_rest_stays_whole() {
    let mut fields = Fields::default();
    let names: Vec<&'static str> = (0..20)
        .map(|number| &*Box::leak(format!("name{number}").into_boxed_str()))
        .collect();
    let value = "x".repeat(VALUE);
    for name in &names {
        fields.put_named(Style::Json, name, Value::Str(&value));
    }
    fields.put_named(Style::Json, "short", Value::Bool(true));
    assert!(fields.is_cut);
    assert!(fields.as_bytes().len() <= FIELDS);
    let object = format!("{{{}}}", &text(&fields)[1..]);
    let object: serde_json::Value = serde_json::from_str(&object).unwrap();
    assert_eq!(object["short"], true);
    assert!(object["name0"].as_str().unwrap().ends_with('…'));
}
