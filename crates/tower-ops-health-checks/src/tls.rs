use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tower_ops_health::{Check, CheckResult};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::addr;

const DAY: u64 = 24 * 60 * 60;

/// Checks how long the certificates of a TLS server are valid.
///
/// Degraded when the first of them expires soon; down when one has expired, or when the handshake
/// fails for another reason. Each run makes a handshake: give it a period of minutes. Uses rustls
/// with ring, and the system's roots by default.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tower_ops_health_checks::Tls;
///
/// let check = Tls::new("shop.example:443")
///     .degraded_before(Duration::from_secs(14 * 24 * 60 * 60))
///     .into_check("certificate")
///     .period(Duration::from_secs(600));
/// # let _ = check;
/// ```
#[derive(Clone)]
#[must_use = "a check does nothing until it is given to a Health"]
pub struct Tls {
    addr: String,
    server_name: Option<String>,
    degraded_before: Duration,
    config: Option<Arc<ClientConfig>>,
}

impl Tls {
    /// Checks a host and a port: `shop.example:443`.
    pub fn new(addr: impl Into<String>) -> Self {
        Self {
            addr: addr.into(),
            server_name: None,
            degraded_before: Duration::from_secs(21 * DAY),
            config: None,
        }
    }

    /// Sets the name that the certificate has to be for. Default: the host.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Sets how long before a certificate expires the check is degraded. Default: 21 days.
    pub const fn degraded_before(mut self, time: Duration) -> Self {
        self.degraded_before = time;
        self
    }

    /// Uses this configuration. Default: the system's roots are trusted.
    pub fn config(mut self, config: Arc<ClientConfig>) -> Self {
        self.config = Some(config);
        self
    }

    /// Makes the check.
    pub fn into_check(self, name: impl Into<Arc<str>>) -> Check {
        let mut problems: Vec<_> = addr::problem(&self.addr).into_iter().collect();
        let host = match &self.server_name {
            Some(name) => name.clone(),
            None => addr::host(&self.addr).to_owned(),
        };
        let host = ServerName::try_from(host.clone())
            .map_err(|_| problems.push(format!("server_name: {host:?} is not a host's name")));
        let config = self.config.map_or_else(system_config, Ok);
        let config = config.map(|config| without_resumption(&config));
        let config = config.map_err(|problem| problems.push(problem));
        let (addr, degraded_before) = (Arc::<str>::from(self.addr), self.degraded_before);
        let parts = host.ok().zip(config.ok());
        let check = Check::new(name, move || {
            let (addr, parts) = (Arc::clone(&addr), parts.clone());
            async move {
                let Some((host, config)) = parts else {
                    // A check with problems never runs.
                    return CheckResult::down("the check is not set up");
                };
                match expiry(&addr, host, config).await {
                    Ok(expiry) => judge(expiry, SystemTime::now(), degraded_before),
                    Err(error) => Err::<(), _>(error).into(),
                }
            }
        });
        check.problems(problems)
    }
}

/// Returns when the first of the server's certificates expires, in seconds since 1970.
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

fn judge(expiry: i64, now: SystemTime, degraded_before: Duration) -> CheckResult {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let left = expiry.saturating_sub(i64::try_from(now).unwrap_or(i64::MAX));
    let degraded = i64::try_from(degraded_before.as_secs()).unwrap_or(i64::MAX);
    let days = days(left);
    let result = if left <= 0 {
        CheckResult::down("a certificate has expired")
    } else if left <= degraded {
        CheckResult::degraded(format!("a certificate expires in {days} days"))
    } else {
        CheckResult::ok()
    };
    result.value(days, "days")
}

#[expect(clippy::cast_precision_loss, reason = "to a tenth of a day")]
fn days(seconds: i64) -> f64 {
    (seconds as f64 / DAY as f64 * 10.0).floor() / 10.0
}

/// Makes a configuration that trusts the system's roots.
pub(crate) fn system_config() -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    // A root that cannot be read is skipped.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(match found.errors.first() {
            Some(error) => format!("config: the system's roots cannot be read: {error}"),
            None => "config: the system has no roots; give a configuration of your own".into(),
        });
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("config: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Turns resumption off: a resumed session is not verified again, and has the certificates of the
/// first one.
pub(crate) fn without_resumption(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("addr", &self.addr)
            .field("server_name", &self.server_name)
            .field("degraded_before", &self.degraded_before)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tower_ops_health::Status;

    use super::*;

    #[test]
    fn judges_by_what_is_left() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let warn = Duration::from_secs(DAY);
        for (left, status) in [
            (-1, Status::Down),
            (0, Status::Down),
            (86_400, Status::Degraded),
        ] {
            assert_eq!(judge(1_000_000 + left, now, warn).status(), status);
        }
        let result = judge(1_000_000 + 86_400 * 3 / 2, now, warn);
        assert_eq!(result.status(), Status::Ok);
        assert_eq!(days(86_400 * 3 / 2), 1.5);
    }
}
