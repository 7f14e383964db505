use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::AtomicU32;
use std::sync::mpsc;
use std::task::{Wake, Waker};
use std::thread;

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full};

use super::*;
use crate::Connection;
use crate::exchange::metered::MeteredData;
use crate::exchange::service::ResponseBody;
use crate::exchange::tests::{exchange, h2, registration};

/// Chunks without an end, made when they are polled.
struct Endless(usize);

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(vec![0; self.0].into()))))
    }
}

#[derive(Default)]
struct Woken(AtomicU32);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A stream's body, what the transport holds of it, and its task.
struct Stream<B> {
    body: Pin<Box<ResponseBody<B>>>,
    held: VecDeque<MeteredData<Bytes>>,
    woken: Arc<Woken>,
}

impl<B: Body<Data = Bytes, Error = Infallible>> Stream<B> {
    async fn open(connection: &Connection, body: B) -> Self {
        Self {
            body: h2(connection, body).await,
            held: VecDeque::new(),
            woken: Arc::default(),
        }
    }

    /// Takes one frame, if it may.
    fn take(&mut self) -> bool {
        let waker = Waker::from(Arc::clone(&self.woken));
        match self
            .body
            .as_mut()
            .poll_frame(&mut Context::from_waker(&waker))
        {
            Poll::Ready(Some(Ok(frame))) => {
                self.held.push_back(frame.into_data().unwrap());
                true
            }
            Poll::Ready(_) => panic!("it has no end"),
            Poll::Pending => false,
        }
    }

    fn fill(&mut self) -> usize {
        let mut taken = 0;
        while self.take() {
            taken += 1;
        }
        taken
    }

    fn was_woken(&self) -> bool {
        self.woken.0.swap(0, Ordering::SeqCst) > 0
    }
}

#[tokio::test]
async fn one_stream_is_paused_at_its_bound_and_goes_on_at_half_of_it() {
    let registration = registration();
    let connection = &registration.connection;
    for size in [1, 10, 100, 16 * 1024, 64 * 1024, 1024 * 1024] {
        let mut stream = Stream::open(connection, Endless(size)).await;
        let frames = stream.fill();
        let mut left = frames * (size + FRAME);
        assert!(left <= STREAM.max(size + FRAME), "{size}: {left} are held");
        assert!(left + size + FRAME > STREAM, "{size}: only {left} are held");
        while !stream.was_woken() {
            assert!(left >= STREAM / 2, "{size}: not woken at {left}");
            stream.held.pop_front();
            left -= size + FRAME;
        }
        assert!(left < STREAM / 2, "{size}: woken at {left}");
        assert!(stream.take(), "{size}");
        drop(stream);
        assert_eq!(connection.record.meter().held(), 0);
    }
}

#[tokio::test]
async fn many_unread_streams_hold_no_more_than_the_bound_and_a_chunk() {
    for size in [1, 10, 100, 1_000, 16 * 1024, 64 * 1024, 1024 * 1024] {
        let registration = registration();
        let connection = &registration.connection;
        let mut streams = Vec::new();
        for _ in 0..200 {
            streams.push(Stream::open(connection, Endless(size)).await);
        }
        // Again and again, in any order, as wake-ups come.
        for _ in 0..3 {
            for stream in &mut streams {
                stream.fill();
            }
        }
        let held = connection.record.meter().held();
        assert!(held < CONNECTION + size + FRAME, "{size}: {held}");
        if size <= 100 {
            assert!(held < CONNECTION, "{size}: nothing left for others");
            let mut late = Stream::open(connection, Endless(size)).await;
            assert!(late.take(), "{size}: one that comes later");
        }
        drop(streams);
        assert_eq!(connection.record.meter().held(), 0);
    }
}

#[tokio::test]
async fn one_unread_stream_does_not_stop_its_neighbours() {
    let registration = registration();
    let connection = &registration.connection;
    let mut unread = Stream::open(connection, Endless(16 * 1024)).await;
    unread.fill();
    let mut read = Stream::open(connection, Endless(16 * 1024)).await;
    for _ in 0..1_000 {
        assert!(read.take());
        read.held.pop_front();
    }
}

#[tokio::test]
async fn streams_go_on_in_the_order_in_which_they_came() {
    let registration = registration();
    let connection = &registration.connection;
    let mut large = Stream::open(connection, Endless(CONNECTION)).await;
    assert_eq!(large.fill(), 1);
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let mut stream = Stream::open(connection, Endless(CONNECTION)).await;
        assert!(!stream.take());
        waiting.push(stream);
    }
    large.held.clear();
    for index in 0..4 {
        assert!(waiting[index].was_woken());
        if index < 3 {
            assert!(!waiting[index + 1].was_woken());
            assert!(!waiting[index + 1].take(), "it is not its turn");
        }
        assert!(waiting[index].take());
        waiting[index].held.clear();
    }
}

#[tokio::test]
async fn who_gives_up_its_turn_passes_it_on() {
    let registration = registration();
    let connection = &registration.connection;
    let mut large = Stream::open(connection, Endless(CONNECTION)).await;
    large.fill();
    let mut first = Stream::open(connection, Endless(1)).await;
    let mut second = Stream::open(connection, Endless(1)).await;
    assert!(!first.take() && !second.take());
    large.held.clear();
    assert!(first.was_woken() && !second.was_woken());
    drop(first);
    assert!(second.was_woken() && second.take());
}

