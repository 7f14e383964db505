//! Both directions of one HTTP/2 connection, and the frames that are inserted.

mod stage;

use self::stage::Stage;
use super::frames::{DATA, Event, Frames, GOAWAY, Head, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE};
use super::streams::{StallLimit, Streams};

#[cfg(test)]
mod tests;

/// The payload of h2's PING between its two GOAWAY frames. The acknowledgement decides which stream
/// is the last one.
const SHUTDOWN: [u8; 8] = [0x0b, 0x7b, 0xa2, 0xf0, 0x8b, 0x9b, 0xfe, 0x54];

/// GOAWAY without an error, with the highest possible stream: the peer opens no more streams, and
/// those that it has opened, also just now, are served (RFC 9113, section 6.8).
const GOAWAY_FRAME: [u8; 17] = [
    0, 0, 8, // the length
    GOAWAY, 0, // no flags
    0, 0, 0, 0, // the connection
    0x7f, 0xff, 0xff, 0xff, // the last stream
    0, 0, 0, 0, // no error
];

/// RST_STREAM with the code CANCEL.
fn cancel(stream: u32) -> [u8; 13] {
    const CANCEL: u8 = 8;
    let [a, b, c, d] = stream.to_be_bytes();
    [0, 0, 4, RST_STREAM, 0, a, b, c, d, 0, 0, 0, CANCEL]
}

/// Follows an HTTP/2 connection from the first byte after the client's preface.
#[derive(Debug)]
pub(crate) struct Wire {
    reading: Frames,
    writing: Frames,
    streams: Streams,
    /// The client's SETTINGS have come, which complete its preface.
    settled: bool,
    /// Since when a part of a head, or of any frame but DATA, has been there; zero if there is none.
    head_begun: u64,
    /// When DATA last moved on an open stream.
    moved: u64,
    sent_goaway: bool,
    pinged: bool,
    failed: bool,
    stage: Stage,
    out: Out,
    unflushed: bool,
}

/// Inserted frames for the client.
#[derive(Debug, Default)]
struct Out {
    bytes: Vec<u8>,
    written: usize,
}

impl Wire {
    pub(crate) const fn new(stall_limit: Option<StallLimit>) -> Self {
        Self {
            reading: Frames::new(),
            writing: Frames::new(),
            streams: Streams::new(stall_limit),
            settled: false,
            head_begun: 0,
            moved: 0,
            sent_goaway: false,
            pinged: false,
            failed: false,
            stage: Stage::new(),
            out: Out::new(),
            unflushed: false,
        }
    }

    /// Returns how many streams are open, and how many of them have no response yet.
    pub(crate) fn open(&self) -> (u32, u32) {
        let open = u32::try_from(self.streams.len()).unwrap_or(u32::MAX);
        (open, self.streams.unanswered())
    }

    /// Returns when DATA last moved on an open stream.
    pub(crate) const fn moved(&self) -> u64 {
        self.moved
    }

    /// Returns since when an incomplete head has been there; zero if there is none.
    pub(crate) const fn head_begun(&self) -> u64 {
        self.head_begun
    }

    /// Returns the time from which on the limit counts after which [`stalled`](Self::stalled) may
    /// find something; zero if nothing waits.
    pub(crate) const fn blocked_since(&self) -> u64 {
        let resets = if self.stage.resets.is_empty() {
            0
        } else {
            self.stage.resets_since
        };
        match (self.streams.blocked_since(), resets) {
            (0, since) | (since, 0) => since,
            (blocked, resets) if blocked < resets => blocked,
            (_, resets) => resets,
        }
    }

    /// Returns whether the server has ended the connection with an error.
    pub(crate) const fn has_failed(&self) -> bool {
        self.failed
    }

    /// Records that the client's preface is complete, except for its SETTINGS.
    pub(crate) const fn begin(&mut self, now: u64) {
        self.head_begun = now;
    }

    /// Reads what the client sent and the server is about to read. Returns how many of the bytes the
    /// server may read as they are; the rest has to be [staged](Self::stage).
    #[inline]
    pub(crate) fn read(&mut self, bytes: &[u8], now: u64) -> usize {
        let mut rest = bytes;
        let mut crossed = false;
        while let Some(event) = self.reading.next(&mut rest) {
            crossed |= !matches!(event, Event::Begin(_) | Event::Setting { .. });
            self.on_read(event, now);
            if self.stage.refused_above.is_some() {
                break;
            }
        }
        self.note_read(crossed, now);
        bytes.len() - rest.len()
    }

    fn note_read(&mut self, crossed: bool, now: u64) {
        if let Some(stream) = self.reading.data() {
            self.note_moved(stream, now);
        }
        if !self.settled {
            return;
        }
        if !self.reading.is_incomplete() {
            self.head_begun = 0;
        } else if self.head_begun == 0 || (crossed && !self.reading.is_in_block()) {
            self.head_begun = now;
        }
    }

