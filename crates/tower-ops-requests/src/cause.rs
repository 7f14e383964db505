//! What went wrong: the rule of tower-ops-observe, for tasks.

use std::any::Any;
use std::error::Error;
use std::io;

/// The error behind a value of any type, where the type is one of those that
/// work usually fails with. A bound on the error would keep `track` off futures
/// whose error is none.
pub(crate) fn as_error(value: &dyn Any) -> Option<&(dyn Error + 'static)> {
    if let Some(boxed) = value.downcast_ref::<Box<dyn Error + Send + Sync>>() {
        return Some(&**boxed);
    }
    if let Some(boxed) = value.downcast_ref::<Box<dyn Error + Send>>() {
        return Some(&**boxed);
    }
    if let Some(boxed) = value.downcast_ref::<Box<dyn Error>>() {
        return Some(&**boxed);
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

/// What there is to show of an error: what it displays, or its text if it is one.
pub(crate) fn display(value: &dyn Any) -> Option<String> {
    if let Some(text) = value.downcast_ref::<String>() {
        return Some(text.clone());
    }
    if let Some(text) = value.downcast_ref::<&'static str>() {
        return Some((*text).to_owned());
    }
    as_error(value).map(ToString::to_string)
}

/// Whether the error, or one that caused it, is a timeout.
pub(crate) fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    // A chain of causes can be a ring only by mischief, but then it is endless.
    const DEEPEST: usize = 32;
    let mut cause = Some(error);
    for _ in 0..DEEPEST {
        let Some(error) = cause else { break };
        let io = error.downcast_ref::<io::Error>();
        if error.is::<tower::timeout::error::Elapsed>()
            || error.is::<tokio::time::error::Elapsed>()
            || io.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
        {
            return true;
        }
        // The source of an `io::Error` is that of the error in it, which it skips.
        cause = match io.and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}
