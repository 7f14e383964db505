//! Where the frames of one direction begin and end, and the few bytes of their
//! payloads that matter.

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

/// What some bytes led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The header of a frame is complete.
    Begin(Head),
    /// One entry of SETTINGS.
    Setting { id: u16, value: u32 },
    /// A header block is complete, with all of its CONTINUATION.
    Headers { stream: u32, ends_stream: bool },
    /// Any other frame is complete; the first bytes of its payload.
    End(Head, [u8; 8]),
}

/// Follows the frames of one direction, however the bytes are cut. Nothing is
/// decoded, and nothing is stored but a header.
#[derive(Debug)]
pub(crate) struct Frames {
    header: [u8; Head::BYTES],
    filled: u8,
    /// The frame whose payload is under way.
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

    /// Takes bytes up to the next event; `None` once there are none left.
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

    /// Whether a frame of ours may go in here: the first frame has passed, which is
    /// SETTINGS (RFC 9113, section 3.4), none is half done, and no header block.
    pub(crate) const fn is_between(&self) -> bool {
        self.begun && !self.is_incomplete() && self.frame.is_none()
    }

    /// Whether bytes of something else than a body have come that are not complete.
    pub(crate) const fn is_incomplete(&self) -> bool {
        let payload = match self.frame {
            Some(frame) => frame.kind != DATA,
            None => false,
        };
        payload || self.filled > 0 || self.block.is_some()
    }

    /// Whether a header block is under way.
    pub(crate) const fn is_in_block(&self) -> bool {
        self.block.is_some()
    }

    /// The stream whose DATA is under way.
    pub(crate) fn data(&self) -> Option<u32> {
        let frame = self.frame.filter(|frame| frame.kind == DATA);
        frame.map(|frame| frame.stream)
    }

    /// Whether the next byte belongs to a header.
    pub(crate) const fn is_in_header(&self) -> bool {
        self.frame.is_none()
    }

    /// The bytes of the header that was complete last.
    pub(crate) const fn header(&self) -> &[u8] {
        &self.header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    fn events(frames: &mut Frames, mut bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = frames.next(&mut bytes) {
            events.push(event);
        }
        assert!(bytes.is_empty(), "all bytes are taken");
        events
    }

    /// One of each kind, and empty ones.
    fn wire() -> (Vec<Vec<u8>>, Vec<Event>) {
        let head = |length, kind, flags, stream| Head {
            length,
            kind,
            flags,
            stream,
        };
        let frames = vec![
            frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 1, 2, 0, 3, 0, 0, 0, 9]),
            frame(SETTINGS, ACK, 0, &[]),
            frame(HEADERS, END_STREAM, 1, &[1, 2, 3]),
            frame(CONTINUATION, 0, 1, &[]),
            frame(CONTINUATION, END_HEADERS, 1, &[4; 20]),
            frame(HEADERS, END_HEADERS, 3, &[5]),
            frame(DATA, 0, 3, &[6; 300]),
            frame(DATA, END_STREAM, 3, &[]),
            frame(WINDOW_UPDATE, 0, 3, &[0x80, 0, 0, 7]),
            frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 2, 9, 9]),
        ];
        let settings = head(12, SETTINGS, 0, 0);
        let first = head(3, HEADERS, END_STREAM, 1);
        let second = head(0, CONTINUATION, 0, 1);
        let data = head(300, DATA, 0, 3);
        let last = head(0, DATA, END_STREAM, 3);
        let window = head(4, WINDOW_UPDATE, 0, 3);
        let goaway = head(10, GOAWAY, 0, 0);
        let events = vec![
            Event::Begin(settings),
            Event::Setting { id: 4, value: 258 },
            Event::Setting { id: 3, value: 9 },
            Event::End(settings, [0, 3, 0, 0, 0, 9, 0, 0]),
            Event::Begin(head(0, SETTINGS, ACK, 0)),
            Event::End(head(0, SETTINGS, ACK, 0), [0; 8]),
            Event::Begin(first),
            Event::End(first, [1, 2, 3, 0, 0, 0, 0, 0]),
            Event::Begin(second),
            Event::End(second, [0; 8]),
            Event::Begin(head(20, CONTINUATION, END_HEADERS, 1)),
            Event::Headers {
                stream: 1,
                ends_stream: true,
            },
            Event::Begin(head(1, HEADERS, END_HEADERS, 3)),
            Event::Headers {
                stream: 3,
                ends_stream: false,
            },
            Event::Begin(data),
            Event::End(data, [6; 8]),
            Event::Begin(last),
            Event::End(last, [0; 8]),
            Event::Begin(window),
            Event::End(window, [0x80, 0, 0, 7, 0, 0, 0, 0]),
            Event::Begin(goaway),
            Event::End(goaway, [0, 0, 0, 1, 0, 0, 0, 2]),
        ];
        (frames, events)
    }

    #[test]
    fn the_events_are_the_same_however_the_bytes_are_cut() {
        let (frames, expected) = wire();
        let bytes = frames.concat();
        for step in 1..=bytes.len() {
            let mut frames = Frames::new();
            let pieces = bytes.chunks(step);
            let seen: Vec<Event> = pieces
                .flat_map(|piece| events(&mut frames, piece))
                .collect();
            assert_eq!(seen, expected, "in pieces of {step}");
        }
        for cut in 0..bytes.len() {
            let mut frames = Frames::new();
            let mut seen = events(&mut frames, &bytes[..cut]);
            seen.extend(events(&mut frames, &bytes[cut..]));
            assert_eq!(seen, expected, "cut at {cut}");
        }
    }

    #[test]
    fn ours_goes_in_between_frames_but_not_into_a_header_block() {
        let (all, _) = wire();
        let ends: Vec<usize> = all
            .iter()
            .scan(0, |end, frame| {
                *end += frame.len();
                Some(*end)
            })
            .collect();
        let mut frames = Frames::new();
        assert!(!frames.is_between(), "nothing was sent yet");
        for (index, byte) in all.concat().iter().enumerate() {
            events(&mut frames, &[*byte]);
            let place = ends.iter().position(|end| *end == index + 1);
            // The block goes from the third frame to the fifth.
            let allowed = place.is_some_and(|frame| !(2..4).contains(&frame));
            assert_eq!(frames.is_between(), allowed, "after {index}");
        }
    }

    #[test]
    fn half_of_anything_but_a_body_is_incomplete() {
        let (all, _) = wire();
        for bytes in all.iter().filter(|frame| frame[3] != CONTINUATION) {
            for cut in 1..bytes.len() {
                let mut frames = Frames::new();
                events(&mut frames, &bytes[..cut]);
                let body = bytes[3] == DATA && cut >= Head::BYTES;
                assert_eq!(frames.is_incomplete(), !body, "{cut} of {bytes:?}");
            }
        }
    }
}
