//! For handlers that want more than their `tracing` spans.

use std::borrow::Cow;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};

use opentelemetry::trace::{TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue, global};
use pin_project_lite::pin_project;

/// Makes a span of OpenTelemetry below the current one, and a context in which it is current.
///
/// The span ends when the last copy of the context is dropped. Costs next to nothing where no
/// telemetry was started.
///
/// # Examples
///
/// ```
/// let _current = tower_ops_otel::create_span("parse").attach();
/// ```
#[must_use]
pub fn create_span(name: impl Into<Cow<'static, str>>) -> Context {
    Context::current_with_span(global::tracer("tower-ops").start(name))
}

/// Runs a future in a span of its own, below the one that is current at the first poll.
///
/// The span ends with the future, whether that is done or dropped. Where no telemetry was started,
/// this is the future alone.
///
/// # Examples
///
/// ```
/// # async fn load(id: u64) -> u64 { id }
/// # async fn handler() -> u64 {
/// tower_ops_otel::in_span("load user", load(7)).await
/// # }
/// ```
pub fn in_span<F: Future>(name: impl Into<Cow<'static, str>>, future: F) -> InSpan<F> {
    InSpan {
        future,
        name: Some(name.into()),
        span: None,
    }
}

pin_project! {
    /// The future of [`in_span`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct InSpan<F> {
        #[pin]
        future: F,
        name: Option<Cow<'static, str>>,
        span: Option<Context>,
    }

    impl<F> PinnedDrop for InSpan<F> {
        fn drop(this: Pin<&mut Self>) {
            // Others may hold the context longer; the span is over.
            if let Some(span) = this.project().span.take() {
                span.span().end();
            }
        }
    }
}

impl<F: Future> Future for InSpan<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<F::Output> {
        let this = self.project();
        if let Some(name) = this.name.take() {
            *this.span = Some(create_span(name));
        }
        let _current = this.span.clone().map(Context::attach);
        let output = ready!(this.future.poll(cx));
        if let Some(span) = this.span.take() {
            span.span().end();
        }
        Poll::Ready(output)
    }
}

/// Adds attributes to the current span: the request's, or that of [`in_span`] or of a `tracing` span
/// further in.
///
/// Does nothing where there is none, or where it is not recorded.
///
/// # Examples
///
/// ```
/// use tower_ops_otel::{add_span_attributes, opentelemetry::KeyValue};
///
/// add_span_attributes([KeyValue::new("order.items", 3)]);
/// ```
pub fn add_span_attributes(attributes: impl IntoIterator<Item = KeyValue>) {
    Context::map_current(|current| {
        if current.has_active_span() {
            current.span().set_attributes(attributes);
        }
    });
}

/// Records an error as an event at level `ERROR` with target `tower_ops::exception`: a log record
/// with the ids of the trace, wherever logs go.
///
/// Not as an event of the span, which OpenTelemetry has deprecated. The span's status stays as it
/// is: an error that was handled is not one of the request.
///
/// # Examples
///
/// ```
/// let error = "seven".parse::<u64>().unwrap_err();
/// tower_ops_otel::record_exception(&error);
/// ```
pub fn record_exception<E: Error + ?Sized>(error: &E) {
    let mut chain = String::new();
    let mut source = error.source();
    while let Some(cause) = source {
        if !chain.is_empty() {
            chain.push_str(": ");
        }
        chain.push_str(&cause.to_string());
        source = cause.source();
    }
    let causes = (!chain.is_empty()).then_some(chain.as_str());
    tracing::error!(
        target: "tower_ops::exception",
        {
            "exception.type" = std::any::type_name::<E>(),
            exception.message = %error,
            exception.causes = causes,
        },
        "exception",
    );
}
