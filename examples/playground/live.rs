//! What goes on until the process drains.

use std::{convert::Infallible, time::Duration};

use axum::{
    Extension,
    extract::{
        WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket, close_code},
    },
    response::{
        Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures_util::stream::{self, Stream, StreamExt};
use tokio::time::sleep;
use tower_ops::lifecycle::DrainToken;

/// The largest WebSocket message that is echoed.
const MAX_MESSAGE: usize = 1024 * 1024;
/// How much of what a client does not read is kept before it is written.
const WRITE_BUFFER: usize = 64 * 1024;
/// How much is kept in all: answers to pings come on top of an echo.
const MAX_WRITE_BUFFER: usize = WRITE_BUFFER + 2 * MAX_MESSAGE;

type Tick = Result<Event, Infallible>;

/// Ends when the process drains: the client connects again, and somewhere else.
pub(crate) async fn events(
    Extension(drain): Extension<DrainToken>,
) -> Sse<impl Stream<Item = Tick>> {
    let events = stream::unfold(0_u64, |number| async move {
        if number > 0 {
            sleep(Duration::from_millis(100)).await;
        }
        let event = Event::default().id(number.to_string()).data("tick");
        Some((Ok(event), number + 1))
    });
    let events = events.take_until(drain.cancelled_owned());
    Sse::new(events).keep_alive(KeepAlive::default())
}

/// Says goodbye when the process drains.
pub(crate) async fn websocket(
    upgrade: WebSocketUpgrade,
    Extension(drain): Extension<DrainToken>,
) -> Response {
    upgrade
        .max_message_size(MAX_MESSAGE)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(MAX_WRITE_BUFFER)
        .on_upgrade(async move |mut socket: WebSocket| {
            // axum answers pings and closes by itself.
            while let Some(received) = drain.run_until_cancelled(socket.recv()).await {
                let Some(Ok(message)) = received else {
                    return;
                };
                if matches!(message, Message::Text(_) | Message::Binary(_))
                    && socket.send(message).await.is_err()
                {
                    return;
                }
            }
            let goodbye = CloseFrame {
                code: close_code::AWAY,
                reason: "the service stops".into(),
            };
            // A client that is gone has no need of it.
            let _ = socket.send(Message::Close(Some(goodbye))).await;
        })
}
