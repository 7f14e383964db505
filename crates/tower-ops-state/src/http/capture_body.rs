//! A capture on its way to a client.

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tower_ops_core::http::AnswerBody;

use crate::fence::Pause;
use crate::record::{Outcome, Record};
use crate::shared::{Captured, Permit};

const CHUNK: usize = 64 * 1024;

/// As many chunks are made ahead of the client.
const AHEAD: usize = 2;

/// After so many chunks others have their turn on the thread: whoever compresses them
/// takes some milliseconds for each, and would never have to wait by itself.
const TURN: u8 = 4;

/// The body of an answer.
pub(crate) struct Delivery {
    kind: Kind,
}

enum Kind {
    Answer(AnswerBody),
    Capture(Stream),
}

struct Stream {
    chunks: mpsc::Receiver<Chunk>,
    left: u64,
    in_turn: u8,
    record: Record,
}

enum Chunk {
    More(Bytes),
    Last(Bytes, Receipt),
}

/// What happens when the last chunk is taken. Dropped instead, nothing was handed over:
/// without its last chunk an envelope is of no use to anybody.
struct Receipt {
    pause: Option<Pause>,
    _permit: Permit,
}

impl Receipt {
    fn sign(self) {
        if let Some(pause) = self.pause {
            pause.hand_over();
        }
    }
}

/// Serialises on a thread that may block, as fast as the client takes it.
pub(crate) fn deliver(captured: Captured, idle: Duration, record: Record) -> Delivery {
    let (sender, chunks) = mpsc::channel(AHEAD);
    let stream = Stream {
        chunks,
        left: captured.capture.size(),
        in_turn: 0,
        record: record.clone(),
    };
    let mut writer = ChunkWriter {
        filling: Vec::with_capacity(CHUNK),
        sender,
        handle: Handle::current(),
        idle,
        failure: None,
    };
    spawn_blocking(move || {
        let Captured {
            capture,
            pause,
            permit,
        } = captured;
        let receipt = Receipt {
            pause,
            _permit: permit,
        };
        // Serialising runs code of the application as well.
        let written = catch_unwind(AssertUnwindSafe(|| capture.write_to(&mut writer)));
        drop(capture);
        match written {
            Ok(Ok(())) => writer.finish(receipt),
            Ok(Err(_)) | Err(_) => writer.failure = writer.failure.or(Some(Failure::Writing)),
        }
        match writer.failure {
            Some(Failure::Writing) => record.end(Outcome::Failed),
            Some(Failure::Idle) => record.end(Outcome::TimedOut),
            // Gone: it ends as cancelled when nobody has the record any more.
            Some(Failure::Gone) | None => {}
        }
    });
    Delivery {
        kind: Kind::Capture(stream),
    }
}

struct ChunkWriter {
    filling: Vec<u8>,
    sender: mpsc::Sender<Chunk>,
    handle: Handle,
    idle: Duration,
    failure: Option<Failure>,
}

#[derive(Clone, Copy)]
enum Failure {
    Writing,
    Idle,
    Gone,
}

impl ChunkWriter {
    fn send(&mut self, chunk: Chunk) -> io::Result<()> {
        let sending = self.sender.send(chunk);
        let sent = self
            .handle
            .block_on(async { timeout(self.idle, sending).await });
        let failure = match sent {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(_)) => Failure::Gone,
            Err(_) => Failure::Idle,
        };
        self.failure = Some(failure);
        Err(io::Error::other("the client takes no more"))
    }

    fn finish(&mut self, receipt: Receipt) {
        let last = std::mem::take(&mut self.filling).into();
        // What becomes of it stands in `failure`.
        let _ = self.send(Chunk::Last(last, receipt));
    }
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Only when there is more: the last chunk has to be known as the last.
        if self.filling.len() == CHUNK {
            let full = std::mem::replace(&mut self.filling, Vec::with_capacity(CHUNK));
            self.send(Chunk::More(full.into()))?;
        }
        let count = bytes.len().min(CHUNK - self.filling.len());
        self.filling.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Delivery {
    pub(crate) const fn answer(body: AnswerBody) -> Self {
        Self {
            kind: Kind::Answer(body),
        }
    }

    pub(crate) fn empty() -> Self {
        Self::answer(AnswerBody::default())
    }
}

impl Body for Delivery {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut self.kind {
            Kind::Answer(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|never| match never {}),
            Kind::Capture(stream) => stream.poll_next(cx).map_ok(Frame::data),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Answer(body) => body.is_end_stream(),
            Kind::Capture(stream) => stream.left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Answer(body) => body.size_hint(),
            Kind::Capture(stream) => SizeHint::with_exact(stream.left),
        }
    }
}

impl Stream {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        if self.in_turn == TURN {
            self.in_turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.in_turn += 1;
        let chunk = match ready!(self.chunks.poll_recv(cx)) {
            Some(Chunk::More(chunk)) => chunk,
            Some(Chunk::Last(chunk, receipt)) => {
                // Before it is out of our hands: from then on the other side may have it.
                receipt.sign();
                self.record.end(Outcome::Ok);
                chunk
            }
            None => {
                self.left = 0;
                let error = io::Error::other("the capture could not be written to its end");
                return Poll::Ready(Some(Err(error)));
            }
        };
        let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        self.left = self.left.saturating_sub(length);
        Poll::Ready(Some(Ok(chunk)))
    }
}
