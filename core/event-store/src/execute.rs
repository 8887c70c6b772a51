//! Running a command on a stream: decide, append, settle.

use std::ops::RangeInclusive;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

use super::EventStore;
use super::aggregate::Aggregate;
use super::append::Appended;
use super::backend::Backend;
use super::commit::Commit;
use super::error::{ExecuteError, StoreError};
use super::loaded::{Consistency, Loaded, Until};
use super::request::Request;
use super::stream::Stream;
use super::stream_id::{StreamId, Version};
use service_clock::Timestamp;

/// How often another writer may come first before the caller is told so.
const MAX_CONFLICTS: u32 = 40;
/// How often a write to one version may go unanswered, with nothing found of it, before the caller is told so.
const MAX_UNANSWERED: u32 = 3;
/// The wait before a tail is read is a random part of this many times what a write takes just now, tripled for each
/// further conflict up to [`BACKOFF_CAP`] ("full jitter": AWS Architecture Blog, "Exponential Backoff And Jitter"). Two
/// writers get in each other's way while their writes last, so it is by that time that waits must be measured.
const BACKOFF_WRITES: u32 = 10;
/// What a write is taken to last at least, and at most.
const WRITE_TIME: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_millis(20);
/// By what the wait grows. Doubled, it gets to what many writers need so late that half as many writes more are in vain.
const BACKOFF_GROWTH: u32 = 3;
/// The longest wait, in first waits.
const BACKOFF_CAP: u32 = 27;

/// A command that has been run.
#[derive(Clone, Debug)]
pub struct Executed<A: Aggregate> {
    /// The version that answers the command: of its commit's last event.
    pub version: Version,
    /// What the command's commit answers.
    pub outcome: A::Outcome,
    /// How it came about.
    pub settled: Settled,
    /// The stream as it was last seen: at [`Executed::version`], or, for a repeat, later.
    pub stream: Stream<A>,
}

/// How a command came to its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// By a commit of this run.
    Stored,
    /// By the commit of an earlier run of the same request.
    Replayed,
    /// Without a commit: there was nothing left to do.
    Unchanged,
}

/// A command that was looked at.
#[derive(Debug)]
pub enum Examined<A: Aggregate, T> {
    /// An earlier run of the same request has answered it.
    Replayed(Box<Executed<A>>),
    /// It can be run on this stream; and what the check found.
    Ready(Box<Loaded<A>>, T),
}

#[derive(Debug, thiserror::Error)]
#[error("the caller's deadline has passed")]
struct DeadlinePassed;

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

    /// Runs a command on a stream that was loaded: `decide` turns the state into events, as often as other writers
    /// make it necessary.
    ///
    /// `decide` is given the time that the commit is recorded at: that of the store's clock right before the write, or
    /// that of the commit before if it is later, since clocks differ. So times never go backwards along a stream, and no
    /// commit is dated back by the time that its command took.
    ///
    /// The order of checks is replay, `if_match`, `decide`. What says no is decided again on a strongly consistent
    /// read before it is told. Cost beside the load: one write, and one more for each writer that came first.
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

    /// Looks at a command as [`EventStore::execute`] would, with the same checks and as strictly, but stores nothing:
    /// for a command that has to ask somebody else before it can be decided.
    ///
    /// # Errors
    /// As those of [`EventStore::execute`] that come before anything is stored.
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
    // Writes of ours that may still be on their way to the version after the head.
    let mut unanswered = 0;
    loop {
        if let Some(replayed) = replay(&stream, request)? {
            return Ok(replayed);
        }
        let now = stream.not_before_head(backend.now());
        let verdict = judge(&stream, request, |state| decide(state, now));
        let events = match verdict {
            Ok(events) if !events.is_empty() => events,
            told if consistency == Consistency::Strong => return told.map(|_| unchanged(stream)),
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
        let begun = Instant::now();
        let appended = timeout_at(request.deadline, backend.append(&commit, &next))
            .await
            .unwrap_or_else(|_| Ok(Appended::Unknown(StoreError::unavailable(DeadlinePassed))))?;
        let mut failure = None;
        match appended {
            Appended::Stored => return Ok(stored(next, &commit)),
            Appended::ModelResult(found) => {
                if let Some(settled) = follow(&mut stream, [*found], request)? {
                    return Ok(settled);
                }
                unanswered = 0;
                conflicts += 1;
                // The commit that came first is in hand: the first retry needs neither a wait nor a read.
                if conflicts == 1 {
                    continue;
                }
                if conflicts > MAX_CONFLICTS || !back_off(conflicts - 1, begun.elapsed(), request.deadline).await {
                    return Err(ExecuteError::Contended);
                }
            }
            Appended::TooLarge { bytes } => return Err(ExecuteError::TooLarge { bytes }),
            Appended::Refused(error) if unanswered == 0 => return Err(error.into()),
            Appended::Refused(error) | Appended::Unknown(error) => {
                unanswered += 1;
                failure = Some(error);
            }
        }
        // Whatever was not answered, or not by the newest commit, the tail of the stream knows.
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
            // The version went to somebody else: what is still on its way to it comes too late. That is a conflict
            // like any other, whether an answer said so or not.
            Some(_) if stream.head > head => {
                unanswered = 0;
                conflicts += 1;
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
        match judge(&loaded.stream, request, &check) {
            Ok(found) => return Ok(Examined::Ready(Box::new(loaded), found)),
            Err(told) if loaded.consistency == Consistency::Strong => return Err(told),
            Err(_) => loaded = load(backend, &loaded.stream.id, Consistency::Strong, request.deadline).await?,
        }
    }
}

/// Moves the stream by all that was stored after its head.
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

/// What `decide` says of the stream, if it is at a version that the caller accepts.
fn judge<A: Aggregate, R, T>(
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

/// The answer of an earlier run of the same request, if the stream remembers one.
fn replay<A: Aggregate, R>(stream: &Stream<A>, request: &Request) -> Result<Option<Executed<A>>, ExecuteError<R>> {
    let Some(request_hash) = request.key.request_hash else { return Ok(None) };
    match stream.remembered.find(request.key.id) {
        None => Ok(None),
        Some(commit) if commit.request_hash != request_hash => Err(ExecuteError::KeyReused),
        Some(commit) => Ok(Some(Executed {
            version: commit.version,
            outcome: commit.outcome.clone(),
            settled: Settled::Replayed,
            stream: stream.clone(),
        })),
    }
}

/// Moves the stream by commits that others, or lost attempts of our own, have stored. Our own among them settles the
/// command.
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
        executed.settled = if ours { Settled::Stored } else { Settled::Replayed };
        return Ok(Some(executed));
    }
    Ok(None)
}

fn stored<A: Aggregate>(stream: Stream<A>, commit: &Commit<A::Event>) -> Executed<A> {
    let outcome = stream.state.outcome(&commit.events);
    Executed { version: stream.head, outcome, settled: Settled::Stored, stream }
}

fn unchanged<A: Aggregate>(stream: Stream<A>) -> Executed<A> {
    let outcome = stream.state.outcome(&[]);
    Executed { version: stream.head, outcome, settled: Settled::Unchanged, stream }
}

/// Waits a random part of the next interval; false when the deadline comes before its end. `write` is how long the
/// last write took.
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
    async fn a_wait_is_a_random_part_of_a_ceiling_that_grows_up_to_its_cap() {
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
    async fn a_wait_that_would_end_after_the_deadline_is_not_begun() {
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
