use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn frame(flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[flags][..], &length, payload].concat()
}

/// As any encoder does it, with padding.
fn base64(bytes: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::new();
    for group in bytes.chunks(3) {
        let mut three = [0; 3];
        three[..group.len()].copy_from_slice(group);
        let word = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for at in 0..4 {
            if at <= group.len() {
                text.push(ALPHABET[(word >> (18 - 6 * at) & 63) as usize]);
            } else {
                text.push(b'=');
            }
        }
    }
    text
}

fn status(protocol: GrpcProtocol, chunks: &[&[u8]]) -> Option<GrpcCode> {
    let mut reader = WebStatus::of(protocol).unwrap();
    for chunk in chunks {
        reader.read(&Bytes::copy_from_slice(chunk));
    }
    reader.code()
}

#[test]
fn reads_the_status_of_the_trailers() {
    let message = frame(0, &[0x80; 300]);
    for (trailers, expected) in [
        ("grpc-status:0\r\n", Some(GrpcCode::Ok)),
        (
            "grpc-status: 5\r\ngrpc-message: no\r\n",
            Some(GrpcCode::NotFound),
        ),
        (
            "grpc-message:x\r\nGrpc-Status: 13",
            Some(GrpcCode::Internal),
        ),
        ("grpc-status: 14\n", Some(GrpcCode::Unavailable)),
        ("grpc-status: what\r\n", Some(GrpcCode::Unknown)),
        ("grpc-status:\r\n", Some(GrpcCode::Unknown)),
        ("x-grpc-status: 1\r\n", None),
        ("grpc-message: grpc-status: 1\r\n", None),
        ("", None),
    ] {
        let body = [message.clone(), frame(0x80, trailers.as_bytes())].concat();
        assert_eq!(
            status(GrpcProtocol::GrpcWeb, &[&body]),
            expected,
            "{trailers:?}"
        );
        let text = base64(&body);
        assert_eq!(
            status(GrpcProtocol::GrpcWebText, &[&text]),
            expected,
            "{trailers:?}"
        );
    }
}

#[test]
fn a_long_line_before_the_status_does_not_hide_it() {
    let trailers = format!(
        "grpc-message: {}\r\ngrpc-status: 7\r\n",
        "x".repeat(100_000)
    );
    let body = frame(0x80, trailers.as_bytes());
    let found = status(GrpcProtocol::GrpcWeb, &[&body]);
    assert_eq!(found, Some(GrpcCode::PermissionDenied));
}

#[test]
fn padding_may_come_between_the_frames() {
    let text = [
        base64(&frame(0, b"four")),
        base64(&frame(0x80, b"grpc-status: 3")),
    ]
    .concat();
    let found = status(GrpcProtocol::GrpcWebText, &[&text]);
    assert_eq!(found, Some(GrpcCode::InvalidArgument));
}

#[test]
fn what_cannot_be_read_has_no_status() {
    let compressed = frame(0x81, b"grpc-status: 0\r\n");
    assert_eq!(status(GrpcProtocol::GrpcWeb, &[&compressed]), None);
    assert_eq!(status(GrpcProtocol::GrpcWebText, &[b"no base64!"]), None);
    assert_eq!(status(GrpcProtocol::GrpcWebText, &[b"AA=A===="]), None);
    assert!(WebStatus::of(GrpcProtocol::Grpc).is_none());
}

proptest! {
    #[test]
    fn the_cut_does_not_matter(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4),
        code in 0_u8..17,
        cuts in prop::collection::vec(1_usize..9, 1..40),
        text in any::<bool>(),
    ) {
        let mut body: Vec<u8> = messages.iter().flat_map(|message| frame(0, message)).collect();
        body.extend(frame(0x80, format!("grpc-status: {code}\r\n").as_bytes()));
        let (protocol, body) = if text {
            (GrpcProtocol::GrpcWebText, base64(&body))
        } else {
            (GrpcProtocol::GrpcWeb, body)
        };
        let mut reader = WebStatus::of(protocol).unwrap();
        let mut rest = &body[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, after) = rest.split_at((*cut).min(rest.len()));
            reader.read(&Bytes::copy_from_slice(chunk));
            rest = after;
        }
        prop_assert_eq!(reader.code(), Some(GrpcCode::ALL[usize::from(code)]));
    }

    #[test]
    fn no_body_upsets_it(body in prop::collection::vec(any::<u8>(), 0..200), text in any::<bool>()) {
        let protocol = if text { GrpcProtocol::GrpcWebText } else { GrpcProtocol::GrpcWeb };
        let mut reader = WebStatus::of(protocol).unwrap();
        reader.read(&Bytes::from(body));
    }
}
