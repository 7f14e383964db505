use std::net::SocketAddr;
use std::time::Duration;

use http::header::USER_AGENT;
use http::{HeaderMap, Method, StatusCode};

/// How long an answer may take before its change is logged without a status.
pub(crate) const STATUS_TIMEOUT: Duration = Duration::from_millis(250);

/// How much of a path and of a user agent is logged.
const MAX_BYTES: usize = 256;

/// A request that changes something. It is logged once: when it is answered, after
/// [`STATUS_TIMEOUT`], or when the client has gone. A request that was refused changed nothing and
/// is not logged.
pub(crate) struct AuditEntry {
    method: Method,
    path: String,
    peer: Option<SocketAddr>,
    user_agent: String,
    /// Which token was shown; never its text.
    token: &'static str,
    is_written: bool,
}

impl AuditEntry {
    pub(crate) fn new(
        method: &Method,
        path: &str,
        peer: Option<SocketAddr>,
        headers: &HeaderMap,
        token: &'static str,
    ) -> Self {
        let user_agent = headers.get(USER_AGENT).map(|it| escape(it.as_bytes()));
        Self {
            method: method.clone(),
            path: escape(path.as_bytes()),
            peer,
            user_agent: user_agent.unwrap_or_default(),
            token,
            is_written: false,
        }
    }

    /// Sets which token it was, for a service that checks its own.
    pub(crate) const fn set_token(&mut self, token: &'static str) {
        self.token = token;
    }

    pub(crate) fn write(&mut self, status: Option<StatusCode>) {
        if std::mem::replace(&mut self.is_written, true)
            || status.is_some_and(|status| status.is_client_error())
        {
            return;
        }
        tracing::info!(
            target: "tower_ops::audit",
            method = %self.method,
            path = %self.path,
            peer = self.peer.map(tracing::field::display),
            user_agent = %self.user_agent,
            token = self.token,
            status = status.map(|status| status.as_u16()),
            "a change through the operations endpoint"
        );
    }
}

impl Drop for AuditEntry {
    fn drop(&mut self) {
        self.write(None);
    }
}

/// As visible ASCII, so that nothing breaks out of a line of the log.
fn escape(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(MAX_BYTES)]
        .escape_ascii()
        .to_string()
}
