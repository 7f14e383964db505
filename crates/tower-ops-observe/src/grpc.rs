use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::ending::Class;

/// A gRPC status code, as the [specification] numbers and spells them.
///
/// [specification]: https://github.com/grpc/grpc/blob/master/doc/statuscodes.md
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the specification says what each code means")]
#[expect(
    clippy::exhaustive_enums,
    reason = "the specification has exactly these"
)]
pub enum GrpcCode {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

impl GrpcCode {
    /// Every code, in the order of its number.
    pub const ALL: [Self; 17] = [
        Self::Ok,
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// The code's name, such as `DEADLINE_EXCEEDED`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Cancelled => "CANCELLED",
            Self::Unknown => "UNKNOWN",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Aborted => "ABORTED",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
            Self::DataLoss => "DATA_LOSS",
            Self::Unauthenticated => "UNAUTHENTICATED",
        }
    }

    /// Reads `grpc-status` from a head or from trailers, if it is there.
    ///
    /// Text that is no known code reads as [`GrpcCode::Unknown`], which is what
    /// gRPC clients make of it.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        headers.get("grpc-status").map(Self::parse)
    }

    /// What a client makes of a response that is not gRPC, by the [mapping].
    ///
    /// [mapping]: https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
    pub(crate) const fn from_http(status: StatusCode) -> Self {
        match status.as_u16() {
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502 | 503 | 504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// Whether the conventions count the code as a fault of the server.
    #[must_use]
    pub const fn is_server_error(self) -> bool {
        matches!(
            self,
            Self::Unknown
                | Self::DeadlineExceeded
                | Self::Unimplemented
                | Self::Internal
                | Self::Unavailable
                | Self::DataLoss
        )
    }

    pub(crate) const fn class(self) -> Class {
        match self {
            Self::Ok => Class::Success,
            Self::Cancelled => Class::Cancelled,
            Self::DeadlineExceeded => Class::Timeout,
            code if code.is_server_error() => Class::ServerError,
            _ => Class::ClientError,
        }
    }

    /// Whether a status in the head tells that the method is there.
    ///
    /// Guards, load shedders, timeouts and routers answer for methods that
    /// nobody registered, with the codes that are left out here.
    pub(crate) const fn is_of_a_method(self) -> bool {
        matches!(
            self,
            Self::Ok
                | Self::InvalidArgument
                | Self::NotFound
                | Self::AlreadyExists
                | Self::FailedPrecondition
                | Self::Aborted
                | Self::OutOfRange
                | Self::DataLoss
        )
    }

    fn parse(value: &HeaderValue) -> Self {
        let number = match value.as_bytes() {
            [ones @ b'0'..=b'9'] => ones - b'0',
            [b'1', ones @ b'0'..=b'6'] => 10 + ones - b'0',
            _ => return Self::Unknown,
        };
        Self::ALL[usize::from(number)]
    }
}

impl fmt::Display for GrpcCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether the content type is `application/grpc`, alone or with a suffix.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        value
            .as_bytes()
            .strip_prefix(GRPC)
            .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
    })
}

/// The gRPC methods that this service is known to have.
///
/// A method becomes known when it is named up front, or when it first answers
/// with what only a method answers: a stream, success, or a code that no guard in
/// front of it gives. A client can ask for any path, but cannot make that happen.
/// The set is bounded all the same, for a proxy that forwards every path, and it
/// is read without a lock: slots are filled once and never cleared.
pub(crate) struct GrpcMethods {
    slots: OnceLock<Box<[OnceLock<Arc<str>>]>>,
    len: AtomicUsize,
    hasher: RandomState,
}

/// At most this many methods are told apart; more are `_OTHER`.
const MAX_METHODS: usize = 1_024;
/// A longer path is no method that anybody registered.
const MAX_METHOD_LEN: usize = 256;

impl GrpcMethods {
    pub(crate) fn new() -> Self {
        Self {
            slots: OnceLock::new(),
            len: AtomicUsize::new(0),
            hasher: RandomState::new(),
        }
    }