    fn note_moved(&mut self, stream: u32, now: u64) {
        if self.moved != now && self.streams.contains(stream) {
            self.moved = now;
        }
    }

    fn on_read(&mut self, event: Event, now: u64) {
        match event {
            Event::Headers {
                stream,
                ends_stream,
            } => self.streams.client_headers(stream, ends_stream, now),
            Event::Setting { id: 4, value } => self.streams.set_initial_window(value, now),
            Event::Begin(_) | Event::Setting { .. } => {}
            Event::End(head, payload) => self.on_read_frame(head, payload, now),
        }
    }

    fn on_read_frame(&mut self, head: Head, payload: [u8; 8], now: u64) {
        match head.kind {
            DATA => {
                self.note_moved(head.stream, now);
                if head.ends_stream() {
                    self.streams.client_ends(head.stream, now);
                }
            }
            RST_STREAM => self.streams.reset(head.stream, now),
            WINDOW_UPDATE => {
                let [a, b, c, d, ..] = payload;
                let more = u32::from_be_bytes([a & 0x7f, b, c, d]);
                self.streams.add_window(head.stream, more, now);
            }
            SETTINGS if !head.is_ack() => self.settled = true,
            // Now, before the server has read it: this decides about what follows in the same bytes.
            PING if head.is_ack() && self.pinged && payload == SHUTDOWN => {
                self.stage.refused_above = Some(self.streams.highest());
            }
            _ => {}
        }
    }

    /// Reads what the server sent.
    #[inline]
    pub(crate) fn wrote(&mut self, bytes: &[u8], now: u64) {
        let mut rest = bytes;
        while let Some(event) = self.writing.next(&mut rest) {
            self.on_wrote(event, now);
        }
        if let Some(stream) = self.writing.data() {
            self.note_moved(stream, now);
        }
    }

    fn on_wrote(&mut self, event: Event, now: u64) {
        match event {
            Event::Headers {
                stream,
                ends_stream,
            } => self.streams.server_headers(stream, ends_stream, now),
            Event::Begin(head) if head.kind == DATA => {
                self.streams.server_data(head.stream, head.length, now);
            }
            Event::Begin(_) | Event::Setting { .. } => {}
            Event::End(head, payload) => match head.kind {
                DATA => {
                    self.note_moved(head.stream, now);
                    if head.ends_stream() {
                        self.streams.server_ends(head.stream, now);
                    }
                }
                RST_STREAM => self.streams.reset(head.stream, now),
                PING => self.pinged |= !head.is_ack() && payload == SHUTDOWN,
                GOAWAY => {
                    let [a, b, c, d, error @ ..] = payload;
                    self.sent_goaway = true;
                    self.failed |= error != [0; 4];
                    if !self.failed {
                        let last = u32::from_be_bytes([a & 0x7f, b, c, d]);
                        self.streams.refuse_above(last, now);
                    }
                }
                _ => {}
            },
        }
    }

    /// Sends GOAWAY, unless the server has sent one: that may have named the last stream, and a
    /// later GOAWAY must not name a higher one.
    pub(crate) fn send_goaway(&mut self) {
        if !self.sent_goaway {
            self.sent_goaway = true;
            self.out.bytes.extend(GOAWAY_FRAME);
        }
    }

    /// Returns whether [`send_goaway`](Self::send_goaway) would send a frame now.
    pub(crate) const fn can_send_goaway(&self) -> bool {
        !self.sent_goaway && self.writing.is_between()
    }

    /// Returns whether a frame of the server's is half written.
    pub(crate) const fn is_half_written(&self) -> bool {
        !self.writing.is_between()
    }

    /// Returns the inserted bytes to write now, before anything of the server's.
    pub(crate) fn out(&self) -> &[u8] {
        if self.out.written > 0 || self.writing.is_between() {
            &self.out.bytes[self.out.written..]
        } else {
            &[]
        }
    }

    /// Returns whether there are inserted bytes to write, now or after the frame that is half
    /// written.
    pub(crate) const fn has_out(&self) -> bool {
        !self.out.bytes.is_empty() || self.unflushed
    }

    /// Records that so many bytes of [`out`](Self::out) were written.
    pub(crate) fn advance_out(&mut self, bytes: usize) {
        self.out.written += bytes;
        self.unflushed = true;
        if self.out.written >= self.out.bytes.len() {
            self.out = Out::new();
        }
    }

    /// Returns whether inserted frames were written and not flushed.
    pub(crate) const fn is_unflushed(&self) -> bool {
        self.unflushed
    }

    pub(crate) const fn flushed(&mut self) {
        self.unflushed = false;
    }
}

impl Out {
    const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            written: 0,
        }
    }
}
