//! What is known about the error of a task, whose type has no bound.

use std::any::Any;
use std::error::Error;
use std::io;

use crate::record::metadata::bounded_display;

/// Returns the error, if its type is one that is often used. A bound on the type would be simpler,
/// but `track` also takes futures whose error is a text or a unit.
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

/// Returns the text of an error, or the text itself if the error is one.
pub(crate) fn display(value: &dyn Any) -> Option<Box<str>> {
    if let Some(text) = value.downcast_ref::<String>() {
        return Some(bounded_display(text));
    }
    if let Some(text) = value.downcast_ref::<&'static str>() {
        return Some(bounded_display(text));
    }
    as_error(value).map(|error| bounded_display(&error))
}
