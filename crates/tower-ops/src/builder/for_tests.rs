use std::net::Ipv4Addr;
use std::time::Duration;

use super::OpsBuilder;

impl OpsBuilder {
    /// Settings for a test of an application: call it last.
    ///
    /// | | otherwise | in a test |
    /// |---|---|---|
    /// | recorder | the process's | one of its own, so that tests of one process do not count together |
    /// | operations endpoint | `0.0.0.0:8080` | a free port of loopback |
    /// | pre-drain | 5 s | none, so that the end waits for nobody |
    /// | SIGTERM, SIGINT | begin the shutdown | left to the process, and Ctrl-C ends the run |
    ///
    /// # Metrics of your own
    ///
    /// `counter!` and the like find the recorder of this `Ops` on a thread where it is the
    /// default, as below: `#[tokio::test]` has one thread, and so has its whole runtime.
    ///
    /// # The clock
    ///
    /// `#[tokio::test(start_paused = true)]` moves every deadline of ours as fast as the test
    /// can, as long as the requests are made in memory (`tower::ServiceExt::oneshot`). A paused
    /// clock jumps ahead while the runtime waits for a socket, a thread or `spawn_blocking`'s
    /// end: where the test has these, set short times instead.
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
