//! OTLP to a collector: one encoded batch out, the collector's answer back.
//!
//! It does not use opentelemetry-otlp. That crate hides the answer, in which a collector reports how
//! many spans of a batch it refused, and it reads the environment by itself.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::time::{Instant, sleep, timeout_at};

use crate::closing::Closing;
use crate::counts::DropReason;
use crate::settings::{OtlpSettings, Protocol};

mod connect;
mod grpc;
mod http;

use self::connect::Connector;
use self::grpc::GrpcTransport;
use self::http::HttpTransport;

const USER_AGENT: &str = concat!("tower-ops-otel/", env!("CARGO_PKG_VERSION"));

/// The service of one signal.
pub(crate) trait Export: Message + 'static {
    /// The path of the method in gRPC.
    const METHOD: &'static str;
    type Answer: Message + Default;

    /// How many of the batch the collector refused, and why.
    fn rejected(answer: Self::Answer) -> (i64, String);
}

/// What went wrong with one attempt.
#[derive(Debug)]
struct Failure {
    text: String,
    again: Again,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    Never,
    /// Not before that time has passed.
    After(Duration),
}

impl Failure {
    fn new(text: impl Into<String>, again: Again) -> Self {
        Self {
            text: text.into(),
            again,
        }
    }

    /// The connection failed: with all that caused it, since the outermost error alone is of little use.
    fn transport(error: &dyn std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            text = format!("{text}: {error}");
            source = error.source();
        }
        Self::new(text, Again::After(Duration::ZERO))
    }
}

/// The collector took a batch.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// How many of it the collector refused.
    pub(crate) rejected: u64,
    /// The collector's reason.
    pub(crate) text: String,
}

/// How an export failed.
#[derive(Debug)]
pub(crate) struct ExportError {
    pub(crate) reason: DropReason,
    pub(crate) text: String,
}

/// What is ready to connect, and does not need a runtime yet.
#[derive(Debug)]
pub(crate) struct OtlpSetup {
    settings: OtlpSettings,
    connector: Connector,
}

impl OtlpSetup {
    /// Reads the certificates.
    ///
    /// # Errors
    ///
    /// In words, if they cannot be used.
    pub(crate) fn new(settings: OtlpSettings) -> Result<Self, String> {
        let connector = Connector::new(&settings)?;
        Ok(Self {
            settings,
            connector,
        })
    }

    /// Must be called on the runtime. Connects with the first export.
    pub(crate) fn into_client(self, closing: Closing, limit: Duration) -> OtlpClient {
        let timeout = self.settings.timeout.min(limit);
        let transport = match self.settings.protocol {
            Protocol::Grpc => {
                Transport::Grpc(Box::new(GrpcTransport::new(self.settings, self.connector)))
            }
            Protocol::HttpProtobuf => {
                Transport::Http(Box::new(HttpTransport::new(self.settings, self.connector)))
            }
        };
        OtlpClient {
            transport,
            timeout,
            closing,
        }
    }
}

/// Exports the batches of one signal.
#[derive(Debug)]
pub(crate) struct OtlpClient {
    transport: Transport,
    /// Of an export with its retries.
    timeout: Duration,
    closing: Closing,
}

#[derive(Debug)]
enum Transport {
    Grpc(Box<GrpcTransport>),
    Http(Box<HttpTransport>),
}

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

impl OtlpClient {
    /// Sends, and again if there is hope and time.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the collector has the batch or not.
    pub(crate) async fn export<E: Export>(&mut self, request: &E) -> Result<Taken, ExportError> {
        let body = Bytes::from(request.encode_to_vec());
        let deadline = Instant::now() + self.timeout;
        let mut last = None;
        let sent = self.send_until::<E>(&body, &mut last);
        let Ok(sent) = timeout_at(deadline, sent).await else {
            if let Transport::Grpc(grpc) = &mut self.transport {
                grpc.reconnect();
            }
            let text = last.map_or_else(
                || format!("no answer within {:?}", self.timeout),
                |last| format!("no success within {:?}, at last: {last}", self.timeout),
            );
            let reason = DropReason::Timeout;
            return Err(ExportError { reason, text });
        };
        let answer = sent.map_err(|text| ExportError {
            reason: DropReason::ExportFailed,
            text,
        })?;
        // An answer that cannot be read is one without a complaint.
        let (rejected, text) = E::rejected(E::Answer::decode(answer).unwrap_or_default());
        Ok(Taken {
            rejected: u64::try_from(rejected).unwrap_or(0),
            text,
        })
    }

    async fn send_until<E: Export>(
        &self,
        body: &Bytes,
        last: &mut Option<String>,
    ) -> Result<Bytes, String> {
        let mut pause = FIRST_PAUSE;
        loop {
            let sent = match &self.transport {
                Transport::Grpc(grpc) => grpc.send(E::METHOD, body.clone()).await,
                Transport::Http(http) => http.send(body.clone()).await,
            };
            let failure = match sent {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let Again::After(least) = failure.again else {
                return Err(failure.text);
            };
            // What waits has no time for another attempt.
            if self.closing.has_begun() {
                return Err(failure.text);
            }
            *last = Some(failure.text);
            tokio::select! {
                () = sleep(jittered(pause).max(least)) => {}
                () = self.closing.begun() => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Between the half and the whole, so that not all services come back at the same moment.
fn jittered(pause: Duration) -> Duration {
    use std::hash::{BuildHasher, RandomState};
    // Keyed anew each time.
    let random = RandomState::new().hash_one(0) % 1_000;
    pause / 2 + pause / 2 * u32::try_from(random).unwrap_or(0) / 1_000
}

mod services {
    use opentelemetry_proto::tonic::collector::logs::v1::{
        ExportLogsServiceRequest, ExportLogsServiceResponse,
    };
    use opentelemetry_proto::tonic::collector::metrics::v1::{
        ExportMetricsServiceRequest, ExportMetricsServiceResponse,
    };
    use opentelemetry_proto::tonic::collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
    };

    use super::Export;

    impl Export for ExportTraceServiceRequest {
        const METHOD: &'static str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
        type Answer = ExportTraceServiceResponse;

        fn rejected(answer: Self::Answer) -> (i64, String) {
            answer
                .partial_success
                .map_or_else(Default::default, |part| {
                    (part.rejected_spans, part.error_message)
                })
        }
    }

    impl Export for ExportMetricsServiceRequest {
        const METHOD: &'static str =
            "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
        type Answer = ExportMetricsServiceResponse;

        fn rejected(answer: Self::Answer) -> (i64, String) {
            answer
                .partial_success
                .map_or_else(Default::default, |part| {
                    (part.rejected_data_points, part.error_message)
                })
        }
    }

    impl Export for ExportLogsServiceRequest {
        const METHOD: &'static str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
        type Answer = ExportLogsServiceResponse;

        fn rejected(answer: Self::Answer) -> (i64, String) {
            answer
                .partial_success
                .map_or_else(Default::default, |part| {
                    (part.rejected_log_records, part.error_message)
                })
        }
    }
}
