//! What the server reads where that differs from what the client sent: between its frames streams
//! are reset, and frames that h2 does not accept are left out.

use tokio::io::ReadBuf;

use super::Wire;
use crate::http2::frames::{Event, Head, PRIORITY, RST_STREAM, WINDOW_UPDATE};
use crate::http2::streams::Stalled;

/// The bytes that the server reads next, in place of the client's.
#[derive(Debug, Default)]
pub(super) struct Stage {
    ready: Vec<u8>,
    taken: usize,
    /// The server has refused the streams above, and h2 does not accept all of their frames.
    pub(super) refused_above: Option<u32>,
    /// The frame that is being read is left out.
    skips: bool,
    /// Streams to reset where a frame ends, and since when.
    pub(super) resets: Vec<u32>,
    pub(super) resets_since: u64,
}

impl Stage {
    pub(super) const fn new() -> Self {
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

impl Wire {
    /// Returns which streams the client does not read. Those of `Some` are reset on both sides where
    /// the next frames end.
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

    /// Returns whether the server has to read from [`take`](Self::take), and the client's bytes have
    /// to go to [`stage`](Self::stage).
    #[inline]
    pub(crate) const fn is_staged(&self) -> bool {
        self.stage.refused_above.is_some()
            || !self.stage.resets.is_empty()
            || self.stage.taken < self.stage.ready.len()
    }

    /// Resets the streams that are to be reset, if a frame of the client's has just ended.
    pub(crate) fn stage_resets(&mut self, now: u64) {
        if self.stage.resets.is_empty() || !self.reading.is_between() {
            return;
        }
        for stream in std::mem::take(&mut self.stage.resets) {
            // It may have ended meanwhile.
            if self.streams.contains(stream) {
                self.streams.reset(stream, now);
                self.stage.ready.extend(super::cancel(stream));
                self.out.bytes.extend(super::cancel(stream));
            }
        }
    }

    /// Takes the client's bytes, and stages what the server is to read.
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
                // Decided by the whole header.
                (Some(last), Some(Event::Begin(head))) => {
                    self.stage.skips = is_unacceptable(head, last);
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

    /// Moves staged bytes to `buf`. Returns whether there were any.
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

/// Returns whether a frame has to be left out: it belongs to a stream that the server has refused,
/// and neither header compression nor flow control needs it. h2 0.4 treats WINDOW_UPDATE there as an
/// error of the connection.
const fn is_unacceptable(head: Head, last: u32) -> bool {
    head.stream > last && matches!(head.kind, PRIORITY | RST_STREAM | WINDOW_UPDATE)
}
