//! Running a command on a stream: decide, append, resolve the outcome.

use std::ops::RangeInclusive;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

use super::EventStore;
use super::aggregate::Aggregate;
use super::append::Appended;
use super::backend::Backend;
use super::client::WRITE_TIMEOUT;
use super::commit::Commit;
use super::error::{ExecuteError, StoreError};
use super::loaded::{Consistency, Loaded, Until};
use super::request::Request;
use super::stream::Stream;
use super::stream_id::{StreamId, Version};
use service_clock::Timestamp;

/// How many conflicts are tolerated.
const MAX_CONFLICTS: u32 = 40;
/// How many writes to one version may get no response, with no trace of them, before the outcome is reported as
/// unknown.
const MAX_UNANSWERED: u32 = 3;
/// Before the tail is read again, the wait is a random part of this many times the duration of the last write, tripled
/// for each further conflict up to [`BACKOFF_CAP`] ("full jitter": AWS Architecture Blog, "Exponential Backoff And
/// Jitter"). Writers conflict for as long as their writes last, so waits are measured in write durations.
const BACKOFF_WRITES: u32 = 10;
/// The assumed minimum and maximum duration of a write.
const WRITE_TIME: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_millis(20);
/// The growth of the wait. With 2, it grows so slowly that half as many writes again fail.
const BACKOFF_GROWTH: u32 = 3;
/// The longest wait, in multiples of the first.
const BACKOFF_CAP: u32 = 27;

/// A command that was run.
#[derive(Clone, Debug)]
pub struct Executed<A: Aggregate> {
    /// The version after the command: of its commit's last event.
    pub version: Version,
    /// The result of the command's commit.
    pub outcome: A::Outcome,
    /// How the command was resolved.
    pub resolution: Resolution,
    /// The stream as last read: at [`Executed::version`], or later for a repeated request.
    pub stream: Stream<A>,
}

/// How a command was resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// A commit of this run was stored.
    Stored,
    /// An earlier run of the same request had stored it.
    #[doc(alias = "idempotent_replay")]
    Replayed,
    /// The command changes nothing.
    Unchanged,
}

/// A command that was checked without storing.
#[derive(Debug)]
#[doc(alias = "dry_run")]
pub enum Examined<A: Aggregate, T> {
    /// An earlier run of the same request has stored it.
    Replayed(Box<Executed<A>>),
    /// It can be run on this stream; with the result of the check.
    Ready(Box<Loaded<A>>, T),
}

#[derive(Debug, thiserror::Error)]
#[error("the caller's deadline has passed")]
struct DeadlinePassed;

#[derive(Debug, thiserror::Error)]
#[error("the write got no response in time")]
struct NoResponse;

impl<A: Aggregate> EventStore<A> {
    /// Loads a stream and runs a command on it: [`EventStore::load`], then [`EventStore::execute`].
    ///
    /// # Errors
    /// See [`ExecuteError`].
    pub async fn run<R>(
        &self,
        id: &StreamId,
        request: &Request,
        decide: impl Fn(&A, Timestamp) -> Result<Vec<A::Event>, R>,
    ) -> Result<Executed<A>, ExecuteError<R>> {
        run(self, id, request, decide).await
    }

    /// Runs a command on a loaded stream. `decide` turns the state into events; it is called again after each conflict.
    ///
    /// `decide` gets the time at which the commit is recorded: the store's clock right before the write, or the time of
    /// the previous commit if that is later. So times never go backwards along a stream.
    ///
    /// Checks run in the order replay, `if_match`, `decide`. A rejection is re-evaluated on a consistent read before it
    /// is returned. Besides the load it costs one write, and one more per conflict.
    ///
    /// # Errors
    /// See [`ExecuteError`].
    pub async fn execute<R>(
        &self,
        loaded: Loaded<A>,
        request: &Request,
        decide: impl Fn(&A, Timestamp) -> Result<Vec<A::Event>, R>,
    ) -> Result<Executed<A>, ExecuteError<R>> {
        execute(self, loaded, request, decide).await
    }

    /// Checks a command as [`EventStore::execute`] would, but stores nothing: for commands that must call another
    /// service before they are decided.
    ///
    /// # Errors
    /// Those of [`EventStore::execute`] before anything is stored.
    pub async fn examine<R, T>(
        &self,
        loaded: Loaded<A>,
        request: &Request,
        check: impl Fn(&A) -> Result<T, R>,
    ) -> Result<Examined<A, T>, ExecuteError<R>> {
        examine(self, loaded, request, check).await
    }
}

pub(super) async fn run<A: Aggregate, R>(
    backend: &impl Backend<A>,
    id: &StreamId,
    request: &Request,
    decide: impl Fn(&A, Timestamp) -> Result<Vec<A::Event>, R>,
) -> Result<Executed<A>, ExecuteError<R>> {
    let loaded = load(backend, id, Consistency::Eventual, request.deadline).await?;
    execute(backend, loaded, request, decide).await
}

