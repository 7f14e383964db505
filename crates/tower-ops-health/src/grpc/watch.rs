use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::sleep;
use tonic::Status;

use crate::check::{LIVENESS, STARTUP};
use crate::grpc::health_server::HealthServer;
use crate::grpc::messages::{HealthCheckResponse, ServingStatus};

/// The statuses of one service: the present one, and then each that differs from the last.
pub(crate) struct Watch {
    statuses: Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>,
}

impl Stream for Watch {
    type Item = Result<HealthCheckResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.statuses.as_mut().poll_next(cx)
    }
}

struct Watcher {
    server: HealthServer,
    service: String,
    changed: watch::Receiver<u64>,
    /// Those that it has read.
    withdrawals: u64,
    sent: Option<ServingStatus>,
    /// It was opened after watches were closed.
    is_late: bool,
}

/// How long a watch stays open that was opened after watches were closed: clients open the next one
/// as soon as one ends.
const LATE: Duration = Duration::from_secs(1);

pub(crate) fn watch(server: HealthServer, service: String) -> Watch {
    let watcher = Watcher {
        changed: server.inner().changed.subscribe(),
        withdrawals: server.inner().flags().withdrawals,
        sent: None,
        is_late: server.inner().flags().closed,
        server,
        service,
    };
    let statuses = stream::unfold(watcher, |mut watcher| async {
        let status = watcher.next().await?;
        Some((Ok(status.into()), watcher))
    });
    Watch {
        statuses: Box::pin(statuses),
    }
}

impl Watcher {
    async fn next(&mut self) -> Option<ServingStatus> {
        loop {
            self.changed.mark_unchanged();
            let flags = self.server.inner().flags();
            let mut status = self.server.status(&self.service);
            if std::mem::replace(&mut self.withdrawals, flags.withdrawals) != flags.withdrawals {
                let is_own = [LIVENESS, STARTUP].contains(&&*self.service);
                // It may be ready again by now. The client has to know that it was not.
                if status == ServingStatus::Serving && !is_own {
                    status = ServingStatus::NotServing;
                }
            }
            if self.sent != Some(status) {
                self.sent = Some(status);
                return Some(status);
            }
            if flags.closed && self.server.status(&self.service) == status {
                if self.is_late {
                    sleep(LATE).await;
                }
                return None;
            }
            if self.server.status(&self.service) != status {
                continue;
            }
            if self.changed.changed().await.is_err() {
                return None;
            }
        }
    }
}
