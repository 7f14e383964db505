use std::any::Any;
use std::error::Error;
use std::io;

type Boxed = Box<dyn Error + Send + Sync>;

/// Returns the error behind a value of any type, where the type is one that services and tasks often
/// use: boxed errors, `std::io::Error`, the timeouts of tokio and tower, and with the feature `axum`
/// axum's error.
///
/// For code that takes any error type. A bound on the type would be simpler, but there are services
/// whose error is none, and tasks whose error is a text.
///
/// ```
/// use tower_ops_observe::{as_error, is_timeout};
///
/// let error = std::io::Error::from(std::io::ErrorKind::TimedOut);
/// assert!(as_error(&error).is_some_and(is_timeout));
/// assert!(as_error(&"a text").is_none());
/// ```
#[must_use]
pub fn as_error(value: &dyn Any) -> Option<&(dyn Error + 'static)> {
    if let Some(boxed) = value.downcast_ref::<Boxed>() {
        return Some(&**boxed);
    }
    if let Some(boxed) = value.downcast_ref::<Box<dyn Error + Send>>() {
        return Some(&**boxed);
    }
    if let Some(boxed) = value.downcast_ref::<Box<dyn Error>>() {
        return Some(&**boxed);
    }
    #[cfg(feature = "axum")]
    if let Some(error) = value.downcast_ref::<axum::Error>() {
        return Some(error);
    }
    if let Some(error) = value.downcast_ref::<io::Error>() {
        return Some(error);
    }
    if let Some(error) = value.downcast_ref::<tokio::time::error::Elapsed>() {
        return Some(error);
    }
    value
        .downcast_ref::<tower::timeout::error::Elapsed>()
        .map(|error| error as &(dyn Error + 'static))
}

/// Whether the error, or one that caused it, is a timeout: of tower, of tokio, or
/// an I/O error of that kind.
///
/// The rule by which an exchange is [`TimedOut`](crate::Outcome::TimedOut), for
/// those who watch other things by the same rule.
///
/// ```
/// use std::io;
/// use tower_ops_observe::is_timeout;
///
/// assert!(is_timeout(&io::Error::from(io::ErrorKind::TimedOut)));
/// assert!(!is_timeout(&io::Error::other("full")));
/// ```
#[must_use]
pub fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| {
        cause.is::<tower::timeout::error::Elapsed>()
            || cause.is::<tokio::time::error::Elapsed>()
            || io_kind(cause) == Some(io::ErrorKind::TimedOut)
    })
}

/// Whether a request's body ended with this because of the peer: it left, or it
/// broke the framing. What a layer on the way adds, such as a limit of its length,
/// is not of the peer.
#[cfg(any(feature = "axum", feature = "tonic"))]
pub(crate) fn is_of_the_peer(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| {
        // A transport's error while it reads is always about the connection.
        cause.is::<hyper::Error>()
            || matches!(
                io_kind(cause),
                Some(
                    io::ErrorKind::ConnectionReset
                        | io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::BrokenPipe
                        | io::ErrorKind::UnexpectedEof
                )
            )
    })
}

fn io_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    error.downcast_ref::<io::Error>().map(io::Error::kind)
}

/// An error and what caused it, from the outside in.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    // A faulty error can be its own cause, and then the chain has no end.
    const DEEPEST: usize = 32;
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        let error: &'a (dyn Error + 'static) = *error;
        // The source of an `io::Error` is that of the error in it, which it skips.
        match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(inner) => Some(inner),
            None => error.source(),
        }
    })
    .take(DEEPEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_timeouts_apart() {
        let elapsed: Boxed = Box::new(tower::timeout::error::Elapsed::new());
        assert!(is_timeout(as_error(&elapsed).unwrap()));
        assert!(is_timeout(
            as_error(&io::Error::from(io::ErrorKind::TimedOut)).unwrap()
        ));
        assert!(is_timeout(
            as_error(&io::Error::other(Outer(elapsed))).unwrap()
        ));
        assert!(!is_timeout(as_error(&io::Error::other("no")).unwrap()));
        assert!(as_error(&"not an error").is_none());
    }

    #[derive(Debug)]
    struct Outer(Boxed);

    impl std::fmt::Display for Outer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("outer")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&*self.0)
        }
    }
}
