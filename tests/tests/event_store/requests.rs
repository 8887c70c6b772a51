//! A request's key, precondition and deadline under stale reads and faults. `tests/contract` of the event store has the
//! rest.

use std::time::Duration;

use dynamodb_event_store::client::WRITE_TIMEOUT;
use dynamodb_event_store::{
    Consistency, EventStore, ExecuteError, Request, Resolution, StoreError, StreamId, Versions,
};
use dynamodb_testkit::counter_aggregate::{Command, Counter};
use dynamodb_testkit::faults::Fault;
use dynamodb_testkit::simulation::Simulation;
use service_clock::Clock;
use tokio::time::Instant;

use crate::support::{commits, keyed, run, store, time};

struct Fixture {
    simulation: Simulation,
    store: EventStore<Counter>,
    stream: StreamId,
}

impl Fixture {
    fn start() -> Self {
        let simulation = Simulation::start();
        let store = store(simulation.client(), Simulation::TABLE, 4);
        Self { simulation, store, stream: StreamId::new("stream") }
    }

    /// With that many commits of one event each, which add 1.
    async fn at(version: u64) -> Self {
        let this = Self::start();
        for _ in 0..version {
            run(&this.store, &this.stream, &Command::Add(1), &Request::unkeyed()).await.unwrap();
        }
        this.simulation.faults.take_calls();
        this
    }

