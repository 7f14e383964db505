use std::task::{Context, Poll};

use bytes::Buf;
use http::Request;
use http_body::Body;
use tower_ops_admin::{BoxError, RemoteAddr};
use tower_ops_state::{Peer, StateService};
use tower_service::Service;

/// `/state`, with the peer that the operations endpoint knows, for the state's log.
#[derive(Clone, Debug)]
pub(super) struct StatePage(pub(super) StateService);

impl<B> Service<Request<B>> for StatePage
where
    B: Body + Send + 'static,
    B::Data: Buf + Send,
    B::Error: Into<BoxError> + Send,
    StateService: Service<Request<B>>,
{
    type Response = <StateService as Service<Request<B>>>::Response;
    type Error = <StateService as Service<Request<B>>>::Error;
    type Future = <StateService as Service<Request<B>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if let Some(remote) = request.extensions().get::<RemoteAddr>().copied() {
            request.extensions_mut().insert(Peer::new(remote.addr()));
        }
        self.0.call(request)
    }
}
