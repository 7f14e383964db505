use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};

use crate::attempt::Attempt;
use crate::capture::Capture;
use crate::envelope::Head;
use crate::error::{ErrorKind, StateError};
use crate::fence::{Fence, Pause, Purpose};
use crate::guarded::{Guarded, panic_text};
use crate::job::RestoreJob;
use crate::member::Member;
use crate::metrics::StateMetrics;
use crate::record::{Operation, Record, Who};
use crate::restore::{Restore, Restored};
use crate::seal::SigningKey;
use crate::segments::Segments;
use crate::token::Tokens;
use crate::worker;

pub(crate) type Condition = Arc<dyn Fn() -> bool + Send + Sync>;
pub(crate) type Callback = Arc<dyn Fn() + Send + Sync>;

/// What all handles of one state share.
pub(crate) struct Shared {
    pub(crate) application: String,
    pub(crate) application_version: String,
    pub(crate) instance: String,
    pub(crate) members: Vec<Box<dyn Member>>,
    pub(crate) tokens: Tokens,
    pub(crate) token_variable: String,
    pub(crate) signing_key: Option<SigningKey>,
    pub(crate) restore_when: Option<Condition>,
    pub(crate) on_restored: Vec<Callback>,
    pub(crate) on_inconsistent: Vec<Callback>,
    pub(crate) allow_missing: bool,
    pub(crate) allow_unknown: bool,
    pub(crate) limits: Limits,
    pub(crate) file: Option<PathBuf>,
    pub(crate) fence: Fence,
    pub(crate) flight: Arc<Semaphore>,
    pub(crate) metrics: Arc<StateMetrics>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) max_size: usize,
    pub(crate) capture_timeout: Duration,
    pub(crate) restore_timeout: Duration,
    pub(crate) idle_body_timeout: Duration,
}

/// The right to capture or restore, which only one has at a time.
pub(crate) type Permit = OwnedSemaphorePermit;

/// A capture, and what has to live as long as it is being delivered.
pub(crate) struct Captured {
    pub(crate) capture: Capture,
    pub(crate) pause: Option<Pause>,
    pub(crate) permit: Permit,
}

impl Shared {
    pub(crate) fn member(&self, name: &str) -> Option<&dyn Member> {
        let member = self.members.iter().find(|member| member.name() == name)?;
        Some(&**member)
    }

    pub(crate) fn record(&self, operation: Operation, who: Who) -> Record {
        Record::new(&self.metrics, operation, who)
    }

    /// Does not wait for its turn.
    pub(crate) fn permit(&self) -> Result<Permit, StateError> {
        let permit = Arc::clone(&self.flight).try_acquire_owned();
        permit.map_err(|_| StateError::busy())
    }

    pub(crate) fn check_generation(&self, expected: Option<u64>) -> Result<(), StateError> {
        let generation = self.fence.generation();
        if expected.is_none_or(|expected| expected == generation) {
            return Ok(());
        }
        let message = format!("the generation here is {generation}");
        Err(StateError::new(ErrorKind::Generation, message))
    }

    /// Captures off the runtime. Dropped, it stops as soon as the participant that is
    /// at work lets it.
    pub(crate) async fn capture(
        self: &Arc<Self>,
        permit: Permit,
        hand_over: bool,
    ) -> Result<Captured, StateError> {
        self.check_members()?;
        let attempt = Attempt::default();
        let deadline = Instant::now() + self.limits.capture_timeout;
        let _abandon = attempt.abandon_on_drop();
        let (shared, job, handle) = (Arc::clone(self), attempt.clone(), Handle::current());
        let running = worker::spawn(move || {
            let (capture, pause) = shared.capture_here(&job, hand_over, deadline, handle)?;
            Ok(Captured {
                capture,
                pause,
                permit,
            })
        })?;
        tokio::select! {
            biased;
            captured = running => captured.map_err(StateError::internal)?,
            () = sleep_until(deadline) => Err(StateError::new(
                ErrorKind::TimedOut,
                format!("the capture took longer than {:?}", self.limits.capture_timeout),
            )),
        }
    }

