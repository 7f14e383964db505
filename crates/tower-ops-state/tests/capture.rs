//! What cannot be captured so that it could be restored is not captured.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::sync::atomic::{AtomicU32, Ordering};

use http_body_util::{BodyExt as _, Empty};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use tower_ops_state::{ErrorKind, State, StateBuilder};

use self::eventually::eventually;

#[path = "support/eventually.rs"]
mod eventually;

fn of<T>(getter: impl Fn() -> T + Send + Sync + 'static) -> StateBuilder
where
    T: Serialize + for<'de> Deserialize<'de> + Send + 'static,
{
    State::builder("shop", "1").single(getter, |_| Ok(()))
}

/// Comes out longer the second time.
#[derive(Deserialize)]
struct Fickle {
    #[serde(skip)]
    times: AtomicU32,
}

impl Serialize for Fickle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let times = self.times.fetch_add(1, Ordering::SeqCst);
        serializer.serialize_str(&"x".repeat(200_000 + times as usize))
    }
}

#[tokio::test]
async fn data_that_changes_between_its_digest_and_its_text_is_an_error() {
    let fickle = || Fickle {
        times: AtomicU32::new(0),
    };
    let state = of(fickle).token("0123456789abcdef").build().unwrap();
    let error = state.capture().await.unwrap().write_to(std::io::sink());
    assert!(error.unwrap_err().to_string().contains("changed"));

    let request =
        http::Request::get("/?fence=1").header("authorization", "Bearer 0123456789abcdef");
    let request = request.body(Empty::<bytes::Bytes>::new()).unwrap();
    let Ok(response) = state.service().oneshot(request).await;
    assert_eq!(response.status(), 200);
    response.into_body().collect().await.unwrap_err();
    eventually(async || !state.fence().is_closed()).await;
    assert!(!state.fence().is_handed_over());
}

#[tokio::test]
async fn data_that_is_nested_too_deeply_is_refused() {
    let nested = |depth| (0..depth).fold(Value::Null, |inner, _| json!([inner]));
    let state = of(move || nested(120)).build().unwrap();
    let mut envelope = Vec::new();
    state
        .capture()
        .await
        .unwrap()
        .write_to(&mut envelope)
        .unwrap();
    state
        .restore(envelope, tower_ops_state::Restore::new())
        .await
        .unwrap();

    let state = of(move || nested(121)).build().unwrap();
    let error = state.capture().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(error.participant(), Some("state"));
}

#[tokio::test]
async fn data_that_is_no_json_or_panics_is_refused() {
    let state = of(|| std::collections::BTreeMap::from([(vec![1], 2)]))
        .build()
        .unwrap();
    let error = state.capture().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.message().contains("key must be a string"), "{error}");

    #[derive(Deserialize)]
    struct Panics;
    impl Serialize for Panics {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            panic!("cannot be written")
        }
    }
    let state = of(|| Panics).build().unwrap();
    for _ in 0..2 {
        let error = state.capture().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.message().contains("panicked: cannot be written"));
    }
}
