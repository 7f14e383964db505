//! Which format a client gets for the `accept` that it sent, however odd.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests are tests, which clippy.toml exempts"
)]

use std::convert::Infallible;

use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt;
use proptest::prelude::*;
use tower::{Service, ServiceExt};
use tower_ops_health::{AnswerBody, Health};

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// Asks with these `accept` values; returns code, content type and body.
async fn answer<S, V>(service: S, values: &[V]) -> (u16, String, String)
where
    S: Service<Request<()>, Response = Response<AnswerBody>, Error = Infallible>,
    V: AsRef<[u8]>,
{
    let mut request = Request::new(());
    for value in values {
        let value = HeaderValue::from_bytes(value.as_ref()).unwrap();
        request.headers_mut().append(ACCEPT, value);
    }
    let Ok(response) = service.oneshot(request).await;
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let [length, kind] =
        [CONTENT_LENGTH, CONTENT_TYPE].map(|name| head.headers[name].to_str().unwrap().to_owned());
    assert_eq!(length, body.len().to_string());
    let body = String::from_utf8(body.into()).unwrap();
    (head.status.as_u16(), kind, body)
}

#[tokio::test]
async fn text_for_those_who_prefer_it() {
    let text: &[&[&[u8]]] = &[
        &[b"text/plain"],
        &[b"TEXT/Plain"],
        &[b"text/*"],
        &[b"text/plain;charset=utf-8"],
        &[b"text/plain, */*;q=0.1"],
        &[b"application/json;q=0.5, text/plain;q=0.501"],
        &[b"application/json;q=0, */*"],
        &[b"application/json ; q=.2", b"text/plain ; Q=0.9"],
        &[b"\xff\xfe", b"text/plain"],
        &[b",,;,text/plain"],
    ];
    for values in text {
        let probes = Health::new();
        let ok = (
            200,
            TEXT.to_owned(),
            "ok
"
            .to_owned(),
        );
        assert_eq!(answer(probes.liveness(), values).await, ok);
        let down = (
            503,
            TEXT.to_owned(),
            "down
"
            .to_owned(),
        );
        assert_eq!(answer(probes.readiness(), values).await, down);
    }
}

#[tokio::test]
async fn json_for_everybody_else() {
    let long = b"text/plain;q=0,".repeat(10_000);
    let json: &[&[&[u8]]] = &[
        &[],
        &[b""],
        &[b"*/*"],
        &[b"application/json"],
        &[b"application/*, text/*"],
        &[b"application/json, text/plain, */*"],
        &[b"text/plain, */*"],
        &[b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"],
        &[b"text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"],
        &[b"image/png"],
        &[b"text/plain;q=0"],
        &[b"text/plain;q=0, text/*"],
        &[b"text/plain;q=0.000, */*;q=0.001"],
        &[b"text/plain;q=2"],
        &[b"text/plain;q=-1"],
        &[b"text/plain;q=1.001"],
        &[b"text/plain;q=0.1234"],
        &[b"text/plain;q=NaN"],
        &[b"text/plain;q="],
        &[b"text/plain;q=."],
        &[b"text/plain;q=99999999999999999999"],
        &[b"text/plain\xff"],
        &[b"text/plai"],
        &[b"textplain"],
        &[b"/"],
        &[b";;;;q==,=;q"],
        &[b"\"text/plain"],
        &[&long],
    ];
    for values in json {
        let ok = (
            200,
            JSON.to_owned(),
            "{\"status\":\"ok\"}
"
            .to_owned(),
        );
        let answered = answer(Health::new().liveness(), values).await;
        assert_eq!(answered, ok, "{values:?}");
    }
}

/// Values as a client could send them: any bytes, much punctuation, and nearly right ones.
fn hostile() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let value = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..64),
        "[ ,;=./*\"q01a-z]{0,64}".prop_map(String::into_bytes),
        "(text|application|\\*)/(plain|json|\\*)(; ?q=[01]?\\.?[0-9]{0,4})?(, ?[*]/[*])?"
            .prop_map(String::into_bytes),
    ];
    let sendable = value.prop_map(|mut value| {
        value.retain(|byte| HeaderValue::from_bytes(&[*byte]).is_ok());
        value
    });
    prop::collection::vec(sendable, 0..4)
}

proptest! {
    #[test]
    fn no_accept_makes_a_probe_wrong(values in hostile()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (code, kind, body) = runtime.block_on(answer(Health::new().liveness(), &values));
        let expected = match &*kind {
            JSON => "{\"status\":\"ok\"}\n",
            TEXT => "ok\n",
            other => return Err(TestCaseError::fail(other.to_owned())),
        };
        prop_assert_eq!((code, &*body), (200, expected));
    }

    #[test]
    fn the_heavier_format_wins(json in 0..=1000_u16, text in 0..=1000_u16) {
        let weight = |w: u16| format!("{}.{:03}", w / 1000, w % 1000);
        let accept = format!("text/plain;q={}, application/json;q={}", weight(text), weight(json));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (_, kind, _) = runtime.block_on(answer(Health::new().liveness(), &[accept]));
        prop_assert_eq!(kind, if text > json { TEXT } else { JSON });
    }
}
