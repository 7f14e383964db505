//! Where the operations endpoint listens.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use tower_ops::Ops;
use tower_ops_testing::RawHttp1;

#[tokio::test]
async fn an_ephemeral_port_is_returned_and_aliases_are_answered_there() {
    let ops = Ops::builder("test")
        .private_recorder()
        .ops_addr("[::]:0")
        .operations(|admin| admin.ephemeral_port())
        .lifecycle(|life| life.signals(false))
        .probe_aliases(true)
        .build()
        .unwrap();
    assert_eq!(ops.operations_addr(), None);
    let endpoint = ops.start_operations().unwrap();
    let addr = ops.operations_addr().unwrap();
    assert_eq!(addr, endpoint.addr());
    assert_ne!(addr.port(), 0);
    for (path, expected) in [
        ("/livez", 200),
        ("/healthz/", 200),
        ("/readyz", 503),
        ("/livez/x", 404),
    ] {
        let mut client = RawHttp1::connect(([127, 0, 0, 1], addr.port()).into())
            .await
            .unwrap();
        client.send_request("GET", path, &[], "").await.unwrap();
        let head = client.read_head().await.unwrap();
        assert_eq!(head.status, expected, "{path}");
    }
    endpoint.close().await;
}
