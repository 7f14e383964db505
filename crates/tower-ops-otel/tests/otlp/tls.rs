//! TLS by the variables of certificates.

use std::io::Write;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::NamedTempFile;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::*;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        Self {
            issuer,
            certificate,
        }
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// Lets in whoever has a certificate of this authority.
    fn acceptor(&self, protocol: &[u8]) -> TlsAcceptor {
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let (certificate, key) = self.issue("localhost");
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = vec![protocol.to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

fn file(pem: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(pem.as_bytes()).unwrap();
    file
}

fn path(file: &NamedTempFile) -> String {
    file.path().to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_on_both_sides() {
    let authority = Authority::new();
    let ca = file(&authority.certificate.pem());
    let (certificate, key) = authority.issue("orders");
    let (certificate, key) = (file(&certificate.pem()), file(&key.serialize_pem()));
    for protocol in BOTH {
        let collector = match protocol {
            Protocol::Grpc => Collector::grpcs(authority.acceptor(b"h2")).await,
            _ => Collector::https(authority.acceptor(b"http/1.1")).await,
        };
        let url = format!("https://localhost:{}", collector.addr.port());
        let telemetry = builder(protocol, &url)
            .set("OTEL_EXPORTER_OTLP_CERTIFICATE", path(&ca))
            .set("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", path(&certificate))
            .set("OTEL_EXPORTER_OTLP_CLIENT_KEY", path(&key))
            .start()
            .unwrap();
        make_spans(&telemetry, 3);
        telemetry.shutdown().await;
        assert_eq!(telemetry.span_counts().exported, 3, "{protocol:?}");
        assert_eq!(collector.received().spans().len(), 3);

        // Whom nobody has vouched for gets nothing.
        let stranger = file(&Authority::new().certificate.pem());
        let telemetry = builder(protocol, &url)
            .set("OTEL_EXPORTER_OTLP_CERTIFICATE", path(&stranger))
            .start()
            .unwrap();
        make_spans(&telemetry, 3);
        telemetry.shutdown().await;
        let counts = telemetry.span_counts();
        assert_eq!(
            counts.dropped_by(DropReason::ExportFailed),
            3,
            "{protocol:?} {counts:?}"
        );
    }
}

#[test]
fn a_file_that_cannot_be_used_is_a_warning() {
    let empty = file("");
    for (name, path) in [
        ("missing", "/no/such/file".to_owned()),
        ("empty", path(&empty)),
    ] {
        let telemetry = builder(Protocol::Grpc, "https://collector:4317")
            .environment_variables([("OTEL_EXPORTER_OTLP_CERTIFICATE", path.clone())])
            .start()
            .unwrap();
        assert!(!telemetry.exports_spans(), "{name}");
        let [warning] = telemetry.warnings() else {
            panic!("{name}: {:?}", telemetry.warnings());
        };
        assert!(warning.contains(&path), "{warning}");
        assert!(
            warning.ends_with("no traces are exported by OTLP"),
            "{warning}"
        );
    }
}
