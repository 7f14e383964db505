//! Both directions of one HTTP/2 connection, and the frames that are put in between.

use tokio::io::ReadBuf;

use super::frames::{
    DATA, Event, Frames, GOAWAY, Head, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE,
};
use super::streams::{StallLimit, Stalled, Streams};

/// What h2 pings with between its two GOAWAY frames. When the answer comes, it
/// decides which stream was the last one.
const SHUTDOWN: [u8; 8] = [0x0b, 0x7b, 0xa2, 0xf0, 0x8b, 0x9b, 0xfe, 0x54];

/// GOAWAY without an error, for all streams that there may ever be: the peer opens
/// no new one, and those it has, or opened just now, are served (RFC 9113, section
/// 6.8).
const GOAWAY_FRAME: [u8; 17] = [
    0, 0, 8, // the length
    GOAWAY, 0, // no flags
    0, 0, 0, 0, // the connection
    0x7f, 0xff, 0xff, 0xff, // the last stream
    0, 0, 0, 0, // no error
];

/// RST_STREAM: the stream is not needed any more.
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
    /// The client's SETTINGS came, which belong to its preface.
    settled: bool,
    /// Since when half a head, or of another frame that is no body, has been there;
    /// zero if there is none.
    head_begun: u64,
    /// When DATA moved last on a stream that is open.
    moved: u64,
    sent_goaway: bool,
    pinged: bool,
    failed: bool,
    stage: Stage,
    out: Out,
    unflushed: bool,
}

/// What the server is to read instead of the client's bytes, where these are changed.
#[derive(Debug, Default)]
struct Stage {
    ready: Vec<u8>,
    taken: usize,
    /// The server ignores streams above that; h2 does not bear all of their frames.
    refused_above: Option<u32>,
    /// The frame that is being read is kept from the server.
    skips: bool,
    /// Streams to reset at the next frame, and since when.
    resets: Vec<u32>,
    resets_since: u64,
}