    fn capture_here(
        &self,
        attempt: &Attempt,
        hand_over: bool,
        deadline: Instant,
        handle: Handle,
    ) -> Result<(Capture, Option<Pause>), StateError> {
        let guarded = Guarded::new(handle, deadline);
        let pause = if hand_over {
            let late = "the writes that had begun did not end in time; nothing was handed over";
            Some(guarded.wait(late, self.fence.pause(Purpose::HandOver))?)
        } else {
            None
        };
        let mut taken = Vec::with_capacity(self.members.len());
        for member in &self.members {
            let data = guarded.call(member.name(), || member.capture())?;
            taken.push((member.name(), member.version(), data));
        }
        let given = u64::from(hand_over);
        let head = Head {
            application: self.application.clone(),
            application_version: self.application_version.clone(),
            instance: self.instance.clone(),
            generation: self.fence.generation().saturating_add(given),
            created: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            participants: Vec::with_capacity(taken.len()),
        };
        let (key, limit) = (self.signing_key.as_ref(), self.limits.max_size);
        // Serialising runs code of the application as well.
        let measured = catch_unwind(AssertUnwindSafe(|| {
            Capture::measure(head, taken, key, limit, attempt)
        }));
        let capture = measured.unwrap_or_else(|panic| {
            let text = format!("serialising panicked: {}", panic_text(&*panic));
            Err(StateError::new(ErrorKind::Refused, text))
        })?;
        Ok((capture, pause))
    }

    pub(crate) fn check_members(&self) -> Result<(), StateError> {
        if self.members.is_empty() {
            return Err(StateError::new(
                ErrorKind::Unavailable,
                "no participant is registered: there is nothing to capture or restore",
            ));
        }
        Ok(())
    }

    /// What has to be so before a body is even read.
    pub(crate) fn check_restore(&self, how: &Restore) -> Result<(), StateError> {
        self.check_members()?;
        self.check_generation(how.expected_generation)
    }

    /// Whether it may be restored right now, unless nobody ever said when.
    pub(crate) fn check_time(&self, how: Restore) -> Result<(), StateError> {
        if how.dry_run || how.force || self.is_time_to_restore() != Some(false) {
            return Ok(());
        }
        Err(StateError::new(
            ErrorKind::NotNow,
            "this instance serves: restore before it is ready or while it is drained, or by force",
        ))
    }

    pub(crate) const fn says_when_to_restore(&self) -> bool {
        self.restore_when.is_some()
    }

    /// As far as anybody said.
    fn is_time_to_restore(&self) -> Option<bool> {
        let condition = self.restore_when.as_ref()?;
        // A condition that cannot tell does not allow.
        Some(catch_unwind(AssertUnwindSafe(|| condition())).unwrap_or(false))
    }

    /// Restores off the runtime. Dropped before the first commit, it changes nothing;
    /// from then on it goes on to the end.
    pub(crate) async fn restore(
        self: &Arc<Self>,
        permit: Permit,
        envelope: Segments,
        how: Restore,
        deadline: Instant,
        record: &Record,
    ) -> Result<Restored, StateError> {
        let attempt = Attempt::default();
        let _abandon = attempt.abandon_on_drop();
        let job = RestoreJob {
            shared: Arc::clone(self),
            how,
            attempt: attempt.clone(),
            deadline,
            handle: Handle::current(),
            record: record.clone(),
        };
        let mut running = worker::spawn(move || {
            let result = job.run(envelope);
            // Nobody may be there any more to write it down.
            if !job.attempt.is_abandoned() {
                job.record.end_with(&result);
            }
            drop(permit);
            result
        })?;
        let allowed = self.limits.restore_timeout;
        let late = |text: &str| {
            let text = format!("restoring took longer than {allowed:?}; {text}");
            Err(StateError::new(ErrorKind::TimedOut, text))
        };
        tokio::select! {
            biased;
            result = &mut running => return result.map_err(StateError::internal)?,
            () = sleep_until(deadline) => {}
        }
        if attempt.abandon() {
            return late("nothing was changed");
        }
        // It ends or is rolled back, each within that time, unless a participant blocks.
        match timeout(allowed, running).await {
            Ok(result) => result.map_err(StateError::internal)?,
            Err(_) => late("a participant is still at it, and how it ends is not known"),
        }
    }

    /// Tells whoever wants to know that this instance has its state.
    pub(crate) fn restored(&self) {
        call_all(&self.on_restored);
    }

    /// Tells whoever wants to know that this instance has parts of two states.
    pub(crate) fn inconsistent(&self) {
        tracing::error!("a rollback failed: participants may have parts of two states");
        call_all(&self.on_inconsistent);
    }
}

fn call_all(callbacks: &[Callback]) {
    for callback in callbacks {
        // It comes after the fact, and cannot undo it.
        let _ = catch_unwind(AssertUnwindSafe(|| callback()));
    }
}
