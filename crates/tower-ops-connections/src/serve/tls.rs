//! TLS for the [`Server`](crate::Server), with certificates that can change while it runs.

use std::error::Error;
use std::fmt;
use std::fs;
use std::future::poll_fn;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, interval_at, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;
use tower_ops_core::sync::Mutex;

use crate::close::closing::Linger;
use crate::connections::registration::Registration;
use crate::{CloseReason, Connection};

/// How often the files are read again.
const CHECK: Duration = Duration::from_secs(60);

/// TLS 1.2 and 1.3 by rustls, with HTTP/2 and HTTP/1.1 by ALPN. Cheap to clone.
///
/// The files of [`from_pem_files`](Self::from_pem_files) are read again once a minute while a
/// [`Server`](crate::Server) runs. A new certificate is used from the next handshake on, so that it is
/// renewed without a restart. If it cannot be used, or does not match the key (a renewal that is half
/// written), the old one stays and the error is logged.
///
/// # Examples
///
/// ```no_run
/// use tower_ops_connections::Tls;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tls = Tls::from_pem_files("/tls/tls.crt", "/tls/tls.key")?;
/// # let _ = tls;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    files: Option<Arc<Files>>,
}

/// The certificate in use and where it came from.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    current: Arc<Current>,
    /// The last contents, valid or not: the same error is not logged every minute.
    last: Mutex<Pem>,
    check: Duration,
}

#[derive(PartialEq, Eq)]
struct Pem {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

struct Current {
    provider: CryptoProvider,
    certified: Mutex<Arc<CertifiedKey>>,
}

/// Why a certificate cannot be used.
#[derive(Debug)]
pub struct TlsError {
    message: String,
    source: Box<dyn Error + Send + Sync>,
}

impl Tls {
    /// Reads the certificate, with its chain, and the private key from PEM files.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or has no certificate or key, or if the two do not match.
    pub fn from_pem_files(
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, TlsError> {
        let (certificate, key) = (certificate.as_ref(), key.as_ref());
        let provider = ring::default_provider();
        let pem = Pem::read(certificate, key)?;
        let certified = pem.certified(&provider, certificate, key)?;
        let current = Arc::new(Current {
            provider: provider.clone(),
            certified: Mutex::new(Arc::new(certified)),
        });
        let versions = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::new("the protocol versions", error))?;
        let mut config = versions
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            files: Some(Arc::new(Files {
                certificate: certificate.into(),
                key: key.into(),
                current,
                last: Mutex::new(pem),
                check: CHECK,
            })),
        })
    }

    /// Uses a configuration of your own: for client certificates, other versions or another provider.
    /// Set its `alpn_protocols`. No file is read again.
    #[must_use]
    pub const fn from_config(config: Arc<ServerConfig>) -> Self {
        Self {
            config,
            files: None,
        }
    }

    /// Reads the files now: for a signal or an endpoint. Returns `Ok(false)` if they have not changed,
    /// or if there are none.
    ///
    /// # Errors
    ///
    /// As [`from_pem_files`](Self::from_pem_files); the old certificate stays.
    pub fn reload(&self) -> Result<bool, TlsError> {
        self.files
            .as_ref()
            .map_or(Ok(false), |files| files.reload())
    }

    /// Performs the handshake, up to `limit`, unless the connection is closed before.
    pub(crate) async fn accept<I>(
        &self,
        io: I,
        registration: Registration,
        limit: Duration,
    ) -> Option<(TlsStream<I>, Registration)>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        // Boxed, so that its buffers are freed with it.
        let acceptor = TlsAcceptor::from(Arc::clone(&self.config));
        let mut accepting = Box::pin(timeout(limit, acceptor.accept(io)));
        let mut linger = Linger::default();
        let accepted = poll_fn(|cx| {
            if let Poll::Ready(accepted) = accepting.as_mut().poll(cx) {
                return Poll::Ready(Some(accepted));
            }
            poll_close(&registration.connection, &mut linger, cx).map(|()| None)
        });
        match accepted.await {
            Some(Ok(Ok(io))) => return Some((io, registration)),
            Some(Ok(Err(error))) => {
                tracing::debug!(%error, "a TLS handshake failed");
                registration.handshake_failed();
            }
            Some(Err(_)) => registration.handshake_failed(),
            // A close was requested, and has its reason.
            None => {}
        }
        None
    }

    /// Reads the files every minute; never completes.
    pub(crate) async fn watch(&self) {
        let Some(files) = &self.files else {
            return std::future::pending().await;
        };
        let mut interval = interval_at(Instant::now() + files.check, files.check);
        loop {
            interval.tick().await;
            let files = Arc::clone(files);
            match spawn_blocking(move || files.reload()).await {
                Ok(Ok(false)) => {}
                Ok(Ok(true)) => tracing::info!("using a new TLS certificate"),
                Ok(Err(error)) => {
                    tracing::error!(
                        %error,
                        "the new TLS certificate cannot be used; the old one stays"
                    );
                }
                // The runtime is shutting down.
                Err(_) => return std::future::pending().await,
            }
        }
    }
}

