//! `grpc-timeout`: the deadline that a caller gave its call.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tower_ops_observe::{GrpcCode, GrpcProtocol, WebStatus};
use tower_service::Service;

const MESSAGE: &str = "the deadline of the call is over";

/// Ends gRPC calls at the deadline of `grpc-timeout`, wherever they are: without a head the
/// answer is `DEADLINE_EXCEEDED` alone, and in the middle of a stream that status ends it. Part of
/// an [`OpsLayer`](crate::OpsLayer).
///
/// The handler, or the stream, is dropped then. Other requests, and calls without a deadline or
/// with one that cannot be read, pass as they are, at the cost of a comparison; a call with one
/// costs an allocation, or two in gRPC-Web, whose body is followed for its status.
#[derive(Clone, Debug)]
pub struct GrpcTimeout<S> {
    inner: S,
}

impl<S> GrpcTimeout<S> {
    pub(crate) const fn new(inner: S) -> Self {
        Self { inner }
    }
}

/// When a call has to be over, and what its caller speaks.
struct Deadline {
    sleep: Pin<Box<Sleep>>,
    protocol: GrpcProtocol,
    /// What has passed of a status in the body.
    web: Option<Box<WebStatus>>,
}

impl Deadline {
    fn of<B>(request: &Request<B>) -> Option<Self> {
        let protocol = GrpcProtocol::of(request)?;
        let limit = parse(request.headers().get("grpc-timeout")?.as_bytes())?;
        Some(Self {
            sleep: Box::pin(sleep(limit)),
            protocol,
            web: WebStatus::of(protocol).map(Box::new),
        })
    }

    /// Whether the frame has the status of the call, or the beginning of it.
    fn is_status(&mut self, frame: &Frame<impl Buf>) -> bool {
        match (frame.data_ref(), &mut self.web) {
            (Some(data), Some(web)) => {
                web.read(data);
                web.has_begun()
            }
            (Some(_), None) => false,
            (None, _) => true,
        }
    }

    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.sleep.as_mut().poll(cx).is_ready()
    }

    /// The last frame of a call whose head is out.
    fn last_frame<D: 'static>(&self) -> Option<Frame<D>> {
        let code = GrpcCode::DeadlineExceeded as u16;
        if self.protocol == GrpcProtocol::Grpc {
            let mut trailers = HeaderMap::with_capacity(2);
            trailers.insert("grpc-status", HeaderValue::from(code));
            trailers.insert("grpc-message", HeaderValue::from_static(MESSAGE));
            return Some(Frame::trailers(trailers));
        }
        let text = format!("grpc-status:{code}\r\ngrpc-message:{MESSAGE}\r\n");
        let mut frame = BytesMut::with_capacity(5 + text.len());
        frame.put_u8(0x80); // trailers, and not compressed
        frame.put_u32(u32::try_from(text.len()).unwrap_or_default());
        frame.put_slice(text.as_bytes());
        let frame = match self.protocol {
            GrpcProtocol::GrpcWebText => base64(&frame).into(),
            GrpcProtocol::Grpc | GrpcProtocol::GrpcWeb => frame.freeze(),
        };
        // The data of axum and of tonic is `Bytes`; of other bodies we can make none.
        let mut data: Option<Bytes> = Some(frame);
        let data = (&mut data as &mut dyn Any).downcast_mut::<Option<D>>()?;
        data.take().map(Frame::data)
    }
}

/// With its padding: clients read what was encoded piece by piece.
fn base64(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = [0, 1, 2].map(|place| three.get(place).copied().map_or(0, u32::from));
        let bits = bits[0] << 16 | bits[1] << 8 | bits[2];
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place > three.len() { b'=' } else { digit });
        }
    }
    text
}

