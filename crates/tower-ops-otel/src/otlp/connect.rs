use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tower_service::Service;

use crate::settings::{OtlpSettings, Protocol, TlsFiles};

const PER_ADDRESS: Duration = Duration::from_secs(3);

/// Connects to the collector, with TLS where the endpoint is `https`.
#[derive(Clone)]
pub(super) struct Connector {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("tls", &self.tls.is_some())
            .finish()
    }
}

impl Connector {
    pub(super) fn new(settings: &OtlpSettings) -> Result<Self, String> {
        let endpoint = &settings.endpoint;
        let is_https = endpoint.scheme_str() == Some("https");
        let default_port = if is_https { 443 } else { 80 };
        let host = endpoint.host().unwrap_or_default();
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let tls = if is_https {
            let name = ServerName::try_from(host.clone())
                .map_err(|_| format!("{host:?} is not a host's name"))?;
            let mut config = tls_config(&settings.tls)?;
            config.alpn_protocols = vec![match settings.protocol {
                Protocol::Grpc => b"h2".to_vec(),
                Protocol::HttpProtobuf => b"http/1.1".to_vec(),
            }];
            Some((TlsConnector::from(Arc::new(config)), name))
        } else {
            None
        };
        Ok(Self {
            port: endpoint.port_u16().unwrap_or(default_port),
            host,
            tls,
        })
    }

    /// Tries one address after the other; one that does not answer must not take all the time.
    async fn connect_tcp(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for addr in lookup_host((self.host.as_str(), self.port)).await? {
            match timeout(PER_ADDRESS, TcpStream::connect(addr)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(elapsed) => last = elapsed.into(),
            }
        }
        Err(last)
    }

    async fn connect(self) -> io::Result<CollectorStream> {
        let stream = self.connect_tcp().await?;
        stream.set_nodelay(true)?;
        Ok(match self.tls {
            Some((tls, name)) => {
                let stream = tls.connect(name, stream).await?;
                CollectorStream::Tls(Box::new(TokioIo::new(stream)))
            }
            None => CollectorStream::Plain(TokioIo::new(stream)),
        })
    }
}

/// Where to is in the connector: what calls it names the same place, or a stand-in for it.
impl Service<Uri> for Connector {
    type Response = CollectorStream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<CollectorStream>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().connect())
    }
}

/// A connection to the collector.
#[derive(Debug)]
pub(super) enum CollectorStream {
    Plain(TokioIo<TcpStream>),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Connection for CollectorStream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for CollectorStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl Write for CollectorStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| {
            format!(
                "{} has no certificate that can be used: {error}",
                path.display()
            )
        })
}

fn tls_config(files: &TlsFiles) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    let trusted = match &files.ca {
        Some(path) => certificates(path)?,
        // The errors are those of single files; without any certificate nothing would be trusted.
        None => rustls_native_certs::load_native_certs().certs,
    };
    roots.add_parsable_certificates(trusted);
    if roots.is_empty() {
        return Err(match &files.ca {
            Some(path) => format!("{} has no certificate that can be used", path.display()),
            None => "the system has no root certificates: name a file in \
                OTEL_EXPORTER_OTLP_CERTIFICATE"
                .to_owned(),
        });
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let (Some(certificate), Some(key)) = (&files.certificate, &files.key) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(certificate)?;
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| format!("{} has no key that can be used: {error}", key.display()))?;
    builder
        .with_client_auth_cert(chain, private)
        .map_err(|error| format!("the client's certificate cannot be used: {error}"))
}
