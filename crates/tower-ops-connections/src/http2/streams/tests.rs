use super::*;

const SECOND: u64 = 1_000_000;
const PATIENCE: StallLimit = StallLimit {
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
    // The highest possible stream: whatever comes is served.
    streams.refuse_above((1 << 31) - 1, SECOND);
    answered(&mut streams, 3);
    streams.refuse_above(3, SECOND);
    // A later one cannot be higher.
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
