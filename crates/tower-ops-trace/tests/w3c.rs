//! The cases of the W3C's test suite for Trace Context (`w3c/trace-context`, `test/test.py` at
//! `acab820`, strict, level 2), written again as a table: a raw request over HTTP/1, a handler that
//! calls on, and what the callee gets. Each case has the name of the suite's.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Empty;
use tower::ServiceExt;
use tower_layer::Layer;
use tower_ops_testing::{RawHttp1, Readied, Server};
use tower_ops_trace::{ClientTraceLayer, Inbound, Spans, TraceIds, TraceLayer, parse_traceparent};

const TRACE: &str = "12345678901234567890123456789012";
const SPAN: &str = "1234567890123456";
const VALID: &str = "00-12345678901234567890123456789012-1234567890123456-01";
const UNSAMPLED: &str = "00-12345678901234567890123456789012-1234567890123456-00";

type Headers<'a> = &'a [(&'a str, &'a str)];

/// The headers that each of the calls out of one handler had.
struct Harness {
    server: Server,
    sent: Arc<Mutex<Vec<HeaderMap>>>,
}

impl Harness {
    async fn start(layer: TraceLayer, calls: usize) -> Self {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let sink = sent.clone();
        let callee = Readied::from_fn(move |request: Request<()>| {
            sink.lock().unwrap().push(request.headers().clone());
            async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) }
        });
        let client = ClientTraceLayer::new().layer(callee);
        let handler = move |_| {
            let client = client.clone();
            async move {
                for _ in 0..calls {
                    client.clone().oneshot(Request::new(())).await?;
                }
                Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
            }
        };
        let server = Server::spawn(layer.layer(Readied::from_fn(handler))).await;
        Self { server, sent }
    }

    async fn send(&self, headers: Headers<'_>) -> Vec<(TraceIds, Option<String>)> {
        let mut client = RawHttp1::connect(self.server.addr()).await.unwrap();
        client.send_request("GET", "/", headers, "").await.unwrap();
        assert_eq!(client.read_head().await.unwrap().status, 200);
        let sent = std::mem::take(&mut *self.sent.lock().unwrap());
        let received = sent.iter().map(|headers| {
            let mut parents = headers.get_all("traceparent").iter();
            let (parent, None) = (parents.next().unwrap(), parents.next()) else {
                panic!("one traceparent: {headers:?}")
            };
            let ids = parse_traceparent(parent.as_bytes()).expect("a valid traceparent");
            let mut states = headers.get_all("tracestate").iter();
            let (state, None) = (states.next(), states.next()) else {
                panic!("one tracestate: {headers:?}")
            };
            (ids, state.map(|it| it.to_str().unwrap().to_owned()))
        });
        received.collect()
    }

    async fn send_one(&self, headers: Headers<'_>) -> (TraceIds, Option<String>) {
        let [one] = <[_; 1]>::try_from(self.send(headers).await).unwrap();
        one
    }
}

/// The members of a list as the suite's harness reads it.
fn members(state: Option<&str>) -> Vec<(&str, &str)> {
    let members = state.into_iter().flat_map(|state| state.split(','));
    let members = members.map(|member| member.trim_matches([' ', '\t']));
    let members = members.filter(|member| !member.is_empty());
    members
        .map(|member| member.split_once('=').unwrap())
        .collect()
}

