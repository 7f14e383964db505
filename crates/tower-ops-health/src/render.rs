//! What those see who may see details.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::accept::Format;
use crate::report::Report;
use crate::status::Status;

/// A status, and what it is made of.
pub(crate) struct Detailed<'a> {
    pub(crate) status: Status,
    /// What is to be said about the whole.
    pub(crate) detail: Option<&'a str>,
    /// Every check that can be asked for.
    pub(crate) available: &'a [&'a str],
    /// Those that were.
    pub(crate) reports: &'a [Report],
    pub(crate) verbose: bool,
    /// What was asked and not done.
    pub(crate) warnings: &'a [String],
}

impl Detailed<'_> {
    pub(crate) fn render(&self, format: Format) -> String {
        match format {
            Format::Text => self.text(),
            Format::Json => json(&self.document()),
            Format::HealthJson => json(&self.health_document()),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for report in self.reports {
            let mark = match report.status {
                Status::Ok => '+',
                Status::Degraded => '!',
                Status::Unknown => '?',
                Status::Down => '-',
            };
            let _ = write!(text, "[{mark}]{} {}", report.name, report.status);
            if let Some(last) = &report.last {
                let words = last.error.as_ref().or(last.detail.as_ref());
                if let Some(words) = words.filter(|_| self.verbose || report.status != Status::Ok) {
                    // One line a check, whatever its counterpart has said.
                    let _ = write!(text, ": {}", words.escape_debug());
                }
                if self.verbose {
                    let (latency, age) = (millis(last.latency), millis(last.age));
                    let _ = write!(text, " ({latency} ms, {age} ms ago)");
                }
            }
            text.push('\n');
        }
        if let Some(detail) = self.detail {
            let _ = writeln!(text, "{detail}");
        }
        for warning in self.warnings {
            let _ = writeln!(text, "warning: {warning}");
        }
        let _ = writeln!(text, "{}", self.status);
        text
    }

    fn document(&self) -> Document<'_> {
        let checks = self.reports.iter().map(|report| {
            let check = CheckDocument::new(report, self.verbose);
            (&*report.name, check)
        });
        Document {
            status: self.status.as_str(),
            detail: self.detail,
            available_checks: self.available,
            warnings: self.warnings,
            checks: checks.collect(),
        }
    }

    fn health_document(&self) -> HealthDocument<'_> {
        let checks = self.reports.iter().map(|report| {
            let name = match report.last.as_ref().and_then(|last| last.value.as_ref()) {
                Some(_) => format!("{}:value", report.name),
                None => format!("{}:responseTime", report.name),
            };
            (name, [HealthCheckDocument::new(report)])
        });
        HealthDocument {
            status: health_word(self.status),
            output: self.detail.filter(|_| self.status != Status::Ok),
            notes: self.warnings,
            checks: checks.collect(),
        }
    }
}

/// The status alone, and what was not done of what was asked.
pub(crate) fn warned(format: Format, status: Status, warnings: &[String]) -> String {
    #[derive(Serialize)]
    struct Warned<'a> {
        status: &'a str,
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        warnings: &'a [String],
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        notes: &'a [String],
    }
    match format {
        Format::Text => {
            let warnings = warnings
                .iter()
                .map(|warning| format!("warning: {warning}\n"));
            format!("{}{status}\n", warnings.collect::<String>())
        }
        Format::Json => json(&Warned {
            status: status.as_str(),
            warnings,
            notes: &[],
        }),
        Format::HealthJson => json(&Warned {
            status: health_word(status),
            warnings: &[],
            notes: warnings,
        }),
    }
}