#[tokio::test]
async fn a_body_without_a_frame_gives_its_room_back() {
    struct Silent;
    impl Body for Silent {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }
    let registration = registration();
    let connection = &registration.connection;
    let mut silent = Stream::open(connection, Silent).await;
    assert!(!silent.take());
    assert_eq!(connection.record.meter().held(), 0);
}

#[tokio::test]
async fn small_and_whole_bodies_are_not_held_back_by_others() {
    let registration = registration();
    let connection = &registration.connection;
    // Whole: it was there before it was polled, and counts as a paused stream.
    let mut large = h2(connection, Full::new(Bytes::from(vec![0; 8 * CONNECTION]))).await;
    let unread = large.frame().await.unwrap().unwrap();
    assert_eq!(connection.record.meter().held(), STREAM);
    let mut stream = Stream::open(connection, Endless(CONNECTION)).await;
    assert!(stream.take() && !stream.take());
    let mut small = h2(connection, Full::new(Bytes::from_static(b"hello"))).await;
    let read = small.frame().await.unwrap().unwrap();
    assert_eq!(read.into_data().unwrap().into_bytes(), "hello");
    drop((unread, stream));
    assert_eq!(connection.record.meter().held(), 0);
}

#[tokio::test]
async fn http1_is_not_metered() {
    let registration = registration();
    let connection = &registration.connection;
    let no_body = Empty::<Bytes>::new();
    let mut body = exchange(connection, Version::HTTP_11, Endless(CONNECTION), no_body).await;
    for _ in 0..10 {
        let frame = body.frame().await.unwrap().unwrap();
        let bytes = frame.into_data().unwrap().into_bytes();
        assert!(bytes.try_into_mut().is_ok(), "it is the body's own");
    }
    drop(body);
    assert_eq!(connection.in_flight(), 0);
}

/// No wake-up is lost, whatever meets whatever: every stream comes to its end.
#[test]
fn every_stream_comes_to_its_end_on_several_threads() {
    const STREAMS: usize = 60;
    const FRAMES: usize = 400;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(3)
        .enable_all()
        .build()
        .unwrap();
    let registration = registration();
    let connection = registration.connection.clone();
    let (transport, written) = mpsc::channel::<MeteredData<Bytes>>();
    // Writes what it is given, a little later.
    let writer = thread::spawn(move || {
        let mut held = VecDeque::new();
        for data in written {
            held.push_back(data);
            if held.len() > 7 {
                held.pop_front();
            }
        }
    });
    let sizes = [1, 100, 700, 20_000, 200_000, 700_000];
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for index in 0..STREAMS {
            let size = sizes[index % sizes.len()];
            let mut body = h2(&connection, Endless(size)).await;
            let transport = transport.clone();
            tasks.push(tokio::spawn(async move {
                // Some give up before.
                let frames = if index % 7 == 0 { FRAMES / 9 } else { FRAMES };
                for _ in 0..frames {
                    let frame = poll_fn(|cx| body.as_mut().poll_frame(cx)).await;
                    let data = frame.unwrap().unwrap().into_data().unwrap();
                    // The writer holds a few back: the last ones of all must not be
                    // what the others wait for.
                    if transport.send(data).is_err() {
                        return;
                    }
                    let flush = Bytes::new();
                    for _ in 0..8 {
                        let _ = transport.send(MeteredData::new(flush.clone(), None));
                    }
                }
            }));
        }
        drop(transport);
        for task in tasks {
            let done = tokio::time::timeout(std::time::Duration::from_secs(120), task);
            done.await.expect("a wake-up was lost").unwrap();
        }
    });
    writer.join().unwrap();
    assert_eq!(connection.record.meter().held(), 0);
    assert_eq!(connection.in_flight(), 0);
}

#[tokio::test]
async fn streams_that_are_not_read_do_not_stop_others_where_the_socket_takes_all() {
    for (size, unread) in [(768 * 1024, 1), (64 * 1024, 6)] {
        let registration = registration();
        let connection = &registration.connection;
        let mut held = Vec::new();
        for _ in 0..unread {
            let mut stream = Stream::open(connection, Endless(size)).await;
            stream.fill();
            held.push(stream);
        }
        let mut read = Stream::open(connection, Endless(size)).await;
        for _ in 0..10 {
            if !read.take() {
                read.was_woken();
                connection.record.note_flushed();
                assert!(read.was_woken() && read.take(), "{size}");
            }
            read.held.clear();
        }
        drop((held, read));
        assert_eq!(connection.record.meter().held(), 0);
    }
}

#[tokio::test]
async fn whoever_may_go_on_beyond_the_bound_has_one_of_its_own() {
    const SIZE: usize = 64 * 1024;
    let registration = registration();
    let connection = &registration.connection;
    let mut streams = Vec::new();
    for _ in 0..200 {
        streams.push(Stream::open(connection, Endless(SIZE)).await);
    }
    for _ in 0..200 {
        for stream in &mut streams {
            stream.take();
        }
        connection.record.note_flushed();
    }
    let held = connection.record.meter().held();
    assert!(held < MOST + SIZE + FRAME, "{held}");
}
