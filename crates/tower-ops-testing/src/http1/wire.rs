use std::io;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncRead, AsyncReadExt as _};

const LINE_END: &[u8] = b"\r\n";

/// Cuts what arrives into the pieces that HTTP/1 is made of.
///
/// Bytes leave the buffer only with a complete piece.
#[derive(Debug)]
pub(super) struct Wire<T> {
    io: T,
    unread: BytesMut,
}

impl<T> Wire<T> {
    pub(super) fn new(io: T) -> Self {
        Self {
            io,
            unread: BytesMut::new(),
        }
    }

    pub(super) const fn get_ref(&self) -> &T {
        &self.io
    }

    pub(super) const fn get_mut(&mut self) -> &mut T {
        &mut self.io
    }

    pub(super) const fn unread(&self) -> &BytesMut {
        &self.unread
    }
}

impl<T: AsyncRead + Unpin> Wire<T> {
    pub(super) async fn some(&mut self) -> io::Result<Bytes> {
        if self.unread.is_empty() {
            self.fill().await?;
        }
        Ok(self.unread.split().freeze())
    }

    pub(super) async fn rest(&mut self) -> io::Result<Bytes> {
        while self.fill().await? > 0 {}
        Ok(self.unread.split().freeze())
    }

    pub(super) async fn exactly(&mut self, length: usize) -> io::Result<Bytes> {
        while self.unread.len() < length {
            self.fill_or_fail().await?;
        }
        Ok(self.unread.split_to(length).freeze())
    }

    pub(super) async fn line(&mut self) -> io::Result<Bytes> {
        loop {
            let end = self
                .unread
                .windows(LINE_END.len())
                .position(|window| window == LINE_END);
            if let Some(end) = end {
                let line = self.unread.split_to(end + LINE_END.len());
                return Ok(line.freeze().slice(..end));
            }
            self.fill_or_fail().await?;
        }
    }

    /// Header or trailer lines, and the empty line after them.
    pub(super) async fn fields(&mut self) -> io::Result<HeaderMap> {
        let mut fields = HeaderMap::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) = field(&line).ok_or_else(|| invalid("a field line", &line))?;
            fields.append(name, value);
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.io.read_buf(&mut self.unread).await
    }

    async fn fill_or_fail(&mut self) -> io::Result<()> {
        if self.fill().await? == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("closed by the peer after {:?}", self.unread),
            ));
        }
        Ok(())
    }
}

pub(super) fn invalid(expected: &str, found: &Bytes) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("expected {expected}, found {found:?}"),
    )
}

fn field(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let name = HeaderName::from_bytes(&line[..colon]).ok()?;
    let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
    Some((name, value))
}
