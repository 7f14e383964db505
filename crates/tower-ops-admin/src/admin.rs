use std::any::Any;
use std::convert::Infallible;
use std::fmt;
use std::future::{Future, ready};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use tokio::time::timeout;
use tower_ops_answer::Answer;
use tower_service::Service;

use crate::access::Access;
use crate::body::{AdminBody, AdminRequestBody, BoxError};
use crate::builder::AdminBuilder;
use crate::config::Config;
use crate::index::{INDEX, INFO, index, info};
use crate::layer::AdminLayer;
use crate::mount::Mount;
use crate::tokens::{Refusal, Tokens};

const VERSION: HeaderValue = HeaderValue::from_static(env!("CARGO_PKG_VERSION"));

/// The operations endpoint as one tower service. Cheap to clone.
///
/// Always ready to be called; a mounted service is polled ready for each request that it gets.
/// Needs a tokio runtime with time, for the timeouts of mounts.
#[derive(Clone)]
pub struct Admin {
    config: Arc<Config>,
    base: Arc<str>,
}

impl Admin {
    /// Begins with the application's name, and nothing mounted.
    pub fn builder(name: impl Into<String>) -> AdminBuilder {
        AdminBuilder::new(name.into())
    }

    pub(crate) fn new(config: Config) -> Self {
        Self {
            base: config.base.as_str().into(),
            config: Arc::new(config),
        }
    }

    pub(crate) fn based(&self, base: &str) -> Self {
        Self {
            config: Arc::clone(&self.config),
            base: base.into(),
        }
    }

    /// Puts the endpoint on the application's port, on the paths below `prefix`, such as `/ops`.
    ///
    /// Put the layer outermost: then what asks for operations is in none of the application's
    /// metrics, traces and logs.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use tower_ops_admin::Admin;
    ///
    /// # fn example(admin: Admin) {
    /// let app: Router = Router::new()
    ///     .route("/", get(|| async { "hello" }))
    ///     .fallback(|| async { "nothing here" }) // a Router's layer needs a route to wrap
    ///     .layer(admin.layer("/ops"));
    /// # let _ = app;
    /// # }
    /// ```
    #[must_use]
    pub fn layer(&self, prefix: impl AsRef<str>) -> AdminLayer {
        AdminLayer::new(self, prefix.as_ref())
    }

    /// Who may do what.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        &self.config.tokens
    }

    /// How long whoever serves this should give a request in all; `None` where the mounted
    /// service has time limits of its own.
    #[cfg(feature = "server")]
    pub(crate) fn time_for(&self, path: &str) -> Option<std::time::Duration> {
        match self.config.find(path) {
            Some(mount) => mount.timeout,
            None => Some(std::time::Duration::ZERO),
        }
    }

    fn answer<B>(&self, request: Request<B>) -> Answering
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let path = request.uri().path();
        let method = request.method();
        if matches!(path, INDEX | INFO | "") {
            return Answering::Now(self.own(&request));
        }
        let Some(mount) = self.config.find(path) else {
            let paths: Vec<_> = self.config.links().map(|(path, _)| path).collect();
            return now(Answer::not_found(&paths), method);
        };
        if let Some(refusal) = self.refuse(&request, mount.needs(method)) {
            return Answering::Now(refusal);
        }
        let length = request.headers().get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        let most = mount.most.and_then(|most| u64::try_from(most).ok());
        if let (Some(length), Some(most)) = (length, most)
            && length > most
        {
            let problem = format!("the body has {length} bytes, and {most} are the most");
            let answer = Answer::problem(StatusCode::PAYLOAD_TOO_LARGE, &problem);
            return now(answer, method);
        }
        Answering::Later(Box::pin(serve(mount, request)))
    }

    /// The index and the information.
    fn own<B>(&self, request: &Request<B>) -> Response<AdminBody> {
        let method = request.method();
        if !matches!(*method, Method::GET | Method::HEAD) {
            let answer = Answer::method_not_allowed(&["GET", "HEAD"]);
            return answer.into_response(method).map(AdminBody::new);
        }
        if let Some(refusal) = self.refuse(request, Access::Read) {
            return refusal;
        }
        if request.uri().path() == INFO {
            return info(&self.config, method);
        }
        index(&self.config, &self.base, method, request.headers())
    }

    fn refuse<B>(&self, request: &Request<B>, needs: Access) -> Option<Response<AdminBody>> {
        let refusal = self.config.tokens.check(request.headers(), needs).err()?;
        let (status, problem) = match refusal {
            Refusal::Unknown => (
                StatusCode::UNAUTHORIZED,
                "a bearer token is needed here, and this has none that is known",
            ),
            Refusal::RoleTooLow => (StatusCode::FORBIDDEN, "this token is good for reading only"),
            Refusal::Closed => (
                StatusCode::FORBIDDEN,
                "closed: this needs a token for writing, and the service has not set one",
            ),
        };
        let answer = Answer::problem(status, problem);
        Some(answer.into_response(request.method()).map(AdminBody::new))
    }
}

