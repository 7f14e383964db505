use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::str::FromStr;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use tower_ops_observe::RequestFacts;

use crate::current::Scoped;

/// The header that carries the id by default.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id, in bytes.
pub const MAX_LEN: usize = 128;

/// The id of one request: 1 to 128 visible ASCII characters, by construction.
///
/// Cheap to clone: a reference count, no allocation. An id that came in with a
/// request keeps the buffer that it was read into alive; copy its text into
/// what outlives the request by much.
///
/// # Examples
///
/// ```
/// use tower_ops_request_id::RequestId;
///
/// let id: RequestId = "order-7".parse()?;
/// assert_eq!(id.as_str(), "order-7");
/// assert!("two words".parse::<RequestId>().is_err());
/// # Ok::<(), tower_ops_request_id::InvalidRequestId>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// Reads the id out of `x-request-id`. `None` if the header is missing,
    /// invalid, or there more than once.
    #[must_use]
    pub fn extract(headers: &HeaderMap) -> Option<Self> {
        Self::extract_from(headers, &X_REQUEST_ID)
    }

    /// As [`extract`](Self::extract), with a header of your choice.
    #[must_use]
    pub fn extract_from(headers: &HeaderMap, name: &HeaderName) -> Option<Self> {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Self::try_from(value.clone()).ok(),
            _ => None,
        }
    }

    /// Writes the id into `x-request-id`, in place of any other.
    pub fn inject(&self, headers: &mut HeaderMap) {
        headers.insert(X_REQUEST_ID, self.0.clone());
    }

    /// The id of the exchange that is being served right now on this task.
    ///
    /// Set inside of handlers, bodies and everything else that runs below a
    /// [`RequestIdLayer`](crate::RequestIdLayer) or in a [`scope`](Self::scope);
    /// a task spawned from there needs [`spawn`](crate::spawn) to keep it.
    #[must_use]
    pub fn current() -> Option<Self> {
        // Another crate's observer can have set a text that is no valid id.
        Self::try_from(RequestFacts::current_request_id()?).ok()
    }

    /// Runs a future with this id as the [`current`](Self::current) one.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use tower_ops_request_id::RequestId;
    ///
    /// let id: RequestId = "nightly-job".parse().unwrap();
    /// id.scope(async {
    ///     assert_eq!(RequestId::current().unwrap().as_str(), "nightly-job");
    /// })
    /// .await;
    /// assert!(RequestId::current().is_none());
    /// # }
    /// ```
    #[must_use = "futures do nothing unless polled"]
    pub fn scope<F: Future>(self, future: F) -> Scoped<F> {
        Scoped::new(Some(self), future)
    }

    /// The id's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Visible ASCII by construction, so this cannot fail.
        std::str::from_utf8(self.0.as_bytes()).unwrap_or_default()
    }

    /// The id as a header's value.
    #[must_use]
    pub const fn as_header_value(&self) -> &HeaderValue {
        &self.0
    }

    /// `text` must be visible ASCII of a valid length.
    #[inline]
    pub(crate) fn from_ascii(text: Bytes) -> Option<Self> {
        HeaderValue::from_maybe_shared(text).ok().map(Self)
    }

    /// As [`from_ascii`](Self::from_ascii). The copy shares a buffer with others of this thread.
    pub(crate) fn copy(text: &[u8]) -> Option<Self> {
        Self::from_ascii(share(text))
    }
}

/// How many bytes of ids share one buffer. An id that lives long, with a stream,
/// keeps the buffer alive; it is small enough for one stream each to do that.
const CHUNK: usize = 1_024;

thread_local! {
    static IDS: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// A slice of a buffer that this thread's ids share: ids come and go with every
/// request, and so would their allocations.
fn share(text: &[u8]) -> Bytes {
    IDS.try_with(|buffer| {
        let buffer = &mut *buffer.borrow_mut();
        if buffer.capacity() < text.len() {
            buffer.reserve(CHUNK);
        }
        buffer.extend_from_slice(text);
        buffer.split().freeze()
    })
    .unwrap_or_else(|_| Bytes::copy_from_slice(text))
}

fn check(bytes: &[u8]) -> Result<(), InvalidRequestId> {
    if bytes.is_empty() {
        Err(InvalidRequestId::Empty)
    } else if bytes.len() > MAX_LEN {
        Err(InvalidRequestId::TooLong)
    } else if !bytes
        .iter()
        .fold(true, |all, byte| all & byte.is_ascii_graphic())
    {
        // Without an early end many bytes are compared at once.
        Err(InvalidRequestId::NotVisibleAscii)
    } else {
        Ok(())
    }
}

impl TryFrom<HeaderValue> for RequestId {
    type Error = InvalidRequestId;

    fn try_from(value: HeaderValue) -> Result<Self, InvalidRequestId> {
        check(value.as_bytes())?;
        Ok(Self(value))
    }
}

impl FromStr for RequestId {
    type Err = InvalidRequestId;

    fn from_str(text: &str) -> Result<Self, InvalidRequestId> {
        check(text.as_bytes())?;
        HeaderValue::from_str(text)
            .map(Self)
            .map_err(|_| InvalidRequestId::NotVisibleAscii)
    }
}

impl From<RequestId> for HeaderValue {
    fn from(id: RequestId) -> Self {
        id.0
    }
}

impl AsRef<str> for RequestId {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequestId").field(&self.as_str()).finish()
    }
}

/// Why a text is no request id. Does not quote the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidRequestId {
    /// It is empty.
    Empty,
    /// It has more than [`MAX_LEN`] bytes.
    TooLong,
    /// It has a character that is not visible ASCII, such as a space, a control
    /// character or an umlaut.
    NotVisibleAscii,
}

impl fmt::Display for InvalidRequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "a request id must not be empty",
            Self::TooLong => "a request id has at most 128 characters",
            Self::NotVisibleAscii => "a request id has only visible ASCII characters, no spaces",
        })
    }
}

impl Error for InvalidRequestId {}