pub(super) async fn execute<A: Aggregate, R>(
    backend: &impl Backend<A>,
    loaded: Loaded<A>,
    request: &Request,
    decide: impl Fn(&A, Timestamp) -> Result<Vec<A::Event>, R>,
) -> Result<Executed<A>, ExecuteError<R>> {
    let Loaded { mut stream, mut consistency } = loaded;
    let mut conflicts = 0;
    // Our writes to the version after the head that got no response.
    let mut unanswered = 0;
    loop {
        if let Some(replayed) = replay(&stream, request)? {
            return Ok(replayed);
        }
        let (begun, now) = (Instant::now(), stream.not_before_head(backend.now()));
        let decision = decide_at_accepted_version(&stream, request, |state| decide(state, now));
        let events = match decision {
            Ok(events) if !events.is_empty() => events,
            rejected if consistency == Consistency::Strong => return rejected.map(|_| unchanged(stream)),
            _ => {
                Loaded { stream, consistency } =
                    load(backend, &stream.id, Consistency::Strong, request.deadline).await?;
                continue;
            }
        };
        let (commit, next) = stream.advance(events, request, now).map_err(StoreError::from)?;
        let commit = Commit { epoch: backend.epoch().cloned(), ..commit };
        if Instant::now() >= request.deadline && unanswered == 0 {
            return Err(StoreError::unavailable(DeadlinePassed).into());
        }
        let until = request.deadline.min(begun + WRITE_TIMEOUT);
        let appended = timeout_at(until, backend.append(&commit, &next))
            .await
            .unwrap_or_else(|_| Ok(Appended::Unknown(StoreError::unavailable(NoResponse))))?;
        let mut failure = None;
        match appended {
            Appended::Stored => return Ok(stored(next, &commit)),
            Appended::Conflict(found) => {
                if let Some(settled) = follow(&mut stream, [*found], request)? {
                    return Ok(settled);
                }
                unanswered = 0;
                conflicts += 1;
                metrics::counter!("EventStoreConflicts").increment(1);
                // The conflicting commit is at hand: the first retry needs neither a wait nor a read.
                if conflicts == 1 {
                    continue;
                }
                if conflicts > MAX_CONFLICTS || !back_off(conflicts - 1, begun.elapsed(), request.deadline).await {
                    return Err(ExecuteError::Contended);
                }
            }
            Appended::TooLarge { bytes } => return Err(ExecuteError::TooLarge { bytes }),
            Appended::Rejected(error) if unanswered == 0 => return Err(error.into()),
            Appended::Rejected(error) | Appended::Unknown(error) => {
                unanswered += 1;
                failure = Some(error);
            }
        }
        // The tail of the stream shows what became of unanswered writes.
        let head = stream.head;
        match timeout_at(request.deadline, catch_up(backend, &mut stream, request)).await {
            Ok(Ok(Some(settled))) => return Ok(settled),
            Ok(Ok(None)) => consistency = Consistency::Strong,
            Ok(Err(ExecuteError::Store(error))) if unanswered > 0 => {
                return Err(ExecuteError::OutcomeUnknown(error));
            }
            Ok(Err(error)) => return Err(error),
            Err(_) if unanswered > 0 => {
                return Err(ExecuteError::OutcomeUnknown(StoreError::unavailable(DeadlinePassed)));
            }
            Err(_) => return Err(ExecuteError::Contended),
        }
        match failure {
            // Another writer took the version, so our writes in flight will fail: a conflict.
            Some(_) if stream.head > head => {
                unanswered = 0;
                conflicts += 1;
                metrics::counter!("EventStoreConflicts").increment(1);
                if conflicts > MAX_CONFLICTS {
                    return Err(ExecuteError::Contended);
                }
            }
            Some(error) if unanswered >= MAX_UNANSWERED => return Err(ExecuteError::OutcomeUnknown(error)),
            _ => {}
        }
    }
}

pub(super) async fn examine<A: Aggregate, R, T>(
    backend: &impl Backend<A>,
    loaded: Loaded<A>,
    request: &Request,
    check: impl Fn(&A) -> Result<T, R>,
) -> Result<Examined<A, T>, ExecuteError<R>> {
    let mut loaded = loaded;
    loop {
        if let Some(replayed) = replay(&loaded.stream, request)? {
            return Ok(Examined::Replayed(Box::new(replayed)));
        }
        match decide_at_accepted_version(&loaded.stream, request, &check) {
            Ok(found) => return Ok(Examined::Ready(Box::new(loaded), found)),
            Err(rejected) if loaded.consistency == Consistency::Strong => return Err(rejected),
            Err(_) => loaded = load(backend, &loaded.stream.id, Consistency::Strong, request.deadline).await?,
        }
    }
}

/// Applies all commits stored after the head.
async fn catch_up<A: Aggregate, R>(
    backend: &impl Backend<A>,
    stream: &mut Stream<A>,
    request: &Request,
) -> Result<Option<Executed<A>>, ExecuteError<R>> {
    let tail = backend.page(&stream.id, stream.head, usize::MAX).await?.readable()?;
    follow(stream, tail.commits, request)
}

