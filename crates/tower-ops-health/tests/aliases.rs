//! Kubernetes' own paths for probes.

use http::Request;
use tower::ServiceExt;
use tower_ops_health::{Health, Probes};

#[tokio::test]
async fn kubernetes_paths_are_answered_by_setting() {
    let health = Health::new();
    let code = async |probes: Probes, path: &str| {
        let request = Request::get(path).body(()).expect("a path");
        let Ok(response) = probes.oneshot(request).await;
        response.status().as_u16()
    };
    for (path, expected) in [
        ("/livez", 200),
        ("/healthz", 200),
        ("/readyz", 503),
        ("/readyz/", 503),
    ] {
        assert_eq!(code(health.probes(), path).await, 404, "{path}");
        let probes = health.probes().with_aliases();
        assert_eq!(code(probes.clone(), path).await, expected, "{path}");
        assert_eq!(code(probes, "/ready").await, 503);
    }
    health.mark_ready();
    assert_eq!(code(health.probes().with_aliases(), "/readyz").await, 200);
    assert_eq!(code(health.probes().with_aliases(), "/livez/x").await, 404);
}
