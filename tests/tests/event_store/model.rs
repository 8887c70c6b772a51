//! Random histories of streams under faults, checked against a model: a list of commits, each decided on the state before
//! it. Every response must be true of that list.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use dynamodb_event_store::{
    Aggregate, Commit, Consistency, ExecuteError, Request, Resolution, StoreError, StreamId, Until, Version, Versions,
};
use dynamodb_testkit::counter_aggregate::{Command, Counter, CounterEvent};
use dynamodb_testkit::faults::{Fault, Faults};
use dynamodb_testkit::simulation::Simulation;
use fastrand::Rng;
use tokio::time::Instant;

use crate::support::{Outcome, commit_id, commits, keyed, run, states, store, store_at, time};

/// A command that was run, and the heads of the stream just before and just after.
struct Run {
    command: Command,
    key: Option<String>,
    request: Request,
    heads: RangeInclusive<Version>,
    outcome: Outcome,
}

/// A load, and the heads of the stream just before and just after.
struct Read {
    until: Until,
    consistency: Consistency,
    heads: RangeInclusive<Version>,
    version: Version,
    state: Counter,
}

/// The faults of a history: some kinds, at some rate.
#[derive(Debug)]
struct FaultMix {
    kinds: Vec<Fault>,
    rate: f64,
}

impl FaultMix {
    fn random(rng: &mut Rng) -> Self {
        let second = |rng: &mut Rng| Duration::from_millis(rng.u64(0..3_000));
        let all = [
            Fault::LoseResponse,
            Fault::HangAfter,
            Fault::LoseRequest,
            Fault::Hang,
            Fault::Late(second(rng)),
            Fault::Throttle,
            Fault::Fail,
            Fault::FailAfter,
            Fault::Delay(second(rng)),
            Fault::Stale(1),
            Fault::Stale(2),
            Fault::Stale(rng.usize(3..20)),
        ];
        let kinds = all.into_iter().filter(|_| rng.bool()).collect();
        Self { kinds, rate: [0.0, 0.05, 0.2, 0.5, 0.8][rng.usize(0..5)] }
    }

    fn apply_to(self, faults: &Faults, mut rng: Rng) {
        let mut latencies = rng.fork();
        faults.latency(move || Duration::from_micros(latencies.u64(0..20_000)));
        faults.plan(move |_| rng.choice(&self.kinds).copied().filter(|_| rng.f64() < self.rate));
    }
}

/// What all tasks of a history share.
#[derive(Clone)]
struct World {
    /// For the tasks: with faults.
    client: Client,
    /// For the checks: without faults.
    plain: Client,
    table: String,
    stream: StreamId,
    snapshot_every: u32,
    runs: Arc<Mutex<Vec<Run>>>,
    reads: Arc<Mutex<Vec<Read>>>,
}

