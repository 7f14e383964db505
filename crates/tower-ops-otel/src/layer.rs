//! The layers of the subscriber: what a handler traces stands below its request's span.

use opentelemetry::Context as OtelContext;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use tower_ops_trace::SPAN_TARGET;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata, Subscriber};
use tracing_opentelemetry::{OpenTelemetrySpanExt, SetParentError};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, Filter, Identity};
use tracing_subscriber::registry::LookupSpan;

use crate::scope::ScopeLayer;
use crate::telemetry::Telemetry;

impl Telemetry {
    /// Returns the layer for a subscriber: `tracing` spans of handlers become spans of
    /// OpenTelemetry, below that of their request, and events become log records if logs are
    /// exported.
    ///
    /// Spans and events up to `INFO`; see [`layer_up_to`](Self::layer_up_to). Events do not become
    /// events of spans.
    ///
    /// Never put it into a [`reload::Layer`](tracing_subscriber::reload): what looks for it there
    /// does not find it. Reload a filter instead.
    #[must_use]
    pub fn layer<S>(&self) -> TelemetryLayer<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        self.layer_up_to(LevelFilter::INFO)
    }

    /// As [`layer`](Self::layer), up to another level.
    #[must_use]
    pub fn layer_up_to<S>(&self, level: LevelFilter) -> TelemetryLayer<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let shared = self.shared();
        let select = |kind| Select { kind, level };
        let mut layers = TelemetryLayer::new();
        if let Some(tracer) = shared.tracer.clone() {
            layers.push(
                ScopeLayer::default()
                    .with_filter(select(Kind::Ours))
                    .boxed(),
            );
            let bridge = tracing_opentelemetry::layer()
                .with_tracer(tracer)
                .with_location(false)
                .with_threads(false)
                .with_tracked_inactivity(false);
            layers.push(bridge.with_filter(select(Kind::Handlers)).boxed());
        }
        if let Some(provider) = &shared.logger_provider {
            let logs = OpenTelemetryTracingBridge::new(provider);
            layers.push(logs.with_filter(select(Kind::Events)).boxed());
        }
        if layers.is_empty() {
            // None at all would switch off what other layers want.
            layers.push(Identity::new().with_filter(LevelFilter::OFF).boxed());
        }
        layers
    }
}

/// The layers that telemetry needs, each with a filter of its own: [`Telemetry::layer`].
// Not by `and_then`: where the subscriber is the registry, that takes the outer layer's level for
// both, and that of an `Option` without a layer is OFF.
pub type TelemetryLayer<S> = Vec<Box<dyn Layer<S> + Send + Sync>>;

/// What one of the layers is for.
#[derive(Clone, Copy, Debug)]
struct Select {
    kind: Kind,
    level: LevelFilter,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Ours,
    Handlers,
    Events,
}

impl Select {
    fn selects(self, metadata: &Metadata<'_>) -> bool {
        let is_kind = match self.kind {
            Kind::Ours => metadata.is_span() && metadata.target() == SPAN_TARGET,
            Kind::Handlers => metadata.is_span() && metadata.target() != SPAN_TARGET,
            Kind::Events => metadata.is_event(),
        };
        is_kind && *metadata.level() <= self.level
    }
}

impl<S> Filter<S> for Select {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.selects(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.selects(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.kind {
            // They are at this level.
            Kind::Ours => LevelFilter::INFO.min(self.level),
            Kind::Handlers | Kind::Events => self.level,
        })
    }
}

/// Finds out whether the subscriber's bridge is of our version of OpenTelemetry. Returns what to
/// warn of.
pub(crate) fn mismatch() -> Option<&'static str> {
    // Below a span that is not sampled: nothing of this is exported.
    let context = SpanContext::new(
        TraceId::from(1),
        SpanId::from(1),
        TraceFlags::default(),
        false,
        TraceState::NONE,
    );
    let parent = OtelContext::new().with_remote_span_context(context);
    let probe = tracing::span!(target: "tower_ops_otel", parent: None, Level::ERROR, "probe");
    match probe.set_parent(parent) {
        Err(SetParentError::LayerNotFound) => Some(
            "the spans of handlers are not exported: the subscriber has no bridge that this version \
             of OpenTelemetry can use. Either telemetry.layer() was not added to it, or a bridge of \
             another version of tracing-opentelemetry stands in its place (`cargo tree -d` shows \
             versions; take opentelemetry from tower_ops_otel::opentelemetry), or it is inside of a \
             reload::Layer, where it cannot be found",
        ),
        // No subscriber, or a filter that does not let even this through, is a choice.
        Ok(()) | Err(_) => None,
    }
}
