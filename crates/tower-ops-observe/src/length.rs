use std::error::Error;
use std::fmt;

use http::{HeaderMap, Response, StatusCode, Version, header};
use http_body::Body;

use crate::facts::{Facts, Side};
use crate::known_method::KnownMethod;

/// How long a response's body must be by its head, and what hyper makes of one
/// that is not so long.
///
/// A client takes a response for broken that is shorter than its `Content-Length`.
/// On HTTP/1 a longer one is cut; on HTTP/2 it is sent as it is, and the client
/// resets the stream.
#[derive(Debug, Default)]
pub(crate) struct ResponseLength {
    /// What the client waits for.
    announced: Option<u64>,
    /// Where a longer body is cut.
    cut: Option<u64>,
    /// A longer body breaks the response.
    strict: bool,
    /// The head is broken by itself.
    contradicts: bool,
    /// The transport does not poll the body.
    no_body: bool,
}

impl ResponseLength {
    pub(crate) fn of<B: Body>(facts: &Facts, response: &Response<B>) -> Self {
        let exact = facts.response_size;
        let declared = Declared::by(response.headers());
        let is_empty = response.body().is_end_stream();
        let bodiless = facts.method == KnownMethod::Head
            || matches!(
                response.status(),
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            );
        if facts.side == Side::Client {
            return Self {
                announced: exact.or_else(|| declared.bytes()),
                no_body: bodiless || is_empty,
                ..Self::default()
            };
        }
        let mut length = if facts.version < Version::HTTP_2 {
            Self::http1(exact, declared, bodiless || is_empty)
        } else {
            Self::http2(exact, declared, bodiless, response.status())
        };
        length.no_body |= is_empty;
        length
    }

    fn http1(exact: Option<u64>, declared: Declared, no_body: bool) -> Self {
        if no_body {
            // hyper leaves out of the head what such a response must not declare.
            return Self {
                no_body,
                ..Self::default()
            };
        }
        // The size hint goes before the header, which is sent all the same.
        let bytes = exact.or_else(|| declared.bytes());
        Self {
            announced: bytes,
            cut: bytes,
            contradicts: declared.contradicts(exact),
            ..Self::default()
        }
    }

    fn http2(exact: Option<u64>, declared: Declared, bodiless: bool, status: StatusCode) -> Self {
        if bodiless {
            // hyper sends what there is.
            return Self {
                announced: Some(0),
                strict: true,
                contradicts: status == StatusCode::NO_CONTENT
                    && declared.bytes().is_some_and(|bytes| bytes > 0),
                ..Self::default()
            };
        }
        Self {
            announced: declared.bytes().or(exact),
            strict: true,
            contradicts: declared.contradicts(exact),
            ..Self::default()
        }
    }

    /// Whether the exchange is over with the head.
    pub(crate) const fn has_no_body(&self) -> bool {
        self.no_body
    }

    /// How many of these bytes are sent, after `sent` others.
    pub(crate) fn cut(&self, sent: u64, bytes: usize) -> usize {
        let room = self.cut.map(|cut| cut.saturating_sub(sent));
        room.and_then(|room| usize::try_from(room).ok())
            .map_or(bytes, |room| bytes.min(room))
    }

    /// Whether all that was announced was sent: the transport has no reason to poll
    /// the body again.
    pub(crate) fn is_reached(&self, sent: u64) -> bool {
        self.announced.is_some_and(|announced| sent >= announced)
    }

    /// What is wrong already, with more to come.
    pub(crate) fn fault(&self, sent: u64) -> Option<Misfit> {
        if self.contradicts {
            Some(Misfit::Contradiction)
        } else if self.strict && self.announced.is_some_and(|announced| sent > announced) {
            Some(Misfit::Longer)
        } else {
            None
        }
    }

    /// What is wrong with a body that is over.
    pub(crate) fn fault_at_end(&self, sent: u64) -> Option<Misfit> {
        let is_short = self.announced.is_some_and(|announced| sent < announced);
        self.fault(sent)
            .or_else(|| is_short.then_some(Misfit::Shorter))
    }
}

/// The value of `Content-Length`.
#[derive(Clone, Copy)]
enum Declared {
    Nothing,
    Bytes(u64),
    Nonsense,
}

impl Declared {
    fn by(headers: &HeaderMap) -> Self {
        let mut declared = Self::Nothing;
        for value in headers.get_all(header::CONTENT_LENGTH) {
            declared = match (declared, digits(value.as_bytes())) {
                (Self::Nothing, Some(bytes)) => Self::Bytes(bytes),
                (Self::Bytes(before), Some(bytes)) if before == bytes => declared,
                _ => return Self::Nonsense,
            };
        }
        declared
    }

    const fn bytes(self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Nothing | Self::Nonsense => None,
        }
    }

    fn contradicts(self, exact: Option<u64>) -> bool {
        match self {
            Self::Nothing => false,
            Self::Bytes(bytes) => exact.is_some_and(|exact| exact != bytes),
            Self::Nonsense => true,
        }
    }
}

fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Why a client takes a response for broken that is complete for the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    Shorter,
    Longer,
    Contradiction,
    Informational,
    NoUpgrade,
}

impl Misfit {
    /// With a life of its own: an ending borrows its error.
    pub(crate) const fn as_error(self) -> &'static (dyn Error + 'static) {
        match self {
            Self::Shorter => &Self::Shorter,
            Self::Longer => &Self::Longer,
            Self::Contradiction => &Self::Contradiction,
            Self::Informational => &Self::Informational,
            Self::NoUpgrade => &Self::NoUpgrade,
        }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shorter => "the response's body is shorter than announced",
            Self::Longer => "the response's body is longer than announced",
            Self::Contradiction => {
                "the response's content-length is not that of its body, or no number"
            }
            Self::Informational => "a 1xx status is no final response",
            Self::NoUpgrade => "the response is 101, and the request asked for no upgrade",
        })
    }
}

impl Error for Misfit {}
