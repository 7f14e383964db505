use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::uri::{PathAndQuery, Uri};
use http::{Request, Response};
use http_body::Body;
use http_body_util::Either;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::admin::{Admin, AdminFuture};
use crate::body::{AdminBody, BoxError};

/// Puts the operations endpoint on the application's port. Made by [`Admin::layer`].
#[derive(Clone, Debug)]
pub struct AdminLayer {
    admin: Admin,
    prefix: String,
}

impl AdminLayer {
    pub(crate) fn new(admin: &Admin, prefix: String) -> Self {
        let prefix = prefix.trim_end_matches('/').to_owned();
        Self {
            admin: admin.based(&prefix),
            prefix,
        }
    }
}

impl<S> Layer<S> for AdminLayer {
    type Service = AdminService<S>;

    fn layer(&self, inner: S) -> AdminService<S> {
        AdminService {
            inner,
            admin: self.admin.clone(),
            prefix: self.prefix.clone(),
        }
    }
}

/// The service of [`AdminLayer`]. Ready when the inner one is, whose responses and errors pass
/// through as they are.
#[derive(Clone, Debug)]
pub struct AdminService<S> {
    inner: S,
    admin: Admin,
    prefix: String,
}

impl<S> AdminService<S> {
    /// The request as the endpoint sees it, or as it was.
    fn sort<B>(&self, mut request: Request<B>) -> Result<Request<B>, Request<B>> {
        let path = request.uri().path();
        let rest = match path.strip_prefix(&*self.prefix) {
            Some("") => "/",
            Some(rest) if rest.starts_with('/') => rest,
            _ => return Err(request),
        };
        let rest = match request.uri().query() {
            Some(query) => format!("{rest}?{query}"),
            None => rest.to_owned(),
        };
        let mut parts = request.uri().clone().into_parts();
        // A part of a valid path is valid.
        let Ok(rest) = PathAndQuery::try_from(rest) else {
            return Err(request);
        };
        parts.path_and_query = Some(rest);
        let Ok(uri) = Uri::from_parts(parts) else {
            return Err(request);
        };
        *request.uri_mut() = uri;
        Ok(request)
    }
}

impl<S, B, R> Service<Request<B>> for AdminService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    type Response = Response<Either<R, AdminBody>>;
    type Error = S::Error;
    type Future = LayerFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let whose = match self.sort(request) {
            Ok(request) => Whose::Endpoint {
                answer: self.admin.call(request),
            },
            Err(request) => Whose::Application {
                answer: self.inner.call(request),
            },
        };
        LayerFuture { whose }
    }
}

pin_project! {
    /// The future of [`AdminService`].
    #[derive(Debug)]
    pub struct LayerFuture<F> {
        #[pin]
        whose: Whose<F>,
    }
}

pin_project! {
    #[project = Projected]
    #[derive(Debug)]
    enum Whose<F> {
        Endpoint { #[pin] answer: AdminFuture },
        Application { #[pin] answer: F },
    }
}

impl<F, R, E> Future for LayerFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<Either<R, AdminBody>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match self.project().whose.project() {
            Projected::Endpoint { answer } => {
                let Ok(response) = ready!(answer.poll(cx));
                Ok(response.map(Either::Right))
            }
            Projected::Application { answer } => {
                ready!(answer.poll(cx)).map(|response| response.map(Either::Left))
            }
        })
    }
}
