//! What a request brings along: its key, its condition, its deadline; and what it gets when the database will not.

use std::time::Duration;

use dynamodb_event_store::{Consistency, EventStore, ExecuteError, Settled, StoreError, StreamId, Versions};
use dynamodb_testkit::counter_aggregate::{Command, Counter, TooLittle};
use dynamodb_testkit::faults::Fault;
use dynamodb_testkit::simulation::Simulation;
use service_clock::Clock;
use tokio::time::Instant;

use crate::support::{commits, keyed, request, run, store, time};

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

    /// With some commits of one event each, which add 1.
    async fn at(version: u64) -> Self {
        let this = Self::start();
        for _ in 0..version {
            run(&this.store, &this.stream, &Command::Add(1), &request()).await.unwrap();
        }
        this.simulation.faults.take_calls();
        this
    }

    async fn stored(&self) -> usize {
        commits(&self.simulation.client_without_faults(), Simulation::TABLE, &self.stream).await.len()
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeat_with_the_same_key_has_the_same_answer_however_much_came_after_it() {
    let fixture = Fixture::at(2).await;
    let (store, stream) = (&fixture.store, &fixture.stream);
    let command = Command::AddEach(vec![10, 20]);
    let first = run(store, stream, &command, &keyed(stream, "once", &command)).await.unwrap();
    assert_eq!((first.settled, first.version, first.outcome), (Settled::Stored, 4, (32, 2)));
    for n in 0..40 {
        let repeat = run(store, stream, &command, &keyed(stream, "once", &command)).await.unwrap();
        assert_eq!((repeat.settled, repeat.version, repeat.outcome), (Settled::Replayed, 4, (32, 2)), "after {n}");
        run(store, stream, &Command::Add(1), &request()).await.unwrap();
    }
    assert_eq!(fixture.stored().await, 43);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_remembered_through_31_other_keys_and_then_names_a_new_request() {
    let fixture = Fixture::start();
    let (store, stream, command) = (&fixture.store, &fixture.stream, Command::Add(1));
    run(store, stream, &command, &keyed(stream, "once", &command)).await.unwrap();
    for n in 0..31 {
        run(store, stream, &command, &keyed(stream, &format!("key-{n}"), &command)).await.unwrap();
    }
    let repeat = run(store, stream, &command, &keyed(stream, "once", &command)).await.unwrap();
    assert_eq!((repeat.settled, repeat.version), (Settled::Replayed, 1));
    run(store, stream, &command, &keyed(stream, "one-more", &command)).await.unwrap();
    let late = run(store, stream, &command, &keyed(stream, "once", &command)).await.unwrap();
    assert_eq!((late.settled, late.version), (Settled::Stored, 34));
}

#[tokio::test(start_paused = true)]
async fn a_key_used_for_another_request_is_refused_and_nothing_is_stored() {
    let fixture = Fixture::start();
    let (store, stream) = (&fixture.store, &fixture.stream);
    let (one, other) = (Command::Add(1), Command::Add(2));
    run(store, stream, &one, &keyed(stream, "key", &one)).await.unwrap();
    let error = run(store, stream, &other, &keyed(stream, "key", &other)).await.unwrap_err();
    assert!(matches!(error, ExecuteError::KeyReused), "{error:?}");
    // The same when the first is met only as the commit that is in the way.
    fixture.simulation.faults.plan(|_| Some(Fault::Stale(9)));
    let error = run(store, stream, &other, &keyed(stream, "key", &other)).await.unwrap_err();
    assert!(matches!(error, ExecuteError::KeyReused), "{error:?}");
    assert_eq!(fixture.stored().await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_stale_reader_meets_its_own_repeat_as_the_commit_in_the_way() {
    let fixture = Fixture::at(3).await;
    let (store, stream, command) = (&fixture.store, &fixture.stream, Command::Add(5));
    run(store, stream, &command, &keyed(stream, "key", &command)).await.unwrap();
    run(store, stream, &command, &request()).await.unwrap();
    for behind in 1..=5 {
        fixture.simulation.faults.plan(move |_| Some(Fault::Stale(behind)));
        let repeat = run(store, stream, &command, &keyed(stream, "key", &command)).await.unwrap();
        assert_eq!((repeat.settled, repeat.version, repeat.outcome), (Settled::Replayed, 4, (8, 1)), "{behind}");
    }
    assert_eq!(fixture.stored().await, 5);
}

#[tokio::test(start_paused = true)]
async fn the_same_request_at_the_same_time_is_stored_once_and_answered_alike() {
    let fixture = Fixture::at(1).await;
    let (store, stream, command) = (&fixture.store, &fixture.stream, Command::Add(7));
    fixture.simulation.faults.latency(|| Duration::from_millis(3));
    let requests: Vec<_> = (0..8).map(|_| keyed(stream, "key", &command)).collect();
    let answers = futures::future::join_all(requests.iter().map(|request| run(store, stream, &command, request))).await;
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers.iter().filter(|answer| answer.settled == Settled::Stored).count(), 1);
    assert!(answers.iter().all(|answer| (answer.version, answer.outcome) == (2, (8, 1))));
    assert_eq!(fixture.stored().await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_condition_on_the_version_is_checked_after_the_key_and_before_the_rules() {
    let fixture = Fixture::at(3).await;
    let (store, stream) = (&fixture.store, &fixture.stream);
    let on = |versions: &[u64], command: &Command, key: Option<&str>| {
        let mut request = key.map_or_else(request, |key| keyed(stream, key, command));
        request.if_match = Some(Versions::OneOf(versions.to_vec()));
        request
    };
    let (add, take) = (Command::Add(1), Command::Take(99));

    for versions in [&[][..], &[2], &[4], &[2, 4]] {
        let error = run(store, stream, &take, &on(versions, &take, None)).await.unwrap_err();
        assert!(matches!(error, ExecuteError::PreconditionFailed { current: 3 }), "before the rules: {error:?}");
    }
    let error = run(store, stream, &take, &on(&[3], &take, None)).await.unwrap_err();
    assert!(matches!(error, ExecuteError::Rejected(TooLittle { total: 3 })), "{error:?}");
    let done = run(store, stream, &add, &on(&[2, 3], &add, Some("key"))).await.unwrap();
    assert_eq!((done.settled, done.version), (Settled::Stored, 4));
    let repeat = run(store, stream, &add, &on(&[3], &add, Some("key"))).await.unwrap();
    assert_eq!((repeat.settled, repeat.version), (Settled::Replayed, 4), "after the key");
}

#[tokio::test(start_paused = true)]
async fn a_condition_that_a_stale_read_meets_is_checked_against_what_is_really_there() {
    let fixture = Fixture::at(3).await;
    fixture.simulation.faults.plan(|_| Some(Fault::Stale(1)));
    let mut stale = request();
    stale.if_match = Some(Versions::OneOf(vec![2]));
    let error = run(&fixture.store, &fixture.stream, &Command::Add(1), &stale).await.unwrap_err();
    assert!(matches!(error, ExecuteError::PreconditionFailed { current: 3 }), "{error:?}");
    stale.if_match = Some(Versions::OneOf(vec![3]));
    let done = run(&fixture.store, &fixture.stream, &Command::Add(1), &stale).await.unwrap();
    assert_eq!((done.settled, done.version), (Settled::Stored, 4));
}

#[tokio::test(start_paused = true)]
async fn times_never_go_backwards_along_a_stream() {
    let fixture = Fixture::start();
    for (now, recorded) in [(100, 100), (90, 100), (101, 101)] {
        let store = fixture.store.clone().with_clock(Clock::stopped_at(time(now)));
        let done = run(&store, &fixture.stream, &Command::Add(1), &request()).await.unwrap();
        assert_eq!(done.stream.recorded_at(), Some(time(recorded)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_too_large_for_an_item_goes_without_its_snapshot_or_not_at_all() {
    let fixture = Fixture::start();
    let (store, stream) = (self::store::<1>(fixture.simulation.client(), Simulation::TABLE, 1), &fixture.stream);
    run(&store, stream, &Command::Label("x".repeat(150_000)), &request()).await.unwrap();
    // The event alone fits, and not twice.
    let sizes = [250_000, 300_000, 400_000, 408_900];
    for (version, size) in (2..).zip(sizes) {
        let done = run(&store, stream, &Command::Label("y".repeat(size)), &request()).await.unwrap();
        assert_eq!(done.version, version);
    }
    let snapshots = fixture.simulation.faults.take_calls();
    let snapshots = snapshots.of("PutItem").filter(|put| put.body["Item"].get("snapshot").is_some());
    assert_eq!(snapshots.count(), 1, "the first");
    for size in [409_600, 1_000_000, 3_000_000] {
        let error = run(&store, stream, &Command::Label("z".repeat(size)), &request()).await.unwrap_err();
        assert!(matches!(error, ExecuteError::TooLarge { bytes } if bytes > size), "{error:?}");
    }
    assert_eq!(fixture.simulation.faults.take_calls().of("PutItem").count(), 0, "nothing was sent");
    let loaded = store.load(stream, Consistency::Strong).await.unwrap();
    assert_eq!((loaded.stream().version(), loaded.stream().state().label.len()), (5, 408_900));
}

#[tokio::test(start_paused = true)]
async fn what_the_store_finds_small_enough_the_database_does_too() {
    let fixture = Fixture::start();
    let (mut fits, mut too_large) = (400_000, 410_000);
    while too_large - fits > 1 {
        let size = (fits + too_large) / 2;
        match run(&fixture.store, &fixture.stream, &Command::Label("x".repeat(size)), &request()).await {
            Ok(_) => fits = size,
            Err(ExecuteError::TooLarge { .. }) => too_large = size,
            Err(error) => panic!("{size}: {error:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttled_write_is_unavailable_and_not_a_conflict_and_costs_no_read() {
    let fixture = Fixture::at(1).await;
    fixture.simulation.faults.plan(|call| Some(Fault::Throttle).filter(|_| call.operation == "PutItem"));
    let error = run(&fixture.store, &fixture.stream, &Command::Add(1), &request()).await.unwrap_err();
    assert!(matches!(error, ExecuteError::Store(StoreError::Unavailable(_))), "{error:?}");
    let calls = fixture.simulation.faults.take_calls();
    assert_eq!(calls.operations(), ["Query", "PutItem", "PutItem", "PutItem"]);
    assert_eq!(fixture.stored().await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_read_is_unavailable() {
    let fixture = Fixture::at(1).await;
    fixture.simulation.faults.plan(|_| Some(Fault::Throttle));
    let error = run(&fixture.store, &fixture.stream, &Command::Add(1), &request()).await.unwrap_err();
    assert!(matches!(error, ExecuteError::Store(StoreError::Unavailable(_))), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_write_lost_before_the_sdks_last_attempt_was_throttled_is_found() {
    let fixture = Fixture::at(1).await;
    fixture.simulation.faults.plan(|call| match (call.operation.as_str(), call.attempt) {
        ("PutItem", 1) => Some(Fault::LoseResponse),
        ("PutItem", _) => Some(Fault::Throttle),
        _ => None,
    });
    let done = run(&fixture.store, &fixture.stream, &Command::Add(1), &request()).await.unwrap();
    assert_eq!((done.settled, done.version), (Settled::Stored, 2));
    assert_eq!(fixture.stored().await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_may_still_arrive_is_not_said_to_be_refused() {
    let fixture = Fixture::at(1).await;
    // The first attempt arrives a minute later; whatever comes after it is throttled.
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
    assert_eq!((settled.settled, settled.version), (Settled::Replayed, 2));
    assert_eq!(fixture.stored().await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_kept_whatever_hangs() {
    for hanging in ["PutItem", "Query"] {
        let fixture = Fixture::at(1).await;
        let loaded = fixture.store.load(&fixture.stream, Consistency::Eventual).await.unwrap();
        fixture.simulation.faults.plan(move |call| Some(Fault::HangAfter).filter(|_| call.operation == hanging));
        let mut request = request();
        let begun = Instant::now();
        request.deadline = begun + Duration::from_millis(700);
        // The one hangs as it writes, the other as it makes sure of its refusal.
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
    let request = dynamodb_event_store::Request { deadline: Instant::now(), ..request() };
    let error =
        fixture.store.execute(loaded, &request, |counter, _| Command::Add(1).decide(counter)).await.unwrap_err();
    assert!(matches!(error, ExecuteError::Store(StoreError::Unavailable(_))), "{error:?}");
    assert_eq!(fixture.simulation.faults.take_calls().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_is_always_overtaken_is_told_so_by_the_deadline_and_nothing_is_stored() {
    let mut contended = 0;
    for milliseconds in 300..310 {
        let fixture = Fixture::at(1).await;
        let loaded = fixture.store.load(&fixture.stream, Consistency::Eventual).await.unwrap();
        let (plain, stream) = (fixture.simulation.client_without_faults(), &fixture.stream);
        let quicker = self::store::<1>(plain.clone(), Simulation::TABLE, 4);
        fixture.simulation.faults.latency(|| Duration::from_millis(5));
        let mut request = request();
        let begun = Instant::now();
        request.deadline = begun + Duration::from_millis(milliseconds);
        let overtake = async {
            loop {
                run(&quicker, stream, &Command::Add(1), &self::request()).await.unwrap();
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
async fn who_loses_races_without_being_told_goes_on_like_everybody_else() {
    let fixture = Fixture::at(1).await;
    let loaded = fixture.store.load(&fixture.stream, Consistency::Eventual).await.unwrap();
    let quicker = self::store::<1>(fixture.simulation.client_without_faults(), Simulation::TABLE, 4);
    // The first five writes come too late, and the answers that say so are lost.
    let mut operations = 0;
    fixture.simulation.faults.plan(move |call| {
        operations += u32::from(call.operation == "PutItem" && call.attempt == 1);
        Some(Fault::LoseResponse).filter(|_| call.operation == "PutItem" && operations <= 5)
    });
    fixture.simulation.faults.latency(|| Duration::from_millis(30));
    let request = request();
    let execute = fixture.store.execute(loaded, &request, |counter, _| Command::Add(1).decide(counter));
    let overtake = async {
        for _ in 0..60 {
            run(&quicker, &fixture.stream, &Command::Add(1), &self::request()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (done, ()) = tokio::join!(execute, overtake);
    assert_eq!(done.unwrap().settled, Settled::Stored);
}

#[tokio::test(start_paused = true)]
async fn who_loses_every_race_unheard_is_told_so_in_the_end() {
    let fixture = Fixture::at(1).await;
    let loaded = fixture.store.load(&fixture.stream, Consistency::Eventual).await.unwrap();
    let quicker = self::store::<1>(fixture.simulation.client_without_faults(), Simulation::TABLE, 4);
    fixture.simulation.faults.plan(|call| Some(Fault::LoseResponse).filter(|_| call.operation == "PutItem"));
    fixture.simulation.faults.latency(|| Duration::from_millis(30));
    fixture.simulation.faults.take_calls();
    let request = request();
    let execute = fixture.store.execute(loaded, &request, |counter, _| Command::Add(1).decide(counter));
    let overtake = async {
        loop {
            run(&quicker, &fixture.stream, &Command::Add(1), &self::request()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let result = tokio::select! { () = overtake => unreachable!(), result = execute => result };
    assert!(matches!(result, Err(ExecuteError::Contended)), "{result:?}");
    let calls = fixture.simulation.faults.take_calls();
    assert_eq!(calls.of("PutItem").0.iter().filter(|call| call.attempt == 1).count(), 41);
}
