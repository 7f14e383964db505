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
