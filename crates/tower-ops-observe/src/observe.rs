use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use http::{Request, Response};

use crate::catch_panic::discard;
use crate::ending::Ending;
use crate::facts::Facts;

/// Listens to the lives of exchanges.
///
/// For every request that passes an [`ObserveLayer`](crate::ObserveLayer),
/// `on_request` is called once and `on_end` is called once, whatever becomes of
/// it. `on_response` comes between them if there was a response head, and
/// `on_data` for every data frame that the transport took.
///
/// An observer is shared by all exchanges; what belongs to one exchange goes
/// into [`Exchange`](Self::Exchange), which travels with it. All methods are
/// called on the task that drives the exchange: they must be quick, and they
/// should not panic. A panic of `on_end` is caught; of any other method, it ends
/// the exchange as [`Panicked`](crate::Outcome::Panicked).
///
/// Tuples of two to eight observers, `()`, `Option<O>` and `Arc<O>` are observers. The
/// members of a tuple are called in order, and for `in_scope` the first one is
/// the outermost. Every member that has begun gets its end, also when another one
/// panics.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use http::Request;
/// use tower_ops_observe::{Ending, Facts, Observe};
///
/// #[derive(Default)]
/// struct CountCancelled(AtomicU64);
///
/// impl Observe for CountCancelled {
///     type Exchange = ();
///     fn on_request<B>(&self, _: &mut Request<B>, _: &mut Facts) {}
///     fn on_end(&self, _: &mut (), ending: &Ending<'_>, _: &Facts) {
///         if ending.outcome().is_cancelled() {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
/// ```
pub trait Observe {
    /// This observer's part of one exchange.
    type Exchange;

    /// The request's head is there; the service was not called yet.
    fn on_request<B>(&self, request: &mut Request<B>, facts: &mut Facts) -> Self::Exchange;

    /// The service answered; its body was not polled yet.
    fn on_response<B>(
        &self,
        exchange: &mut Self::Exchange,
        response: &mut Response<B>,
        facts: &mut Facts,
    ) {
        let _ = (exchange, response, facts);
    }

    /// The transport took a data frame of the response's body.
    fn on_data(&self, exchange: &mut Self::Exchange, bytes: usize) {
        let _ = (exchange, bytes);
    }

    /// The exchange is over.
    fn on_end(&self, exchange: &mut Self::Exchange, ending: &Ending<'_>, facts: &Facts);

    /// Runs one step of the exchange: the call of the service, a poll of its
    /// future or of its body, or the drop of one that did not end by itself. For
    /// what has to stand in a thread-local meanwhile, such as a span.
    ///
    /// Must call `step`: the exchange cannot go on without, and panics.
    // Inlined, all of them: what a step returns holds a response's head, which
    // every call on the way would move.
    #[inline(always)]
    fn in_scope<R>(&self, exchange: &mut Self::Exchange, step: impl FnOnce() -> R) -> R {
        let _ = exchange;
        step()
    }
}

impl<O: Observe> Observe for Arc<O> {
    type Exchange = O::Exchange;

    fn on_request<B>(&self, request: &mut Request<B>, facts: &mut Facts) -> Self::Exchange {
        O::on_request(self, request, facts)
    }

    fn on_response<B>(
        &self,
        exchange: &mut Self::Exchange,
        response: &mut Response<B>,
        facts: &mut Facts,
    ) {
        O::on_response(self, exchange, response, facts);
    }

    fn on_data(&self, exchange: &mut Self::Exchange, bytes: usize) {
        O::on_data(self, exchange, bytes);
    }

    fn on_end(&self, exchange: &mut Self::Exchange, ending: &Ending<'_>, facts: &Facts) {
        O::on_end(self, exchange, ending, facts);
    }

    #[inline(always)]
    fn in_scope<R>(&self, exchange: &mut Self::Exchange, step: impl FnOnce() -> R) -> R {
        O::in_scope(self, exchange, step)
    }
}

/// Observes nothing.
impl Observe for () {
    type Exchange = ();

    fn on_request<B>(&self, _: &mut Request<B>, _: &mut Facts) {}

    fn on_end(&self, (): &mut (), _: &Ending<'_>, _: &Facts) {}
}

/// Observes if it is `Some`: for an observer that configuration can turn off.
impl<O: Observe> Observe for Option<O> {
    type Exchange = Option<O::Exchange>;

    fn on_request<B>(&self, request: &mut Request<B>, facts: &mut Facts) -> Self::Exchange {
        self.as_ref()
            .map(|observer| observer.on_request(request, facts))
    }