impl World {
    async fn run_tasks(&self, rng: &mut Rng) {
        let requests: Vec<_> = (0..6).map(|n| (format!("key-{n}"), random_command(rng))).collect();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..rng.usize(1..=5) {
            tasks.spawn(self.clone().write(rng.fork(), requests.clone()));
        }
        for _ in 0..rng.usize(0..=2) {
            tasks.spawn(self.clone().read(rng.fork()));
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    }

    async fn write(self, mut rng: Rng, requests: Vec<(String, Command)>) {
        for _ in 0..rng.usize(1..=8) {
            let (key, command) = match rng.u32(0..10) {
                0..5 => (None, random_command(&mut rng)),
                // A request that other tasks send as well.
                5..9 => rng.choice(&requests).cloned().map(|(key, command)| (Some(key), command)).unwrap(),
                // Another request with the same key.
                _ => (rng.choice(&requests).map(|(key, _)| key.clone()), random_command(&mut rng)),
            };
            for _ in 0..40 {
                if self.command(&mut rng, key.clone(), &command).await || key.is_none() {
                    break;
                }
            }
        }
    }

    /// Runs a command; returns whether its outcome is final.
    async fn command(&self, rng: &mut Rng, key: Option<String>, command: &Command) -> bool {
        let mut request = key.as_deref().map_or_else(Request::unkeyed, |key| keyed(&self.stream, key, command));
        let before = self.head().await;
        request.if_match =
            [None, Some(Versions::OneOf(vec![before, before + 1]))][usize::from(rng.u32(0..5) == 0)].clone();
        if rng.u32(0..5) == 0 {
            request.deadline = Instant::now() + Duration::from_millis(rng.u64(0..400));
        }
        // Clocks differ between containers.
        let store = store_at(self.client.clone(), &self.table, self.snapshot_every, time(rng.i64(-5..5)));
        let outcome = run(&store, &self.stream, command, &request).await;
        let heads = before..=self.head().await;
        let settled =
            !matches!(outcome, Err(ExecuteError::OutcomeUnknown(_) | ExecuteError::Contended | ExecuteError::Store(_)));
        self.runs.lock().unwrap().push(Run { command: command.clone(), key, request, heads, outcome });
        settled
    }

    async fn read(self, mut rng: Rng) {
        let store = store(self.client.clone(), &self.table, self.snapshot_every);
        for _ in 0..rng.usize(1..=10) {
            let consistency = [Consistency::Eventual, Consistency::Strong][rng.usize(0..2)];
            let before = self.head().await;
            let until = match rng.u32(0..3) {
                0 => Until::Head,
                1 => Until::Version(rng.u64(0..=before + 3)),
                _ => Until::Time(time(rng.i64(-6..6))),
            };
            if let Ok(stream) = store.load_until(&self.stream, until, consistency).await.map_err(only_unavailable) {
                let heads = before..=self.head().await;
                let (version, state) = (stream.version(), stream.state().clone());
                self.reads.lock().unwrap().push(Read { until, consistency, heads, version, state });
            }
            tokio::time::sleep(Duration::from_millis(rng.u64(0..50))).await;
        }
    }

    /// The newest version, read without faults.
    async fn head(&self) -> Version {
        let newest = self
            .plain
            .query()
            .table_name(&self.table)
            .key_condition_expression("stream_id = :stream")
            .expression_attribute_values(":stream", AttributeValue::S(self.stream.to_string()))
            .consistent_read(true)
            .scan_index_forward(false)
            .limit(1);
        let newest = newest.send().await.unwrap().items.unwrap_or_default().pop();
        newest.map_or(0, |item| Commit::from_item::<Counter>(item.into()).unwrap().last())
    }

    /// Checks the history; returns the kinds of its outcomes.
    async fn check(&self) -> Vec<&'static str> {
        let stream = History::of(commits(&self.plain, &self.table, &self.stream).await);
        let runs = std::mem::take(&mut *self.runs.lock().unwrap());
        let owner: HashMap<_, _> = runs.iter().map(|run| (run.request.metadata.causation_id.as_str(), run)).collect();
        for commit in &stream.commits {
            let run = owner[commit.metadata.causation_id.as_str()];
            stream.check_decision(commit, run);
        }
        for run in &runs {
            stream.check_outcome(&self.stream, run);
        }
        for read in self.reads.lock().unwrap().iter() {
            stream.check_read(read);
        }
        runs.iter().map(|run| kind(&run.outcome)).collect()
    }
}

fn kind(outcome: &Outcome) -> &'static str {
    match outcome {
        Ok(executed) => match executed.resolution {
            Resolution::Stored => "stored",
            Resolution::Replayed => "replayed",
            Resolution::Unchanged => "unchanged",
        },
        Err(ExecuteError::Rejected(_)) => "refused",
        Err(ExecuteError::PreconditionFailed { .. }) => "precondition failed",
        Err(ExecuteError::KeyReused) => "key reused",
        Err(ExecuteError::Contended) => "contended",
        Err(ExecuteError::OutcomeUnknown(_)) => "outcome unknown",
        Err(ExecuteError::TooLarge { .. }) => "too large",
        Err(ExecuteError::Store(_)) => "unavailable",
    }
}

