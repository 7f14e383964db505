use std::io;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};
use tokio::io::AsyncRead;

use super::wire::{Wire, invalid};

/// The head of a response that [`RawHttp1`](crate::RawHttp1) read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Head {
    /// The status; it compares with a plain number.
    pub status: StatusCode,
    /// The headers, their names in lower case.
    pub headers: HeaderMap,
}

/// The body of a response that [`RawHttp1`](crate::RawHttp1) read, its chunks joined.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RawBody {
    /// The content; it compares with a string or a byte string.
    pub data: Bytes,
    /// The trailers of a chunked body.
    pub trailers: HeaderMap,
}

enum Length {
    Chunked,
    Known(usize),
    ToEnd,
}

impl Head {
    pub(super) async fn read<T: AsyncRead + Unpin>(wire: &mut Wire<T>) -> io::Result<Self> {
        let line = wire.line().await?;
        let status = status(&line).ok_or_else(|| invalid("an HTTP/1 status line", &line))?;
        let headers = wire.fields().await?;
        Ok(Self { status, headers })
    }

    fn length(&self) -> io::Result<Length> {
        let bodiless = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];
        if self.status.is_informational() || bodiless.contains(&self.status) {
            return Ok(Length::Known(0));
        }
        if let Some(coding) = self.headers.get(TRANSFER_ENCODING) {
            let chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
            return Ok(if chunked {
                Length::Chunked
            } else {
                Length::ToEnd
            });
        }
        let Some(length) = self.headers.get(CONTENT_LENGTH) else {
            return Ok(Length::ToEnd);
        };
        let digits = Bytes::copy_from_slice(length.as_bytes());
        number(&digits, 10)
            .map(Length::Known)
            .ok_or_else(|| invalid("a content-length", &digits))
    }
}

impl RawBody {
    pub(super) async fn read<T: AsyncRead + Unpin>(
        wire: &mut Wire<T>,
        head: &Head,
    ) -> io::Result<Self> {
        let data = match head.length()? {
            Length::Chunked => return Self::read_chunked(wire).await,
            Length::Known(length) => wire.exactly(length).await?,
            Length::ToEnd => wire.rest().await?,
        };
        Ok(Self {
            data,
            trailers: HeaderMap::new(),
        })
    }

    async fn read_chunked<T: AsyncRead + Unpin>(wire: &mut Wire<T>) -> io::Result<Self> {
        let mut data = BytesMut::new();
        loop {
            let line = wire.line().await?;
            let digits = line.split(|&byte| byte == b';').next().unwrap_or_default();
            let size =
                number(digits.trim_ascii(), 16).ok_or_else(|| invalid("a chunk size", &line))?;
            if size == 0 {
                return Ok(Self {
                    data: data.freeze(),
                    trailers: wire.fields().await?,
                });
            }
            data.extend_from_slice(&wire.exactly(size).await?);
            let end = wire.line().await?;
            if !end.is_empty() {
                return Err(invalid("the end of a chunk", &end));
            }
        }
    }
}

fn status(line: &[u8]) -> Option<StatusCode> {
    let rest = line
        .strip_prefix(b"HTTP/1.1 ")
        .or_else(|| line.strip_prefix(b"HTTP/1.0 "))?;
    StatusCode::from_bytes(rest.get(..3)?).ok()
}

fn number(digits: &[u8], radix: u32) -> Option<usize> {
    // The standard parser would take a sign.
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    usize::from_str_radix(str::from_utf8(digits).ok()?, radix).ok()
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    async fn read(bytes: &[u8]) -> io::Result<(Head, RawBody)> {
        let mut wire = Wire::new(bytes);
        let head = Head::read(&mut wire).await?;
        let body = RawBody::read(&mut wire, &head).await?;
        Ok((head, body))
    }

    async fn error_of(bytes: &[u8]) -> io::ErrorKind {
        read(bytes).await.unwrap_err().kind()
    }

    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
        3\r\nabc\r\nA;name=value\r\n0123\r\n6789\r\n0\r\nX-Sum: 1\r\nx-sum: 2\r\n\r\n";

    #[tokio::test]
    async fn chunks_are_joined_and_trailers_kept() {
        let (head, body) = read(CHUNKED).await.unwrap();
        assert_eq!(head.status, 200);
        assert_eq!(head.headers["transfer-encoding"], "chunked");
        assert_eq!(body.data, "abc0123\r\n6789");
        let sums: Vec<_> = body.trailers.get_all("x-sum").iter().collect();
        assert_eq!(sums, ["1", "2"]);
    }

    #[tokio::test]
    async fn pieces_may_arrive_byte_by_byte() {
        let (mut peer, io) = tokio::io::duplex(1);
        let writing = tokio::spawn(async move {
            peer.write_all(CHUNKED).await.unwrap();
            peer.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                .await
                .unwrap();
        });
        let mut wire = Wire::new(io);
        let head = Head::read(&mut wire).await.unwrap();
        let body = RawBody::read(&mut wire, &head).await.unwrap();
        assert_eq!(body.data, "abc0123\r\n6789");
        let head = Head::read(&mut wire).await.unwrap();
        assert_eq!(head.status, 204);
        writing.await.unwrap();
    }

    #[tokio::test]
    async fn a_known_length_leaves_the_rest() {
        let bytes: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabrest";
        let mut wire = Wire::new(bytes);
        let head = Head::read(&mut wire).await.unwrap();
        let body = RawBody::read(&mut wire, &head).await.unwrap();
        assert_eq!(body.data, "ab");
        assert_eq!(wire.some().await.unwrap(), "rest");
        assert_eq!(wire.some().await.unwrap(), "");
    }

    #[tokio::test]
    async fn an_unknown_length_goes_to_the_end() {
        let (_, body) = read(b"HTTP/1.0 200 OK\r\n\r\nto the end").await.unwrap();
        assert_eq!(body.data, "to the end");
    }

    #[tokio::test]
    async fn not_modified_has_no_body_whatever_its_length() {
        let (_, body) = read(b"HTTP/1.1 304 \r\ncontent-length: 9\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(body.data, "");
    }

    #[tokio::test]
    async fn cut_short_is_an_unexpected_end() {
        for cut in [
            &b""[..],
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab",
            &CHUNKED[..CHUNKED.len() - 2],
            &CHUNKED[..CHUNKED.len() - 30],
        ] {
            assert_eq!(error_of(cut).await, io::ErrorKind::UnexpectedEof);
        }
    }

    #[tokio::test]
    async fn nonsense_is_invalid_data() {
        for nonsense in [
            &b"PRI * HTTP/2.0\r\n\r\n"[..],
            b"HTTP/1.1 20\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: +3\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc\r\n",
        ] {
            assert_eq!(error_of(nonsense).await, io::ErrorKind::InvalidData);
        }
    }
}
