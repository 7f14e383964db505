//! One call of a mounted service, and what is answered in its place.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt as _;
use http::{Method, Request, Response, StatusCode};
use tokio::time::timeout;
use tower_ops_core::http::{Answer, UsedToken};

use crate::access::Access;
use crate::audit::{AT_LATEST, AuditEntry};
use crate::body::{AdminBody, AdminRequestBody, BoxError};
use crate::mount::Mount;
use crate::options;
#[cfg(feature = "server")]
use crate::workers::Worker;

/// After how many seconds to ask again when too many others ask.
#[cfg(feature = "server")]
const COME_AGAIN: u32 = 1;

/// A request that is let in.
pub(crate) struct Call {
    pub(crate) mount: Mount,
    pub(crate) method: Method,
    /// If it changes something.
    pub(crate) audit: Option<AuditEntry>,
    /// Where the service works; `None` for here.
    #[cfg(feature = "server")]
    pub(crate) worker: Option<Worker>,
}

/// Why a service gave no answer.
enum Failure {
    Failed(BoxError),
    Panicked(String),
    Late(Duration),
    #[cfg(feature = "server")]
    Busy,
}

impl Call {
    /// Has the service answer, whatever it does.
    pub(crate) async fn serve(mut self, request: Request<AdminRequestBody>) -> Response<AdminBody> {
        let audit = self.audit.take();
        // Who asks for a token itself knows better which one it was, when it has answered.
        let is_patient = self.mount.access == Access::Own;
        let mut answering = pin!(self.answer(request));
        let Some(mut entry) = audit else {
            return answering.await;
        };
        let early = match is_patient {
            true => None,
            false => timeout(AT_LATEST, &mut answering).await.ok(),
        };
        let response = match early {
            Some(response) => response,
            None => {
                if !is_patient {
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
                Err(_) => Err(Failure::Late(limit)),
            },
            None => calling.await,
        };
        let path = &*self.mount.path;
        let response = match answered {
            Ok(response) => response,
            Err(failure) => {
                let answer = failure.answer(path);
                return answer.into_response(&self.method).map(AdminBody::new);
            }
        };
        if self.method == Method::OPTIONS {
            options::answer(response)
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
            let answering = worker.serve(&self.mount.service, request);
            return match answering.map_err(|_| Failure::Busy)?.await {
                Ok(answered) => answered.map_err(Failure::Failed),
                Err(error) => Err(match error.try_into_panic() {
                    Ok(panic) => Failure::Panicked(message(&*panic)),
                    // The endpoint ends.
                    Err(_) => Failure::Busy,
                }),
            };
        }
        // The call stands inside as well, for what it may panic. A service that panicked is not
        // called again: it was a clone for this one request.
        let answering = AssertUnwindSafe(async { self.mount.service.serve(request).await });
        match answering.catch_unwind().await {
            Ok(answered) => answered.map_err(Failure::Failed),
            Err(panic) => Err(Failure::Panicked(message(&*panic))),
        }
    }
}

impl Failure {
    /// Logs what the client does not see.
    fn answer(self, path: &str) -> Answer {
        let (status, problem) = match self {
            Self::Failed(error) => {
                tracing::error!(path, error, "a service of operations failed");
                let problem = "the service failed; the log says why".to_owned();
                (StatusCode::INTERNAL_SERVER_ERROR, problem)
            }
            Self::Panicked(message) => {
                tracing::error!(path, message, "a service of operations panicked");
                let problem = "the service panicked; the log says why".to_owned();
                (StatusCode::INTERNAL_SERVER_ERROR, problem)
            }
            Self::Late(limit) => {
                let problem = format!("the service did not answer within {limit:?}");
                (StatusCode::GATEWAY_TIMEOUT, problem)
            }
            #[cfg(feature = "server")]
            Self::Busy => {
                let problem = "as many answers are being made as can be at once; ask again";
                return Answer::busy(problem, COME_AGAIN);
            }
        };
        Answer::problem(status, &problem)
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message").to_owned()
}
