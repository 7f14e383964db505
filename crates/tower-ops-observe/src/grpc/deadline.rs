//! `grpc-timeout`: the deadline that a caller gave its call.

use std::any::Any;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Body, Frame};
use tokio::time::{Sleep, sleep};

use crate::grpc::{GrpcCode, GrpcProtocol};

const MESSAGE: &str = "the deadline of the call is over";

/// When a call has to be over, and what its caller speaks.
pub(crate) struct Deadline {
    sleep: Pin<Box<Sleep>>,
    protocol: GrpcProtocol,
}

impl Deadline {
    /// `None` for a call without one, or with one that cannot be read.
    pub(crate) fn of(headers: &HeaderMap, protocol: GrpcProtocol) -> Option<Self> {
        let limit = parse(headers.get("grpc-timeout")?.as_bytes())?;
        Some(Self {
            sleep: Box::pin(sleep(limit)),
            protocol,
        })
    }

    pub(crate) fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.sleep.as_mut().poll(cx).is_ready()
    }

    /// The answer to a call whose head is not out.
    pub(crate) fn answer(&self) -> Response<NoBody> {
        let answer: Response<()> =
            (self.protocol).trailers_only(GrpcCode::DeadlineExceeded, MESSAGE);
        answer.map(|()| NoBody)
    }

    /// The last frame of a call whose head is out.
    pub(crate) fn last_frame<D: 'static>(&self) -> Option<Frame<D>> {
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

/// The body of an answer in the service's place.
pub(crate) struct NoBody;

impl Body for NoBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(0)
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
