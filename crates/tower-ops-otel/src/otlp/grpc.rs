use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use http::Uri;
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::connect::Connector;
use super::{Again, Failure};
use crate::settings::OtlpSettings;

/// OTLP over gRPC.
#[derive(Debug)]
pub(super) struct GrpcTransport {
    client: Grpc<Channel>,
    endpoint: Endpoint,
    connector: Connector,
    metadata: MetadataMap,
    gzip: bool,
}

impl GrpcTransport {
    /// Must be called on the runtime.
    pub(super) fn new(settings: OtlpSettings, connector: Connector) -> Self {
        // Another crate's features may give tonic a TLS of its own. It would then refuse `https`
        // without a configuration of it, so it gets a stand-in: the connector has the real address.
        let endpoint = Endpoint::from(Uri::from_static("http://collector"))
            .origin(settings.endpoint)
            .connect_timeout(settings.timeout);
        let endpoint = endpoint
            .clone()
            .user_agent(super::USER_AGENT)
            .unwrap_or(endpoint);
        let gzip = settings.gzip;
        Self {
            client: client(&endpoint, connector.clone(), gzip),
            endpoint,
            connector,
            metadata: MetadataMap::from_headers(settings.headers),
            gzip,
        }
    }

    /// Connects anew for the next call: one that had no answer may have been on a connection whose
    /// other end is gone without a word. HTTP/1 closes such a connection by itself.
    pub(super) fn reconnect(&mut self) {
        self.client = client(&self.endpoint, self.connector.clone(), self.gzip);
    }

    pub(super) async fn send(&self, method: &'static str, body: Bytes) -> Result<Bytes, Failure> {
        let mut client = self.client.clone();
        client
            .ready()
            .await
            .map_err(|error| Failure::transport(&error))?;
        let mut request = Request::new(body);
        *request.metadata_mut() = self.metadata.clone();
        let answer = client
            .unary(request, PathAndQuery::from_static(method), BytesCodec)
            .await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| refused(&status))
    }
}

fn client(endpoint: &Endpoint, connector: Connector, gzip: bool) -> Grpc<Channel> {
    let client = Grpc::new(endpoint.connect_with_connector_lazy(connector));
    if gzip {
        client
            .send_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Gzip)
    } else {
        client
    }
}

fn refused(status: &Status) -> Failure {
    let mut failure = Failure::transport(status);
    failure.again = match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Again::After(Duration::ZERO),
        // Of an exhausted resource too: it may only be tried again if the details allow it.
        _ => Again::Never,
    };
    failure
}

/// Messages that are encoded already: once, however often they are sent.
#[derive(Clone, Copy, Debug)]
struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buf.put(item);
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buf.copy_to_bytes(buf.remaining())))
    }
}
