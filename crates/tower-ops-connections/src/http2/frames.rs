//! The frames of one direction: where they begin and end, and the few bytes of their payloads that
//! matter.

#[cfg(test)]
mod tests;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// The header of a frame (RFC 9113, section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) length: u32,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

impl Head {
    const BYTES: usize = 9;

    const fn parse(bytes: [u8; Self::BYTES]) -> Self {
        let [a, b, c, kind, flags, s0, s1, s2, s3] = bytes;
        Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
        }
    }

    pub(crate) const fn is_ack(self) -> bool {
        self.flags & ACK != 0
    }

    pub(crate) const fn ends_stream(self) -> bool {
        self.flags & END_STREAM != 0
    }

    const fn ends_headers(self) -> bool {
        self.flags & END_HEADERS != 0
    }
}

/// What some bytes complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The header of a frame.
    Begin(Head),
    /// One entry of SETTINGS.
    Setting { id: u16, value: u32 },
    /// A header block, with all of its CONTINUATION frames.
    Headers { stream: u32, ends_stream: bool },
    /// Any other frame, with the first bytes of its payload.
    End(Head, [u8; 8]),
}

/// Follows the frames of one direction, however the bytes are cut. Decodes nothing, and stores only
/// a header.
#[derive(Debug)]
pub(crate) struct Frames {
    header: [u8; Head::BYTES],
    filled: u8,
    /// The frame whose payload is incomplete.
    frame: Option<Head>,
    /// How much of it is still to come.
    left: u32,
    start: [u8; 8],
    kept: u8,
    /// The HEADERS whose block is not complete.
    block: Option<Head>,
    begun: bool,
}

impl Frames {
    pub(crate) const fn new() -> Self {
        Self {
            header: [0; Head::BYTES],
            filled: 0,
            frame: None,
            left: 0,
            start: [0; 8],
            kept: 0,
            block: None,
            begun: false,
        }
    }

    /// Takes bytes up to the next event. Returns `None` when all are taken.
    #[inline]
    pub(crate) fn next(&mut self, bytes: &mut &[u8]) -> Option<Event> {
        self.begun |= !bytes.is_empty();
        let Some(frame) = self.frame else {
            return self.take_header(bytes).map(Event::Begin);
        };
        if self.left > 0 {
            if bytes.is_empty() {
                return None;
            }
            if frame.kind == SETTINGS {
                if let Some(setting) = self.take_setting(bytes) {
                    return Some(setting);
                }
            } else {
                self.take_payload(bytes);
            }
            if self.left > 0 {
                return None;
            }
        }
        Some(self.end(frame))
    }

    #[inline]
    fn take_header(&mut self, bytes: &mut &[u8]) -> Option<Head> {
        let filled = usize::from(self.filled);
        let taken = (Head::BYTES - filled).min(bytes.len());
        self.header[filled..filled + taken].copy_from_slice(&bytes[..taken]);
        *bytes = &bytes[taken..];
        self.filled += u8::try_from(taken).unwrap_or_default();
        if usize::from(self.filled) < Head::BYTES {
            return None;
        }
        let head = Head::parse(self.header);
        self.filled = 0;
        self.frame = Some(head);
        self.left = head.length;
        self.start = [0; 8];
        self.kept = 0;
        Some(head)
    }

    #[inline]
    fn take_payload(&mut self, bytes: &mut &[u8]) {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let taken = left.min(bytes.len());
        let kept = usize::from(self.kept);
        if kept < self.start.len() {
            let more = (self.start.len() - kept).min(taken);
            self.start[kept..kept + more].copy_from_slice(&bytes[..more]);
            self.kept += u8::try_from(more).unwrap_or_default();
        }
        *bytes = &bytes[taken..];
        self.left -= u32::try_from(taken).unwrap_or(self.left);
    }

    fn take_setting(&mut self, bytes: &mut &[u8]) -> Option<Event> {
        const ENTRY: usize = 6;
        let kept = usize::from(self.kept);
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let taken = (ENTRY - kept).min(left).min(bytes.len());
        self.start[kept..kept + taken].copy_from_slice(&bytes[..taken]);
        *bytes = &bytes[taken..];
        self.left -= u32::try_from(taken).unwrap_or(self.left);
        self.kept += u8::try_from(taken).unwrap_or_default();
        if usize::from(self.kept) < ENTRY {
            return None;
        }
        self.kept = 0;
        let [i0, i1, v0, v1, v2, v3, ..] = self.start;
        Some(Event::Setting {
            id: u16::from_be_bytes([i0, i1]),
            value: u32::from_be_bytes([v0, v1, v2, v3]),
        })
    }

    fn end(&mut self, frame: Head) -> Event {
        self.frame = None;
        let opens = frame.kind == HEADERS;
        let block = match (frame.kind, self.block) {
            (HEADERS | PUSH_PROMISE, _) => frame,
            (CONTINUATION, Some(block)) => block,
            _ => return Event::End(frame, self.start),
        };
        if !frame.ends_headers() {
            self.block = Some(block);
            return Event::End(frame, self.start);
        }
        self.block = None;
        if !opens && block.kind != HEADERS {
            return Event::End(frame, self.start);
        }
        Event::Headers {
            stream: block.stream,
            ends_stream: block.ends_stream(),
        }
    }

    /// Returns whether a frame can be inserted here: the first frame has passed, which is SETTINGS
    /// (RFC 9113, section 3.4), and no frame and no header block is incomplete.
    pub(crate) const fn is_between(&self) -> bool {
        self.begun && !self.is_incomplete() && self.frame.is_none()
    }

    /// Returns whether anything but DATA is incomplete.
    pub(crate) const fn is_incomplete(&self) -> bool {
        let payload = match self.frame {
            Some(frame) => frame.kind != DATA,
            None => false,
        };
        payload || self.filled > 0 || self.block.is_some()
    }

    /// Returns whether a header block is incomplete.
    pub(crate) const fn is_in_block(&self) -> bool {
        self.block.is_some()
    }

    /// Returns the stream whose DATA is incomplete.
    pub(crate) fn data(&self) -> Option<u32> {
        let frame = self.frame.filter(|frame| frame.kind == DATA);
        frame.map(|frame| frame.stream)
    }

    /// Returns whether the next byte belongs to a header.
    pub(crate) const fn is_in_header(&self) -> bool {
        self.frame.is_none()
    }

    /// Returns the bytes of the last complete header.
    pub(crate) const fn header(&self) -> &[u8] {
        &self.header
    }
}