/// Ready when a connection in its handshake has to end. Only a drain gives one that was just accepted
/// time for its first request.
fn poll_close(connection: &Connection, linger: &mut Linger, cx: &mut Context<'_>) -> Poll<()> {
    let record = &*connection.record;
    // Before the state is read, or a close in between would wake nobody.
    record.manager.register(cx.waker());
    let state = record.state.load();
    match state.reason() {
        None => return Poll::Pending,
        Some(CloseReason::Drain) if !state.is_forced() => {
            let limits = &record.shared.limits;
            let longest = limits.linger.min(limits.grace);
            let left = longest.saturating_sub(connection.age());
            ready!(linger.poll(left, cx));
        }
        Some(_) => {}
    }
    record.state.commit();
    Poll::Ready(())
}

impl Files {
    fn reload(&self) -> Result<bool, TlsError> {
        // Locked while reading: of two reloads at once, the later one must win.
        let mut last = self.last.lock();
        let pem = Pem::read(&self.certificate, &self.key)?;
        if pem == *last {
            return Ok(false);
        }
        let certified = pem.certified(&self.current.provider, &self.certificate, &self.key);
        *last = pem;
        let certified = Arc::new(certified?);
        *self.current.certified.lock() = certified;
        Ok(true)
    }
}

impl Pem {
    fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let read = |path: &Path| {
            fs::read(path).map_err(|error| TlsError::new(format!("{}", path.display()), error))
        };
        Ok(Self {
            certificate: read(certificate)?,
            key: read(key)?,
        })
    }

    fn certified(
        &self,
        provider: &CryptoProvider,
        certificate: &Path,
        key: &Path,
    ) -> Result<CertifiedKey, TlsError> {
        let chain = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| TlsError::new(format!("{}", certificate.display()), error))?;
        if chain.is_empty() {
            let error = io::Error::new(io::ErrorKind::InvalidData, "has no certificate in PEM");
            return Err(TlsError::new(format!("{}", certificate.display()), error));
        }
        let private = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|error| TlsError::new(format!("{}", key.display()), error))?;
        CertifiedKey::from_der(chain, private, provider).map_err(|error: rustls::Error| {
            let both = format!("{} and {}", certificate.display(), key.display());
            TlsError::new(both, error)
        })
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.certified.lock()))
    }
}

impl TlsError {
    fn new(message: impl Into<String>, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            message: message.into(),
            source: source.into(),
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TLS: {}: {}", self.message, self.source)
    }
}

// Its text contains its cause, so it has no source.
impl Error for TlsError {}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Tls");
        if let Some(files) = &self.files {
            debug
                .field("certificate", &files.certificate)
                .field("key", &files.key);
        }
        debug.finish_non_exhaustive()
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current").finish_non_exhaustive()
    }
}
