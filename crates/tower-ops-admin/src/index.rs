//! The index and `/info`: what is mounted, and what process it is.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde::Serialize;
use tower_ops_core::http::{Accept, Answer, millis};

use crate::builder::Config;

pub(crate) const INDEX: &str = "/";
pub(crate) const INFO: &str = "/info";

#[derive(Serialize)]
struct Index<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    info: BTreeMap<&'a str, &'a str>,
    links: Vec<Link<'a>>,
}

#[derive(Serialize)]
struct Link<'a> {
    path: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    about: &'a str,
}

#[derive(Serialize)]
struct Info<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<&'a str>,
    uptime_ms: f64,
    pid: u32,
    tower_ops: &'static str,
    info: BTreeMap<&'a str, &'a str>,
}

pub(crate) fn index(config: &Config, base: &str, headers: &HeaderMap) -> Answer {
    if wants_json(headers) {
        let phase = config.phase();
        let links = config.links().map(|(path, about)| Link {
            path: format!("{base}{path}"),
            about,
        });
        let index = Index {
            name: &config.name,
            version: config.version.as_deref(),
            phase: phase.as_deref(),
            info: pairs(config),
            links: links.collect(),
        };
        return Answer::ok(&index);
    }
    Answer::text(StatusCode::OK, as_text(config, base))
}

pub(crate) fn info(config: &Config) -> Answer {
    let phase = config.phase();
    let info = Info {
        name: &config.name,
        version: config.version.as_deref(),
        phase: phase.as_deref(),
        uptime_ms: millis(config.started_at.elapsed()),
        pid: std::process::id(),
        tower_ops: env!("CARGO_PKG_VERSION"),
        info: pairs(config),
    };
    Answer::ok(&info)
}

fn pairs(config: &Config) -> BTreeMap<&str, &str> {
    let pairs = config.info.iter();
    pairs.map(|(name, value)| (&**name, &**value)).collect()
}

/// JSON if `Accept` names it and does not prefer text. Browsers and curl do not name it: they get
/// text, for a person.
fn wants_json(headers: &HeaderMap) -> bool {
    let accept = Accept::from_headers(headers);
    let json = accept.named("application/json");
    json > 0 && json >= accept.weight("text/plain").unwrap_or(0)
}

fn as_text(config: &Config, base: &str) -> String {
    let mut text = config.name.clone();
    // Writing to a string cannot fail.
    if let Some(version) = &config.version {
        let _ = write!(text, " {version}");
    }
    if let Some(phase) = config.phase() {
        let _ = write!(text, ", {phase}");
    }
    let up = Duration::from_secs(config.started_at.elapsed().as_secs());
    let _ = writeln!(text, ", up {}", humantime::format_duration(up));
    for (name, value) in &config.info {
        let _ = writeln!(text, "{name} {value}");
    }
    text.push('\n');
    let longest = config.links().map(|(path, _)| path.len()).max();
    let width = longest.unwrap_or(0) + base.len();
    let own = [(INFO, "name, version, phase and build, as JSON")];
    for (path, about) in config.links().chain(own) {
        let line = format!("{:width$}  {about}", format!("{base}{path}"));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
