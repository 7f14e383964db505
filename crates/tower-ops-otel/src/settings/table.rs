//! Every variable that is known, in one table: what reads the environment is held to it, and the
//! documentation is made from it.

/// One variable, or one for all signals and one for each: `*` stands for nothing, `TRACES_`,
/// `METRICS_` and `LOGS_`.
#[derive(Debug)]
pub(crate) struct Variable {
    name: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "for the documentation"))]
    values: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "for the documentation"))]
    default: &'static str,
    /// What it does, or why it does nothing.
    pub(crate) effect: &'static str,
    pub(super) honoured: bool,
}

const fn honoured(
    name: &'static str,
    values: &'static str,
    default: &'static str,
    effect: &'static str,
) -> Variable {
    Variable {
        name,
        values,
        default,
        effect,
        honoured: true,
    }
}

const fn ignored(name: &'static str, effect: &'static str) -> Variable {
    Variable {
        name,
        values: "",
        default: "",
        effect,
        honoured: false,
    }
}

pub(crate) const ENVIRONMENT: &[Variable] = &[
    honoured(
        "OTEL_SDK_DISABLED",
        "`true`, `false`",
        "`false`",
        "no spans, metrics and log records; contexts are propagated all the same",
    ),
    honoured(
        "OTEL_SERVICE_NAME",
        "text",
        "the builder's",
        "`service.name`",
    ),
    honoured(
        "OTEL_RESOURCE_ATTRIBUTES",
        "`key=value,…`",
        "",
        "what is added to the resource",
    ),
    honoured(
        "OTEL_PROPAGATORS",
        "list of `tracecontext`, `baggage`, `b3`, `b3multi`, `none`",
        "`tracecontext,baggage`",
        "what carries a context between services",
    ),
    honoured(
        "OTEL_LOG_LEVEL",
        "`none`, `error`, `warn`, `info`, `debug`, `trace`",
        "`info`",
        "which lines this crate logs about itself",
    ),
    honoured(
        "OTEL_TRACES_EXPORTER",
        "list of `otlp`, `console`, `none`",
        "`otlp` where an endpoint is set",
        "where spans go",
    ),
    honoured(
        "OTEL_METRICS_EXPORTER",
        "list of `otlp`, `console`, `prometheus`, `none`",
        "as the builder chooses",
        "where metrics go; `prometheus` is the operations endpoint's part, and nothing is pushed",
    ),
    honoured(
        "OTEL_LOGS_EXPORTER",
        "list of `otlp`, `console`, `none`",
        "as the builder chooses",
        "where log records go",
    ),
    honoured(
        "OTEL_TRACES_SAMPLER",
        "`always_on`, `always_off`, `traceidratio`, and each after `parentbased_`",
        "`parentbased_always_on`",
        "which traces are recorded",
    ),
    honoured("OTEL_TRACES_SAMPLER_ARG", "0 to 1", "1", "the ratio"),
    honoured(
        "OTEL_ATTRIBUTE_COUNT_LIMIT",
        "number",
        "128 for spans",
        "attributes of a span, and of a log record",
    ),
    honoured(
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        "number",
        "none",
        "characters of an attribute's text",
    ),
    honoured(
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
        "number",
        "128",
        "attributes of a span",
    ),
    honoured(
        "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        "number",
        "none",
        "characters of a text in a span",
    ),
    honoured(
        "OTEL_SPAN_EVENT_COUNT_LIMIT",
        "number",
        "128",
        "events of a span",
    ),
    honoured(
        "OTEL_SPAN_LINK_COUNT_LIMIT",
        "number",
        "128",
        "links of a span",
    ),
    honoured(
        "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
        "number",
        "128",
        "attributes of an event of a span",
    ),
    honoured(
        "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
        "number",
        "128",
        "attributes of a link",
    ),
    honoured(
        "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT",
        "number",
        "none",
        "attributes of a log record",
    ),
    honoured(
        "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        "number",
        "none",
        "characters of a text in a log record's attributes",
    ),
    honoured(
        "OTEL_BSP_SCHEDULE_DELAY",
        "milliseconds",
        "5000",
        "how long a span waits for others at most",
    ),
    honoured(
        "OTEL_BSP_EXPORT_TIMEOUT",
        "milliseconds",
        "30000",
        "how long one export may take, with its retries",
    ),
    honoured(
        "OTEL_BSP_MAX_QUEUE_SIZE",
        "1 to 1048576",
        "2048",
        "spans that wait; further ones are dropped",
    ),
    honoured(
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        "1 to the queue's size",
        "512",
        "spans of one export",
    ),
    honoured(
        "OTEL_BLRP_SCHEDULE_DELAY",
        "milliseconds",
        "1000",
        "as for spans, of log records",
    ),
    honoured(
        "OTEL_BLRP_EXPORT_TIMEOUT",
        "milliseconds",
        "30000",
        "as for spans, of log records",
    ),
    honoured(
        "OTEL_BLRP_MAX_QUEUE_SIZE",
        "1 to 1048576",
        "2048",
        "as for spans, of log records",
    ),
    honoured(
        "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE",
        "1 to the queue's size",
        "512",
        "as for spans, of log records",
    ),
    honoured(
        "OTEL_METRIC_EXPORT_INTERVAL",
        "milliseconds",
        "60000",
        "how often metrics are sent",
    ),
    honoured(
        "OTEL_METRIC_EXPORT_TIMEOUT",
        "milliseconds",
        "30000",
        "how long one export of metrics may take",
    ),
    honoured(
        "OTEL_EXPORTER_OTLP_*ENDPOINT",
        "URL, `http` or `https`",
        "`http://localhost:4318`, for gRPC `:4317`, where `otlp` is chosen by name",
        "the collector; over HTTP `/v1/…` is added to the URL that is for all signals",
    ),
    honoured(
        "OTEL_EXPORTER_OTLP_*PROTOCOL",
        "`grpc`, `http/protobuf`",
        "`http/protobuf`",
        "how OTLP travels",
    ),
    honoured(
        "OTEL_EXPORTER_OTLP_*TIMEOUT",
        "milliseconds",
        "10000",
        "how long one export may take, with its retries",
    ),
    honoured(
        "OTEL_EXPORTER_OTLP_*HEADERS",
        "`key=value,…`",
        "",
        "headers, or gRPC metadata, of every export",
    ),
    honoured(
        "OTEL_EXPORTER_OTLP_*COMPRESSION",
        "`gzip`, `none`",
        "`none`",
        "how exports are compressed",
    ),
    honoured(
        "OTEL_EXPORTER_OTLP_*INSECURE",
        "`true`, `false`",
        "`false`",
        "gRPC without TLS, where the endpoint has no scheme",
    ),
    honoured(
        "OTEL_EXPORTER_OTLP_*CERTIFICATE",
        "file, PEM",
        "the system's",
        "whom the collector's certificate is checked against",
    ),
    honoured(
        "OTEL_EXPORTER_OTLP_*CLIENT_KEY",
        "file, PEM",
        "none",
        "the key of our certificate",
    ),
    honoured(
        "OTEL_EXPORTER_OTLP_*CLIENT_CERTIFICATE",
        "file, PEM",
        "none",
        "our certificate, for mutual TLS",
    ),
    honoured(
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
        "`cumulative`, `delta`, `lowmemory`",
        "`cumulative`",
        "what sums and histograms count from",
    ),
    ignored("OTEL_CONFIG_FILE", "there is no declarative configuration"),
    ignored(
        "OTEL_EXPERIMENTAL_CONFIG_FILE",
        "there is no declarative configuration",
    ),
    ignored(
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        "histograms have explicit buckets",
    ),
    ignored(
        "OTEL_EXPORTER_PROMETHEUS_HOST",
        "the operations endpoint serves the metrics",
    ),
    ignored(
        "OTEL_EXPORTER_PROMETHEUS_PORT",
        "the operations endpoint serves the metrics",
    ),
    ignored("OTEL_EXPORTER_ZIPKIN_ENDPOINT", "only OTLP is exported"),
    ignored("OTEL_EXPORTER_JAEGER_ENDPOINT", "Jaeger takes OTLP"),
    ignored(
        "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS",
        "the list of methods is fixed, and any other is `_OTHER`",
    ),
    ignored("OTEL_METRICS_EXEMPLAR_FILTER", "the SDK has no exemplars"),
    ignored(
        "OTEL_SEMCONV_STABILITY_OPT_IN",
        "only the stable conventions are there",
    ),
];