fn only_unavailable(error: StoreError) {
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
}

fn random_command(rng: &mut Rng) -> Command {
    match rng.u32(0..6) {
        0 | 1 => Command::Add(rng.u64(1..100)),
        2 => Command::AddEach((0..rng.usize(2..6)).map(|_| rng.u64(1..100)).collect()),
        3 => Command::Take(rng.u64(1..150)),
        4 => Command::RaiseTo(rng.u64(1..300)),
        _ => Command::Label("x".repeat(rng.usize(0..2_000))),
    }
}

/// A stream at the end of its history.
struct History {
    commits: Vec<Commit<CounterEvent>>,
    /// The states after each commit, by version.
    states: HashMap<Version, Counter>,
}

impl History {
    fn of(commits: Vec<Commit<CounterEvent>>) -> Self {
        let mut ids: Vec<_> = commits.iter().map(|commit| commit.id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), commits.len(), "a commit was stored twice");
        assert!(commits.is_sorted_by_key(|commit| commit.recorded_at), "times go backwards");
        let states = states(&commits).into_iter().collect();
        Self { commits, states }
    }

    /// A commit was decided on the state before it, by a run whose outcome admits it.
    fn check_decision(&self, commit: &Commit<CounterEvent>, run: &Run) {
        let before = commit.first - 1;
        assert_eq!(run.command.decide(&self.states[&before]).as_ref(), Ok(&commit.events), "decided on another state");
        assert!(accepted(run, before), "If-Match {:?} was ignored at {before}", run.request.if_match);
        assert!(run.key.is_some() == commit.request_hash.is_some());
        match &run.outcome {
            Ok(executed) => assert_eq!(executed.resolution, Resolution::Stored, "{:?}", run.command),
            Err(ExecuteError::OutcomeUnknown(_)) => {}
            Err(error) => panic!("version {} was stored, but the outcome is {error:?}", commit.first),
        }
    }

    fn check_outcome(&self, stream: &StreamId, run: &Run) {
        let own = self.commits.iter().find(|commit| commit.metadata.causation_id == run.request.metadata.causation_id);
        let id = run.key.as_deref().map(|key| commit_id(stream, key));
        let keyed = self.commits.iter().find(|commit| Some(commit.id) == id);
        let same_request = |commit: &Commit<_>| commit.request_hash == Some(hash(&run.command));
        // The states of the stream while the command ran.
        let mut seen = self.states.iter().filter(|(version, _)| run.heads.contains(version));
        match &run.outcome {
            Ok(executed) => {
                let commit = match executed.resolution {
                    Resolution::Stored => own.filter(|commit| id.is_none_or(|id| id == commit.id)),
                    Resolution::Replayed => keyed.filter(|commit| own.is_none() && same_request(commit)),
                    Resolution::Unchanged => {
                        let is = |(version, state): (&Version, &Counter)| {
                            executed.version == *version
                                && accepted(run, *version)
                                && run.command.decide(state) == Ok(Vec::new())
                                && executed.outcome == state.outcome(&[])
                        };
                        return assert!(seen.any(is), "{executed:?} was never true");
                    }
                };
                let commit = commit.unwrap_or_else(|| panic!("no commit for {executed:?}"));
                assert_eq!(executed.version, commit.last());
                assert_eq!(executed.outcome, self.states[&commit.last()].outcome(&commit.events));
                assert_eq!(executed.stream.state(), &self.states[&executed.stream.version()]);
                if executed.resolution == Resolution::Stored {
                    let heads = &run.heads;
                    assert!(*heads.start() < commit.first && commit.last() <= *heads.end(), "stored at another time");
                }
            }
            Err(ExecuteError::Rejected(refusal)) => {
                let is = |(version, state): (&Version, &Counter)| {
                    accepted(run, *version) && run.command.decide(state) == Err(*refusal)
                };
                assert!(seen.any(is), "{refusal:?} of {:?} was never true", run.command);
            }
            Err(ExecuteError::PreconditionFailed { current }) => {
                assert!(seen.any(|(version, _)| version == current), "the stream was never at {current}");
                assert!(!accepted(run, *current));
            }
            Err(ExecuteError::KeyReused) => assert!(!same_request(keyed.unwrap())),
            Err(ExecuteError::OutcomeUnknown(error)) => {
                assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}")
            }
            Err(ExecuteError::Store(error)) => assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}"),
            // Only a short deadline gives up; the others are stored.
            Err(ExecuteError::Contended) => assert!(run.request.deadline < Instant::now()),
            Err(error @ ExecuteError::TooLarge { .. }) => panic!("{error:?}"),
        }
    }

    /// A read is the fold of the stream up to its version, which is not older than its consistency allows.
    fn check_read(&self, read: &Read) {
        let mut expected = Counter::default();
        let events = self.commits.iter().flat_map(Commit::versioned);
        for (_, event) in events.take_while(|(version, _)| *version <= read.version) {
            expected.apply(event).unwrap();
        }
        assert_eq!(read.state, expected, "at version {} of {:?}", read.version, read.until);
        let reached = |head| match read.until {
            Until::Head => head,
            Until::Version(version) => version.min(head),
            Until::Time(time) => {
                let then = |commit: &&Commit<_>| commit.recorded_at <= time && commit.last() <= head;
                self.commits.iter().rfind(then).map_or(0, Commit::last)
            }
        };
        let least = if read.consistency == Consistency::Strong { reached(*read.heads.start()) } else { 0 };
        assert!((least..=reached(*read.heads.end())).contains(&read.version), "{:?}: {}", read.until, read.version);
    }
}

