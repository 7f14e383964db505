use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HOST, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tower_ops_health::{Check, CheckResult};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How much of a body is read by default, in bytes.
const DEFAULT_MAX_BODY: usize = 64 * 1_024;

/// Checks that an HTTP server answers as it should.
///
/// Uses HTTP/1.1, on a new connection each time, so that the whole way is checked. The body is read
/// only if something is expected in it. Names are resolved by the system. `https` needs the feature
/// `tls`: rustls with ring, and the system's roots by default.
///
/// # Examples
///
/// ```
/// use tower_ops_health_checks::Http;
///
/// let check = Http::get("http://payments.internal:8080/ready")
///     .header("x-caller", "orders")
///     .expect_body("\"ok\"")
///     .into_check("payments");
/// # let _ = check;
/// ```
#[derive(Clone)]
#[must_use = "a check does nothing until it is given to a Health"]
pub struct Http {
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Bytes,
    statuses: Vec<(u16, u16)>,
    contains: Option<Vec<u8>>,
    max_body: usize,
    max_redirects: usize,
    #[cfg(feature = "tls")]
    tls: Option<Arc<tokio_rustls::rustls::ClientConfig>>,
    problems: Vec<String>,
}

impl Http {
    /// Checks GET of a URL.
    pub fn get(url: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            url: url.into(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            statuses: Vec::new(),
            contains: None,
            max_body: DEFAULT_MAX_BODY,
            max_redirects: 0,
            #[cfg(feature = "tls")]
            tls: None,
            problems: Vec::new(),
        }
    }

