use std::fmt;
use std::io::IoSlice;

use bytes::Buf;
use http::HeaderValue;

use super::{GrpcCode, GrpcProtocol};

/// Reads the status out of the body of a gRPC-Web response, as the body passes.
///
/// The body is a row of frames: a byte of flags, four of length, and the payload.
/// The frame with the highest flag has the trailers, as lines of HTTP/1. In the
/// text variant all that is in base64, which may be padded anywhere. Frames of the
/// body and those of gRPC need not agree.
///
/// Takes bounded memory, however long a frame or a line is: about 100 bytes.
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use tower_ops_observe::{GrpcCode, GrpcProtocol, WebStatus};
///
/// let mut status = WebStatus::of(GrpcProtocol::GrpcWeb).expect("its status is in the body");
/// status.read(&Bytes::from_static(b"\0\0\0\0\x01x\x80\0\0\0\x0fgrpc-"));
/// assert!(status.has_begun());
/// status.read(&Bytes::from_static(b"status:0\r\n"));
/// assert_eq!(status.code(), Some(GrpcCode::Ok));
/// ```
pub struct WebStatus {
    base64: Option<Base64>,
    at: At,
    begun: bool,
    line: Line,
    code: Option<GrpcCode>,
}

impl fmt::Debug for WebStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebStatus")
            .field("code", &self.code)
            .finish_non_exhaustive()
    }
}

enum At {
    /// In the five bytes before a payload, with that many taken.
    Prefix {
        prefix: [u8; 5],
        taken: usize,
    },
    /// In a payload, with that many bytes left.
    Message {
        left: u32,
    },
    Trailers {
        left: u32,
    },
    /// The status cannot be found any more.
    Lost,
}

const START: At = At::Prefix {
    prefix: [0; 5],
    taken: 0,
};
const TRAILERS: u8 = 0x80;
const COMPRESSED: u8 = 0x01;

impl WebStatus {
    /// `None` for plain gRPC, whose status is not in the body.
    #[must_use]
    pub const fn of(protocol: GrpcProtocol) -> Option<Self> {
        let base64 = match protocol {
            GrpcProtocol::Grpc => return None,
            GrpcProtocol::GrpcWeb => None,
            GrpcProtocol::GrpcWebText => Some(Base64::new()),
        };
        Some(Self {
            base64,
            at: START,
            begun: false,
            line: Line::new(),
            code: None,
        })
    }

    /// Whether the frame with the trailers has begun to pass: another one after it would
    /// be a second status.
    #[must_use]
    pub const fn has_begun(&self) -> bool {
        self.begun
    }

    /// The status, once it has passed.
    #[must_use]
    pub const fn code(&self) -> Option<GrpcCode> {
        self.code
    }

    /// Reads a data frame without consuming it.
    pub fn read<D: Buf>(&mut self, data: &D) {
        let mut slices = [IoSlice::new(&[]); 16];
        let filled = data.chunks_vectored(&mut slices);
        let mut read = 0;
        for slice in &slices[..filled] {
            read += slice.len();
            self.read_slice(slice);
        }
        if read < data.remaining() {
            // A buffer that does not show all of itself: what follows would be
            // taken for something else.
            self.at = At::Lost;
        }
    }

    fn read_slice(&mut self, bytes: &[u8]) {
        let Some(mut base64) = self.base64.take() else {
            self.read_binary(bytes);
            return;
        };
        for byte in bytes {
            match base64.push(*byte) {
                Ok(Some((decoded, len))) => self.read_binary(&decoded[..len]),
                Ok(None) => {}
                Err(NoBase64) => self.at = At::Lost,
            }
        }
        self.base64 = Some(base64);
    }

    fn read_binary(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match &mut self.at {
                At::Prefix { prefix, taken } => {
                    let room = &mut prefix[*taken..];
                    let part = bytes.len().min(room.len());
                    room[..part].copy_from_slice(&bytes[..part]);
                    *taken += part;
                    bytes = &bytes[part..];
                    if *taken == prefix.len() {
                        let [flags, length @ ..] = *prefix;
                        self.begin(flags, u32::from_be_bytes(length));
                    }
                }
                At::Message { left } => {
                    let part = skip(left, bytes);
                    bytes = &bytes[part..];
                    if *left == 0 {
                        self.at = START;
                    }
                }
                At::Trailers { left } => {
                    let part = skip(left, bytes);
                    let is_over = *left == 0;
                    for byte in &bytes[..part] {
                        self.line.push(*byte);
                        self.code = self.line.status().or(self.code);
                    }
                    bytes = &bytes[part..];
                    if is_over {
                        self.end_trailers();
                    }
                }
                At::Lost => return,
            }
        }
    }

    fn begin(&mut self, flags: u8, left: u32) {
        self.begun |= flags & TRAILERS != 0;
        self.at = match (flags & TRAILERS != 0, flags & COMPRESSED != 0) {
            (false, _) if left == 0 => START,
            (false, _) => At::Message { left },
            (true, false) if left == 0 => START,
            (true, false) => At::Trailers { left },
            (true, true) => At::Lost,
        };
    }

    fn end_trailers(&mut self) {
        // The last line may lack its end.
        self.line.push(b'\n');
        self.code = self.line.status().or(self.code);
        self.at = START;
    }
}

/// Takes as much of `bytes` as is left, and returns how much that is.
fn skip(left: &mut u32, bytes: &[u8]) -> usize {
    let part = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
    *left -= u32::try_from(part).unwrap_or(*left);
    part
}

/// A line of trailers, as much of it as a status can be long.
struct Line {
    text: [u8; 32],
    len: usize,
    ended: bool,
}

impl Line {
    const fn new() -> Self {
        Self {
            text: [0; 32],
            len: 0,
            ended: false,
        }
    }

    fn push(&mut self, byte: u8) {
        if self.ended {
            *self = Self::new();
        }
        if byte == b'\n' {
            self.ended = true;
        } else if let Some(place) = self.text.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }

    /// The status, if the line has ended and is one. What is longer than a status
    /// is the line of another name, or text that is no code.
    fn status(&self) -> Option<GrpcCode> {
        if !self.ended {
            return None;
        }
        let line = &self.text[..self.len];
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = line[..colon].trim_ascii();
        if !name.eq_ignore_ascii_case(b"grpc-status") {
            return None;
        }
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        Some(value.map_or(GrpcCode::Unknown, |value| GrpcCode::parse(&value)))
    }
}

/// Decodes base64 character by character. Each group of four is decoded alone, so
/// that padding may come anywhere.
struct Base64 {
    group: [u8; 4],
    len: usize,
    padding: usize,
}

struct NoBase64;

impl Base64 {
    const fn new() -> Self {
        Self {
            group: [0; 4],
            len: 0,
            padding: 0,
        }
    }

    /// Up to three bytes, with every fourth character.
    fn push(&mut self, character: u8) -> Result<Option<([u8; 3], usize)>, NoBase64> {
        let sextet = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'=' if self.len >= 2 => {
                self.padding += 1;
                0
            }
            b'\r' | b'\n' => return Ok(None),
            _ => return Err(NoBase64),
        };
        if self.padding > 0 && character != b'=' {
            return Err(NoBase64);
        }
        self.group[self.len] = sextet;
        self.len += 1;
        if self.len < 4 {
            return Ok(None);
        }
        let [a, b, c, d] = self.group;
        let decoded = [a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d];
        let len = 3 - self.padding;
        *self = Self::new();
        Ok(Some((decoded, len)))
    }
}

#[cfg(test)]
mod tests;