/// At most eight digits and a unit, as the specification has it.
fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits
        .iter()
        .fold(0_u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

impl<S, B, R> Service<Request<B>> for GrpcTimeout<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<GrpcTimeoutBody<R>>;
    type Error = S::Error;
    type Future = GrpcTimeoutFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let deadline = Deadline::of(&request);
        GrpcTimeoutFuture {
            inner: Some(self.inner.call(request)),
            deadline,
        }
    }
}

pin_project! {
    /// The future of a [`GrpcTimeout`].
    pub struct GrpcTimeoutFuture<F> {
        // `None` once its time was over.
        #[pin]
        inner: Option<F>,
        deadline: Option<Deadline>,
    }
}

impl<F, R, E> Future for GrpcTimeoutFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<GrpcTimeoutBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(inner) = this.inner.as_mut().as_pin_mut()
            && let Poll::Ready(result) = inner.poll(cx)
        {
            let deadline = this.deadline.take();
            return Poll::Ready(result.map(|response| {
                let has_status = response.headers().contains_key("grpc-status");
                response.map(|inner| GrpcTimeoutBody {
                    inner: Some(inner),
                    deadline: deadline.filter(|_| !has_status),
                })
            }));
        }
        let Some(deadline) = this.deadline else {
            return Poll::Pending;
        };
        if !deadline.is_over(cx) {
            return Poll::Pending;
        }
        let protocol = deadline.protocol;
        this.inner.set(None);
        let response: Response<()> = protocol.trailers_only(GrpcCode::DeadlineExceeded, MESSAGE);
        Poll::Ready(Ok(response.map(|()| GrpcTimeoutBody {
            inner: None,
            deadline: None,
        })))
    }
}

pin_project! {
    /// The body of a response of a [`GrpcTimeout`].
    pub struct GrpcTimeoutBody<B> {
        // `None` for the answer in the service's place, and once the deadline was over.
        #[pin]
        inner: Option<B>,
        deadline: Option<Deadline>,
    }
}

impl<B: Default> Default for GrpcTimeoutBody<B> {
    fn default() -> Self {
        Self {
            inner: Some(B::default()),
            deadline: None,
        }
    }
}

impl<B> Body for GrpcTimeoutBody<B>
where
    B: Body,
    B::Data: 'static,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        // First: a stream that always has something is ended as well.
        if let Some(deadline) = this.deadline
            && deadline.is_over(cx)
        {
            let last = deadline.last_frame();
            this.inner.set(None);
            return Poll::Ready(last.map(Ok));
        }
        let polled = inner.poll_frame(cx);
        if let (Some(deadline), Poll::Ready(Some(Ok(frame)))) = (&mut *this.deadline, &polled)
            && deadline.is_status(frame)
        {
            // The call has its status: a deadline after it would add another.
            *this.deadline = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            // It may be cut short, and then there is more than it announced.
            Some(_) if self.deadline.is_some() => SizeHint::default(),
            Some(inner) => inner.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

impl<F> fmt::Debug for GrpcTimeoutFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcTimeoutFuture").finish_non_exhaustive()
    }
}

impl<B: fmt::Debug> fmt::Debug for GrpcTimeoutBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcTimeoutBody")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (plain, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), text.as_bytes());
        }
        assert_eq!(base64(&[0xff, 0xef, 0xbe]), b"/+++");
    }

    #[test]
    fn a_timeout_has_at_most_eight_digits_and_a_unit() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("10S", Some(Duration::from_secs(10))),
            ("100m", Some(Duration::from_millis(100))),
            ("5u", Some(Duration::from_micros(5))),
            ("0n", Some(Duration::ZERO)),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("00000001S", Some(Duration::from_secs(1))),
            ("100000000S", None),
            ("1", None),
            ("S", None),
            ("", None),
            ("1s", None),
            ("1 S", None),
            ("+1S", None),
            ("-1S", None),
            ("1.5S", None),
            ("1SS", None),
            ("\u{661}S", None),
        ] {
            assert_eq!(parse(text.as_bytes()), expected, "{text:?}");
        }
    }
}
