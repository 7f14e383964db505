//! What there is to say about the error of a task.

use std::any::Any;
use std::error::Error;
use std::io;

use crate::metadata::bounded_display;

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
pub(crate) fn display(value: &dyn Any) -> Option<Box<str>> {
    if let Some(text) = value.downcast_ref::<String>() {
        return Some(bounded_display(text));
    }
    if let Some(text) = value.downcast_ref::<&'static str>() {
        return Some(bounded_display(text));
    }
    as_error(value).map(|error| bounded_display(&error))
}