    /// The number of stored commits.
    async fn stored(&self) -> usize {
        commits(&self.simulation.client_without_faults(), Simulation::TABLE, &self.stream).await.len()
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_reused_for_another_request_is_rejected_and_nothing_is_stored() {
    let fixture = Fixture::start();
    let (store, stream) = (&fixture.store, &fixture.stream);
    let (one, other) = (Command::Add(1), Command::Add(2));
    run(store, stream, &one, &keyed(stream, "key", &one)).await.unwrap();
    let error = run(store, stream, &other, &keyed(stream, "key", &other)).await.unwrap_err();
    assert!(matches!(error, ExecuteError::KeyReused), "{error:?}");
    // The same when the first request is found only as the conflicting commit.
    fixture.simulation.faults.plan(|_| Some(Fault::Stale(9)));
    let error = run(store, stream, &other, &keyed(stream, "key", &other)).await.unwrap_err();
    assert!(matches!(error, ExecuteError::KeyReused), "{error:?}");
    assert_eq!(fixture.stored().await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_on_a_stale_read_finds_its_first_run_as_the_conflicting_commit() {
    let fixture = Fixture::at(3).await;
    let (store, stream, command) = (&fixture.store, &fixture.stream, Command::Add(5));
    run(store, stream, &command, &keyed(stream, "key", &command)).await.unwrap();
    run(store, stream, &command, &Request::unkeyed()).await.unwrap();
    for behind in 1..=5 {
        fixture.simulation.faults.plan(move |_| Some(Fault::Stale(behind)));
        let repeat = run(store, stream, &command, &keyed(stream, "key", &command)).await.unwrap();
        assert_eq!((repeat.resolution, repeat.version, repeat.outcome), (Resolution::Replayed, 4, (8, 1)), "{behind}");
    }
    assert_eq!(fixture.stored().await, 5);
}

#[tokio::test(start_paused = true)]
async fn concurrent_repeats_are_stored_once_and_have_the_same_outcome() {
    let fixture = Fixture::at(1).await;
    let (store, stream, command) = (&fixture.store, &fixture.stream, Command::Add(7));
    fixture.simulation.faults.latency(|| Duration::from_millis(3));
    let requests: Vec<_> = (0..8).map(|_| keyed(stream, "key", &command)).collect();
    let answers = futures::future::join_all(requests.iter().map(|request| run(store, stream, &command, request))).await;
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers.iter().filter(|answer| answer.resolution == Resolution::Stored).count(), 1);
    assert!(answers.iter().all(|answer| (answer.version, answer.outcome) == (2, (8, 1))));
    assert_eq!(fixture.stored().await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_precondition_that_a_stale_read_meets_is_checked_again_on_a_consistent_read() {
    let fixture = Fixture::at(3).await;
    fixture.simulation.faults.plan(|_| Some(Fault::Stale(1)));
    let on = |version| Request::unkeyed().if_match(Versions::OneOf(vec![version]));
    let error = run(&fixture.store, &fixture.stream, &Command::Add(1), &on(2)).await.unwrap_err();
    assert!(matches!(error, ExecuteError::PreconditionFailed { current: 3 }), "{error:?}");
    let done = run(&fixture.store, &fixture.stream, &Command::Add(1), &on(3)).await.unwrap();
    assert_eq!((done.resolution, done.version), (Resolution::Stored, 4));
}

#[tokio::test(start_paused = true)]
async fn times_never_go_backwards_in_a_stream() {
    let fixture = Fixture::start();
    for (now, recorded) in [(100, 100), (90, 100), (101, 101)] {
        let store = fixture.store.clone().with_clock(Clock::stopped_at(time(now)));
        let done = run(&store, &fixture.stream, &Command::Add(1), &Request::unkeyed()).await.unwrap();
        assert_eq!(done.stream.recorded_at(), Some(time(recorded)));
    }
}

#[test]
fn the_documents_name_the_write_timeout() {
    let bound = format!("write timeout of {} seconds", WRITE_TIMEOUT.as_secs());
    for text in [
        include_str!("../../../docs/bounds.md"),
        include_str!("../../../docs/decisions/the-stores-clock-dates-a-commit-right-before-its-write.md"),
    ] {
        assert!(text.contains(&bound), "{bound}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_too_large_for_an_item_is_stored_without_its_snapshot_or_rejected() {
    let fixture = Fixture::start();
    let (store, stream) = (self::store::<1>(fixture.simulation.client(), Simulation::TABLE, 1), &fixture.stream);
    run(&store, stream, &Command::Label("x".repeat(150_000)), &Request::unkeyed()).await.unwrap();
    // The event fits once, and not a second time in a snapshot.
    let sizes = [250_000, 300_000, 400_000, 408_900];
    for (version, size) in (2..).zip(sizes) {
        let done = run(&store, stream, &Command::Label("y".repeat(size)), &Request::unkeyed()).await.unwrap();
        assert_eq!(done.version, version);
    }
    let snapshots = fixture.simulation.faults.take_calls();
    let snapshots = snapshots.of("PutItem").filter(|put| put.body["Item"].get("snapshot").is_some());
    assert_eq!(snapshots.count(), 1, "only the first commit has one");
    for size in [409_600, 1_000_000, 3_000_000] {
        let error = run(&store, stream, &Command::Label("z".repeat(size)), &Request::unkeyed()).await.unwrap_err();
        assert!(matches!(error, ExecuteError::TooLarge { bytes } if bytes > size), "{error:?}");
    }
    assert_eq!(fixture.simulation.faults.take_calls().of("PutItem").count(), 0, "nothing was sent");
    let loaded = store.load(stream, Consistency::Strong).await.unwrap();
    assert_eq!((loaded.stream().version(), loaded.stream().state().label.len()), (5, 408_900));
}

#[tokio::test(start_paused = true)]
async fn the_database_accepts_every_commit_that_the_store_accepts() {
    let fixture = Fixture::start();
    let (mut fits, mut too_large) = (400_000, 410_000);
    while too_large - fits > 1 {
        let size = (fits + too_large) / 2;
        match run(&fixture.store, &fixture.stream, &Command::Label("x".repeat(size)), &Request::unkeyed()).await {
            Ok(_) => fits = size,
            Err(ExecuteError::TooLarge { .. }) => too_large = size,
            Err(error) => panic!("{size}: {error:?}"),
        }
    }
    assert!(fits > 400_000 && too_large < 410_000, "{fits} {too_large}");
}

#[tokio::test(start_paused = true)]
async fn a_throttled_write_is_unavailable_without_another_read() {
    let fixture = Fixture::at(1).await;
    fixture.simulation.faults.plan(|call| Some(Fault::Throttle).filter(|_| call.operation == "PutItem"));
    let error = run(&fixture.store, &fixture.stream, &Command::Add(1), &Request::unkeyed()).await.unwrap_err();
    assert!(matches!(error, ExecuteError::Store(StoreError::Unavailable(_))), "{error:?}");
    let calls = fixture.simulation.faults.take_calls();
    assert_eq!(calls.operations(), ["Query", "PutItem", "PutItem", "PutItem"]);
    assert_eq!(fixture.stored().await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_read_is_unavailable() {
    let fixture = Fixture::at(1).await;
    fixture.simulation.faults.plan(|_| Some(Fault::Throttle));
    let error = run(&fixture.store, &fixture.stream, &Command::Add(1), &Request::unkeyed()).await.unwrap_err();
    assert!(matches!(error, ExecuteError::Store(StoreError::Unavailable(_))), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_response_was_lost_before_a_throttled_retry_is_found() {
    let fixture = Fixture::at(1).await;
    fixture.simulation.faults.plan(|call| match (call.operation.as_str(), call.attempt) {
        ("PutItem", 1) => Some(Fault::LoseResponse),
        ("PutItem", _) => Some(Fault::Throttle),
        _ => None,
    });
    let done = run(&fixture.store, &fixture.stream, &Command::Add(1), &Request::unkeyed()).await.unwrap();
    assert_eq!((done.resolution, done.version), (Resolution::Stored, 2));
    assert_eq!(fixture.stored().await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_may_still_arrive_has_an_unknown_outcome() {
    let fixture = Fixture::at(1).await;
    // The first attempt arrives a minute later, and the retries are throttled.
    fixture.simulation.faults.plan(|call| match (call.operation.as_str(), call.attempt) {
        ("PutItem", 1) => Some(Fault::Late(Duration::from_secs(60))),
        ("PutItem", _) => Some(Fault::Throttle),
        _ => None,
    });
    let command = Command::Add(1);
    let error = run(&fixture.store, &fixture.stream, &command, &keyed(&fixture.stream, "key", &command)).await;
    assert!(matches!(error, Err(ExecuteError::OutcomeUnknown(_))), "{error:?}");
    tokio::time::sleep(Duration::from_secs(61)).await;
    fixture.simulation.faults.clear();
    let settled =
        run(&fixture.store, &fixture.stream, &command, &keyed(&fixture.stream, "key", &command)).await.unwrap();
    assert_eq!((settled.resolution, settled.version), (Resolution::Replayed, 2));
    assert_eq!(fixture.stored().await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_command_ends_at_its_deadline_when_a_call_hangs() {
    for hanging in ["PutItem", "Query"] {
        let fixture = Fixture::at(1).await;
        let loaded = fixture.store.load(&fixture.stream, Consistency::Eventual).await.unwrap();
        fixture.simulation.faults.plan(move |call| Some(Fault::HangAfter).filter(|_| call.operation == hanging));
        let begun = Instant::now();
        let request = Request::unkeyed().with_deadline(begun + Duration::from_millis(700));
        // One hangs in its write, the other in the consistent read before its rejection.
        let command = if hanging == "PutItem" { Command::Add(1) } else { Command::Take(9) };
        let error = fixture.store.execute(loaded, &request, |counter, _| command.decide(counter)).await.unwrap_err();
        assert_eq!(begun.elapsed().as_millis(), 700);
        match hanging {
            "PutItem" => assert!(matches!(error, ExecuteError::OutcomeUnknown(_)), "{error:?}"),
            _ => assert!(matches!(error, ExecuteError::Store(StoreError::Unavailable(_))), "{error:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_has_passed_sends_nothing() {
    let fixture = Fixture::at(1).await;
    let loaded = fixture.store.load(&fixture.stream, Consistency::Eventual).await.unwrap();
    fixture.simulation.faults.take_calls();
    let request = Request::unkeyed().with_deadline(Instant::now());
    let error =
        fixture.store.execute(loaded, &request, |counter, _| Command::Add(1).decide(counter)).await.unwrap_err();
    assert!(matches!(error, ExecuteError::Store(StoreError::Unavailable(_))), "{error:?}");
    assert_eq!(fixture.simulation.faults.take_calls().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_loses_every_race_is_contended_at_its_deadline_and_stores_nothing() {
    let mut contended = 0;
    for milliseconds in 300..310 {
        let fixture = Fixture::at(1).await;
        let loaded = fixture.store.load(&fixture.stream, Consistency::Eventual).await.unwrap();
        let (plain, stream) = (fixture.simulation.client_without_faults(), &fixture.stream);
        let quicker = self::store::<1>(plain.clone(), Simulation::TABLE, 4);
        fixture.simulation.faults.latency(|| Duration::from_millis(5));
        let begun = Instant::now();
        let request = Request::unkeyed().with_deadline(begun + Duration::from_millis(milliseconds));
        let overtake = async {
            loop {
                run(&quicker, stream, &Command::Add(1), &Request::unkeyed()).await.unwrap();
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let execute = fixture.store.execute(loaded, &request, |counter, _| Command::Add(1).decide(counter));
        let result = tokio::select! { () = overtake => unreachable!(), result = execute => result };
        match result.unwrap_err() {
            ExecuteError::Contended => contended += 1,
            // The deadline came while a write was under way.
            ExecuteError::OutcomeUnknown(_) => {}
            error => panic!("{error:?}"),
        }
        assert!(begun.elapsed() <= Duration::from_millis(milliseconds));
        let stored = commits(&plain, Simulation::TABLE, stream).await;
        assert!(stored.iter().all(|commit| commit.metadata.causation_id != request.metadata.causation_id));
    }
    assert!(contended > 0);
}

#[tokio::test(start_paused = true)]
async fn a_command_whose_conflict_responses_are_lost_is_retried() {
    let fixture = Fixture::at(1).await;
    let loaded = fixture.store.load(&fixture.stream, Consistency::Eventual).await.unwrap();
    let quicker = self::store::<1>(fixture.simulation.client_without_faults(), Simulation::TABLE, 4);
    // The first five writes conflict, and their responses are lost.
    let mut operations = 0;
    fixture.simulation.faults.plan(move |call| {
        operations += u32::from(call.operation == "PutItem" && call.attempt == 1);
        Some(Fault::LoseResponse).filter(|_| call.operation == "PutItem" && operations <= 5)
    });
    fixture.simulation.faults.latency(|| Duration::from_millis(30));
    let request = Request::unkeyed().with_deadline(Instant::now() + Duration::from_secs(30));
    let execute = fixture.store.execute(loaded, &request, |counter, _| Command::Add(1).decide(counter));
    let overtake = async {
        for _ in 0..60 {
            run(&quicker, &fixture.stream, &Command::Add(1), &Request::unkeyed()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (done, ()) = tokio::join!(execute, overtake);
    assert_eq!(done.unwrap().resolution, Resolution::Stored);
}

#[tokio::test(start_paused = true)]
async fn a_command_whose_conflict_responses_are_all_lost_is_contended_after_40_retries() {
    let fixture = Fixture::at(1).await;
    let loaded = fixture.store.load(&fixture.stream, Consistency::Eventual).await.unwrap();
    let quicker = self::store::<1>(fixture.simulation.client_without_faults(), Simulation::TABLE, 4);
    fixture.simulation.faults.plan(|call| Some(Fault::LoseResponse).filter(|_| call.operation == "PutItem"));
    fixture.simulation.faults.latency(|| Duration::from_millis(30));
    fixture.simulation.faults.take_calls();
    let request = Request::unkeyed().with_deadline(Instant::now() + Duration::from_secs(30));
    let execute = fixture.store.execute(loaded, &request, |counter, _| Command::Add(1).decide(counter));
    let overtake = async {
        loop {
            run(&quicker, &fixture.stream, &Command::Add(1), &Request::unkeyed()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let result = tokio::select! { () = overtake => unreachable!(), result = execute => result };
    assert!(matches!(result, Err(ExecuteError::Contended)), "{result:?}");
    let calls = fixture.simulation.faults.take_calls();
    assert_eq!(calls.of("PutItem").0.iter().filter(|call| call.attempt == 1).count(), 41);
}
