//! The open streams of one connection, and which of them wait for the client.

#[cfg(test)]
mod tests;

/// The initial size of both windows (RFC 9113, section 6.9.2).
const INITIAL_WINDOW: i64 = 65_535;

/// How many streams are followed at once. h2 has a limit of its own; streams above this one are
/// only not counted.
const MOST: usize = 16 * 1024;

/// When a peer that keeps a window closed has stalled. Times are in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StallLimit {
    pub(crate) limit: u64,
    /// What has to move within the limit, in bytes.
    pub(crate) enough: u64,
}

/// How long a window has been closed, except for moments: a trickle opens it again and again, by a
/// byte each time.
#[derive(Clone, Copy, Debug, Default)]
struct Blocked {
    waiting: bool,
    since: u64,
    /// How much had been sent by then.
    mark: u64,
    freed: u64,
}

impl Blocked {
    fn set(&mut self, waiting: bool, now: u64, sent: u64, stall_limit: StallLimit) {
        if waiting == self.waiting {
            return;
        }
        self.waiting = waiting;
        if !waiting {
            self.freed = now;
        } else if self.since == 0 || now.saturating_sub(self.freed) > stall_limit.limit / 4 {
            self.restart(now, sent);
        }
    }

    const fn restart(&mut self, now: u64, sent: u64) {
        self.since = now;
        self.mark = sent;
    }

    fn is_stalled(&mut self, now: u64, sent: u64, stall_limit: StallLimit) -> bool {
        if !self.waiting || now.saturating_sub(self.since) < stall_limit.limit {
            return false;
        }
        let moved = sent.saturating_sub(self.mark);
        if moved >= stall_limit.enough {
            self.restart(now, sent);
            return false;
        }
        true
    }
}

#[derive(Debug)]
struct Stream {
    id: u32,
    /// How many bytes the server may still send; negative after the client has reduced it.
    window: i64,
    sent: u64,
    /// How much of `sent` the client has credited.
    credited: u64,
    blocked: Blocked,
    /// The head of the response was sent.
    answered: bool,
    client_ended: bool,
    server_ended: bool,
    /// It is about to be reset.
    condemned: bool,
}

impl Stream {
    const fn is_responding(&self) -> bool {
        self.answered && !self.server_ended
    }
}

/// The streams whose client does not read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stalled {
    None,
    /// These; others make progress, or have no response yet.
    Some(Vec<u32>),
    /// All streams.
    All,
}

/// The open streams of one connection.
#[derive(Debug)]
pub(crate) struct Streams {
    /// In the order of their ids.
    open: Vec<Stream>,
    /// The highest id so far.
    highest: u32,
    /// The highest id that the server serves.
    last: u32,
    initial_window: i64,
    /// The connection's.
    window: i64,
    sent: u64,
    blocked: Blocked,
    responding: u32,
    unanswered: u32,
    stall_limit: Option<StallLimit>,
    /// A lower bound of the time since when anything is blocked; zero if nothing is.
    blocked_since: u64,
}

