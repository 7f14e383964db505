use http::Request;
use tower_ops_connections::Connection;
use tower_ops_observe::{Ending, Facts, Observe};

/// Tells the other observers on which connection a request came, and from whom.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ConnectionFacts;

impl Observe for ConnectionFacts {
    type Exchange = ();

    #[inline]
    fn on_request<B>(&self, _: &mut Request<B>, facts: &mut Facts) {
        Connection::with_current(|connection| {
            facts.set_connection(connection.id());
            if let Some(peer) = connection.peer().addr() {
                facts.set_peer(peer);
            }
        });
    }

    #[inline]
    fn on_end(&self, (): &mut (), _: &Ending<'_>, _: &Facts) {}
}
