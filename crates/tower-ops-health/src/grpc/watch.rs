use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_util::stream;
use tokio::sync::watch;
use tonic::Status;

use crate::check::{LIVENESS, STARTUP};
use crate::grpc::messages::{HealthCheckResponse, ServingStatus};
use crate::grpc::server::serving;
use crate::shared::Shared;

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
    shared: Arc<Shared>,
    service: String,
    changed: watch::Receiver<u64>,
    /// As many as there were when it began: one more is its end.
    withdrawals: u64,
    told: Option<ServingStatus>,
    ends: bool,
}

pub(crate) fn watch(shared: Arc<Shared>, service: String) -> Watch {
    let watcher = Watcher {
        changed: shared.changed.subscribe(),
        withdrawals: shared.flags().withdrawals,
        told: None,
        ends: false,
        shared,
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
            if self.ends {
                return None;
            }
            self.changed.mark_unchanged();
            let flags = self.shared.flags();
            let withdrawn = flags.withdrawals != self.withdrawals || flags.draining;
            let mut status =
                serving(&self.shared, &self.service).unwrap_or(ServingStatus::ServiceUnknown);
            if withdrawn {
                self.ends = true;
                let is_own = [LIVENESS, STARTUP].contains(&&*self.service);
                // It may be ready again by now; that it was not is what ends the watch.
                if status == ServingStatus::Serving && !is_own {
                    status = ServingStatus::NotServing;
                }
            }
            if self.told != Some(status) {
                self.told = Some(status);
                return Some(status);
            }
            if !self.ends && self.changed.changed().await.is_err() {
                return None;
            }
        }
    }
}