impl Streams {
    pub(crate) const fn new(stall_limit: Option<StallLimit>) -> Self {
        Self {
            open: Vec::new(),
            highest: 0,
            last: u32::MAX,
            initial_window: INITIAL_WINDOW,
            window: INITIAL_WINDOW,
            sent: 0,
            blocked: Blocked {
                waiting: false,
                since: 0,
                mark: 0,
                freed: 0,
            },
            responding: 0,
            unanswered: 0,
            stall_limit,
            blocked_since: 0,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.open.len()
    }

    /// Returns how many streams have no response yet.
    pub(crate) const fn unanswered(&self) -> u32 {
        self.unanswered
    }

    pub(crate) const fn highest(&self) -> u32 {
        self.highest
    }

    pub(crate) const fn blocked_since(&self) -> u64 {
        self.blocked_since
    }

    pub(crate) fn contains(&self, id: u32) -> bool {
        self.find(id).is_some()
    }

    fn find(&self, id: u32) -> Option<usize> {
        // Usually the last one.
        match self.open.last() {
            Some(last) if last.id == id => Some(self.open.len() - 1),
            _ => self.open.binary_search_by_key(&id, |it| it.id).ok(),
        }
    }

    /// Records a header block of the client's: a request, or its trailers.
    pub(crate) fn client_headers(&mut self, id: u32, ends: bool, now: u64) {
        if ends && self.find(id).is_some() {
            self.client_ends(id, now);
        }
        // A client's streams have odd ids, each higher than the last.
        if id <= self.highest || id.is_multiple_of(2) || self.open.len() >= MOST {
            return;
        }
        // The server does not answer it, and the client may never end it.
        if id > self.last {
            return;
        }
        self.highest = id;
        self.unanswered += 1;
        self.open.push(Stream {
            id,
            window: self.initial_window,
            sent: 0,
            credited: 0,
            blocked: Blocked::default(),
            answered: false,
            client_ended: ends,
            server_ended: false,
            condemned: false,
        });
    }

    pub(crate) fn client_ends(&mut self, id: u32, now: u64) {
        if let Some(at) = self.find(id) {
            self.open[at].client_ended = true;
            self.close_if_over(at, now);
        }
    }

    pub(crate) fn server_headers(&mut self, id: u32, ends: bool, now: u64) {
        let Some(at) = self.find(id) else { return };
        if !self.open[at].answered {
            self.open[at].answered = true;
            self.unanswered -= 1;
            self.responding += u32::from(!self.open[at].server_ended);
        }
        if ends {
            self.server_ends(id, now);
        } else {
            self.look_at(at, now);
            self.look_at_connection(now);
        }
    }

    /// Records DATA of that length from the server.
    pub(crate) fn server_data(&mut self, id: u32, length: u32, now: u64) {
        self.window -= i64::from(length);
        self.sent += u64::from(length);
        if let Some(at) = self.find(id) {
            let stream = &mut self.open[at];
            stream.window -= i64::from(length);
            stream.sent += u64::from(length);
            if stream.window <= 0 {
                self.look_at(at, now);
            }
        }
        if self.window <= 0 {
            self.look_at_connection(now);
        }
    }

    pub(crate) fn server_ends(&mut self, id: u32, now: u64) {
        let Some(at) = self.find(id) else { return };
        if self.open[at].is_responding() {
            self.responding -= 1;
        }
        self.open[at].server_ended = true;
        self.look_at(at, now);
        self.look_at_connection(now);
        self.close_if_over(at, now);
    }

    fn close_if_over(&mut self, at: usize, now: u64) {
        let stream = &self.open[at];
        if stream.client_ended && stream.server_ended {
            self.remove(at, now);
        }
    }

    /// Records that either side has reset the stream.
    pub(crate) fn reset(&mut self, id: u32, now: u64) {
        if let Some(at) = self.find(id) {
            self.remove(at, now);
        }
    }

    /// Records that the server serves no stream above `last`.
    pub(crate) fn refuse_above(&mut self, last: u32, now: u64) {
        self.last = self.last.min(last);
        while self.open.last().is_some_and(|stream| stream.id > last) {
            self.remove(self.open.len() - 1, now);
        }
    }

    fn remove(&mut self, at: usize, now: u64) {
        let stream = self.open.remove(at);
        if !stream.answered {
            self.unanswered -= 1;
        } else if !stream.server_ended {
            self.responding -= 1;
        }
        if self.open.is_empty() {
            self.blocked_since = 0;
        }
        self.look_at_connection(now);
    }

    /// Records a WINDOW_UPDATE; on stream zero, of the connection.
    pub(crate) fn add_window(&mut self, id: u32, more: u32, now: u64) {
        if id == 0 {
            self.window += i64::from(more);
            self.look_at_connection(now);
        } else if let Some(at) = self.find(id) {
            self.open[at].window += i64::from(more);
            self.open[at].credited += u64::from(more);
            self.look_at(at, now);
        }
    }

    /// Records the client's initial window for streams, which also changes the windows of open
    /// streams (RFC 9113, section 6.9.2).
    pub(crate) fn set_initial_window(&mut self, size: u32, now: u64) {
        let change = i64::from(size) - self.initial_window;
        self.initial_window = i64::from(size);
        if change != 0 {
            for at in 0..self.open.len() {
                self.open[at].window += change;
                self.look_at(at, now);
            }
        }
    }

    fn look_at(&mut self, at: usize, now: u64) {
        let Some(stall_limit) = self.stall_limit else {
            return;
        };
        let stream = &mut self.open[at];
        let waiting = stream.is_responding() && stream.window <= 0 && !stream.condemned;
        stream.blocked.set(waiting, now, stream.sent, stall_limit);
        if waiting {
            let since = stream.blocked.since;
            self.note_blocked(since);
        }
    }

    fn look_at_connection(&mut self, now: u64) {
        let Some(stall_limit) = self.stall_limit else {
            return;
        };
        let waiting = self.window <= 0 && self.responding > 0;
        self.blocked.set(waiting, now, self.sent, stall_limit);
        if waiting {
            self.note_blocked(self.blocked.since);
        }
    }

    fn note_blocked(&mut self, since: u64) {
        if self.blocked_since == 0 || since < self.blocked_since {
            self.blocked_since = since;
        }
    }

    /// Returns what has stalled. The caller will [`reset`](Self::reset) the streams of `Some`; they
    /// are not returned again.
    pub(crate) fn stalled(&mut self, now: u64) -> Stalled {
        let Some(stall_limit) = self.stall_limit else {
            return Stalled::None;
        };
        // The streams with uncredited bytes keep the connection's window closed. The others get it
        // when these are gone.
        let blocked = self.blocked.is_stalled(now, self.sent, stall_limit);
        let holds = |stream: &Stream| stream.is_responding() && stream.sent > stream.credited;
        let any_holds = self.open.iter().any(holds);
        let mut stalled = Vec::new();
        let mut all = true;
        for stream in &mut self.open {
            let alone = stream.blocked.is_stalled(now, stream.sent, stall_limit);
            let starved = blocked && stream.is_responding();
            all &= alone || starved || stream.condemned;
            if !stream.condemned && (alone || (starved && (!any_holds || holds(stream)))) {
                stalled.push(stream.id);
            }
        }
        if all && !stalled.is_empty() {
            return Stalled::All;
        }
        for id in &stalled {
            if let Some(at) = self.find(*id) {
                self.open[at].condemned = true;
                self.look_at(at, now);
            }
        }
        if blocked {
            self.blocked.restart(now, self.sent);
        }
        self.blocked_since = 0;
        for at in 0..self.open.len() {
            self.look_at(at, now);
        }
        self.look_at_connection(now);
        if stalled.is_empty() {
            Stalled::None
        } else {
            Stalled::Some(stalled)
        }
    }
}