/// Frames of ours for the client.
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

    /// How many streams are open, and how many of them have no response yet.
    pub(crate) fn open(&self) -> (u32, u32) {
        let open = u32::try_from(self.streams.len()).unwrap_or(u32::MAX);
        (open, self.streams.unanswered())
    }

    /// When DATA moved last on a stream that is open.
    pub(crate) const fn moved(&self) -> u64 {
        self.moved
    }

    /// Since when half a head has been there; zero if there is none.
    pub(crate) const fn head_begun(&self) -> u64 {
        self.head_begun
    }

    /// When [`stalled`](Self::stalled) may first find something, less the limit;
    /// zero if there is nothing.
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

    /// Whether the server has ended the connection because of an error.
    pub(crate) const fn has_failed(&self) -> bool {
        self.failed
    }

    /// The client's preface is complete, but for its SETTINGS.
    pub(crate) const fn begin(&mut self, now: u64) {
        self.head_begun = now;
    }

    /// Notes what the client sent, and the server is about to read. From the number
    /// of bytes that is returned on, what came has to be [staged](Self::stage).
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
            // Before the server has even read it: what follows in the same bytes
            // is judged by that already.
            PING if head.is_ack() && self.pinged && payload == SHUTDOWN => {
                self.stage.refused_above = Some(self.streams.highest());
            }
            _ => {}
        }
    }

    /// Notes what the server sent.
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

    /// Has GOAWAY go out, unless the server has sent its own: that may have named the
    /// last stream, and another must not name a later one.
    pub(crate) fn send_goaway(&mut self) {
        if !self.sent_goaway {
            self.sent_goaway = true;
            self.out.bytes.extend(GOAWAY_FRAME);
        }
    }

    /// Whether [`send_goaway`](Self::send_goaway) would do anything.
    pub(crate) const fn can_send_goaway(&self) -> bool {
        !self.sent_goaway && self.writing.is_between()
    }

    /// Whether a frame of the server's is half written.
    pub(crate) const fn is_half_written(&self) -> bool {
        !self.writing.is_between()
    }

    /// What is to be written before anything of the server's, as far as that may be
    /// now.
    pub(crate) fn out(&self) -> &[u8] {
        if self.out.written > 0 || self.writing.is_between() {
            &self.out.bytes[self.out.written..]
        } else {
            &[]
        }
    }

    /// Whether there is something to write, now or after the frame that is half
    /// written.
    pub(crate) const fn has_out(&self) -> bool {
        !self.out.bytes.is_empty() || self.unflushed
    }

    /// So much of [`out`](Self::out) was written.
    pub(crate) fn advance_out(&mut self, bytes: usize) {
        self.out.written += bytes;
        self.unflushed = true;
        if self.out.written >= self.out.bytes.len() {
            self.out = Out::new();
        }
    }

    /// Whether frames of ours were written that have not been flushed.
    pub(crate) const fn is_unflushed(&self) -> bool {
        self.unflushed
    }

    pub(crate) const fn flushed(&mut self) {
        self.unflushed = false;
    }

    /// Which streams are not read by the client. Those of `Some` are reset on both
    /// sides, as soon as frames end.
    pub(crate) fn stalled(&mut self, now: u64, limit: u64) -> Stalled {
        let since = self.stage.resets_since;
        if !self.stage.resets.is_empty() && now.saturating_sub(since) >= limit {
            // The client does not even complete a frame.
            return Stalled::All;
        }
        let stalled = self.streams.stalled(now);
        if let Stalled::Some(streams) = &stalled {
            if self.stage.resets.is_empty() {
                self.stage.resets_since = now;
            }
            self.stage.resets.extend(streams);
        }
        stalled
    }

    /// Whether the server has to read from [`take`](Self::take), and what comes from
    /// the client has to go to [`stage`](Self::stage).
    #[inline]
    pub(crate) const fn is_staged(&self) -> bool {
        self.stage.refused_above.is_some()
            || !self.stage.resets.is_empty()
            || self.stage.taken < self.stage.ready.len()
    }

    /// Puts in what is due where the client's frames end.
    pub(crate) fn stage_resets(&mut self, now: u64) {
        if self.stage.resets.is_empty() || !self.reading.is_between() {
            return;
        }
        for stream in std::mem::take(&mut self.stage.resets) {
            // It may have come to its end meanwhile.
            if self.streams.contains(stream) {
                self.streams.reset(stream, now);
                self.stage.ready.extend(cancel(stream));
                self.out.bytes.extend(cancel(stream));
            }
        }
    }

    /// Takes what came from the client, and changes it for the server.
    pub(crate) fn stage(&mut self, bytes: &[u8], now: u64) {
        let mut rest = bytes;
        let mut crossed = false;
        loop {
            let before = rest;
            let in_header = self.reading.is_in_header();
            let refused_above = self.stage.refused_above;
            let event = self.reading.next(&mut rest);
            let taken = &before[..before.len() - rest.len()];
            match (refused_above, event) {
                // The whole header decides.
                (Some(last), Some(Event::Begin(head))) => {
                    self.stage.skips = is_unbearable(head, last);
                    if !self.stage.skips {
                        self.stage.ready.extend(self.reading.header());
                    }
                }
                (Some(_), _) if in_header => {}
                _ if self.stage.skips => {}
                _ => self.stage.ready.extend(taken),
            }
            let Some(event) = event else { break };
            if !matches!(event, Event::Begin(_) | Event::Setting { .. }) {
                crossed = true;
                self.stage.skips = false;
            }
            self.on_read(event, now);
            self.stage_resets(now);
        }
        self.note_read(crossed, now);
    }

    /// Gives the server what is ready. Whether there was anything.
    pub(crate) fn take(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let Stage { ready, taken, .. } = &mut self.stage;
        let rest = &ready[*taken..];
        if rest.is_empty() {
            return false;
        }
        let given = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..given]);
        *taken += given;
        if *taken == ready.len() {
            ready.clear();
            *taken = 0;
        }
        true
    }
}

/// Whether the frame belongs to a stream that the server has refused, and neither
/// its header compression nor its flow control needs it. h2 0.4 takes WINDOW_UPDATE
/// there for an error of the whole connection.
const fn is_unbearable(head: Head, last: u32) -> bool {
    head.stream > last && matches!(head.kind, PRIORITY | RST_STREAM | WINDOW_UPDATE)
}