#[tokio::test]
async fn a_traceparent_is_inherited_or_replaced() {
    let harness = Harness::start(TraceLayer::new(), 1).await;
    let more = |text: &str| format!("{VALID}{text}");
    let later = VALID.replacen("00", "cc", 1);
    let with = |trace: &str, span: &str, flags: &str| format!("00-{trace}-{span}-{flags}");
    #[rustfmt::skip]
    let cases: Vec<(&str, &str, String, bool)> = vec![
        ("test_traceparent_included_tracestate_missing", "traceparent", VALID.into(), true),
        ("test_traceparent_header_name", "trace-parent", VALID.into(), false),
        ("test_traceparent_header_name", "trace.parent", VALID.into(), false),
        ("test_traceparent_header_name_valid_casing", "TraceParent", VALID.into(), true),
        ("test_traceparent_header_name_valid_casing", "TrAcEpArEnT", VALID.into(), true),
        ("test_traceparent_header_name_valid_casing", "TRACEPARENT", VALID.into(), true),
        ("test_traceparent_version_0x00", "traceparent", more("."), false),
        ("test_traceparent_version_0x00", "traceparent", more("-what-the-future-will-be-like"), false),
        ("test_traceparent_version_0xcc", "traceparent", later.clone(), true),
        ("test_traceparent_version_0xcc", "traceparent", format!("{later}-what-the-future-will-be-like"), true),
        ("test_traceparent_version_0xcc", "traceparent", format!("{later}.what-the-future-will-be-like"), false),
        ("test_traceparent_version_0xff", "traceparent", VALID.replacen("00", "ff", 1), false),
        ("test_traceparent_version_illegal_characters", "traceparent", VALID.replacen("00", ".0", 1), false),
        ("test_traceparent_version_illegal_characters", "traceparent", VALID.replacen("00", "0.", 1), false),
        ("test_traceparent_version_too_long", "traceparent", VALID.replacen("00", "000", 1), false),
        ("test_traceparent_version_too_long", "traceparent", VALID.replacen("00", "0000", 1), false),
        ("test_traceparent_version_too_short", "traceparent", VALID.replacen("00", "0", 1), false),
        ("test_traceparent_trace_id_all_zero", "traceparent", with(&"0".repeat(32), SPAN, "01"), false),
        ("test_traceparent_trace_id_illegal_characters", "traceparent", with(".2345678901234567890123456789012", SPAN, "01"), false),
        ("test_traceparent_trace_id_illegal_characters", "traceparent", with("1234567890123456789012345678901.", SPAN, "01"), false),
        ("test_traceparent_trace_id_too_long", "traceparent", with(&format!("{TRACE}3"), SPAN, "01"), false),
        ("test_traceparent_trace_id_too_short", "traceparent", with(&TRACE[..31], SPAN, "01"), false),
        ("test_traceparent_parent_id_all_zero", "traceparent", with(TRACE, &"0".repeat(16), "01"), false),
        ("test_traceparent_parent_id_illegal_characters", "traceparent", with(TRACE, ".234567890123456", "01"), false),
        ("test_traceparent_parent_id_illegal_characters", "traceparent", with(TRACE, "123456789012345.", "01"), false),
        ("test_traceparent_parent_id_too_long", "traceparent", with(TRACE, &format!("{SPAN}7"), "01"), false),
        ("test_traceparent_parent_id_too_short", "traceparent", with(TRACE, &SPAN[..15], "01"), false),
        ("test_traceparent_trace_flags_illegal_characters", "traceparent", with(TRACE, SPAN, ".0"), false),
        ("test_traceparent_trace_flags_illegal_characters", "traceparent", with(TRACE, SPAN, "0."), false),
        ("test_traceparent_trace_flags_too_long", "traceparent", with(TRACE, SPAN, "001"), false),
        ("test_traceparent_trace_flags_too_short", "traceparent", with(TRACE, SPAN, "1"), false),
        ("test_traceparent_ows_handling", "traceparent", format!(" {VALID}"), true),
        ("test_traceparent_ows_handling", "traceparent", format!("\t{VALID}"), true),
        ("test_traceparent_ows_handling", "traceparent", format!("{VALID} "), true),
        ("test_traceparent_ows_handling", "traceparent", format!("{VALID}\t"), true),
        ("test_traceparent_ows_handling", "traceparent", format!("\t {VALID} \t"), true),
        // Not of the suite: digits in upper case, which it does not try.
        ("upper case", "traceparent", "00-ABCDEF78901234567890123456789012-1234567890123456-01".into(), false),
    ];
    for (case, name, value, is_inherited) in &cases {
        let (ids, state) = harness.send_one(&[(name, value)]).await;
        let inherited = ids.trace_id_hex().as_str() == TRACE;
        assert_eq!(inherited, *is_inherited, "{case}: {value:?}");
        assert_ne!(ids.span_id_hex().as_str(), SPAN, "{case}");
        assert_eq!(state, None, "{case}");
        if !is_inherited {
            assert!(ids.is_random() && ids.is_sampled(), "{case}: {ids}");
        }
    }
}

#[tokio::test]
async fn without_one_traceparent_a_new_trace_begins() {
    let harness = Harness::start(TraceLayer::new(), 1).await;
    // test_both_traceparent_and_tracestate_missing
    let (first, state) = harness.send_one(&[]).await;
    assert_eq!(state, None);
    assert_ne!(harness.send_one(&[]).await.0.trace_id(), first.trace_id());

    // test_traceparent_duplicated
    let other = VALID.replacen("12-", "11-", 1);
    let twice = [("traceparent", &*other), ("traceparent", VALID)];
    let trace = harness.send_one(&twice).await.0.trace_id_hex();
    assert!(![TRACE, "12345678901234567890123456789011"].contains(&trace.as_str()));

    // test_tracestate_included_traceparent_missing
    for state in ["foo=1", "foo=1,bar=2"] {
        assert_eq!(harness.send_one(&[("tracestate", state)]).await.1, None);
    }
}