    pub(crate) fn get(&self, method: &str) -> Option<Arc<str>> {
        let slots = self.slots.get()?;
        for slot in self.probe(slots, method) {
            match slot.get() {
                Some(known) if &**known == method => return Some(Arc::clone(known)),
                Some(_) => {}
                None => return None,
            }
        }
        None
    }

    /// Adds a method and returns it; `None` when the set is full.
    pub(crate) fn learn(&self, method: Arc<str>) -> Option<Arc<str>> {
        // Twice as many slots as entries keep every probe short, and leave
        // empty slots for it to end at.
        let slots = self
            .slots
            .get_or_init(|| (0..2 * MAX_METHODS).map(|_| OnceLock::new()).collect());
        for slot in self.probe(slots, &method) {
            if slot.get().is_none() {
                if self.len.fetch_add(1, Ordering::Relaxed) >= MAX_METHODS {
                    self.len.fetch_sub(1, Ordering::Relaxed);
                    return None;
                }
                if slot.set(Arc::clone(&method)).is_ok() {
                    return Some(method);
                }
                // Another thread took the slot: perhaps with this very method.
                self.len.fetch_sub(1, Ordering::Relaxed);
            }
            if slot.get().is_some_and(|known| **known == *method) {
                return slot.get().cloned();
            }
        }
        None
    }

    fn probe<'a>(
        &self,
        slots: &'a [OnceLock<Arc<str>>],
        method: &str,
    ) -> impl Iterator<Item = &'a OnceLock<Arc<str>>> + use<'a> {
        let mask = slots.len() - 1;
        let start = usize::try_from(self.hasher.hash_one(method) & mask as u64).unwrap_or(0);
        (0..slots.len()).map(move |step| &slots[(start + step) & mask])
    }
}

/// `package.Service/Method` of a request path, if it has that shape.
pub(crate) fn method_of(path: &str) -> Option<&str> {
    let method = path.strip_prefix('/')?;
    let (service, name) = method.split_once('/')?;
    let fits = !service.is_empty()
        && !name.is_empty()
        && !name.contains('/')
        && method.len() <= MAX_METHOD_LEN;
    fits.then_some(method)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_codes() {
        for code in GrpcCode::ALL {
            let value = HeaderValue::from_str(&(code as u8).to_string()).unwrap();
            assert_eq!(GrpcCode::parse(&value), code);
        }
        for odd in ["", "17", "99", "016", "-1", "ok", " 0"] {
            let value = HeaderValue::from_str(odd).unwrap();
            assert_eq!(GrpcCode::parse(&value), GrpcCode::Unknown, "{odd:?}");
        }
    }

    #[test]
    fn tells_grpc_content_types() {
        for (text, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(text));
            assert_eq!(is_grpc(&headers), expected, "{text}");
        }
    }

    #[test]
    fn splits_paths() {
        assert_eq!(method_of("/a.B/C"), Some("a.B/C"));
        for path in ["/", "//", "/a", "/a/", "//b", "/a/b/c", "a/b", ""] {
            assert_eq!(method_of(path), None, "{path}");
        }
        assert_eq!(method_of(&format!("/a/{}", "x".repeat(300))), None);
    }

    #[test]
    fn learns_each_method_once_up_to_the_bound() {
        let methods = GrpcMethods::new();
        assert!(methods.get("a/0").is_none());
        for n in 0..2 * MAX_METHODS {
            let name = format!("a/{n}");
            assert_eq!(
                methods.learn(name.as_str().into()).is_some(),
                n < MAX_METHODS
            );
            assert_eq!(methods.get(&name).is_some(), n < MAX_METHODS);
        }
        let first = methods.get("a/0").unwrap();
        let again = methods.learn("a/0".into()).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
    }

    #[test]
    fn threads_agree_on_one_entry() {
        let methods = GrpcMethods::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for n in 0..200 {
                        assert!(methods.learn(format!("a/{n}").into()).is_some());
                    }
                });
            }
        });
        assert_eq!(methods.len.load(Ordering::Relaxed), 200);
    }
}
