//! Which of our formats a client would rather read.

use http::HeaderMap;
use tower_ops_core::http::Accept;

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Text,
    /// `application/health+json`, the expired draft of the IETF.
    HealthJson,
}

impl Format {
    /// Chooses text if `accept` weighs it above JSON, `health+json` if it is named and nothing
    /// weighs more, and JSON in every other case.
    ///
    /// Never refuses: a probe that answers 406 takes a healthy process down. What cannot be read is
    /// skipped.
    pub(crate) fn negotiate(headers: &HeaderMap) -> Self {
        let accept = Accept::from_headers(headers);
        let json = accept.weight("application/json").unwrap_or(0);
        let text = accept.weight("text/plain").unwrap_or(0);
        // Only by its name: whoever takes anything expects plain JSON.
        let health = accept.named("application/health+json");
        if health > 0 && health >= json.max(text) {
            Self::HealthJson
        } else if text > json {
            Self::Text
        } else {
            Self::Json
        }
    }

    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Text => "text/plain; charset=utf-8",
            Self::HealthJson => "application/health+json",
        }
    }
}