#[tokio::test]
async fn a_tracestate_is_inherited_or_discarded() {
    let harness = Harness::start(TraceLayer::new(), 1).await;
    let pairs = |from: u32, to: u32| {
        let pairs: Vec<_> = (from..=to).map(|i| format!("bar{i:02}={i:02}")).collect();
        pairs.join(",")
    };
    let (ten, twenty, thirty) = (pairs(1, 10), pairs(11, 20), pairs(21, 30));
    let (to_32, to_33) = (pairs(31, 32), pairs(31, 33));
    let key = |name: &str| format!("{name}=1");
    let (key_256, key_257) = (key(&"z".repeat(256)), key(&"z".repeat(257)));
    let tenant = key(&format!("{}@{}", "t".repeat(241), "v".repeat(14)));
    let long_tenant = key(&format!("{}@v", "t".repeat(242)));
    let long_vendor = key(&format!("t@{}", "v".repeat(15)));
    let letters = "abcdefghijklmnopqrstuvwxyz0123456789_-*/";
    let value: String = (' '..='~').filter(|char| !",=".contains(*char)).collect();
    let (plain, vendor) = (
        format!("{letters}={value}"),
        format!("{letters}@a-z0-9_-*/={value}"),
    );
    const FOO_BAR_BAZ: Option<&str> = Some("foo=1,bar=2,baz=3");
    #[rustfmt::skip]
    let cases: Vec<(&str, Vec<&str>, Option<&str>)> = vec![
        ("test_tracestate_included_traceparent_included", vec!["foo=1,bar=2"], Some("foo=1,bar=2")),
        ("test_tracestate_empty_header", vec![""], None),
        ("test_tracestate_empty_header", vec!["foo=1", ""], Some("foo=1")),
        ("test_tracestate_empty_header", vec!["", "foo=1"], Some("foo=1")),
        ("test_tracestate_multiple_headers_different_keys", vec!["foo=1,bar=2", "rojo=1,congo=2", "baz=3"], Some("foo=1,bar=2,rojo=1,congo=2,baz=3")),
        // They are kept as they are, which the suite allows.
        ("test_tracestate_duplicated_keys", vec!["foo=1,foo=1"], Some("foo=1,foo=1")),
        ("test_tracestate_duplicated_keys", vec!["foo=1,foo=2"], Some("foo=1,foo=2")),
        ("test_tracestate_duplicated_keys", vec!["foo=1", "foo=1"], Some("foo=1,foo=1")),
        ("test_tracestate_duplicated_keys", vec!["foo=1", "foo=2"], Some("foo=1,foo=2")),
        ("test_tracestate_all_allowed_characters", vec![&plain], Some(&plain)),
        ("test_tracestate_all_allowed_characters", vec![&vendor], Some(&vendor)),
        ("test_tracestate_ows_handling", vec!["foo=1 \t , \t bar=2, \t baz=3"], FOO_BAR_BAZ),
        ("test_tracestate_ows_handling", vec!["foo=1\t \t,\t \tbar=2,\t \tbaz=3"], FOO_BAR_BAZ),
        ("test_tracestate_ows_handling", vec![" foo=1"], Some("foo=1")),
        ("test_tracestate_ows_handling", vec!["\tfoo=1"], Some("foo=1")),
        ("test_tracestate_ows_handling", vec!["foo=1 "], Some("foo=1")),
        ("test_tracestate_ows_handling", vec!["foo=1\t"], Some("foo=1")),
        ("test_tracestate_ows_handling", vec!["\t foo=1 \t"], Some("foo=1")),
        ("test_tracestate_key_illegal_characters", vec!["foo =1"], None),
        ("test_tracestate_key_illegal_characters", vec!["FOO=1"], None),
        ("test_tracestate_key_illegal_characters", vec!["foo.bar=1"], None),
        ("test_tracestate_key_illegal_vendor_format", vec!["foo@=1,bar=2"], Some("foo@=1,bar=2")),
        ("test_tracestate_key_illegal_vendor_format", vec!["@foo=1,bar=2"], None),
        ("test_tracestate_key_illegal_vendor_format", vec!["foo@@bar=1,bar=2"], Some("foo@@bar=1,bar=2")),
        ("test_tracestate_key_illegal_vendor_format", vec!["foo@bar@baz=1,bar=2"], Some("foo@bar@baz=1,bar=2")),
        ("test_tracestate_member_count_limit", vec![&ten, &twenty, &thirty, &to_32], Some("32 members")),
        ("test_tracestate_member_count_limit", vec![&ten, &twenty, &thirty, &to_33], None),
        ("test_tracestate_key_length_limit", vec!["foo=1", &key_256], Some("foo=1,zzz")),
        ("test_tracestate_key_length_limit", vec!["foo=1", &key_257], None),
        ("test_tracestate_key_length_limit", vec!["foo=1", &tenant], Some("foo=1,tenant")),
        ("test_tracestate_key_length_limit", vec!["foo=1", &long_tenant], Some("foo=1,tenant")),
        ("test_tracestate_key_length_limit", vec!["foo=1", &long_vendor], Some("foo=1,tenant")),
        ("test_tracestate_value_illegal_characters", vec!["foo=bar=baz"], None),
        ("test_tracestate_value_illegal_characters", vec!["foo=,bar=3"], None),
    ];
    for (case, values, expected) in &cases {
        let mut headers = vec![("traceparent", UNSAMPLED)];
        headers.extend(values.iter().map(|value| ("tracestate", *value)));
        let (ids, state) = harness.send_one(&headers).await;
        assert_eq!(ids.trace_id_hex().as_str(), TRACE, "{case}");
        assert!(!ids.is_sampled(), "{case}");
        let joined = values.join(",");
        // What the suite looks for: the same members in the same order.
        let expected = expected.map(|_| joined.as_str());
        assert_eq!(
            members(state.as_deref()),
            members(expected),
            "{case}: {values:?}"
        );
    }

    for name in ["TraceState", "TrAcEsTaTe", "TRACESTATE"] {
        let headers = [("traceparent", UNSAMPLED), (name, "foo=1")];
        let state = harness.send_one(&headers).await.1;
        assert_eq!(
            state.as_deref(),
            Some("foo=1"),
            "test_tracestate_header_name_valid_casing"
        );
    }
    for name in ["trace-state", "trace.state"] {
        let headers = [("traceparent", UNSAMPLED), (name, "foo=1")];
        assert_eq!(
            harness.send_one(&headers).await.1,
            None,
            "test_tracestate_header_name"
        );
    }
}