/// The known names, for who may know them, but for so many that are left out.
pub(crate) fn unknown_check(format: Format, available: &[&str], left_out: usize) -> String {
    #[derive(Serialize)]
    struct Unknown<'a> {
        error: &'a str,
        available_checks: &'a [&'a str],
        #[serde(skip_serializing_if = "Option::is_none")]
        warnings: Option<[String; 1]>,
    }
    let warning =
        (left_out > 0).then(|| format!("{left_out} more names are left out; /checks has all"));
    match format {
        Format::Text => {
            let names = available.join(", ");
            let warning = warning.map_or(String::new(), |it| format!("warning: {it}\n"));
            format!("unknown check: there are {names}\n{warning}")
        }
        Format::Json | Format::HealthJson => json(&Unknown {
            error: "unknown check",
            available_checks: available,
            warnings: warning.map(|it| [it]),
        }),
    }
}

#[derive(Serialize)]
struct Document<'a> {
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    available_checks: &'a [&'a str],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
    checks: BTreeMap<&'a str, CheckDocument<'a>>,
}

#[derive(Serialize)]
struct CheckDocument<'a> {
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'a str>,
    #[serde(flatten)]
    more: Option<More<'a>>,
}

/// What `verbose` adds.
#[derive(Serialize)]
struct More<'a> {
    kind: &'a str,
    groups: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    affects: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checked_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_failure: Option<String>,
    streak: u32,
    runs: u64,
    failures: u64,
}

impl<'a> CheckDocument<'a> {
    fn new(report: &'a Report, verbose: bool) -> Self {
        let last = report.last.as_ref();
        let value = last.and_then(|last| last.value.as_ref());
        Self {
            status: report.status.as_str(),
            latency_ms: last.map(|last| millis(last.latency)),
            detail: last.and_then(|last| last.detail.as_deref()),
            error: last.and_then(|last| last.error.as_deref()),
            value: value.map(|value| value.value),
            unit: value.map(|value| &*value.unit),
            more: verbose.then(|| More {
                kind: report.kind.as_str(),
                groups: report.groups.iter().map(|name| &**name).collect(),
                affects: report.routes.iter().map(|route| &**route).collect(),
                reason: last.and_then(|last| Some(last.reason?.as_str())),
                checked_at: last.map(|last| timestamp(last.checked_at)),
                age_ms: last.map(|last| millis(last.age)),
                first_failure: report.first_failure.map(timestamp),
                streak: report.streak,
                runs: report.runs,
                failures: report.failures,
            }),
        }
    }
}

/// After draft-inadarei-api-health-check-06.
#[derive(Serialize)]
struct HealthDocument<'a> {
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    notes: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    checks: BTreeMap<String, [HealthCheckDocument<'a>; 1]>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HealthCheckDocument<'a> {
    component_id: &'a str,
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    observed_value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    observed_unit: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    affected_endpoints: Vec<&'a str>,
}

impl<'a> HealthCheckDocument<'a> {
    fn new(report: &'a Report) -> Self {
        let last = report.last.as_ref();
        let value = last.and_then(|last| last.value.as_ref());
        let (observed_value, observed_unit) = match (value, last) {
            (Some(value), _) => (Some(value.value), Some(&*value.unit)),
            (None, Some(last)) => (Some(millis(last.latency)), Some("ms")),
            (None, None) => (None, None),
        };
        // The draft has `output` left out where the status is "pass".
        let output = last
            .and_then(|last| last.error.as_deref().or(last.detail.as_deref()))
            .filter(|_| report.status != Status::Ok);
        Self {
            component_id: &report.name,
            status: health_word(report.status),
            observed_value,
            observed_unit,
            time: last.map(|last| timestamp(last.checked_at)),
            output,
            affected_endpoints: match report.status {
                Status::Ok => Vec::new(),
                _ => report.routes.iter().map(|route| &**route).collect(),
            },
        }
    }
}

const fn health_word(status: Status) -> &'static str {
    match status {
        Status::Ok => "pass",
        Status::Degraded => "warn",
        Status::Unknown | Status::Down => "fail",
    }
}

/// To the microsecond.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

fn json(document: &impl Serialize) -> String {
    let mut json = serde_json::to_string(document)
        // None of our types fails to serialise, but a probe does not panic.
        .unwrap_or_else(|_| "{\"error\":\"the answer could not be written\"}".to_owned());
    json.push('\n');
    json
}