    /// Sets the method. Default: GET.
    pub fn method(mut self, method: &str) -> Self {
        match Method::from_bytes(method.as_bytes()) {
            Ok(method) if method != Method::CONNECT => self.method = method,
            _ => self
                .problems
                .push(format!("method: {method:?} is not a method to check with")),
        }
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let parsed = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_str(value),
        );
        match parsed {
            (Ok(name), Ok(mut value)) => {
                // It may be a secret.
                value.set_sensitive(true);
                self.headers.append(name, value);
            }
            // An invalid value may be a secret too.
            _ => self
                .problems
                .push(format!("header: {name:?} or its value is not valid")),
        }
        self
    }

    /// Sets the body. Default: empty.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Adds statuses that are good. Default: 200 to 299.
    pub fn expect_status(mut self, statuses: impl RangeBounds<u16>) -> Self {
        let first = match statuses.start_bound() {
            Bound::Included(first) => *first,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 100,
        };
        let last = match statuses.end_bound() {
            Bound::Included(last) => *last,
            Bound::Excluded(after) => after.saturating_sub(1),
            Bound::Unbounded => 599,
        };
        self.statuses.push((first, last));
        self
    }

    /// Sets what has to be in the body, in the part of it that is read. Default: nothing.
    pub fn expect_body(mut self, part: impl Into<Vec<u8>>) -> Self {
        self.contains = Some(part.into());
        self
    }

    /// Sets how much of the body is read, in bytes, if something has to be in it. Default: 64 KiB.
    pub const fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// Sets how many redirects are followed. Default: none, a redirect is judged by its status.
    ///
    /// Headers and body are sent on to the same scheme, host and port only. A redirect from `https`
    /// to `http` is not followed.
    pub const fn max_redirects(mut self, most: usize) -> Self {
        self.max_redirects = most;
        self
    }

    /// Uses this configuration of TLS. Default: the system's roots are trusted.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    pub fn tls(mut self, config: Arc<tokio_rustls::rustls::ClientConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// Makes the check.
    pub fn into_check(mut self, name: impl Into<Arc<str>>) -> Check {
        let url = self.settle();
        let problems = std::mem::take(&mut self.problems);
        let this = Arc::new(self);
        let check = Check::new(name, move || {
            let (this, url) = (Arc::clone(&this), url.clone());
            async move {
                match url {
                    Some(url) => this.look(url).await,
                    // A check with problems never runs.
                    None => Ok(CheckResult::down("the URL is not valid")),
                }
            }
        });
        check.problems(problems)
    }

    fn settle(&mut self) -> Option<Uri> {
        if self.statuses.is_empty() {
            self.statuses.push((200, 299));
        }
        for (first, last) in &self.statuses {
            if first > last || *first < 100 || *last > 599 {
                self.problems.push(format!(
                    "expect_status: {first} to {last} is no range within 100 to 599"
                ));
            }
        }
        if !(1..=MOST_BODY).contains(&self.max_body) {
            let problem = format!(
                "max_body: {} is not between 1 and {MOST_BODY}",
                self.max_body
            );
            self.problems.push(problem);
        }
        let part = self.contains.as_ref().map_or(0, Vec::len);
        if part > self.max_body {
            let most = self.max_body;
            self.problems.push(format!(
                "expect_body: is longer than max_body, {most} bytes"
            ));
        }
        if self.max_redirects > MOST_REDIRECTS {
            let redirects = self.max_redirects;
            self.problems.push(format!(
                "max_redirects: {redirects} is more than {MOST_REDIRECTS}"
            ));
        }
        let parsed = parse(&self.url);
        #[cfg(feature = "tls")]
        let parsed = parsed.and_then(|url| {
            // Redirects may lead to https, too.
            let needs = url.scheme_str() == Some("https") || self.max_redirects > 0;
            if needs {
                let config = self.tls.take().map_or_else(crate::tls::system_config, Ok)?;
                self.tls = Some(crate::tls::without_resumption(&config));
            }
            Ok(url)
        });
        parsed.map_err(|problem| self.problems.push(problem)).ok()
    }

    async fn look(&self, mut url: Uri) -> Result<CheckResult, BoxError> {
        let mut headers = self.headers.clone();
        let (mut method, mut body) = (self.method.clone(), self.body.clone());
        for _ in 0..=self.max_redirects {
            let mut request = Request::new(Full::new(body.clone()));
            *request.method_mut() = method.clone();
            // Dropped with the answer, which ends the connection.
            let (response, _connection) = self.ask(&url, &headers, request).await?;
            let follow = self.max_redirects > 0 && response.status().is_redirection();
            let Some(location) = response.headers().get(LOCATION).filter(|_| follow) else {
                return self.judge(response).await;
            };
            let next = redirected(&url, location)?;
            if response.status() == StatusCode::SEE_OTHER && method != Method::HEAD {
                (method, body) = (Method::GET, Bytes::new());
            }
            if next.authority() != url.authority() || next.scheme() != url.scheme() {
                // They may hold a credential.
                headers.clear();
                body = Bytes::new();
            }
            url = next;
        }
        Ok(CheckResult::down(format!(
            "more than {} redirects",
            self.max_redirects
        )))
    }

    async fn judge(&self, response: Response<Incoming>) -> Result<CheckResult, BoxError> {
        let status = response.status();
        let is_good = |status: StatusCode| {
            let mut ranges = self.statuses.iter();
            ranges.any(|(first, last)| (*first..=*last).contains(&status.as_u16()))
        };
        if !is_good(status) {
            return Ok(CheckResult::down(format!("the status is {status}")));
        }
        if let Some(part) = &self.contains {
            let body = read(response.into_body(), self.max_body).await?;
            if !part.is_empty() && !body.windows(part.len()).any(|found| found == part) {
                let text = format!("the first {} bytes are not what was expected", body.len());
                return Ok(CheckResult::down(text));
            }
        }
        Ok(CheckResult::ok().detail(status.to_string()))
    }

    async fn ask(
        &self,
        url: &Uri,
        headers: &HeaderMap,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, JoinSet<()>), BoxError> {
        let host = url.host().unwrap_or_default();
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let https = url.scheme_str() == Some("https");
        let port = url.port_u16().unwrap_or(if https { 443 } else { 80 });
        let target = url.path_and_query().map_or("/", |target| target.as_str());
        *request.uri_mut() = target.parse()?;
        let to = request.headers_mut();
        to.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let authority = url.authority().map_or(host, |authority| authority.as_str());
        to.insert(HOST, HeaderValue::from_str(authority)?);
        for name in headers.keys() {
            to.remove(name);
        }
        for (name, value) in headers {
            to.append(name, value.clone());
        }
        let stream = TcpStream::connect((name, port)).await?;
        if !https {
            return exchange(TokioIo::new(stream), request).await;
        }
        #[cfg(feature = "tls")]
        {
            let config = self.tls.clone().ok_or("TLS is not set up")?;
            let name = tokio_rustls::rustls::pki_types::ServerName::try_from(name.to_owned())?;
            let connector = tokio_rustls::TlsConnector::from(config);
            let stream = connector.connect(name, stream).await?;
            exchange(TokioIo::new(stream), request).await
        }
        #[cfg(not(feature = "tls"))]
        Err("https needs the feature \"tls\"".into())
    }
}

