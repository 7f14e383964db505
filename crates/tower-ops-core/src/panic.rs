//! Calls into code of others. A panic there is returned as an error.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// What a panic carried.
pub type Payload = Box<dyn Any + Send>;

/// Calls `call`, and returns its panic as an error.
///
/// The call is taken for unwind safe: what it has left half done, others may reach.
///
/// # Errors
///
/// What the panic carried.
///
/// # Examples
///
/// ```
/// use tower_ops_core::panic::{catch, text};
///
/// assert_eq!(catch(|| 1).unwrap(), 1);
/// let panic = catch(|| panic!("no {}", "luck")).unwrap_err();
/// assert_eq!(text(&*panic), "no luck");
/// ```
pub fn catch<T>(call: impl FnOnce() -> T) -> Result<T, Payload> {
    catch_unwind(AssertUnwindSafe(call))
}

/// Runs a future, and returns its panic as an error. After a panic the future is only dropped.
///
/// # Errors
///
/// What the panic carried.
///
/// # Cancel safety
///
/// Dropping it drops the future.
pub async fn catch_future<F: Future>(future: F) -> Result<F::Output, Payload> {
    let mut future = pin!(future);
    poll_fn(|cx| match catch(|| future.as_mut().poll(cx)) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

/// The text that a panic was given, or that there was none.
#[must_use]
pub fn text(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "without a message"
    }
}

#[cfg(test)]
mod tests {
    use std::panic::panic_any;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn the_text_is_what_the_panic_was_given() {
        let texts = [
            catch(|| panic!("fixed")),
            catch(|| panic!("made of {}", 2)),
            catch(|| panic_any(3)),
        ]
        .map(|panic| text(&*panic.unwrap_err()).to_owned());
        assert_eq!(texts, ["fixed", "made of 2", "without a message"]);
    }

    #[test]
    fn a_future_that_panics_is_an_error() {
        let mut cx = Context::from_waker(Waker::noop());
        let mut future = pin!(catch_future(async { panic!("inside") }));
        let Poll::Ready(Err(panic)) = future.as_mut().poll(&mut cx) else {
            unreachable!("it panics at once");
        };
        assert_eq!(text(&*panic), "inside");
        let mut future = pin!(catch_future(async { 1 }));
        assert!(matches!(future.as_mut().poll(&mut cx), Poll::Ready(Ok(1))));
    }
}
