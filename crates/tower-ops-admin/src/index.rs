//! What the endpoint says of itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response};
use http_body_util::Full;
use serde::Serialize;
use tower_ops_core::http::{Accept, Answer, has_body};

use crate::body::AdminBody;
use crate::config::Config;
use crate::options;

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
    uptime_seconds: u64,
    pid: u32,
    tower_ops: &'static str,
    info: BTreeMap<&'a str, &'a str>,
}

pub(crate) fn index(
    config: &Config,
    base: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Response<AdminBody> {
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
        return Answer::ok(&index).into_response(method).map(AdminBody::new);
    }
    text(as_text(config, base), method)
}

pub(crate) fn info(config: &Config, method: &Method) -> Response<AdminBody> {
    let phase = config.phase();
    let info = Info {
        name: &config.name,
        version: config.version.as_deref(),
        phase: phase.as_deref(),
        uptime_seconds: config.since.elapsed().as_secs(),
        pid: std::process::id(),
        tower_ops: env!("CARGO_PKG_VERSION"),
        info: pairs(config),
    };
    Answer::ok(&info).into_response(method).map(AdminBody::new)
}

fn pairs(config: &Config) -> BTreeMap<&str, &str> {
    let pairs = config.info.iter();
    pairs.map(|(name, value)| (&**name, &**value)).collect()
}

/// JSON if it is named and text is not preferred: a browser and curl name it not, and a person
/// reads there.
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
    let up = Duration::from_secs(config.since.elapsed().as_secs());
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

fn text(text: String, method: &Method) -> Response<AdminBody> {
    let length = text.len();
    let sent = if has_body(method) {
        text
    } else {
        String::new()
    };
    let mut response = Response::new(AdminBody::new(Full::<Bytes>::from(sent)));
    let headers = response.headers_mut();
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(CONTENT_TYPE, plain);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    if *method == Method::OPTIONS {
        return options::answer(response);
    }
    response
}
