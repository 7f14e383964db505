use std::path::PathBuf;
use std::time::Duration;

use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::reader::Reader;
use super::{Protocol, Signal};

/// How one signal is exported by OTLP.
#[derive(Clone, Debug)]
pub(crate) struct OtlpSettings {
    pub(crate) protocol: Protocol,
    /// Over HTTP with the path, over gRPC without.
    pub(crate) endpoint: Uri,
    /// Whether anybody has chosen that endpoint.
    pub(crate) endpoint_is_set: bool,
    /// Of an export with its retries.
    pub(crate) timeout: Duration,
    pub(crate) headers: HeaderMap,
    pub(crate) gzip: bool,
    pub(crate) tls: TlsFiles,
}

/// PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    pub(crate) ca: Option<PathBuf>,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

/// Reads what is set for a signal and, where nothing is, what is set for all.
///
/// Returns `None` where the endpoint cannot be used: what was meant is not known, and another one
/// must not get the data.
pub(super) fn read(reader: &mut Reader<'_>, signal: Signal) -> Option<OtlpSettings> {
    let of = |what: &str| {
        let own = format!("OTEL_EXPORTER_OTLP_{}_{what}", signal.upper());
        let all = format!("OTEL_EXPORTER_OTLP_{what}");
        [own, all]
    };
    let protocols = [
        ("grpc", Protocol::Grpc),
        ("http/protobuf", Protocol::HttpProtobuf),
    ];
    let chosen = first(&of("PROTOCOL"), |name| reader.one_of(name, &protocols));
    let protocol = chosen.unwrap_or(Protocol::HttpProtobuf);
    let insecure = first(&of("INSECURE"), |name| reader.bool(name)).unwrap_or(false);
    let timeout = first(&of("TIMEOUT"), |name| reader.millis(name));
    let compressions = [("gzip", true), ("none", false)];
    let gzip = first(&of("COMPRESSION"), |name| {
        reader.one_of(name, &compressions)
    });
    let mut file = |what: &str| first(&of(what), |name| reader.text(name)).map(PathBuf::from);
    let tls = TlsFiles {
        ca: file("CERTIFICATE"),
        certificate: file("CLIENT_CERTIFICATE"),
        key: file("CLIENT_KEY"),
    };
    if tls.certificate.is_some() != tls.key.is_some() {
        let [name, _] = of("CLIENT_CERTIFICATE");
        reader.warn(
            &name,
            "and …CLIENT_KEY belong together: one of them alone is ignored",
        );
    }
    let headers = headers(reader, &of("HEADERS"));
    let [own, all] = of("ENDPOINT");
    let own_value = reader.text(&own);
    let all_value = reader.text(&all);
    let endpoint_is_set = own_value.is_some() || all_value.is_some();
    let (name, value, is_own) = match (own_value, all_value) {
        (Some(value), _) => (own, value, true),
        (None, Some(value)) => (all, value, false),
        (None, None) if protocol == Protocol::Grpc => {
            (all, "http://localhost:4317".to_owned(), false)
        }
        (None, None) => (all, "http://localhost:4318".to_owned(), false),
    };
    let path = (!is_own).then(|| format!("/v1/{}", signal.name()));
    let endpoint = match endpoint(&value, protocol, insecure, path.as_deref()) {
        Ok(endpoint) => endpoint,
        Err(problem) => {
            reader.warn(
                &name,
                &format!("{problem}: no {} are exported", signal.name()),
            );
            return None;
        }
    };
    if chosen.is_none() && endpoint_is_set && endpoint.port_u16() == Some(4317) {
        reader.warn(
            &name,
            "has port 4317, by convention that of gRPC, but OTLP goes over HTTP: \
             set OTEL_EXPORTER_OTLP_PROTOCOL to grpc, or the port to 4318",
        );
    }
    Some(OtlpSettings {
        protocol,
        endpoint,
        endpoint_is_set,
        timeout: timeout.unwrap_or(Duration::from_secs(10)),
        headers,
        gzip: gzip.unwrap_or(false),
        tls,
    })
}

fn first<T>(names: &[String; 2], mut read: impl FnMut(&str) -> Option<T>) -> Option<T> {
    let [own, all] = names;
    // Both are read, so that both are checked.
    let (own, all) = (read(own), read(all));
    own.or(all)
}

fn headers(reader: &mut Reader<'_>, names: &[String; 2]) -> HeaderMap {
    let [own, all] = names;
    let (of_signal, of_all) = (reader.pairs(own), reader.pairs(all));
    let (name, pairs) = if of_signal.is_empty() {
        (all, of_all)
    } else {
        (own, of_signal)
    };
    let mut headers = HeaderMap::new();
    for (key, value) in pairs {
        let parsed = HeaderName::try_from(key.as_str())
            .ok()
            .zip(HeaderValue::try_from(value).ok());
        match parsed {
            Some((key, mut value)) => {
                value.set_sensitive(true);
                headers.insert(key, value);
            }
            // The value may be a secret.
            None => reader.warn(
                name,
                &format!("has a header {key:?} that HTTP cannot carry: it is ignored"),
            ),
        }
    }
    headers
}

/// The URL, with `path` appended over HTTP. An endpoint of gRPC may lack a scheme.
fn endpoint(
    value: &str,
    protocol: Protocol,
    insecure: bool,
    path: Option<&str>,
) -> Result<Uri, &'static str> {
    let with_scheme = if value.contains("://") || protocol == Protocol::HttpProtobuf {
        value.to_owned()
    } else if insecure {
        format!("http://{value}")
    } else {
        format!("https://{value}")
    };
    let uri: Uri = with_scheme.parse().map_err(|_| "is not a URL")?;
    let mut parts = uri.into_parts();
    if parts.scheme != Some(Scheme::HTTP) && parts.scheme != Some(Scheme::HTTPS) {
        return Err("is not a URL that begins with http:// or https://");
    }
    if parts
        .authority
        .as_ref()
        .is_none_or(|authority| authority.host().is_empty())
    {
        return Err("has no host");
    }
    parts.path_and_query = Some(match (protocol, path) {
        (Protocol::Grpc, _) => PathAndQuery::from_static("/"),
        (Protocol::HttpProtobuf, None) => parts
            .path_and_query
            .unwrap_or(PathAndQuery::from_static("/")),
        (Protocol::HttpProtobuf, Some(path)) => {
            let base = parts.path_and_query.as_ref().map_or("", |path| path.path());
            format!("{}{path}", base.trim_end_matches('/'))
                .parse()
                .map_err(|_| "is not a URL")?
        }
    });
    Uri::from_parts(parts).map_err(|_| "is not a URL")
}
