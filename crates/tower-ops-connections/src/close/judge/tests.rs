use super::*;
use crate::Connections;
use crate::close::state::State;

const IDLE: u64 = 300;
const HEADER: u64 = 30;
const FIRST_BYTE: u64 = 30;
const STALL: u64 = 20;
const GRACE: u64 = 10;

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn limits() -> Limits {
    let builder = Connections::builder().stall_timeout(at(STALL));
    let connections = builder.build().unwrap();
    connections.shared.limits.clone()
}

/// The state after these transitions.
fn state(change: impl FnOnce(&State)) -> StateWord {
    let state = State::default();
    change(&state);
    state.load()
}

/// HTTP/1 with a service, opened and idle since second 1.
fn http1() -> View {
    View {
        state: state(|_| ()),
        protocol: Protocol::Http1,
        served: true,
        opaque: false,
        opened: at(1),
        max_age: None,
        silent: false,
        head_begun: None,
        idle_since: at(1),
        last_byte: None,
        closing_since: Duration::ZERO,
        write_blocked: false,
        stalled: false,
        waits: [None; 2],
        http2: None,
        part: 0,
    }
}

fn streams(open: u32) -> Http2View {
    Http2View {
        open,
        unanswered: 0,
        moved: at(1),
        blocked_since: None,
        tunnels: false,
    }
}

fn http2(http2: Http2View) -> View {
    View {
        protocol: Protocol::Http2,
        http2: Some(http2),
        ..http1()
    }
}

fn untracked() -> View {
    View {
        served: false,
        last_byte: Some(at(1)),
        ..http1()
    }
}

fn unknown() -> View {
    View {
        protocol: Protocol::Unknown,
        silent: true,
        ..http1()
    }
}

fn upgraded() -> View {
    View {
        protocol: Protocol::Upgraded,
        last_byte: Some(at(1)),
        ..http1()
    }
}

/// A close for that reason was requested in second 100; the last exchange ended in second 50.
fn closing(view: View, reason: CloseReason, in_flight: u32) -> View {
    View {
        state: state(|state| {
            for _ in 0..in_flight {
                state.begin();
            }
            state.close(reason);
        }),
        closing_since: at(100),
        idle_since: at(50),
        ..view
    }
}

fn busy(view: View) -> View {
    View {
        state: state(|state| {
            state.begin();
        }),
        ..view
    }
}

