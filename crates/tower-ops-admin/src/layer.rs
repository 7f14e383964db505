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
use crate::builder::path_problem;

/// Puts an [`Admin`] on the application's port. Made by [`Admin::layer`].
#[derive(Clone, Debug)]
pub struct AdminLayer {
    admin: Admin,
    prefix: String,
}

impl AdminLayer {
    pub(crate) fn new(admin: &Admin, prefix: &str) -> Self {
        // Otherwise "ops" would match no path, and "" the application's own.
        let within = prefix.trim_matches('/');
        let path = format!("/{within}");
        let problem = match path_problem(&path) {
            _ if within.trim().is_empty() => Some("would take the application's own paths"),
            problem => problem,
        };
        assert!(
            problem.is_none(),
            "the operations endpoint cannot stand below {prefix:?}, which {}; give a path of its \
             own, such as \"/ops\"",
            problem.unwrap_or_default()
        );
        let prefix = path;
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
    /// Returns the URI without the prefix, if it has that.
    fn below(&self, uri: &Uri) -> Option<Uri> {
        let rest = match uri.path().strip_prefix(&*self.prefix)? {
            "" => "/",
            rest if rest.starts_with('/') => rest,
            _ => return None,
        };
        let rest = match uri.query() {
            Some(query) => format!("{rest}?{query}"),
            None => rest.to_owned(),
        };
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = Some(PathAndQuery::try_from(rest).ok()?);
        Uri::from_parts(parts).ok()
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
    type Future = AdminLayerFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let inner = match self.below(request.uri()) {
            Some(uri) => {
                *request.uri_mut() = uri;
                Target::Admin {
                    future: self.admin.call(request),
                }
            }
            None => Target::Application {
                future: self.inner.call(request),
            },
        };
        AdminLayerFuture { inner }
    }
}

pin_project! {
    /// The future of [`AdminService`].
    #[derive(Debug)]
    pub struct AdminLayerFuture<F> {
        #[pin]
        inner: Target<F>,
    }
}

pin_project! {
    #[project = Projected]
    #[derive(Debug)]
    enum Target<F> {
        Admin { #[pin] future: AdminFuture },
        Application { #[pin] future: F },
    }
}

impl<F, R, E> Future for AdminLayerFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<Either<R, AdminBody>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match self.project().inner.project() {
            Projected::Admin { future } => {
                let Ok(response) = ready!(future.poll(cx));
                Ok(response.map(Either::Right))
            }
            Projected::Application { future } => {
                ready!(future.poll(cx)).map(|response| response.map(Either::Left))
            }
        })
    }
}
