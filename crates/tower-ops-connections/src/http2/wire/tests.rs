use tokio::io::ReadBuf;

use super::*;
use crate::http2::frames::{ACK, HEADERS, PRIORITY};
use crate::http2::streams::Stalled;

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
