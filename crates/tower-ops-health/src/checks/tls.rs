use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::check::Check;
use crate::result::CheckResult;

const DAY: u64 = 24 * 60 * 60;

/// How long the certificates of a TLS server are valid: degraded when the first of them expires
/// soon, down when one has expired, or the handshake fails for another reason.
///
/// Makes a handshake each time: give it a period of minutes. rustls with ring; the system's
/// roots unless told otherwise.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tower_ops_health::checks::Tls;
///
/// let check = Tls::new("shop.example:443")
///     .warn_before(Duration::from_secs(14 * 24 * 60 * 60))
///     .check("certificate")
///     .period(Duration::from_secs(600));
/// # let _ = check;
/// ```
#[derive(Clone)]
#[must_use = "a check does nothing until it is given to a Health"]
pub struct Tls {
    addr: String,
    server_name: Option<String>,
    warn_before: Duration,
    config: Option<Arc<ClientConfig>>,
}

impl Tls {
    /// A host and a port: `shop.example:443`.
    pub fn new(addr: impl Into<String>) -> Self {
        Self {
            addr: addr.into(),
            server_name: None,
            warn_before: Duration::from_secs(21 * DAY),
            config: None,
        }
    }

    /// The name that the certificate has to be for, where it is not the host's.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// How long before the end of its validity it is degraded. 21 days by default.
    pub const fn warn_before(mut self, time: Duration) -> Self {
        self.warn_before = time;
        self
    }

    /// Trusts as this configuration does, and not the system's roots.
    pub fn config(mut self, config: Arc<ClientConfig>) -> Self {
        self.config = Some(config);
        self
    }

    /// Makes the check.
    pub fn check(self, name: impl Into<Arc<str>>) -> Check {
        let mut problems = Vec::new();
        problems.extend(addr_problem(&self.addr));
        let host = match &self.server_name {
            Some(name) => name.clone(),
            None => host_of(&self.addr).to_owned(),
        };
        let host = ServerName::try_from(host.clone())
            .map_err(|_| problems.push(format!("server_name: {host:?} is not a host's name")));
        let config = self.config.map_or_else(system_config, Ok);
        let config = config.map(|config| without_resumption(&config));
        let config = config.map_err(|problem| problems.push(problem));
        let (addr, warn_before) = (Arc::<str>::from(self.addr), self.warn_before);
        let parts = host.ok().zip(config.ok());
        let check = Check::new(name, move || {
            let (addr, parts) = (Arc::clone(&addr), parts.clone());
            async move {
                let Some((host, config)) = parts else {
                    // A check with problems never runs.
                    return CheckResult::down("the check is not set up");
                };
                match expiry(&addr, host, config).await {
                    Ok(expiry) => judge(expiry, SystemTime::now(), warn_before),
                    Err(error) => Err::<(), _>(error).into(),
                }
            }
        });
        check.with_problems(problems)
    }
}

/// When the first of the server's certificates expires, in seconds since 1970.
async fn expiry(
    addr: &str,
    host: ServerName<'static>,
    config: Arc<ClientConfig>,
) -> std::io::Result<i64> {
    let stream = TcpStream::connect(addr).await?;
    let stream = TlsConnector::from(config).connect(host, stream).await?;
    let certificates = stream.get_ref().1.peer_certificates();
    first_expiry(certificates.unwrap_or_default())
        .ok_or_else(|| std::io::Error::other("the server has sent no readable certificate"))
}

fn first_expiry(certificates: &[CertificateDer<'_>]) -> Option<i64> {
    let ends = certificates.iter().filter_map(|certificate| {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        Some(parsed.validity().not_after.timestamp())
    });
    ends.min()
}

#[expect(clippy::cast_precision_loss, reason = "to a tenth of a day")]
fn judge(expiry: i64, now: SystemTime, warn_before: Duration) -> CheckResult {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let left = expiry.saturating_sub(i64::try_from(now).unwrap_or(i64::MAX));
    let days = (left as f64 / DAY as f64 * 10.0).floor() / 10.0;
    let warn = i64::try_from(warn_before.as_secs()).unwrap_or(i64::MAX);
    let result = if left <= 0 {
        CheckResult::down("a certificate has expired")
    } else if left <= warn {
        CheckResult::degraded(format!("a certificate expires in {days} days"))
    } else {
        CheckResult::ok()
    };
    result.value(days, "days")
}

/// Trusts what the system trusts.
pub(crate) fn system_config() -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    // One that cannot be read is no reason to trust none.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(match found.errors.first() {
            Some(error) => format!("config: the system's roots cannot be read: {error}"),
            None => "config: the system trusts nobody; give a configuration of your own".into(),
        });
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("config: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The same without resumption: a session that is resumed is not verified again, and shows the
/// certificates of the first.
pub(crate) fn without_resumption(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

fn host_of(addr: &str) -> &str {
    let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

fn addr_problem(addr: &str) -> Option<String> {
    let port = addr.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    let is_good = matches!(port, Some(Ok(1..))) && !host_of(addr).is_empty();
    (!is_good).then(|| format!("address: {addr:?} is not a host, ':' and a port from 1 to 65535"))
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("addr", &self.addr)
            .field("server_name", &self.server_name)
            .field("warn_before", &self.warn_before)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Status;

    #[test]
    fn judges_by_what_is_left() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let warn = Duration::from_secs(DAY);
        for (left, status) in [
            (-1, Status::Down),
            (0, Status::Down),
            (86_400, Status::Degraded),
        ] {
            assert_eq!(judge(1_000_000 + left, now, warn).status, status);
        }
        let result = judge(1_000_000 + 86_400 * 3 / 2, now, warn);
        assert_eq!(result.status, Status::Ok);
        assert_eq!(result.value.unwrap().value, 1.5);
    }
}
