//! Makes the context of an exchange current wherever its `tracing` span is.

use std::cell::{Cell, RefCell};

use opentelemetry::{Context as OtelContext, ContextGuard};
use tracing::Subscriber;
use tracing::span::{Attributes, Id};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

thread_local! {
    /// The context for the span of an exchange that this thread opens next.
    static HANDED_OVER: Cell<Option<OtelContext>> = const { Cell::new(None) };
    /// The contexts that are current because their spans are entered.
    static ENTERED: RefCell<Vec<(Id, ContextGuard)>> = const { RefCell::new(Vec::new()) };
}

/// Gives a context to the span of the exchange that is opened next on this thread.
pub(crate) fn hand_over(context: OtelContext) {
    HANDED_OVER.set(Some(context));
}

/// Takes back what no layer took: then there is none, or not for that span.
pub(crate) fn take_back() -> Option<OtelContext> {
    HANDED_OVER.take()
}

/// The layer that takes it, for as long as the span lives. Entered anywhere, also in a task that was
/// spawned `in_current_span`, it makes the context current.
#[derive(Debug, Default)]
pub(crate) struct ScopeLayer(());

struct Scope(OtelContext);

impl<S> Layer<S> for ScopeLayer
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_new_span(&self, _: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        if let Some(context) = take_back()
            && let Some(span) = ctx.span(id)
        {
            span.extensions_mut().insert(Scope(context));
        }
    }

    fn on_enter(&self, id: &Id, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(id) else {
            return;
        };
        let context = span
            .extensions()
            .get::<Scope>()
            .map(|scope| scope.0.clone());
        if let Some(context) = context {
            let guard = context.attach();
            // An error means that the thread is ending: then nothing reads it any more.
            let _ = ENTERED.try_with(|entered| entered.borrow_mut().push((id.clone(), guard)));
        }
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        let guard = ENTERED.try_with(|entered| {
            let mut entered = entered.borrow_mut();
            // The last one by far most often; spans may be left in any order.
            let at = entered.iter().rposition(|(entered, _)| entered == id)?;
            Some(entered.remove(at))
        });
        drop(guard);
    }
}
