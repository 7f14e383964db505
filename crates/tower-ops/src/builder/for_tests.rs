use std::net::Ipv4Addr;
use std::time::Duration;

use super::OpsBuilder;

impl OpsBuilder {
    /// Changes settings for a test of an application. Call it last.
    ///
    /// | | otherwise | in a test |
    /// |---|---|---|
    /// | recorder | the process's | one of its own, so that tests in one process count apart |
    /// | operations endpoint | `[::]:8080` | a free port of loopback |
    /// | pre-drain | 5 s | none |
    /// | SIGTERM, SIGINT | begin the shutdown | end the process |
    ///
    /// # Metrics of your own
    ///
    /// `counter!` and the like record into this `Ops` on a thread where its recorder is the default,
    /// as below. `#[tokio::test]` runs everything on one thread.
    ///
    /// # The clock
    ///
    /// With `#[tokio::test(start_paused = true)]` no timeout takes real time, if the test calls the
    /// application in memory (`tower::ServiceExt::oneshot`). A paused clock jumps ahead while the
    /// runtime waits for a socket, a thread or `spawn_blocking`. In a test with these, set short
    /// timeouts instead.
    ///
    /// # Examples
    ///
    /// ```
    /// use axum::{Router, body::Body, routing::get};
    /// use http::Request;
    /// use tower::ServiceExt;
    /// use tower_ops::Ops;
    /// use tower_ops::metrics::{counter, set_default_local_recorder};
    ///
    /// async fn order() -> &'static str {
    ///     counter!("orders_total").increment(1);
    ///     "an order"
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let ops = Ops::builder("orders").for_tests().build()?;
    /// let prometheus = ops.prometheus().expect("it has a recorder of its own");
    /// let recorder = prometheus.recorder().expect("it is ours");
    /// let _counted_here = set_default_local_recorder(&recorder);
    ///
    /// let app: Router = Router::new().route("/orders/{id}", get(order)).layer(ops.layer());
    /// let response = app.oneshot(Request::get("/orders/7").body(Body::empty())?).await?;
    /// assert!(response.headers().contains_key("x-request-id"));
    /// drop(response); // with its body the exchange ends
    ///
    /// let text = prometheus.render();
    /// assert!(text.contains("\norders_total 1\n"), "{text}");
    /// assert!(text.contains(r#"http_route="/orders/{id}""#), "{text}");
    /// assert_eq!(ops.requests().expect("tracked").history().len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn for_tests(self) -> Self {
        self.private_recorder()
            .ops_addr((Ipv4Addr::LOCALHOST, 0))
            .lifecycle(|life| life.pre_drain(Duration::ZERO).signals(false))
    }
}