impl Stage {
    const fn new() -> Self {
        Self {
            ready: Vec::new(),
            taken: 0,
            refused_above: None,
            skips: false,
            resets: Vec::new(),
            resets_since: 0,
        }
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

#[cfg(test)]
mod tests {
    use super::super::frames::{ACK, HEADERS};
    use super::*;

    const PATIENCE: StallLimit = StallLimit {
        limit: 10,
        enough: 100,
    };

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    fn begun() -> Wire {
        let mut wire = Wire::new(Some(PATIENCE));
        wire.begin(1);
        wire
    }

    /// A request without a body.
    fn request(stream: u32) -> Vec<u8> {
        frame(HEADERS, 0x5, stream, &[0x82, 0x86])
    }

    /// What the server reads when the client's bytes come in these pieces, and it
    /// reads `most` at once.
    fn presented<'a>(
        wire: &mut Wire,
        pieces: impl IntoIterator<Item = &'a [u8]>,
        most: usize,
    ) -> Vec<u8> {
        let mut seen = Vec::new();
        for mut piece in pieces {
            while !piece.is_empty() {
                wire.stage_resets(2);
                if wire.is_staged() {
                    wire.stage(piece, 2);
                    piece = &[];
                } else {
                    let noted = wire.read(&piece[..piece.len().min(most)], 2);
                    seen.extend(&piece[..noted]);
                    piece = &piece[noted..];
                }
                let mut space = vec![0; most];
                let mut buf = ReadBuf::new(&mut space);
                while wire.take(&mut buf) {
                    seen.extend(buf.filled());
                    buf.clear();
                }
            }
        }
        seen
    }

    #[test]
    fn what_h2_does_not_bear_for_refused_streams_is_kept_from_it() {
        let settings = frame(SETTINGS, 0, 0, &[]);
        let pong = frame(PING, ACK, 0, &SHUTDOWN);
        let window = |stream| frame(WINDOW_UPDATE, 0, stream, &[0, 0, 0, 9]);
        let all = [
            (settings, true),
            (request(1), true),
            (frame(PING, ACK, 0, &[1; 8]), true),
            (window(1), true),
            (pong, true),
            (window(3), false),
            (request(3), true),
            (window(3), false),
            (window(0), true),
            (window(1), true),
            (frame(PRIORITY, 0, 5, &[0; 5]), false),
            (frame(DATA, 0, 3, &[7; 30]), true),
            (frame(RST_STREAM, 0, 3, &[0; 4]), false),
            (frame(SETTINGS, ACK, 0, &[]), true),
            (frame(DATA, 1, 3, &[]), true),
        ];
        let bytes: Vec<u8> = all.iter().flat_map(|(frame, _)| frame.clone()).collect();
        let passes = all.iter().filter(|(_, passes)| *passes);
        let expected: Vec<u8> = passes.flat_map(|(frame, _)| frame.clone()).collect();
        let pinged = || {
            let mut wire = begun();
            wire.wrote(&frame(SETTINGS, 0, 0, &[]), 1);
            wire.wrote(&frame(PING, 0, 0, &SHUTDOWN), 1);
            wire
        };
        for most in [1, 2, 7, 64, 4096] {
            for step in 1..bytes.len() {
                let mut wire = pinged();
                let seen = presented(&mut wire, bytes.chunks(step), most);
                assert_eq!(seen, expected, "pieces of {step}, reads of {most}");
            }
            for cut in 0..bytes.len() {
                let mut wire = pinged();
                let (head, tail) = bytes.split_at(cut);
                let seen = presented(&mut wire, [head, tail], most);
                assert_eq!(seen, expected, "cut at {cut}, reads of {most}");
            }
        }
        // Without that ping, its answer means nothing.
        let seen = presented(&mut begun(), [&bytes[..]], 4096);
        assert_eq!(seen, bytes);
    }

    #[test]
    fn a_stream_that_has_stalled_is_reset_between_the_frames_of_both_sides() {
        let open = [
            frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]),
            request(1),
            request(3),
        ]
        .concat();
        // A header block that must not be divided, and a body.
        let next = [
            frame(HEADERS, 0, 5, &[0x82]),
            frame(9, 0x4, 5, &[0x86]),
            frame(DATA, 0, 5, &[7; 20]),
        ];
        let bytes = next.concat();
        for cut in 0..bytes.len() {
            let mut wire = begun();
            assert_eq!(wire.read(&open, 2), open.len());
            wire.wrote(&frame(SETTINGS, 0, 0, &[]), 2);
            let answer = frame(HEADERS, 0x4, 1, &[0x88]);
            wire.wrote(&answer[..5], 2);
            wire.wrote(&answer[5..], 2);
            assert_eq!((wire.open(), wire.blocked_since()), ((2, 1), 2));
            let mut seen = presented(&mut wire, [&bytes[..cut]], 64);
            assert_eq!(wire.stalled(12, 10), Stalled::Some(vec![1]));
            seen.extend(presented(&mut wire, [&bytes[cut..]], 64));
            let block = next[0].len() + next[1].len();
            let ends = [0, block, bytes.len()];
            let place = ends.into_iter().find(|end| *end >= cut).unwrap();
            let (head, tail) = bytes.split_at(place);
            assert_eq!(seen, [head, &cancel(1), tail].concat(), "cut at {cut}");
            assert_eq!(wire.out(), cancel(1));
            assert_eq!(wire.open().0, 2, "the first one is over");
        }
    }

    #[test]
    fn ours_waits_for_the_frame_that_is_half_written() {
        let mut wire = begun();
        wire.wrote(&frame(SETTINGS, 0, 0, &[]), 1);
        let data = frame(DATA, 0, 1, &[7; 20]);
        wire.wrote(&data[..15], 1);
        assert!(!wire.can_send_goaway());
        wire.wrote(&data[15..], 1);
        assert!(wire.can_send_goaway());
        wire.send_goaway();
        assert_eq!(wire.out(), GOAWAY_FRAME);
        wire.advance_out(5);
        assert_eq!(wire.out(), &GOAWAY_FRAME[5..]);
        wire.advance_out(12);
        assert!(wire.out().is_empty() && wire.is_unflushed());
        wire.flushed();
        assert!(!wire.has_out() && !wire.can_send_goaway(), "once");
    }

    #[test]
    fn a_goaway_of_the_servers_own_is_not_taken_back() {
        let mut wire = begun();
        wire.wrote(&frame(SETTINGS, 0, 0, &[]), 1);
        wire.wrote(&frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]), 1);
        wire.send_goaway();
        assert!(wire.out().is_empty() && !wire.has_failed());
        wire.wrote(&frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 1]), 1);
        assert!(wire.has_failed());
    }

    #[test]
    fn half_a_head_is_there_from_its_first_byte_to_its_last() {
        let settings = frame(SETTINGS, 0, 0, &[]);
        let head = frame(HEADERS, 0, 1, &[0x82]);
        let end = frame(9, 0x4, 1, &[0x86]);
        let mut wire = begun();
        wire.read(&[], 3);
        assert_eq!(wire.head_begun(), 1, "SETTINGS are missing");
        wire.read(&settings, 3);
        assert_eq!(wire.head_begun(), 0);
        for (now, byte) in (10..).zip([head, end].concat()) {
            assert!([0, 10].contains(&wire.head_begun()));
            wire.read(&[byte], now);
        }
        assert_eq!(wire.head_begun(), 0);
        wire.read(&frame(DATA, 0, 1, &[7; 9])[..12], 50);
        assert_eq!(wire.head_begun(), 0, "a body is no head");
        wire.read(&[7; 6], 51);
        let ping = frame(PING, 0, 0, &[7; 8]);
        wire.read(&[&ping[..], &ping[..4]].concat(), 60);
        assert_eq!(wire.head_begun(), 60);
        wire.read(&[&ping[4..], &ping[..4]].concat(), 70);
        assert_eq!(wire.head_begun(), 70, "another one");
    }
}
