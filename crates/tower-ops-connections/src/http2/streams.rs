//! The streams that are open on the wire, and which of them wait for the client.

/// Both windows begin with that (RFC 9113, section 6.9.2).
const INITIAL_WINDOW: i64 = 65_535;

/// How many streams are followed at once. h2 holds as many as its own limit allows,
/// each of them larger; more than these are only not counted.
const MOST: usize = 16 * 1024;

/// When a peer that keeps a window closed has stalled. Times are in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    pub(crate) limit: u64,
    /// What has to move within the limit, in bytes.
    pub(crate) enough: u64,
}

/// How long a window has been closed, but for moments: a trickle opens it again and
/// again, by a byte each time.
#[derive(Clone, Copy, Debug, Default)]
struct Blocked {
    waiting: bool,
    since: u64,
    /// How much had been sent by then.
    mark: u64,
    freed: u64,
}

impl Blocked {
    fn set(&mut self, waiting: bool, now: u64, sent: u64, patience: Patience) {
        if waiting == self.waiting {
            return;
        }
        self.waiting = waiting;
        if !waiting {
            self.freed = now;
        } else if self.since == 0 || now.saturating_sub(self.freed) > patience.limit / 4 {
            self.restart(now, sent);
        }
    }

    const fn restart(&mut self, now: u64, sent: u64) {
        self.since = now;
        self.mark = sent;
    }

    fn is_stalled(&mut self, now: u64, sent: u64, patience: Patience) -> bool {
        if !self.waiting || now.saturating_sub(self.since) < patience.limit {
            return false;
        }
        let moved = sent.saturating_sub(self.mark);
        if moved >= patience.enough {
            self.restart(now, sent);
            return false;
        }
        true
    }
}

#[derive(Debug)]
struct Stream {
    id: u32,
    /// What the server may still send; below zero after the client made it smaller.
    window: i64,
    sent: u64,
    /// Of what was sent, how much the client has made up for.
    credited: u64,
    blocked: Blocked,
    /// The head of the response has gone out.
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

/// What there is to do about streams whose client does not read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stalled {
    None,
    /// These; others get on, or have not been answered yet.
    Some(Vec<u32>),
    /// All that there are.
    All,
}

/// The open streams of one connection.
#[derive(Debug)]
pub(crate) struct Streams {
    /// By their number, smallest first.
    open: Vec<Stream>,
    /// The highest number that there was.
    highest: u32,
    /// The highest that the server serves.
    last: u32,
    initial_window: i64,
    /// The connection's.
    window: i64,
    sent: u64,
    blocked: Blocked,
    responding: u32,
    unanswered: u32,
    patience: Option<Patience>,
    /// No later than the earliest moment since when anything is blocked; zero if
    /// nothing is.
    blocked_since: u64,
}

impl Streams {
    pub(crate) const fn new(patience: Option<Patience>) -> Self {
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
            patience,
            blocked_since: 0,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.open.len()
    }

