//! What a test may send to another task.

use tower_ops_testing::{
    BodyProbe, FromFn, Head, Http2Client, Process, RawBody, RawHttp1, Readied, ScriptedBody,
    ScriptedError, Server,
};

fn send<T: Send>() {}
fn sync<T: Sync>() {}
fn send_value<T: Send>(_: T) {}

#[test]
fn types_are_send_and_sync() {
    send::<BodyProbe>();
    sync::<BodyProbe>();
    send::<FromFn<fn(u8)>>();
    send::<Head>();
    send::<Http2Client>();
    sync::<Http2Client>();
    send::<Process>();
    send::<RawBody>();
    send::<RawHttp1>();
    send::<Readied<FromFn<fn(u8)>>>();
    send::<ScriptedBody>();
    sync::<ScriptedBody>();
    send::<ScriptedError>();
    sync::<ScriptedError>();
    send::<Server>();
    sync::<Server>();
}

#[test]
fn futures_are_send() {
    async fn all(mut http1: RawHttp1, http2: Http2Client, mut process: Process) {
        let _ = http1.send_request("GET", "/", &[], "").await;
        if let Ok(head) = http1.read_head().await {
            let _ = http1.read_body(&head).await;
        }
        let _ = http1.read_some().await;
        let _ = http2.get("/").await;
        process.wait_exit(std::time::Duration::ZERO).await;
    }
    let _ = |http1, http2, process| send_value(all(http1, http2, process));
}
