//! The id goes out with reqwest's own requests.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use http::{Request, Response};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_ops_request_id::{RequestId, RequestIdClientLayer};
use tower_ops_testing::Server;

#[tokio::test]
async fn the_current_id_goes_out_through_reqwest() {
    let server = Server::spawn(service_fn(async |request: Request<_>| {
        let id = request.headers().get("x-request-id").cloned();
        let id = id.map_or_else(String::new, |id| id.to_str().unwrap().to_owned());
        Ok::<_, std::convert::Infallible>(Response::new(id))
    }))
    .await;
    let url = format!("http://{}/", server.addr());
    let client = ServiceBuilder::new()
        .layer(RequestIdClientLayer::new())
        .service(reqwest::Client::new());
    let id: RequestId = "order-7".parse().unwrap();
    let request = reqwest::Request::new(http::Method::GET, url.parse().unwrap());
    let response = id.scope(client.clone().oneshot(request)).await.unwrap();
    assert_eq!(response.text().await.unwrap(), "order-7");
    // Outside of any request there is none.
    let request = reqwest::Request::new(http::Method::GET, url.parse().unwrap());
    let response = client.oneshot(request).await.unwrap();
    assert_eq!(response.text().await.unwrap(), "");
}
