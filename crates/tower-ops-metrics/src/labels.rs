use std::hash::{Hash, Hasher};

use http::{StatusCode, Version};
use metrics::Label;
use tower_ops_observe::{Ending, Facts, GrpcCode, KnownMethod, Outcome};

use crate::set::Shape;

/// Identifies a label set, together with the route.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct LabelKey {
    method: KnownMethod,
    secure: bool,
    version: ProtocolVersion,
    status: Option<StatusCode>,
    grpc: Option<GrpcCode>,
    outcome: Outcome,
    rpc: bool,
}

impl LabelKey {
    pub(crate) fn of(ending: &Ending<'_>, facts: &Facts) -> Self {
        let rpc = facts.is_grpc();
        Self {
            // What the labels do not show must not make two sets out of one.
            method: if rpc {
                KnownMethod::Post
            } else {
                facts.method()
            },
            secure: !rpc && facts.scheme() == "https",
            version: if rpc {
                ProtocolVersion::Http2
            } else {
                facts.version().into()
            },
            status: if rpc { None } else { ending.status() },
            grpc: ending.grpc_status(),
            outcome: match ending.outcome() {
                Outcome::Upgraded => Outcome::Completed,
                Outcome::CancelledBeforeHead => Outcome::CancelledDuringBody,
                outcome => outcome,
            },
            rpc,
        }
    }

    pub(crate) const fn is_rpc(self) -> bool {
        self.rpc
    }

    pub(crate) const fn shape(self) -> Shape {
        match (self.rpc, self.status) {
            (true, _) => Shape::Rpc,
            (false, None) => Shape::HttpWithoutHead,
            (false, Some(_)) => Shape::Http,
        }
    }

    /// The labels of the conventions for `http.server.request.duration` or
    /// `rpc.server.call.duration`.
    pub(crate) fn labels(self, route: &str) -> Vec<Label> {
        let mut labels = Vec::with_capacity(6);
        if self.rpc {
            labels.push(Label::from_static_parts("rpc_system_name", "grpc"));
            labels.push(Label::new("rpc_method", route.to_owned()));
            if let Some(code) = self.grpc {
                labels.push(Label::from_static_parts(
                    "rpc_response_status_code",
                    code.as_str(),
                ));
            }
        } else {
            labels.push(Label::from_static_parts(
                "http_request_method",
                self.method.as_str(),
            ));
            labels.push(Label::from_static_parts("url_scheme", scheme(self.secure)));
            labels.push(Label::new("http_route", route.to_owned()));
            labels.push(Label::from_static_parts(
                "network_protocol_version",
                self.version.as_str(),
            ));
            if let Some(status) = self.status {
                labels.push(Label::new(
                    "http_response_status_code",
                    status.as_str().to_owned(),
                ));
            }
        }
        if let Some(label) = self.error_type() {
            labels.push(label);
        }
        labels
    }

    /// Returns the labels of the set that counts what is beyond the limit of series.
    pub(crate) fn overflow_labels(self) -> Vec<Label> {
        const OVERFLOW: &str = "{overflow}";
        if self.rpc {
            vec![
                Label::from_static_parts("rpc_system_name", "grpc"),
                Label::from_static_parts("rpc_method", OVERFLOW),
            ]
        } else {
            vec![
                Label::from_static_parts("http_request_method", "_OTHER"),
                Label::from_static_parts("url_scheme", scheme(false)),
                Label::from_static_parts("http_route", OVERFLOW),
            ]
        }
    }

    fn error_type(self) -> Option<Label> {
        const NAME: &str = "error_type";
        let text = match self.outcome {
            Outcome::Failed => "error",
            Outcome::TimedOut => "timeout",
            Outcome::BodyFailed => "body_error",
            Outcome::CancelledBeforeHead | Outcome::CancelledDuringBody => "cancelled",
            Outcome::Panicked => "panic",
            _ => match (self.grpc, self.status) {
                (Some(code), _) if code.is_server_error() => code.as_str(),
                (None, Some(status)) if status.as_u16() >= 500 => {
                    return Some(Label::new(NAME, status.as_str().to_owned()));
                }
                _ => return None,
            },
        };
        Some(Label::from_static_parts(NAME, text))
    }
}

/// The labels of `http.server.active_requests`.
pub(crate) fn active_labels(method: KnownMethod, secure: bool) -> Vec<Label> {
    vec![
        Label::from_static_parts("http_request_method", method.as_str()),
        Label::from_static_parts("url_scheme", scheme(secure)),
    ]
}

const fn scheme(secure: bool) -> &'static str {
    if secure { "https" } else { "http" }
}

/// The conventions' `network.protocol.version`, of the versions that there are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ProtocolVersion {
    Http10,
    Http11,
    Http2,
    Http3,
}

impl ProtocolVersion {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2",
            Self::Http3 => "3",
        }
    }
}

impl From<Version> for ProtocolVersion {
    fn from(version: Version) -> Self {
        match version {
            Version::HTTP_09 | Version::HTTP_10 => Self::Http10,
            Version::HTTP_2 => Self::Http2,
            Version::HTTP_3 => Self::Http3,
            _ => Self::Http11,
        }
    }
}

impl Hash for LabelKey {
    /// One word instead of a field at a time: this is done for every request.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let word = self.method as u64
            | u64::from(self.secure) << 8
            | (self.version as u64) << 9
            | u64::from(self.rpc) << 12
            | (self.outcome as u64) << 16
            | self.grpc.map_or(0xff, |code| code as u64) << 24
            | self.status.map_or(0, |status| u64::from(status.as_u16())) << 32;
        state.write_u64(word);
    }
}