/// The signals that `*` stands for.
const SIGNALS: [&str; 4] = ["", "TRACES_", "METRICS_", "LOGS_"];

impl Variable {
    fn is(&self, name: &str) -> bool {
        let Some((before, after)) = self.name.split_once('*') else {
            return self.name == name;
        };
        name.strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(after))
            .is_some_and(|signal| SIGNALS.contains(&signal))
    }

    /// Its names, one for each signal.
    #[cfg(test)]
    pub(crate) fn names(&self) -> Vec<String> {
        if !self.name.contains('*') {
            return vec![self.name.to_owned()];
        }
        SIGNALS
            .iter()
            .map(|signal| self.name.replace('*', signal))
            .collect()
    }
}

/// The variable of that name.
pub(crate) fn find(name: &str) -> Option<&'static Variable> {
    ENVIRONMENT.iter().find(|variable| variable.is(name))
}

/// Whether this is a name that the Kubernetes operator sets to use it in other variables.
pub(super) fn is_of_others(name: &str) -> bool {
    ["OTEL_NODE_", "OTEL_POD_", "OTEL_RESOURCE_ATTRIBUTES_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// The table as it stands in ENVIRONMENT.md.
#[cfg(test)]
pub(crate) fn markdown() -> String {
    use std::fmt::Write;
    let mut text = "# The variables of OpenTelemetry\n\n\
        The environment wins over the builder. An empty value is as good as none. A value that cannot be used is\n\
        ignored, with a warning that names the variable. `*` stands for nothing, `TRACES_`, `METRICS_` and `LOGS_`:\n\
        what is set for one signal wins.\n\n\
        | variable | values | default | what it does |\n|---|---|---|---|\n"
        .to_owned();
    for v in ENVIRONMENT.iter().filter(|variable| variable.honoured) {
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} |",
            v.name, v.values, v.default, v.effect
        );
    }
    text +=
        "\nNot honoured; a warning says so where one is set:\n\n| variable | why |\n|---|---|\n";
    for v in ENVIRONMENT.iter().filter(|variable| !variable.honoured) {
        let _ = writeln!(text, "| `{}` | {} |", v.name, v.effect);
    }
    text
}