#[tokio::test]
async fn every_call_of_one_exchange_has_a_span_of_its_own() {
    let harness = Harness::start(TraceLayer::new(), 3).await;
    let zero = VALID.replacen(TRACE, &"0".repeat(32), 1);
    for (case, headers) in [
        (
            "test_multiple_requests_with_valid_traceparent",
            &[("traceparent", VALID)][..],
        ),
        ("test_multiple_requests_without_traceparent", &[]),
        (
            "test_multiple_requests_with_illegal_traceparent",
            &[("traceparent", &*zero)],
        ),
    ] {
        let calls = harness.send(headers).await;
        let [a, b, c] = [0, 1, 2].map(|call: usize| calls[call].0);
        assert_eq!(calls.len(), 3);
        assert!(
            a.trace_id() == b.trace_id() && b.trace_id() == c.trace_id(),
            "{case}"
        );
        let spans = [a, b, c].map(TraceIds::span_id);
        assert!(
            spans[0] != spans[1] && spans[1] != spans[2] && spans[0] != spans[2],
            "{case}"
        );
    }
}

#[tokio::test]
async fn flags_of_level_2_go_on_and_others_do_not() {
    let harness = Harness::start(TraceLayer::new(), 1).await;
    // test_propagates_random_flag, and what the specification says of the others.
    for (received, sent) in [
        ("02", 2),
        ("03", 3),
        ("00", 0),
        ("01", 1),
        ("ff", 3),
        ("fc", 0),
    ] {
        let parent = format!("00-{TRACE}-{SPAN}-{received}");
        let (ids, _) = harness.send_one(&[("traceparent", &parent)]).await;
        assert_eq!(ids.trace_id_hex().as_str(), TRACE);
        assert_eq!(ids.flags(), sent, "{received}");
    }
}

#[tokio::test]
async fn a_public_endpoint_goes_on_with_nobodys_trace() {
    let spans = Spans::new().with_inbound(Inbound::public_endpoint());
    let harness = Harness::start(spans.into_layer(), 1).await;
    let headers = [("traceparent", VALID), ("tracestate", "foo=1")];
    let (ids, state) = harness.send_one(&headers).await;
    assert_ne!(ids.trace_id_hex().as_str(), TRACE);
    assert_eq!(state, None);
}
