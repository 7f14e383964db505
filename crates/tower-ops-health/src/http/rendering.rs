//! How answers are written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::SystemTime;

use http::StatusCode;
use serde::Serialize;
use tower_ops_core::http::{Answer, millis};

use super::negotiation::Format;
use crate::check::Report;
use crate::status::Status;

const HEALTH_JSON: &str = "application/health+json";

/// Writes the status alone, and what was asked for and not done.
pub(super) fn status(
    code: StatusCode,
    format: Format,
    status: Status,
    warnings: &[String],
) -> Answer {
    #[derive(Serialize)]
    struct StatusDocument<'a> {
        status: &'a str,
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        warnings: &'a [String],
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        notes: &'a [String],
    }
    let mut document = StatusDocument {
        status: status.as_str(),
        warnings,
        notes: &[],
    };
    match format {
        Format::Text => {
            let mut text = String::new();
            write_warnings(&mut text, warnings);
            let _ = writeln!(text, "{status}");
            Answer::text(code, text)
        }
        Format::Json => Answer::json(code, &document),
        Format::HealthJson => {
            (document.warnings, document.notes) = (&[], warnings);
            document.status = health_word(status);
            Answer::json(code, &document).with_content_type(HEALTH_JSON)
        }
    }
}

/// Writes what is wrong with a request. That is not a health document in any format.
pub(super) fn problem(code: StatusCode, format: Format, error: &str) -> Answer {
    match format {
        Format::Text => Answer::text(code, format!("{error}\n")),
        Format::Json | Format::HealthJson => Answer::problem(code, error),
    }
}

pub(super) fn method_not_allowed(format: Format) -> Answer {
    match format {
        Format::Text => {
            let error = "method not allowed: use GET or HEAD";
            problem(StatusCode::METHOD_NOT_ALLOWED, format, error)
        }
        Format::Json | Format::HealthJson => Answer::method_not_allowed(&["GET", "HEAD"]),
    }
}

pub(super) fn not_found(format: Format, paths: &[&str]) -> Answer {
    match (format, paths) {
        (Format::Text, [paths @ .., last]) => {
            let error = format!("not found: try {} or {last}", paths.join(", "));
            problem(StatusCode::NOT_FOUND, format, &error)
        }
        _ => Answer::not_found(paths),
    }
}

/// Writes that a check is not known, and the names of those that are.
pub(super) fn unknown_check(format: Format, available: &[&str], warnings: &[String]) -> Answer {
    #[derive(Serialize)]
    struct UnknownDocument<'a> {
        error: &'a str,
        available_checks: &'a [&'a str],
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        warnings: &'a [String],
    }
    match format {
        Format::Text => {
            let mut text = format!("unknown check: there are {}\n", available.join(", "));
            write_warnings(&mut text, warnings);
            Answer::text(StatusCode::NOT_FOUND, text)
        }
        Format::Json | Format::HealthJson => {
            let document = UnknownDocument {
                error: "unknown check",
                available_checks: available,
                warnings,
            };
            Answer::json(StatusCode::NOT_FOUND, &document)
        }
    }
}

/// A status with details.
pub(super) struct Detailed<'a> {
    pub(super) status: Status,
    /// A remark on the whole.
    pub(super) detail: Option<&'a str>,
    /// The names of all checks of the path.
    pub(super) available: &'a [&'a str],
    /// The checks that were asked for.
    pub(super) reports: &'a [Report],
    pub(super) verbose: bool,
    /// What was asked for and not done.
    pub(super) warnings: &'a [String],
}

impl Detailed<'_> {
    pub(super) fn answer(&self, code: StatusCode, format: Format) -> Answer {
        match format {
            Format::Text => Answer::text(code, self.text()),
            Format::Json => Answer::json(code, &self.document()),
            Format::HealthJson => {
                Answer::json(code, &self.health_document()).with_content_type(HEALTH_JSON)
            }
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
                    // One line a check, whatever an error quotes.
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
        write_warnings(&mut text, self.warnings);
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

/// The members that `verbose` adds.
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
        // The draft leaves `output` out where the status is "pass".
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

fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

fn write_warnings(text: &mut String, warnings: &[String]) {
    for warning in warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
}