fn accepted(run: &Run, version: Version) -> bool {
    run.request.if_match.as_ref().is_none_or(|accepted| accepted.contains(version))
}

fn hash(command: &Command) -> dynamodb_event_store::RequestHash {
    dynamodb_event_store::RequestHash::of("command", command).unwrap()
}

/// Reports the seed when a check fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to repeat this history: MODEL_SEED={}", self.0);
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|number| number.parse().unwrap())
}

#[test]
fn a_stream_under_faults_has_no_gap_and_no_duplicate_and_every_outcome_is_true() {
    let seeds = match number("MODEL_SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            let first = fastrand::u64(..u64::MAX / 2);
            first..first + number("MODEL_RUNS").unwrap_or(120)
        }
    };
    println!("seeds {seeds:?}");
    let many = seeds.end - seeds.start >= 100;
    let mut outcomes = BTreeMap::<_, usize>::new();
    for seed in seeds {
        let _reported = Seed(seed);
        // The SDK and the store take their random numbers from here.
        fastrand::seed(seed);
        let mut rng = Rng::with_seed(seed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let simulation = Simulation::start();
            let world = World {
                client: simulation.client(),
                plain: simulation.client_without_faults(),
                table: Simulation::TABLE.into(),
                stream: StreamId::new("stream"),
                snapshot_every: rng.u32(1..=12),
                runs: Arc::default(),
                reads: Arc::default(),
            };
            FaultMix::random(&mut rng).apply_to(&simulation.faults, rng.fork());
            world.run_tasks(&mut rng).await;
            // Late writes are done by then.
            tokio::time::sleep(Duration::from_secs(60)).await;
            for outcome in world.check().await {
                *outcomes.entry(outcome).or_default() += 1;
            }
        });
    }
    println!("{outcomes:?}");
    // Each kind of outcome has to occur, but for lasting contention, which is rare.
    assert!(!many || outcomes.len() >= 8, "{outcomes:?}");
}
