use http::StatusCode;
use tower_ops_observe::{Class, GrpcCode, Outcome, Phase};

use crate::record::kind::Kind;

/// Every outcome of tracked work, in the order of its definition: those of an exchange, and that of
/// a task which was dropped.
pub(crate) const OUTCOMES: [Outcome; Outcome::ALL.len() + 1] = {
    let mut outcomes = [Outcome::Cancelled; Outcome::ALL.len() + 1];
    let mut at = 0;
    while at < Outcome::ALL.len() {
        outcomes[at] = Outcome::ALL[at];
        at += 1;
    }
    outcomes
};

/// How far a piece of work has got. It is stored as one word, so a reader sees every step whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) kind: Kind,
    pub(crate) phase: Phase,
    pub(crate) status: Option<StatusCode>,
    pub(crate) end: Option<End>,
}

/// How a piece of work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) outcome: Outcome,
    pub(crate) class: Class,
    pub(crate) grpc: Option<GrpcCode>,
}

// The word, from the lowest bit: kind, phase, status, outcome, class, gRPC code. The last three are
// stored plus one, and 0 is none.
const PHASE: u32 = 2;
const STATUS: u32 = 3;
const OUTCOME: u32 = 13;
const CLASS: u32 = 17;
const GRPC: u32 = 20;

impl Progress {
    pub(crate) const fn new(kind: Kind) -> Self {
        Self {
            kind,
            phase: Phase::Head,
            status: None,
            end: None,
        }
    }

    pub(crate) fn pack(self) -> u32 {
        let status = self.status.map_or(0, |status| u32::from(status.as_u16()));
        let end = self.end.map_or(0, |end| {
            (end.outcome as u32 + 1) << OUTCOME
                | (end.class as u32 + 1) << CLASS
                | end.grpc.map_or(0, |code| code as u32 + 1) << GRPC
        });
        self.kind as u32 | u32::from(self.phase == Phase::Body) << PHASE | status << STATUS | end
    }

    pub(crate) fn unpack(word: u32) -> Self {
        let part = |at: u32, bits: u32| (word >> at & ((1 << bits) - 1)) as usize;
        let from_one = |at, bits| part(at, bits).checked_sub(1);
        let outcome = from_one(OUTCOME, CLASS - OUTCOME).map(|at| OUTCOMES[at]);
        let class = from_one(CLASS, GRPC - CLASS).map(|at| Class::ALL[at]);
        #[expect(clippy::cast_possible_truncation, reason = "it has ten bits")]
        let status = part(STATUS, OUTCOME - STATUS) as u16;
        Self {
            kind: Kind::ALL[part(0, PHASE)],
            phase: if part(PHASE, 1) == 1 {
                Phase::Body
            } else {
                Phase::Head
            },
            status: StatusCode::from_u16(status).ok(),
            end: outcome.zip(class).map(|(outcome, class)| End {
                outcome,
                class,
                grpc: from_one(GRPC, 5).map(|at| GrpcCode::ALL[at]),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_progress_comes_out_as_it_went_in() {
        let statuses = [None, Some(100), Some(200), Some(999)]
            .map(|status| status.map(|status: u16| StatusCode::from_u16(status).unwrap()));
        let codes = || std::iter::once(None).chain(GrpcCode::ALL.into_iter().map(Some));
        let ends = || {
            OUTCOMES.into_iter().flat_map(move |outcome| {
                Class::ALL.into_iter().flat_map(move |class| {
                    codes().map(move |grpc| {
                        Some(End {
                            outcome,
                            class,
                            grpc,
                        })
                    })
                })
            })
        };
        for kind in Kind::ALL {
            for phase in [Phase::Head, Phase::Body] {
                for status in statuses {
                    for end in std::iter::once(None).chain(ends()) {
                        let progress = Progress {
                            kind,
                            phase,
                            status,
                            end,
                        };
                        assert_eq!(Progress::unpack(progress.pack()), progress);
                    }
                }
            }
        }
    }
}