    /// How many have no response yet.
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
        // Most often the last one.
        match self.open.last() {
            Some(last) if last.id == id => Some(self.open.len() - 1),
            _ => self.open.binary_search_by_key(&id, |it| it.id).ok(),
        }
    }

    /// The client sent a header block: a request, or its trailers.
    pub(crate) fn client_headers(&mut self, id: u32, ends: bool, now: u64) {
        if ends && self.find(id).is_some() {
            self.client_ends(id, now);
        }
        // A client's streams have odd numbers, each higher than the last.
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

    /// The server sends DATA of that length.
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

    /// Either side has reset it.
    pub(crate) fn reset(&mut self, id: u32, now: u64) {
        if let Some(at) = self.find(id) {
            self.remove(at, now);
        }
    }

    /// The server serves no stream above `last`.
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

    /// The client allows that much more; on stream zero, of all together.
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

    /// The client has set the window that streams begin with, which also moves those
    /// that are open (RFC 9113, section 6.9.2).
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
        let Some(patience) = self.patience else {
            return;
        };
        let stream = &mut self.open[at];
        let waiting = stream.is_responding() && stream.window <= 0 && !stream.condemned;
        stream.blocked.set(waiting, now, stream.sent, patience);
        if waiting {
            let since = stream.blocked.since;
            self.note_blocked(since);
        }
    }

    fn look_at_connection(&mut self, now: u64) {
        let Some(patience) = self.patience else {
            return;
        };
        let waiting = self.window <= 0 && self.responding > 0;
        self.blocked.set(waiting, now, self.sent, patience);
        if waiting {
            self.note_blocked(self.blocked.since);
        }
    }

    fn note_blocked(&mut self, since: u64) {
        if self.blocked_since == 0 || since < self.blocked_since {
            self.blocked_since = since;
        }
    }

    /// What has stalled. Those of `Some` will be [`reset`](Self::reset), and are not
    /// given again.
    pub(crate) fn stalled(&mut self, now: u64) -> Stalled {
        let Some(patience) = self.patience else {
            return Stalled::None;
        };
        // The connection's window is closed by whoever holds of it; another one that
        // only suffers gets it when these are gone.
        let blocked = self.blocked.is_stalled(now, self.sent, patience);
        let holds = |stream: &Stream| stream.is_responding() && stream.sent > stream.credited;
        let any_holds = self.open.iter().any(holds);
        let mut stalled = Vec::new();
        let mut all = true;
        for stream in &mut self.open {
            let alone = stream.blocked.is_stalled(now, stream.sent, patience);
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

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;
    const PATIENCE: Patience = Patience {
        limit: 10 * SECOND,
        enough: 2_400,
    };

    fn streams() -> Streams {
        Streams::new(Some(PATIENCE))
    }

    /// A request without a body, and the head of its response.
    fn answered(streams: &mut Streams, id: u32) {
        streams.client_headers(id, true, SECOND);
        streams.server_headers(id, false, SECOND);
    }

    fn counts(streams: &Streams) -> (usize, u32, u32) {
        (streams.len(), streams.unanswered, streams.responding)
    }

    #[test]
    fn a_stream_is_over_when_both_sides_are() {
        let mut streams = streams();
        streams.client_headers(1, false, SECOND);
        assert_eq!(counts(&streams), (1, 1, 0));
        streams.server_headers(1, false, SECOND);
        assert_eq!(counts(&streams), (1, 0, 1));
        streams.server_ends(1, SECOND);
        assert_eq!(counts(&streams), (1, 0, 0), "the upload goes on");
        streams.client_ends(1, SECOND);
        assert_eq!(counts(&streams), (0, 0, 0));
        // As above with trailers, and the other way round.
        streams.client_headers(3, false, SECOND);
        streams.client_headers(3, true, SECOND);
        assert_eq!(counts(&streams), (1, 1, 0));
        streams.server_headers(3, true, SECOND);
        assert_eq!(counts(&streams), (0, 0, 0));
    }

    #[test]
    fn resets_and_goaway_end_streams_and_unknown_ones_are_ignored() {
        let mut streams = streams();
        for id in [1, 3, 5, 7] {
            answered(&mut streams, id);
        }
        streams.client_headers(4, true, SECOND);
        streams.client_headers(3, true, SECOND);
        streams.server_data(9, 10, SECOND);
        streams.add_window(9, 10, SECOND);
        assert_eq!(counts(&streams), (4, 0, 4));
        streams.reset(3, SECOND);
        streams.reset(3, SECOND);
        streams.refuse_above(5, SECOND);
        assert_eq!(counts(&streams), (2, 0, 2));
        assert!(streams.contains(1) && streams.contains(5));
        streams.client_headers(3, true, SECOND);
        assert_eq!(counts(&streams), (2, 0, 2), "a number is used once");
    }

    #[test]
    fn a_stream_opened_above_the_last_one_is_not_served_and_not_counted() {
        let mut streams = streams();
        answered(&mut streams, 1);
        // For all that there may ever be: what comes is served.
        streams.refuse_above((1 << 31) - 1, SECOND);
        answered(&mut streams, 3);
        streams.refuse_above(3, SECOND);
        // One is never taken back.
        streams.refuse_above(9, SECOND);
        for id in [5, 7] {
            streams.client_headers(id, false, SECOND);
            streams.client_headers(id, true, SECOND);
        }
        assert_eq!(counts(&streams), (2, 0, 2));
        assert!(!streams.contains(5) && !streams.contains(7));
        for id in [1, 3] {
            streams.server_ends(id, SECOND);
        }
        assert_eq!(counts(&streams), (0, 0, 0));
    }

    #[test]
    fn a_window_that_stays_closed_is_a_stall() {
        let mut streams = streams();
        streams.set_initial_window(0, SECOND);
        answered(&mut streams, 1);
        assert_eq!(streams.blocked_since(), SECOND);
        assert_eq!(streams.stalled(10 * SECOND), Stalled::None);
        assert_eq!(streams.stalled(11 * SECOND), Stalled::All);
    }

    #[test]
    fn an_open_window_is_none_and_neither_is_a_handler_at_work() {
        let mut streams = streams();
        answered(&mut streams, 1);
        streams.set_initial_window(0, SECOND);
        streams.set_initial_window(10, SECOND);
        streams.client_headers(3, true, SECOND);
        assert_eq!(streams.stalled(100 * SECOND), Stalled::None);
        assert_eq!(streams.blocked_since(), 0);
    }

    #[test]
    fn a_trickle_is_a_stall_and_enough_is_not() {
        for (piece, expected) in [(1, Stalled::All), (2_400, Stalled::None)] {
            let mut streams = streams();
            streams.set_initial_window(1, SECOND);
            answered(&mut streams, 1);
            streams.server_data(1, 1, SECOND);
            for second in 2..11 {
                streams.add_window(0, piece, second * SECOND);
                streams.add_window(1, piece, second * SECOND);
                streams.server_data(1, piece, second * SECOND);
            }
            assert_eq!(streams.stalled(11 * SECOND), expected);
        }
    }

    #[test]
    fn moments_far_apart_are_no_stall() {
        let mut streams = streams();
        streams.set_initial_window(1, SECOND);
        answered(&mut streams, 1);
        for minute in 1..10 {
            let now = minute * 60 * SECOND;
            streams.server_data(1, 1, now);
            assert_eq!(streams.stalled(now), Stalled::None);
            streams.add_window(1, 1, now + SECOND);
        }
    }

    #[test]
    fn one_that_is_not_read_goes_and_the_others_stay() {
        let mut streams = streams();
        streams.add_window(0, 1 << 20, SECOND);
        for id in [1, 3] {
            answered(&mut streams, id);
        }
        streams.server_data(1, 65_535, SECOND);
        assert_eq!(streams.stalled(12 * SECOND), Stalled::Some(vec![1]));
        assert_eq!(streams.stalled(13 * SECOND), Stalled::None, "once");
        streams.reset(1, 13 * SECOND);
        streams.server_data(3, 65_535, 13 * SECOND);
        assert_eq!(streams.stalled(23 * SECOND), Stalled::All);
    }

    #[test]
    fn the_connections_window_is_held_by_those_that_are_not_read() {
        let mut streams = streams();
        for id in [1, 3] {
            answered(&mut streams, id);
        }
        streams.client_headers(5, true, SECOND);
        streams.set_initial_window(1 << 20, SECOND);
        streams.server_data(1, 65_535, SECOND);
        // The third one is not answered yet; the second one only suffers.
        assert_eq!(streams.stalled(11 * SECOND), Stalled::Some(vec![1]));
        streams.reset(1, 11 * SECOND);
        assert_eq!(streams.stalled(20 * SECOND), Stalled::None);
        streams.server_headers(5, false, 20 * SECOND);
        assert_eq!(streams.stalled(21 * SECOND), Stalled::All, "nobody gets on");
    }

    #[test]
    fn the_windows_add_up_in_whatever_order() {
        use proptest::prelude::*;

        #[derive(Clone, Copy, Debug)]
        enum Step {
            Open,
            Answer(u32),
            Data(u32, u32),
            Update(u32, u32),
            Initial(u32),
            EndServer(u32),
            EndClient(u32),
            Reset(u32),
        }
        let id = (0..8_u32).prop_map(|n| 2 * n + 1);
        let step = prop_oneof![
            Just(Step::Open),
            id.clone().prop_map(Step::Answer),
            (id.clone(), 0..40_000_u32).prop_map(|(id, n)| Step::Data(id, n)),
            (0..16_u32, 0..40_000_u32).prop_map(|(id, n)| Step::Update(id, n)),
            (0..80_000_u32).prop_map(Step::Initial),
            id.clone().prop_map(Step::EndServer),
            id.clone().prop_map(Step::EndClient),
            id.prop_map(Step::Reset),
        ];
        let steps = proptest::collection::vec(step, 0..200);
        proptest!(|(steps in steps)| {
            let mut streams = streams();
            let mut next = 1;
            for (now, step) in (1..).zip(steps) {
                let now = now * SECOND;
                match step {
                    Step::Open => {
                        streams.client_headers(next, false, now);
                        next += 2;
                    }
                    Step::Answer(id) => streams.server_headers(id, false, now),
                    Step::Data(id, n) => streams.server_data(id, n, now),
                    Step::Update(id, n) => streams.add_window(id, n, now),
                    Step::Initial(n) => streams.set_initial_window(n, now),
                    Step::EndServer(id) => streams.server_ends(id, now),
                    Step::EndClient(id) => streams.client_ends(id, now),
                    Step::Reset(id) => streams.reset(id, now),
                }
                let count = |by: fn(&Stream) -> bool| {
                    u32::try_from(streams.open.iter().filter(|it| by(it)).count()).unwrap()
                };
                prop_assert_eq!(streams.unanswered, count(|it| !it.answered));
                prop_assert_eq!(streams.responding, count(Stream::is_responding));
                for stream in &streams.open {
                    let own = streams.initial_window + i64::try_from(stream.credited).unwrap()
                        - i64::try_from(stream.sent).unwrap();
                    prop_assert_eq!(stream.window, own);
                    let waiting = stream.is_responding() && stream.window <= 0;
                    prop_assert_eq!(stream.blocked.waiting, waiting);
                    if waiting {
                        prop_assert!(streams.blocked_since <= stream.blocked.since);
                        prop_assert!(streams.blocked_since > 0);
                    }
                }
                prop_assert!(streams.open.is_sorted_by_key(|it| it.id));
            }
        });
    }
}
