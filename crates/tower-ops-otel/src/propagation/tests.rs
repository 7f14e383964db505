use std::collections::HashMap;

use super::*;

fn ratio(ratio: f64) -> Ratio {
    Ratio::new(ratio).unwrap()
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pairs = pairs.iter().map(|&(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_str(value).unwrap(),
        )
    });
    pairs.collect()
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

#[test]
fn b3_in_one_header() {
    let b3 = Propagation::new(&[Format::B3], ratio(0.0));
    for (header, wanted) in [
        (format!("{TRACE}-{SPAN}-1"), Some(1)),
        (format!("{TRACE}-{SPAN}-d"), Some(1)),
        (format!("{TRACE}-{SPAN}-0"), Some(0)),
        (format!("{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90"), Some(1)),
        (format!("{}-{SPAN}-1", &TRACE[16..]), Some(1)),
        // Nobody has decided, and the ratio takes nothing.
        (format!("{TRACE}-{SPAN}"), Some(0)),
        ("0".to_owned(), None),
        (format!("{TRACE}-{SPAN}-2"), None),
        (format!("{TRACE}-{SPAN}-1-05e3"), None),
        (format!("{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90-"), None),
        (format!("{}-{SPAN}-1", TRACE.to_uppercase()), None),
        (format!("{TRACE}-+0f067aa0ba902b7-1"), None),
        (format!("{TRACE}-0000000000000000-1"), None),
        (format!("{}-{SPAN}-1", "0".repeat(32)), None),
        (format!("{}-{SPAN}-1", &TRACE[1..]), None),
        (String::new(), None),
    ] {
        let context = b3.extract(&headers(&[("b3", &header)]));
        let flags = context.map(|context| context.ids().flags());
        assert_eq!(flags, wanted, "{header}");
    }
}

#[test]
fn b3_in_several_headers() {
    let b3 = Propagation::new(&[Format::B3Multi], ratio(1.0));
    for (more, wanted) in [
        (&[("x-b3-sampled", "1")][..], Some(1)),
        (&[("x-b3-sampled", "true")], Some(1)),
        (&[("x-b3-sampled", "0")], Some(0)),
        (&[("x-b3-sampled", "false")], Some(0)),
        (&[("x-b3-sampled", "0"), ("x-b3-flags", "1")], Some(1)),
        (&[("x-b3-sampled", "yes")], None),
        (&[], Some(1)),
    ] {
        let mut all = headers(&[("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN)]);
        all.extend(headers(more));
        let context = b3.extract(&all);
        assert_eq!(
            context.map(|context| context.ids().flags()),
            wanted,
            "{more:?}"
        );
    }
    assert_eq!(b3.extract(&headers(&[("x-b3-traceid", TRACE)])), None);
}

#[test]
fn the_first_format_that_has_one_wins() {
    let formats = [Format::B3, Format::TraceContext];
    let propagation = Propagation::new(&formats, ratio(1.0));
    let parent = format!("00-{TRACE}-{SPAN}-00");
    let b3 = format!("{TRACE}-{SPAN}-1");
    let flags = |b3: &str| {
        let headers = headers(&[("traceparent", &parent), ("b3", b3)]);
        propagation.extract(&headers).unwrap().ids().flags()
    };
    assert_eq!(flags(&b3), 1);
    assert_eq!(flags("malformed"), 0);
}

#[test]
fn what_goes_in_comes_out_in_every_format() {
    let all = [
        Format::TraceContext,
        Format::Baggage,
        Format::B3,
        Format::B3Multi,
    ];
    let propagation = Propagation::new(&all, ratio(1.0));
    let sent: HashMap<_, _> = [
        ("traceparent".to_owned(), format!("00-{TRACE}-{SPAN}-03")),
        ("tracestate".to_owned(), "vendor=opaque".to_owned()),
        ("baggage".to_owned(), "tenant=blue".to_owned()),
    ]
    .into();
    let context = TextMapPropagator::extract(&propagation, &sent);
    let mut out = HashMap::new();
    propagation.inject_context(&context, &mut out);
    for (name, value) in &sent {
        assert_eq!(out.get(name), Some(value), "{name}");
    }
    assert_eq!(out["b3"], format!("{TRACE}-{SPAN}-1"));
    assert_eq!(out["x-b3-traceid"], TRACE);
    assert_eq!(propagation.fields().count(), 8);

    let none = Propagation::new(&[], ratio(1.0));
    let mut out = HashMap::new();
    none.inject_context(&context, &mut out);
    assert_eq!(out, HashMap::new());
    assert!(
        !none
            .extract_with_context(&Context::new(), &sent)
            .has_active_span()
    );
}

#[test]
fn what_is_malformed_is_dropped_and_not_repaired() {
    let propagation = Propagation::new(&[Format::TraceContext], ratio(1.0));
    for header in [
        "00-1-1-01".to_owned(),
        format!("0-{TRACE}-{SPAN}-01"),
        format!("00-{TRACE}-{SPAN}-+1"),
        format!("00-{TRACE}-{SPAN}-3"),
        format!("00-+{}-{SPAN}-01", &TRACE[1..]),
    ] {
        let sent: HashMap<_, _> = [("traceparent".to_owned(), header)].into();
        let context = propagation.extract_with_context(&Context::new(), &sent);
        assert!(!context.has_active_span(), "{sent:?}");
    }
}
