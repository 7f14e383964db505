//! One call of a mounted service, and the answer where the service gives none.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Empty;
use tokio::time::timeout;
use tower_ops_core::http::{Answer, UsedToken, allow};
use tower_ops_core::panic;

use crate::audit::{AuditEntry, STATUS_TIMEOUT};
use crate::body::{AdminBody, AdminRequestBody, BoxError};
use crate::mount::Mount;
#[cfg(feature = "server")]
use crate::server::workers::Worker;
use crate::tokens::Access;

/// After how many seconds to retry when too many others ask.
#[cfg(feature = "server")]
const RETRY_AFTER: u32 = 1;

/// A request that passed every check.
pub(crate) struct Call {
    pub(crate) mount: Mount,
    pub(crate) method: Method,
    /// If it changes something.
    pub(crate) audit: Option<AuditEntry>,
    /// Where the service runs; `None` for here.
    #[cfg(feature = "server")]
    pub(crate) worker: Option<Worker>,
}

/// Why a service gave no answer.
enum Failure {
    Failed(BoxError),
    Panicked(panic::Payload),
    TimedOut(Duration),
    #[cfg(feature = "server")]
    Busy,
}

impl Call {
    /// Returns an answer whatever the service does.
    pub(crate) async fn serve<B>(mut self, request: Request<B>) -> Response<AdminBody>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let request = if self.method == Method::OPTIONS && !self.mount.answers_options {
            as_get(&request)
        } else {
            request.map(|body| AdminRequestBody::new(body, self.mount.max_body))
        };
        let audit = self.audit.take();
        // A service that checks tokens itself knows which one it was once it has answered.
        let has_own_tokens = self.mount.access == Access::Own;
        let mut answering = pin!(self.answer(request));
        let Some(mut entry) = audit else {
            return answering.await;
        };
        let early = match has_own_tokens {
            true => None,
            false => timeout(STATUS_TIMEOUT, &mut answering).await.ok(),
        };
        let response = match early {
            Some(response) => response,
            None => {
                if !has_own_tokens {
                    entry.write(None);
                }
                answering.await
            }
        };
        if let Some(token) = response.extensions().get::<UsedToken>() {
            entry.set_token(token.name());
        }
        entry.write(Some(response.status()));
        response
    }

    async fn answer(self, request: Request<AdminRequestBody>) -> Response<AdminBody> {
        let calling = self.call(request);
        let answered = match self.mount.timeout {
            Some(limit) => match timeout(limit, calling).await {
                Ok(answered) => answered,
                Err(_) => Err(Failure::TimedOut(limit)),
            },
            None => calling.await,
        };
        let response = match answered {
            Ok(response) => response,
            Err(failure) => {
                let answer = failure.answer(&self.mount.path);
                return answer.into_response(&self.method).map(AdminBody::new);
            }
        };
        if self.method == Method::OPTIONS {
            as_options(response)
        } else {
            response
        }
    }

    async fn call(
        &self,
        request: Request<AdminRequestBody>,
    ) -> Result<Response<AdminBody>, Failure> {
        #[cfg(feature = "server")]
        if let Some(worker) = &self.worker {
            let answering = worker.call(&self.mount.service, request);
            return match answering.map_err(|_| Failure::Busy)?.await {
                Some(Ok(answered)) => answered.map_err(Failure::Failed),
                Some(Err(error)) if error.is_panic() => Err(Failure::Panicked(error.into_panic())),
                // The server ends.
                Some(Err(_)) | None => Err(Failure::Busy),
            };
        }
        // The call stands inside as well, since it may panic. A service that panicked is not
        // called again: it was a clone for this one request.
        let answering = async { self.mount.service.call(request).await };
        match panic::catch_future(answering).await {
            Ok(answered) => answered.map_err(Failure::Failed),
            Err(panic) => Err(Failure::Panicked(panic)),
        }
    }
}

impl Failure {
    /// Logs what the client does not see.
    fn answer(self, path: &str) -> Answer {
        let (status, problem) = match self {
            Self::Failed(error) => {
                tracing::error!(path, error, "a mounted service failed");
                let problem = "the service failed; the log says why".to_owned();
                (StatusCode::INTERNAL_SERVER_ERROR, problem)
            }
            Self::Panicked(panic) => {
                let message = panic::text(&*panic);
                tracing::error!(path, message, "a mounted service panicked");
                let problem = "the service panicked; the log says why".to_owned();
                (StatusCode::INTERNAL_SERVER_ERROR, problem)
            }
            Self::TimedOut(limit) => {
                let problem = format!("the service did not answer within {limit:?}");
                (StatusCode::GATEWAY_TIMEOUT, problem)
            }
            #[cfg(feature = "server")]
            Self::Busy => {
                let problem = "too many requests are being answered at once; try again";
                return Answer::busy(problem, RETRY_AFTER);
            }
        };
        Answer::problem(status, &problem)
    }
}

/// The request that stands for OPTIONS where a service does not answer that: GET without a body.
fn as_get<B>(request: &Request<B>) -> Request<AdminRequestBody> {
    let mut get = Request::new(AdminRequestBody::default());
    *get.method_mut() = Method::GET;
    *get.uri_mut() = request.uri().clone();
    *get.version_mut() = request.version();
    *get.headers_mut() = request.headers().clone();
    *get.extensions_mut() = request.extensions().clone();
    get.headers_mut().remove(CONTENT_LENGTH);
    get.headers_mut().remove(TRANSFER_ENCODING);
    get
}

/// The answer to OPTIONS: the same status, `Allow`, and no body.
fn as_options(response: Response<AdminBody>) -> Response<AdminBody> {
    let (mut parts, _) = response.into_parts();
    let headers = &mut parts.headers;
    headers.remove(CONTENT_TYPE);
    headers.remove(CONTENT_ENCODING);
    headers.remove(TRANSFER_ENCODING);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
    if !headers.contains_key(ALLOW) {
        headers.insert(ALLOW, allow(&["GET", "HEAD"]));
    }
    Response::from_parts(parts, AdminBody::new(Empty::<Bytes>::new()))
}
