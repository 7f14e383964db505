use super::*;

const LIMIT: Duration = Duration::from_secs(10);
const ENOUGH: u64 = 2_400;
const MOMENT: u64 = 250_000;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What happens to a handler that waits for a body, by the second.
enum Body {
    /// The handler polls and gets nothing.
    Polls,
    /// The handler is woken, or has what it waited for.
    Woken,
    /// So many bytes come.
    Comes(u64),
}

/// When the reaper, which looks once a second, calls it stalled.
fn unsent(script: &[(u64, Body)], until: u64) -> Option<u64> {
    let wait = BodyWait::default();
    let mut moved = 0;
    (1..=until).find(|second| {
        for (_, event) in script.iter().filter(|(when, _)| when == second) {
            match event {
                Body::Polls => wait.begin(micros(at(*second)), moved),
                Body::Woken => wait.end(),
                Body::Comes(bytes) => moved += bytes,
            }
        }
        wait.is_stalled(at(*second), LIMIT, moved)
    })
}

#[test]
fn only_a_wait_for_the_peer_counts_and_from_its_own_beginning() {
    use Body::{Comes, Polls, Woken};

    let nobody_waits = unsent(&[(1, Comes(1))], 100);
    assert_eq!(nobody_waits, None);
    let nothing_comes = unsent(&[(3, Polls)], 100);
    assert_eq!(nothing_comes, Some(13));
    let it_came_and_the_handler_works = unsent(&[(3, Polls), (4, Comes(9)), (4, Woken)], 100);
    assert_eq!(it_came_and_the_handler_works, None);
    let asked_again_and_again: Vec<_> = (3..100).map(|second| (second, Polls)).collect();
    assert_eq!(unsent(&asked_again_and_again, 100), Some(13));
    // Part of a chunk's head, say: nobody is woken for it.
    let one_byte_and_no_more = unsent(&[(3, Polls), (9, Comes(1))], 100);
    assert_eq!(one_byte_and_no_more, Some(19));
    let a_trickle: Vec<_> = std::iter::once((1, Polls))
        .chain((1..100).step_by(9).map(|second| (second, Comes(1))))
        .collect();
    assert_eq!(unsent(&a_trickle, 100), None);
    let waits_anew = [(1, Polls), (9, Comes(9)), (9, Woken), (50, Polls)];
    assert_eq!(unsent(&waits_anew, 100), Some(60));
    let the_next_request = [
        (1, Polls),
        (9, Woken),
        (10, Polls),
        (19, Woken),
        (20, Polls),
    ];
    assert_eq!(unsent(&the_next_request, 29), None);
}

#[test]
fn a_reader_that_stops_is_stalled_after_the_limit() {
    let stall = WriteWait::default();
    stall.wait(micros(at(1)), 100, MOMENT);
    assert!(!stall.is_stalled(at(10), LIMIT, 100, ENOUGH));
    assert!(stall.is_stalled(at(11), LIMIT, 100, ENOUGH));
}

#[test]
fn a_trickle_is_a_stall_as_well() {
    let stall = WriteWait::default();
    for second in 1..=10 {
        stall.wait(micros(at(second)), second * 5, MOMENT);
        stall.resume(micros(at(second + 1)));
        stall.wait(micros(at(second + 1)), second * 5, MOMENT);
        assert!(!stall.is_stalled(at(second), LIMIT, second * 5, ENOUGH));
    }
    assert!(stall.is_stalled(at(11), LIMIT, 55, ENOUGH));
}

#[test]
fn who_moves_enough_or_is_not_waited_for_is_left_alone() {
    let stall = WriteWait::default();
    for second in (1..100).step_by(10) {
        stall.wait(micros(at(second)), second * 1_000, MOMENT);
        assert!(!stall.is_stalled(at(second + 10), LIMIT, (second + 10) * 1_000, ENOUGH));
    }
    stall.resume(micros(at(110)));
    assert!(!stall.is_stalled(at(200), LIMIT, 0, ENOUGH));
    assert!(!stall.is_stalled(at(300), LIMIT, 0, ENOUGH));
}

#[test]
fn a_wait_after_a_pause_is_judged_by_itself() {
    let stall = WriteWait::default();
    // A large response that was taken in a second.
    stall.wait(micros(at(1)), 1_000_000, MOMENT);
    stall.resume(micros(at(2)));
    // Another waits when the window of the first would be over.
    stall.wait(micros(at(10)), 1_000_100, MOMENT);
    assert!(!stall.is_stalled(at(11), LIMIT, 1_000_100, ENOUGH));
    assert!(!stall.is_stalled(at(19), LIMIT, 1_000_100, ENOUGH));
    assert!(stall.is_stalled(at(20), LIMIT, 1_000_100, ENOUGH));
}

#[test]
fn the_next_response_begins_anew_unless_the_last_one_still_waits() {
    let stall = WriteWait::default();
    stall.wait(micros(at(1)), 0, MOMENT);
    stall.restart();
    assert!(stall.is_stalled(at(11), LIMIT, 0, ENOUGH));
    stall.resume(micros(at(11)));
    stall.restart();
    stall.wait(micros(at(11)), 0, MOMENT);
    assert!(!stall.is_stalled(at(12), LIMIT, 0, ENOUGH));
    assert!(stall.is_stalled(at(21), LIMIT, 0, ENOUGH));
}
