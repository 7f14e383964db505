use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::body::{AdminBody, AdminRequestBody, BoxError};

pub(crate) type Answering =
    Pin<Box<dyn Future<Output = Result<Response<AdminBody>, BoxError>> + Send>>;

/// A mounted service, whatever its type. Each request gets a clone of its own, which is polled
/// ready first.
#[derive(Clone)]
pub(crate) struct Erased(Arc<dyn Serve>);

trait Serve: Send + Sync {
    fn serve(&self, request: Request<AdminRequestBody>) -> Answering;
}

struct Mounted<S>(S);

impl<S, B> Serve for Mounted<S>
where
    S: Service<Request<AdminRequestBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    fn serve(&self, request: Request<AdminRequestBody>) -> Answering {
        let mut service = self.0.clone();
        Box::pin(async move {
            let ready = poll_fn(|cx| service.poll_ready(cx)).await;
            ready.map_err(Into::into)?;
            let response = service.call(request).await.map_err(Into::into)?;
            Ok(response.map(AdminBody::new))
        })
    }
}

impl Erased {
    pub(crate) fn new<S, B>(service: S) -> Self
    where
        S: Service<Request<AdminRequestBody>, Response = Response<B>>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        Self(Arc::new(Mounted(service)))
    }

    pub(crate) fn serve(&self, request: Request<AdminRequestBody>) -> Answering {
        self.0.serve(request)
    }
}
