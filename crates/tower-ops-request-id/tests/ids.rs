//! What is an id and what is not, whatever bytes come in.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::collections::HashSet;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::Full;
use proptest::collection::vec;
use proptest::prelude::*;
use tower::ServiceExt;
use tower_layer::Layer;
use tower_ops_observe::{Ending, Facts, Observe, ObserveLayer};
use tower_ops_request_id::{InvalidRequestId, MAX_LEN, RequestId, RequestIds, X_REQUEST_ID};
use tower_ops_testing::Readied;

const CUSTOM: HeaderName = HeaderName::from_static("x-correlation-id");

/// The rule once more, in other words than the crate's.
fn is_valid(bytes: &[u8]) -> bool {
    (1..=128).contains(&bytes.len()) && bytes.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

/// Everything that a handler can see of its id.
#[derive(Clone, Debug)]
struct Seen {
    headers: HeaderMap,
    extension: Option<RequestId>,
    current: Option<RequestId>,
}

/// What the shared facts said at the end.
#[derive(Clone, Default)]
struct FactsSpy(Arc<Mutex<Option<(Option<HeaderValue>, bool)>>>);

impl Observe for FactsSpy {
    type Exchange = ();

    fn on_request<B>(&self, _: &mut Request<B>, _: &mut Facts) {}

    fn on_end(&self, (): &mut (), _: &Ending<'_>, facts: &Facts) {
        let said = (facts.request_id().cloned(), facts.request_id_replaced());
        *self.0.lock().unwrap() = Some(said);
    }
}

async fn handler(request: Request<()>) -> Result<Response<Full<Bytes>>, Infallible> {
    let seen = Seen {
        headers: request.headers().clone(),
        extension: request.extensions().get().cloned(),
        current: RequestId::current(),
    };
    let mut response = Response::new(Full::default());
    response.extensions_mut().insert(seen);
    Ok(response)
}

/// Polls a future that has nothing to wait for.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("there is nothing to wait for"),
    }
}

/// Sends `values` through the layer and checks all that holds for any of them.
fn assign(header: &HeaderName, values: &[HeaderValue]) -> RequestId {
    let ids = RequestIds::new()
        .with_header(header.clone())
        .with_extension();
    let facts = FactsSpy::default();
    let service = ObserveLayer::new((ids.clone(), facts.clone())).layer(Readied::from_fn(handler));

    let mut request = Request::new(());
    for value in values {
        request.headers_mut().append(header.clone(), value.clone());
    }
    let Ok(response) = now(service.oneshot(request));
    let seen = response.extensions().get::<Seen>().unwrap().clone();

    let id = seen.current.unwrap();
    let text = id.as_str().as_bytes();
    assert!(is_valid(text), "{id:?}");
    assert_eq!(seen.extension.as_ref(), Some(&id));
    let only = |headers: &HeaderMap| {
        let all: Vec<_> = headers.get_all(header).iter().collect();
        assert_eq!(all, [text], "exactly one value, the id");
    };
    only(&seen.headers);
    only(response.headers());
    let invalid = match values {
        [] => false,
        [value] => !is_valid(value.as_bytes()),
        _ => true,
    };
    assert_eq!(
        facts.0.lock().unwrap().take(),
        Some((Some(id.as_header_value().clone()), invalid))
    );
    assert_eq!(ids.invalid_count(), u64::from(invalid));
    if let [value] = values
        && !invalid
    {
        assert_eq!(text, value.as_bytes(), "a valid id comes back unchanged");
    } else {
        for value in values {
            assert_ne!(text, value.as_bytes(), "nothing of an invalid id is taken");
        }
    }
    id
}

/// Any value that HTTP allows: tabs, spaces, visible ASCII, obs-text.
fn any_value() -> impl Strategy<Value = HeaderValue> {
    let byte = prop_oneof![
        8 => b'!'..=b'~',
        1 => Just(b' '),
        1 => Just(b'\t'),
        1 => 0x80..=0xff_u8,
    ];
    let visible = || b'!'..=b'~';
    let bytes = prop_oneof![
        vec(byte, 0..300),
        vec(visible(), 0..=128),
        vec(visible(), 120..140),
        vec(0x80..=0xff_u8, 1..4),
    ];
    bytes.prop_map(|bytes| HeaderValue::from_bytes(&bytes).unwrap())
}

proptest! {
    #[test]
    fn any_header_becomes_one_valid_id_that_everyone_sees(
        values in vec(any_value(), 0..4),
        custom in any::<bool>(),
    ) {
        let header = if custom { CUSTOM } else { X_REQUEST_ID };
        assign(&header, &values);
    }

    #[test]
    fn parsing_takes_exactly_the_valid_texts(text in prop_oneof![".{0,140}", "[!-~]{0,140}"]) {
        let valid = is_valid(text.as_bytes());
        prop_assert_eq!(text.parse::<RequestId>().is_ok(), valid);
        if let Ok(value) = HeaderValue::from_str(&text) {
            prop_assert_eq!(RequestId::try_from(value).is_ok(), valid);
        }
        if let Ok(id) = text.parse::<RequestId>() {
            prop_assert_eq!(id.as_str(), text.as_str());
            prop_assert_eq!(id.to_string(), text.as_str());
            prop_assert_eq!(HeaderValue::from(id), text.as_str());
        }
    }

    #[test]
    fn extraction_and_the_layer_agree(values in vec(any_value(), 1..3)) {
        let mut headers = HeaderMap::new();
        for value in &values {
            headers.append(X_REQUEST_ID, value.clone());
        }
        let assigned = assign(&X_REQUEST_ID, &values);
        match RequestId::extract(&headers) {
            Some(id) => prop_assert_eq!(id, assigned),
            None => prop_assert!(values.len() > 1 || !is_valid(values[0].as_bytes())),
        }
    }
}