enum Answering {
    Now(Response<AdminBody>),
    Later(Pin<Box<dyn Future<Output = Response<AdminBody>> + Send>>),
}

fn now(answer: Answer, method: &Method) -> Answering {
    Answering::Now(answer.into_response(method).map(AdminBody::new))
}

/// Has a mounted service answer, whatever it does.
fn serve<B>(
    mount: &Mount,
    request: Request<B>,
) -> impl Future<Output = Response<AdminBody>> + Send + use<B>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let mount = mount.clone();
    let method = request.method().clone();
    let request = request.map(|body| AdminRequestBody::new(body, mount.most));
    async move {
        // The call stands inside as well, for what it may panic. A service that panicked is not
        // called again: it was a clone for this one request.
        let answering = AssertUnwindSafe(async { mount.service.serve(request).await });
        let answering = answering.catch_unwind();
        let answered = match mount.timeout {
            Some(limit) => timeout(limit, answering).await.map_err(|_| limit),
            None => Ok(answering.await),
        };
        let (status, problem) = match answered {
            Ok(Ok(Ok(response))) => return response,
            Ok(Ok(Err(error))) => {
                tracing::error!(path = &*mount.path, error, "a service of operations failed");
                let problem = "the service failed; the log says why".to_owned();
                (StatusCode::INTERNAL_SERVER_ERROR, problem)
            }
            Ok(Err(panic)) => {
                let message = message(&*panic);
                tracing::error!(
                    path = &*mount.path,
                    message,
                    "a service of operations panicked"
                );
                let problem = "the service panicked; the log says why".to_owned();
                (StatusCode::INTERNAL_SERVER_ERROR, problem)
            }
            Err(limit) => {
                let problem = format!("the service did not answer within {limit:?}");
                (StatusCode::GATEWAY_TIMEOUT, problem)
            }
        };
        let answer = Answer::problem(status, &problem);
        answer.into_response(&method).map(AdminBody::new)
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message")
}

impl<B> Service<Request<B>> for Admin
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<AdminBody>;
    type Error = Infallible;
    type Future = AdminFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> AdminFuture {
        let config = Arc::clone(&self.config);
        let marked = move |mut response: Response<AdminBody>| {
            if let Some(header) = &config.header {
                response.headers_mut().insert(header.clone(), VERSION);
            }
            response
        };
        let inner: Pin<Box<dyn Future<Output = Response<AdminBody>> + Send>> =
            match self.answer(request) {
                Answering::Now(response) => Box::pin(ready(marked(response))),
                Answering::Later(later) => Box::pin(later.map(marked)),
            };
        AdminFuture { inner }
    }
}

/// An answer of the operations endpoint, when there is one.
///
/// May be dropped at any time, if the mounted service's may.
pub struct AdminFuture {
    inner: Pin<Box<dyn Future<Output = Response<AdminBody>> + Send>>,
}

impl Future for AdminFuture {
    type Output = Result<Response<AdminBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.inner.as_mut().poll(cx).map(Ok)
    }
}

impl fmt::Debug for AdminFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminFuture").finish_non_exhaustive()
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("config", &self.config)
            .field("base", &self.base)
            .finish()
    }
}