    fn on_response<B>(
        &self,
        exchange: &mut Self::Exchange,
        response: &mut Response<B>,
        facts: &mut Facts,
    ) {
        if let (Some(observer), Some(exchange)) = (self, exchange) {
            observer.on_response(exchange, response, facts);
        }
    }

    fn on_data(&self, exchange: &mut Self::Exchange, bytes: usize) {
        if let (Some(observer), Some(exchange)) = (self, exchange) {
            observer.on_data(exchange, bytes);
        }
    }

    fn on_end(&self, exchange: &mut Self::Exchange, ending: &Ending<'_>, facts: &Facts) {
        if let (Some(observer), Some(exchange)) = (self, exchange) {
            observer.on_end(exchange, ending, facts);
        }
    }

    #[inline(always)]
    fn in_scope<R>(&self, exchange: &mut Self::Exchange, step: impl FnOnce() -> R) -> R {
        match (self, exchange) {
            (Some(observer), Some(exchange)) => observer.in_scope(exchange, step),
            _ => step(),
        }
    }
}

/// Runs what must not keep others from their turn. Its panic was reported by the
/// panic hook, and goes no further.
pub(crate) fn contained(step: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(step)) {
        discard(payload);
    }
}

/// Nests the scopes of a tuple's members, the first one outermost.
macro_rules! nested_scope {
    ($step:ident) => { $step() };
    ($step:ident ($observer:ident $exchange:ident) $($rest:tt)*) => {
        $observer.in_scope($exchange, || nested_scope!($step $($rest)*))
    };
}

macro_rules! observe_tuple {
    ($($O:ident $o:ident $e:ident),+) => {
        impl<$($O: Observe),+> Observe for ($($O,)+) {
            type Exchange = ($($O::Exchange,)+);

            fn on_request<B>(
                &self,
                request: &mut Request<B>,
                facts: &mut Facts,
            ) -> Self::Exchange {
                let ($($o,)+) = self;
                $(let mut $e = None;)+
                let begun = catch_unwind(AssertUnwindSafe(|| {
                    $($e = Some($o.on_request(request, facts));)+
                }));
                match (begun, $($e,)+) {
                    (Ok(()), $(Some($e),)+) => ($($e,)+),
                    // Who has begun must end, though the exchange goes no further.
                    (begun, $($e,)+) => {
                        let ending = Ending::panicked(facts.started);
                        $(if let Some(mut exchange) = $e {
                            contained(|| $o.on_end(&mut exchange, &ending, facts));
                        })+
                        match begun {
                            Err(panic) => resume_unwind(panic),
                            Ok(()) => unreachable!("every member has begun"),
                        }
                    }
                }
            }

            fn on_response<B>(
                &self,
                exchange: &mut Self::Exchange,
                response: &mut Response<B>,
                facts: &mut Facts,
            ) {
                let (($($o,)+), ($($e,)+)) = (self, exchange);
                $($o.on_response($e, response, facts);)+
            }

            fn on_data(&self, exchange: &mut Self::Exchange, bytes: usize) {
                let (($($o,)+), ($($e,)+)) = (self, exchange);
                $($o.on_data($e, bytes);)+
            }

            fn on_end(
                &self,
                exchange: &mut Self::Exchange,
                ending: &Ending<'_>,
                facts: &Facts,
            ) {
                let (($($o,)+), ($($e,)+)) = (self, exchange);
                $(contained(|| $o.on_end($e, ending, facts));)+
            }

            #[inline(always)]
            fn in_scope<R>(
                &self,
                exchange: &mut Self::Exchange,
                step: impl FnOnce() -> R,
            ) -> R {
                let (($($o,)+), ($($e,)+)) = (self, exchange);
                nested_scope!(step $(($o $e))+)
            }
        }
    };
}

observe_tuple!(A a ae, B2 b be);
observe_tuple!(A a ae, B2 b be, C c ce);
observe_tuple!(A a ae, B2 b be, C c ce, D d de);
observe_tuple!(A a ae, B2 b be, C c ce, D d de, E e ee);
observe_tuple!(A a ae, B2 b be, C c ce, D d de, E e ee, F f fe);
observe_tuple!(A a ae, B2 b be, C c ce, D d de, E e ee, F f fe, G g ge);
observe_tuple!(A a ae, B2 b be, C c ce, D d de, E e ee, F f fe, G g ge, H h he);