const MOST_BODY: usize = 16 * 1_024 * 1_024;
const MOST_REDIRECTS: usize = 10;
const AGENT: &str = concat!("tower-ops-health/", env!("CARGO_PKG_VERSION"));

async fn exchange<I>(
    io: I,
    request: Request<Full<Bytes>>,
) -> Result<(Response<Incoming>, JoinSet<()>), BoxError>
where
    I: Read + Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(io).await?;
    // Dropping the set aborts the connection.
    let mut task = JoinSet::new();
    task.spawn(async move {
        // Its error is the request's error too.
        let _ = connection.await;
    });
    Ok((sender.send_request(request).await?, task))
}

/// Reads the first bytes of a body.
async fn read(mut body: Incoming, most: usize) -> Result<Vec<u8>, BoxError> {
    let mut seen = Vec::new();
    while seen.len() < most {
        let Some(frame) = body.frame().await else {
            break;
        };
        if let Ok(data) = frame?.into_data() {
            let room = most - seen.len();
            seen.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    Ok(seen)
}

fn redirected(from: &Uri, location: &HeaderValue) -> Result<Uri, BoxError> {
    let text = location.to_str()?;
    let next = match (from.scheme_str(), from.authority()) {
        (Some(scheme), Some(authority)) if text.starts_with('/') && !text.starts_with("//") => {
            parse(&format!("{scheme}://{authority}{text}"))
        }
        _ => parse(text),
    };
    let next = next.map_err(|_| "redirected to where it cannot be followed")?;
    if from.scheme_str() == Some("https") && next.scheme_str() != Some("https") {
        return Err("redirected from https to http".into());
    }
    Ok(next)
}

fn parse(url: &str) -> Result<Uri, String> {
    let wrong = |what: &str| format!("url: {url:?} {what}");
    let uri: Uri = url
        .parse()
        .map_err(|error| wrong(&format!("is not one: {error}")))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") if cfg!(feature = "tls") => {}
        Some("https") => return Err(wrong("is https, which needs the feature \"tls\"")),
        _ => return Err(wrong("does not begin with http:// or https://")),
    }
    let Some(authority) = uri.authority() else {
        return Err(wrong("has no host"));
    };
    if authority.host().is_empty() || authority.as_str().contains('@') {
        return Err(wrong("has no host, or a user, which belongs into a header"));
    }
    let has_port = authority.as_str().len() > authority.host().len();
    if has_port && !matches!(authority.port_u16(), Some(1..)) {
        return Err(wrong("has no port from 1 to 65535"));
    }
    Ok(uri)
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http")
            .field("method", &self.method)
            .field("url", &self.url)
            .field("statuses", &self.statuses)
            .finish_non_exhaustive()
    }
}
