use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::sleep;
use tonic::Status;

use crate::check::{LIVENESS, STARTUP};
use crate::grpc::messages::{HealthCheckResponse, ServingStatus};
use crate::grpc::server::HealthServer;

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
    /// As many as it has said.
    withdrawals: u64,
    told: Option<ServingStatus>,
    /// Whether it was opened when it should have ended already.
    is_late: bool,
}

/// How long a watch stays open that comes when no more are wanted: clients open the next one at
/// once when one ends.
const LATE: Duration = Duration::from_secs(1);

pub(crate) fn watch(server: HealthServer, service: String) -> Watch {
    let watcher = Watcher {
        changed: server.shared().changed.subscribe(),
        withdrawals: server.shared().flags().withdrawals,
        told: None,
        is_late: server.shared().flags().closed,
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
            let flags = self.server.shared().flags();
            let mut status = self.server.status(&self.service);
            if std::mem::replace(&mut self.withdrawals, flags.withdrawals) != flags.withdrawals {
                let is_own = [LIVENESS, STARTUP].contains(&&*self.service);
                // It may be ready again by now; that it was not has to be said.
                if status == ServingStatus::Serving && !is_own {
                    status = ServingStatus::NotServing;
                }
            }
            if self.told != Some(status) {
                self.told = Some(status);
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
