//! When an exchange is in flight.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full};
use tower_service::Service;

use crate::connections::registration::Registration;
use crate::exchange::service::ResponseBody;
use crate::{Connection, Connections, Peer, Room};

pub(crate) fn registration() -> Registration {
    let connections = Connections::builder()
        .first_byte_timeout(None)
        .build()
        .unwrap();
    Room::for_bench(&connections)
        .admit(&(), Peer::Unknown)
        .unwrap()
}

/// The response of one exchange on that connection.
pub(crate) async fn exchange<B, Q>(
    connection: &Connection,
    version: Version,
    body: B,
    request: Q,
) -> Pin<Box<ResponseBody<B>>>
where
    B: Body<Data = Bytes>,
    Q: Body<Data = Bytes>,
{
    let mut body = Some(body);
    let service = tower::service_fn(move |_: Request<crate::TrackedBody<Q>>| {
        let response = Response::new(body.take().unwrap());
        async move { Ok::<_, Infallible>(response) }
    });
    let request = Request::builder().version(version).body(request).unwrap();
    let response = connection.service(service).call(request).await.unwrap();
    Box::pin(response.into_body())
}

/// As [`exchange`], on HTTP/2 and without a body in the request.
pub(crate) async fn h2<B: Body<Data = Bytes>>(
    connection: &Connection,
    body: B,
) -> Pin<Box<ResponseBody<B>>> {
    exchange(connection, Version::HTTP_2, body, Empty::<Bytes>::new()).await
}

#[tokio::test]
async fn an_exchange_of_http2_is_in_flight_until_its_last_bytes_left() {
    let registration = registration();
    let connection = &registration.connection;
    let mut body = h2(connection, Full::new(Bytes::from_static(b"hello"))).await;
    let frame = body.frame().await.unwrap().unwrap();
    let bytes = frame.into_data().unwrap().into_bytes();
    drop(body);
    assert_eq!(connection.in_flight(), 1);
    let rest = bytes.slice(3..);
    drop(bytes);
    assert_eq!((&rest[..], connection.in_flight()), (&b"lo"[..], 1));
    drop(rest);
    assert_eq!(connection.in_flight(), 0);
}

/// A request's body of which nothing is there yet.
struct Upload(VecDeque<Bytes>);

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|it| Ok(Frame::data(it))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[tokio::test]
async fn an_exchange_is_in_flight_until_its_request_is_read_or_dropped() {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        for reads in [false, true] {
            let registration = registration();
            let connection = &registration.connection;
            let (kept, keeps) = mpsc::channel();
            let service = tower::service_fn(move |request: Request<crate::TrackedBody<Upload>>| {
                kept.send(request.into_body()).unwrap();
                async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) }
            });
            let upload = Upload([Bytes::from_static(b"hello")].into());
            let request = Request::builder().version(version).body(upload).unwrap();
            drop(connection.service(service).call(request).await.unwrap());
            let mut body = Box::pin(keeps.recv().unwrap());
            assert_eq!(connection.in_flight(), 1, "{version:?}");
            if reads {
                while body.frame().await.is_some() {}
            } else {
                drop(body);
            }
            assert_eq!(connection.in_flight(), 0, "{version:?}");
        }
    }
}
