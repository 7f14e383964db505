use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use tower_ops_core::config::ConfigError;
use tower_ops_core::recorder::{RecorderHandle, SharedRecorder};

use crate::resource::Described;
use crate::settings::{Choices, Protocol, Settings, find};
use crate::telemetry::Telemetry;

/// Sets up [`Telemetry`].
///
/// The environment wins over what is chosen here, so that the operator of the service has the last
/// word.
#[must_use = "nothing happens until it is started"]
pub struct TelemetryBuilder {
    described: Described,
    defaults: BTreeMap<String, String>,
    environment: Option<BTreeMap<String, String>>,
    choices: Choices,
    shutdown_timeout: Duration,
    recorder: RecorderHandle,
    globals: bool,
    problems: Vec<String>,
}

impl TelemetryBuilder {
    pub(crate) fn new(service: String, version: String) -> Self {
        let mut problems = Vec::new();
        if service.trim().is_empty() {
            problems.push("service: is empty".to_owned());
        }
        Self {
            described: Described::new(service, version),
            defaults: BTreeMap::new(),
            environment: None,
            choices: Choices::default(),
            shutdown_timeout: Duration::from_secs(5),
            recorder: RecorderHandle::default(),
            globals: true,
            problems,
        }
    }

    /// Sets `deployment.environment.name`, such as `production`.
    pub fn environment(mut self, name: impl Into<String>) -> Self {
        self.described.environment = Some(name.into());
        self
    }

    /// Sets `service.instance.id`. Default: a random one.
    pub fn instance(mut self, id: impl Into<String>) -> Self {
        self.described.instance = Some(id.into());
        self
    }

    /// Adds an attribute to the resource.
    pub fn attribute(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.described.attributes.push((key.into(), value.into()));
        self
    }

    /// Exports by OTLP to that URL: as `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn endpoint(self, url: impl Into<String>) -> Self {
        self.set("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    }

    /// Sets how OTLP travels. Default: [`Protocol::HttpProtobuf`].
    pub fn protocol(self, protocol: Protocol) -> Self {
        let name = match protocol {
            Protocol::Grpc => "grpc",
            Protocol::HttpProtobuf => "http/protobuf",
        };
        self.set("OTEL_EXPORTER_OTLP_PROTOCOL", name)
    }

    /// Exports the metrics of OpenTelemetry's API as well, where spans go by default.
    pub const fn metrics(mut self) -> Self {
        self.choices.metrics = true;
        self
    }

    /// Exports the events of `tracing` as log records, where spans go by default.
    pub const fn logs(mut self) -> Self {
        self.choices.logs = true;
        self
    }

    /// Writes what is exported to standard output as well, a line for each: for development.
    pub const fn console(mut self) -> Self {
        self.choices.console = true;
        self
    }

    /// Records this share of the traces that begin here; those that began elsewhere are recorded as
    /// was decided there. Default: 1.0, all of them.
    pub fn sample_ratio(self, ratio: f64) -> Self {
        self.set("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
            .set("OTEL_TRACES_SAMPLER_ARG", ratio.to_string())
    }

    /// Sets what a variable of OpenTelemetry is by default, for all that has no method here.
    pub fn set(mut self, variable: &str, value: impl Into<String>) -> Self {
        if find(variable).is_none() {
            self.problems.push(format!("{variable}: is not known"));
        }
        self.defaults.insert(variable.to_owned(), value.into());
        self
    }

    /// Takes these variables in place of the process's. For tests.
    pub fn environment_variables<K: Into<String>, V: Into<String>>(
        mut self,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let variables = variables.into_iter();
        self.environment = Some(variables.map(|(k, v)| (k.into(), v.into())).collect());
        self
    }

    /// Sets how long the end may take in all. Default: 5 s.
    pub const fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.shutdown_timeout = timeout;
        self
    }

    /// Sets where the counts are published. Default: the process's recorder, if one is installed
    /// when this starts.
    pub fn recorder(mut self, recorder: SharedRecorder) -> Self {
        self.recorder = RecorderHandle::new(Some(recorder));
        self
    }

    /// Leaves OpenTelemetry's global providers and the global propagator as they are.
    ///
    /// The functions of this crate, such as [`in_span`](crate::in_span), and libraries that use
    /// OpenTelemetry directly find the global ones.
    pub const fn without_globals(mut self) -> Self {
        self.globals = false;
        self
    }

    /// Starts the telemetry: its thread, if there is anything to export.
    ///
    /// What is wrong in the environment is a [warning](Telemetry::warnings). Does not connect yet.
    ///
    /// # Errors
    ///
    /// If what is chosen here is wrong: all of it.
    pub fn start(mut self) -> Result<Telemetry, ConfigError> {
        let (_, wrong) = Settings::read(&self.defaults, &self.choices);
        self.problems.extend(wrong);
        ConfigError::from_problems("the telemetry", self.problems)?;
        let mut warnings = Vec::new();
        let environment = self
            .environment
            .unwrap_or_else(|| process_environment(&mut warnings));
        let mut values = self.defaults;
        // An empty variable is unset, and does not hide the default.
        let set = environment
            .into_iter()
            .filter(|(_, value)| !value.trim().is_empty());
        values.extend(set);
        let (settings, wrong) = Settings::read(&values, &self.choices);
        warnings.extend(wrong);
        let start = Start {
            settings,
            described: self.described,
            shutdown_timeout: self.shutdown_timeout,
            recorder: self.recorder,
            globals: self.globals,
            warnings,
        };
        Telemetry::start(start)
    }
}

/// All that is known when the telemetry starts.
pub(crate) struct Start {
    pub(crate) settings: Settings,
    pub(crate) described: Described,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) recorder: RecorderHandle,
    pub(crate) globals: bool,
    pub(crate) warnings: Vec<String>,
}

fn process_environment(warnings: &mut Vec<String>) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|name| name.starts_with("OTEL_")) else {
            continue;
        };
        match value.into_string() {
            Ok(value) => {
                variables.insert(name.to_owned(), value);
            }
            Err(_) => warnings.push(format!("{name} is not UTF-8: it is ignored")),
        }
    }
    variables
}

impl fmt::Debug for TelemetryBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The variables may hold secrets.
        f.debug_struct("TelemetryBuilder")
            .field("described", &self.described)
            .field("choices", &self.choices)
            .finish_non_exhaustive()
    }
}