/// What is judged one second before `when` and at `when`.
#[derive(Debug)]
struct Row(&'static str, View, u64, Verdict);

fn check(limits: &Limits, rows: impl IntoIterator<Item = Row>) {
    for Row(name, view, when, expected) in rows {
        assert_eq!(limits.judge(&view, at(when)), expected, "{name}");
        let before = limits.judge(&view, at(when - 1));
        if expected == Verdict::Leave || expected == Verdict::Untracked {
            assert_eq!(before, expected, "{name}, before");
        } else {
            let waits = [Verdict::Leave, Verdict::Untracked];
            assert!(waits.contains(&before), "{name}: {before:?} too early");
            let look = limits.next_look(&view, at(when - 1));
            assert!(look <= at(when), "{name}: the next look is too late");
        }
    }
}

const LONG: u64 = 1_000_000;

#[test]
fn open_connections() {
    use CloseReason::{FirstByteTimeout, HeaderTimeout, Idle, MaxAge};
    use Verdict::{Close, CloseIdle, Leave, LookAtStreams, Untracked};

    let head = |view| View {
        head_begun: Some(at(10)),
        ..view
    };
    let blocked = |view| View {
        write_blocked: true,
        ..view
    };
    let aged = |view| View {
        max_age: Some(at(60)),
        ..view
    };
    let rows = [
        Row("idle", http1(), 1 + IDLE, CloseIdle),
        Row("busy", busy(http1()), LONG, Leave),
        Row("idle, unwritten", blocked(http1()), LONG, Leave),
        Row("head", head(http1()), 10 + HEADER, Close(HeaderTimeout)),
        Row("silent", unknown(), 1 + FIRST_BYTE, Close(FirstByteTimeout)),
        Row("old", aged(http1()), 61, Close(MaxAge)),
        Row("old and busy", aged(busy(http1())), 61, Close(MaxAge)),
        Row("untracked, quiet", untracked(), 1 + IDLE, CloseIdle),
        Row(
            "untracked, unwritten",
            blocked(untracked()),
            LONG,
            Untracked,
        ),
        // It may be a body.
        Row("untracked, half a head", head(untracked()), 100, Untracked),
        Row(
            "TLS hello",
            View {
                opaque: true,
                ..head(untracked())
            },
            10 + HEADER,
            Close(HeaderTimeout),
        ),
        Row("WebSocket, quiet", upgraded(), 1 + IDLE, Close(Idle)),
        Row("WebSocket, busy guard", busy(upgraded()), LONG, Leave),
        Row("HTTP/2, no stream", http2(streams(0)), 1 + IDLE, CloseIdle),
        Row(
            "HTTP/2, quiet stream",
            http2(streams(1)),
            1 + IDLE,
            CloseIdle,
        ),
        Row(
            "HTTP/2, half a head",
            head(http2(streams(0))),
            10 + HEADER,
            Close(HeaderTimeout),
        ),
        Row(
            "HTTP/2, handler at work",
            http2(Http2View {
                unanswered: 1,
                ..streams(1)
            }),
            LONG,
            Leave,
        ),
        Row(
            "HTTP/2, moving stream",
            http2(Http2View {
                moved: at(200),
                ..streams(1)
            }),
            200 + IDLE,
            CloseIdle,
        ),
        Row(
            "HTTP/2, closed window",
            busy(http2(Http2View {
                blocked_since: Some(at(5)),
                ..streams(1)
            })),
            5 + STALL,
            LookAtStreams,
        ),
    ];
    check(&limits(), rows);
}

#[test]
fn closing_connections() {
    use CloseReason::{Drain, Manual, MaxAge};
    use Verdict::{Force, ForceIdle, Leave, LookAtStreams};

    let forced = View {
        state: state(|state| {
            state.close(Drain);
            state.force();
        }),
        ..closing(http1(), Drain, 0)
    };
    let unwritten = |reason| View {
        write_blocked: true,
        ..closing(http1(), reason, 0)
    };
    let rows = [
        Row("idle", closing(http1(), MaxAge, 0), 100 + GRACE, ForceIdle),
        Row("in flight", closing(http1(), Drain, 1), LONG, Leave),
        Row("by hand", closing(http1(), Manual, 1), 100 + GRACE, Force),
        Row("forced", forced, LONG, Leave),
        Row("unwritten", unwritten(Drain), LONG, Leave),
        Row(
            "unwritten, by hand",
            unwritten(Manual),
            100 + GRACE,
            ForceIdle,
        ),
        // Its last response may have gone out without `Connection: close`.
        Row(
            "HTTP/1, an exchange ended later",
            View {
                idle_since: at(200),
                ..closing(http1(), Drain, 0)
            },
            200 + GRACE,
            ForceIdle,
        ),
        Row(
            "HTTP/2, an exchange ended later",
            View {
                idle_since: at(105),
                ..closing(http2(streams(0)), Drain, 0)
            },
            100 + GRACE,
            ForceIdle,
        ),
        Row(
            "HTTP/2, closed window",
            closing(
                http2(Http2View {
                    blocked_since: Some(at(101)),
                    ..streams(1)
                }),
                Drain,
                1,
            ),
            101 + STALL,
            LookAtStreams,
        ),
    ];
    check(&limits(), rows);
}

#[test]
fn a_stall_ends_what_is_in_flight() {
    let stalled = |view| View {
        stalled: true,
        ..view
    };
    let limits = limits();
    let verdict = limits.judge(&stalled(busy(http1())), at(100));
    assert_eq!(verdict, Verdict::Close(CloseReason::Stalled));
    let closing = closing(http1(), CloseReason::Drain, 1);
    assert_eq!(limits.judge(&stalled(closing), at(100)), Verdict::Force);
}

#[test]
fn exempt_upgrades_are_never_idle() {
    let limits = Limits {
        upgraded: Upgraded::Exempt,
        ..limits()
    };
    let tunnel = Http2View {
        tunnels: true,
        ..streams(1)
    };
    let rows = [
        Row("WebSocket", upgraded(), LONG, Verdict::Leave),
        Row("over HTTP/2", http2(tunnel), LONG, Verdict::Leave),
        Row(
            "HTTP/2, no tunnel",
            http2(streams(1)),
            1 + IDLE,
            Verdict::CloseIdle,
        ),
    ];
    check(&limits, rows);
}

#[test]
fn limits_that_are_off_close_nothing() {
    let limits = Limits {
        first_byte: None,
        header: None,
        idle: None,
        stall: None,
        ..limits()
    };
    let half = View {
        head_begun: Some(at(1)),
        ..http1()
    };
    for view in [http1(), half, unknown(), upgraded(), http2(streams(1))] {
        assert_eq!(limits.judge(&view, at(LONG)), Verdict::Leave, "{view:?}");
    }
}

#[test]
fn the_next_look_is_never_later_than_the_grace_and_is_spread() {
    let limits = limits();
    for part in 0..64 {
        let view = View { part, ..http1() };
        // A close that is requested meanwhile has the grace, which is the shortest timeout.
        let look = limits.next_look(&view, at(10));
        assert!(
            (at(10 + GRACE / 2)..at(10 + GRACE)).contains(&look),
            "{look:?}"
        );
    }
    let closing = closing(http1(), CloseReason::Drain, 0);
    assert_eq!(limits.next_look(&closing, at(108)), at(110));
}
