use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::time::sleep;
use tonic::{Code, Request, Response, Status};

use crate::playground::echo_server::Echo;
use crate::playground::{EchoReply, EchoRequest, FailRequest, SleepRequest, StreamRequest};

/// The most messages a client may ask for.
const MAX_MESSAGES: u32 = 1_000_000;
/// The longest wait: an hour.
const MAX_DELAY_MS: u32 = 3_600_000;
/// The longest status message in bytes: it travels in a header.
const MAX_STATUS_MESSAGE: usize = 1024;

/// Every way a gRPC call can end.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "there is nothing to add")]
pub struct Playground;

#[tonic::async_trait]
impl Echo for Playground {
    async fn unary(&self, request: Request<EchoRequest>) -> Result<Response<EchoReply>, Status> {
        let EchoRequest { message } = request.into_inner();
        Ok(Response::new(EchoReply { message }))
    }

    type ServerStreamStream = BoxStream<'static, Result<EchoReply, Status>>;

    async fn server_stream(
        &self,
        request: Request<StreamRequest>,
    ) -> Result<Response<Self::ServerStreamStream>, Status> {
        let StreamRequest {
            message,
            count,
            delay_ms,
        } = request.into_inner();
        at_most("count", count, MAX_MESSAGES)?;
        at_most("delay_ms", delay_ms, MAX_DELAY_MS)?;

        let delay = Duration::from_millis(delay_ms.into());
        let replies = stream::iter(0..count).then(move |number| {
            let message = message.clone();
            async move {
                if number > 0 && !delay.is_zero() {
                    sleep(delay).await;
                }
                Ok(EchoReply { message })
            }
        });
        Ok(Response::new(replies.boxed()))
    }

    type FailStream = BoxStream<'static, Result<EchoReply, Status>>;

    async fn fail(
        &self,
        request: Request<FailRequest>,
    ) -> Result<Response<Self::FailStream>, Status> {
        let FailRequest {
            messages,
            code,
            message,
        } = request.into_inner();
        at_most("messages", messages, MAX_MESSAGES)?;
        if !(1..=16).contains(&code) {
            let why = format!("code is {code}: Fail needs a gRPC status from 1 to 16");
            return Err(Status::invalid_argument(why));
        }
        if message.len() > MAX_STATUS_MESSAGE {
            let why = format!(
                "message has {} bytes: at most {MAX_STATUS_MESSAGE}",
                message.len()
            );
            return Err(Status::invalid_argument(why));
        }

        let replies = stream::iter(0..messages).map(|number| {
            Ok(EchoReply {
                message: number.to_string(),
            })
        });
        let failure = Status::new(Code::from_i32(code), message);
        let failure = stream::once(async { Err(failure) });
        Ok(Response::new(replies.chain(failure).boxed()))
    }

    async fn sleep(&self, request: Request<SleepRequest>) -> Result<Response<EchoReply>, Status> {
        let SleepRequest { ms, message } = request.into_inner();
        at_most("ms", ms, MAX_DELAY_MS)?;
        sleep(Duration::from_millis(ms.into())).await;
        Ok(Response::new(EchoReply { message }))
    }

    async fn panic(&self, _: Request<EchoRequest>) -> Result<Response<EchoReply>, Status> {
        panic!("the playground was asked to panic in a gRPC method");
    }
}

fn at_most(what: &str, value: u32, limit: u32) -> Result<(), Status> {
    if value > limit {
        let why = format!("{what} is {value}: at most {limit}");
        return Err(Status::invalid_argument(why));
    }
    Ok(())
}