#[test]
fn an_id_has_1_to_128_bytes() {
    assert_eq!(MAX_LEN, 128);
    for (length, expected) in [
        (0, Err(InvalidRequestId::Empty)),
        (1, Ok(())),
        (128, Ok(())),
        (129, Err(InvalidRequestId::TooLong)),
        (100_000, Err(InvalidRequestId::TooLong)),
    ] {
        let text = "x".repeat(length);
        assert_eq!(text.parse::<RequestId>().map(drop), expected, "{length}");
        let value = HeaderValue::from_str(&text).unwrap();
        assert_eq!(
            RequestId::try_from(value.clone()).map(drop),
            expected,
            "{length}"
        );
        let assigned = assign(&X_REQUEST_ID, &[value]);
        assert_eq!(assigned.as_str() == text, expected.is_ok(), "{length}");
    }
}

#[test]
fn every_single_byte_is_judged_right() {
    for byte in 0..=u8::MAX {
        let Ok(value) = HeaderValue::from_bytes(&[b'a', byte, b'z']) else {
            continue;
        };
        let expected = if (b'!'..=b'~').contains(&byte) {
            Ok(())
        } else {
            Err(InvalidRequestId::NotVisibleAscii)
        };
        assert_eq!(RequestId::try_from(value).map(drop), expected, "{byte:#x}");
    }
    // What no header value can carry, a text can.
    for text in ["a\0", "a\n", "\r", "a\u{7f}", "ä", "a b", " a", "a "] {
        let parsed = text.parse::<RequestId>();
        assert_eq!(parsed, Err(InvalidRequestId::NotVisibleAscii), "{text:?}");
    }
}

#[test]
fn a_repeated_header_is_no_id_even_if_its_values_are_equal() {
    let value = HeaderValue::from_static("twin");
    assign(&X_REQUEST_ID, &[value.clone(), value.clone()]);
    let mut headers = HeaderMap::new();
    headers.append(X_REQUEST_ID, value.clone());
    assert!(RequestId::extract(&headers).is_some());
    headers.append(X_REQUEST_ID, value);
    assert_eq!(RequestId::extract(&headers), None);
}

#[test]
fn extract_and_inject_are_each_others_reverse() {
    let id: RequestId = "order-7".parse().unwrap();
    let mut headers = HeaderMap::new();
    assert_eq!(RequestId::extract(&headers), None);
    headers.append(X_REQUEST_ID, HeaderValue::from_static("an"));
    headers.append(X_REQUEST_ID, HeaderValue::from_static("other"));
    id.inject(&mut headers);
    assert_eq!(headers.get_all(X_REQUEST_ID).iter().count(), 1);
    assert_eq!(RequestId::extract(&headers), Some(id.clone()));
    assert_eq!(RequestId::extract_from(&headers, &CUSTOM), None);
    headers.insert(CUSTOM, id.as_header_value().clone());
    assert_eq!(RequestId::extract_from(&headers, &CUSTOM), Some(id));
}

#[test]
fn an_id_shows_its_text_and_compares_by_it() {
    let id: RequestId = "order-7".parse().unwrap();
    assert_eq!(id.to_string(), "order-7");
    assert_eq!(
        format!("{id:>9}|{id:<9}|{id:.5}"),
        "  order-7|order-7  |order"
    );
    assert_eq!(format!("{id:?}"), "RequestId(\"order-7\")");
    assert_eq!(AsRef::<str>::as_ref(&id), "order-7");
    assert_eq!(id.as_header_value(), "order-7");

    let same = RequestId::try_from(HeaderValue::from_static("order-7")).unwrap();
    let other: RequestId = "Order-7".parse().unwrap();
    assert_eq!(id, same);
    assert_ne!(id, other, "case matters");
    assert!(other < id);
    assert_eq!(HashSet::from([id, same, other]).len(), 2);
}

#[test]
fn a_sensitive_value_is_the_same_id() {
    let mut value = HeaderValue::from_static("order-7");
    value.set_sensitive(true);
    let id = RequestId::try_from(value).unwrap();
    assert_eq!(id.as_str(), "order-7");
    assert_eq!(id, "order-7".parse().unwrap());
}

#[test]
fn an_error_says_why_and_does_not_quote() {
    for (text, said) in [
        (String::new(), "empty"),
        ("secret".repeat(50), "at most 128"),
        ("secret secret".to_owned(), "visible ASCII"),
    ] {
        let error = text.parse::<RequestId>().unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        let quoted = format!("{error} {error:?}").contains("secret");
        assert!(!quoted, "{error:?}");
    }
}