async fn load<A: Aggregate>(
    backend: &impl Backend<A>,
    id: &StreamId,
    consistency: Consistency,
    deadline: Instant,
) -> Result<Loaded<A>, StoreError> {
    timeout_at(deadline, backend.read(id, Until::Head, consistency))
        .await
        .unwrap_or_else(|_| Err(StoreError::unavailable(DeadlinePassed)))
}

/// Decides, if the stream is at an accepted version.
fn decide_at_accepted_version<A: Aggregate, R, T>(
    stream: &Stream<A>,
    request: &Request,
    decide: impl Fn(&A) -> Result<T, R>,
) -> Result<T, ExecuteError<R>> {
    match &request.if_match {
        Some(accepted) if !accepted.contains(stream.head) => {
            Err(ExecuteError::PreconditionFailed { current: stream.head })
        }
        _ => decide(&stream.state).map_err(ExecuteError::Rejected),
    }
}

/// The result of an earlier run of the same request, if it is among the recent keyed commits.
fn replay<A: Aggregate, R>(stream: &Stream<A>, request: &Request) -> Result<Option<Executed<A>>, ExecuteError<R>> {
    let Some(request_hash) = request.key.request_hash else { return Ok(None) };
    match stream.recent_keyed_commits.find(request.key.id) {
        None => Ok(None),
        Some(commit) if commit.request_hash != request_hash => Err(ExecuteError::KeyReused),
        Some(commit) => Ok(Some(Executed {
            version: commit.version,
            outcome: commit.outcome.clone(),
            resolution: Resolution::Replayed,
            stream: stream.clone(),
        })),
    }
}

/// Applies commits of others, or of our own unanswered attempts. Our own resolves the command.
fn follow<A: Aggregate, R>(
    stream: &mut Stream<A>,
    commits: impl IntoIterator<Item = Commit<A::Event>>,
    request: &Request,
) -> Result<Option<Executed<A>>, ExecuteError<R>> {
    for commit in commits {
        stream.apply(&commit).map_err(StoreError::from)?;
        if commit.id != request.key.id {
            continue;
        }
        if commit.request_hash != request.key.request_hash {
            return Err(ExecuteError::KeyReused);
        }
        let ours = commit.metadata.causation_id == request.metadata.causation_id;
        let mut executed = stored(stream.clone(), &commit);
        executed.resolution = if ours { Resolution::Stored } else { Resolution::Replayed };
        return Ok(Some(executed));
    }
    Ok(None)
}

fn stored<A: Aggregate>(stream: Stream<A>, commit: &Commit<A::Event>) -> Executed<A> {
    let outcome = stream.state.outcome(&commit.events);
    Executed { version: stream.head, outcome, resolution: Resolution::Stored, stream }
}

fn unchanged<A: Aggregate>(stream: Stream<A>) -> Executed<A> {
    let outcome = stream.state.outcome(&[]);
    Executed { version: stream.head, outcome, resolution: Resolution::Unchanged, stream }
}

/// Waits a random part of the next interval; false if that would exceed the deadline. `write` is the duration of the
/// last write.
async fn back_off(round: u32, write: Duration, deadline: Instant) -> bool {
    let first = write.clamp(*WRITE_TIME.start(), *WRITE_TIME.end()) * BACKOFF_WRITES;
    let ceiling = first * BACKOFF_GROWTH.saturating_pow(round - 1).min(BACKOFF_CAP);
    let wait = ceiling.mul_f64(fastrand::f64());
    if Instant::now() + wait >= deadline {
        return false;
    }
    sleep(wait).await;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_is_a_random_part_of_a_growing_capped_ceiling() {
        for (write, round, ceiling) in
            [(0, 1, 10), (1, 2, 30), (5, 1, 50), (5, 3, 450), (1, 4, 270), (1, 40, 270), (900, 1, 200), (900, 9, 5_400)]
        {
            let (write, ceiling) = (Duration::from_millis(write), Duration::from_millis(ceiling));
            let mut longest = Duration::ZERO;
            for _ in 0..200 {
                let begun = Instant::now();
                assert!(back_off(round, write, begun + Duration::from_secs(60)).await);
                // The clock ticks in milliseconds.
                assert!(begun.elapsed() <= ceiling + Duration::from_millis(1), "{:?}", begun.elapsed());
                longest = longest.max(begun.elapsed());
            }
            assert!(longest > ceiling / 2, "{longest:?} of {ceiling:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_wait_exceeds_the_deadline() {
        let begun = Instant::now();
        let mut refused = 0;
        for _ in 0..200 {
            let deadline = Instant::now() + Duration::from_millis(135);
            refused += u32::from(!back_off(8, Duration::ZERO, deadline).await);
            assert!(Instant::now() <= deadline);
        }
        assert!((1..200).contains(&refused), "{refused}");
        assert!(!back_off(1, Duration::ZERO, begun).await);
    }
}
