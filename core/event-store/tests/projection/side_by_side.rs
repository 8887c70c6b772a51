//! Several read models on one stream, and their backlog.

use std::time::Duration;

use dynamodb_event_store::StreamId;
use dynamodb_event_store::projection::{Backlog, CatchUpResult, GroupResult, LaggingStream};
use dynamodb_testkit::faults::Fault;
use tokio::time::{Instant, advance, sleep};

use crate::world::{World, later, of};

const WAIT: Duration = Duration::from_secs(11);

#[tokio::test(start_paused = true)]
async fn a_brief_failure_of_a_model_retries_the_batch() {
    let world = World::start().await;
    let batch = world.store(&["a", "b"]).await;
    let counted = of("counted");
    world.database.faults.plan(move |call| Some(Fault::Throttle).filter(|_| counted(call)));
    assert_eq!(world.project(&batch).await, GroupResult { retry_from: Some("100".into()), noted: 0 });
    assert_eq!(world.version("plain", "a").await, 1, "the other model continued");
    world.database.faults.clear();
    assert_eq!(world.project(&batch).await, GroupResult::default());
    assert_eq!(world.total().await["events"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_lasting_failure_of_a_model_does_not_delay_others() {
    for fault in [Fault::Throttle, Fault::Hang, Fault::Deny] {
        let world = World::start().await;
        let batch = world.store(&["a", "b"]).await;
        let counted = of("counted");
        world.database.faults.plan(move |call| Some(fault).filter(|_| counted(call)));
        assert!(world.project(&batch).await.retry_from.is_some());
        advance(WAIT).await;
        let began = Instant::now();
        assert_eq!(world.project(&batch).await, GroupResult { retry_from: None, noted: 2 });
        assert!(began.elapsed() <= Duration::from_millis(1_500), "{:?}", began.elapsed());

        let still = world.backlog.catch_up(&world.counted, later()).await.unwrap();
        assert_eq!((still.done, still.failed, still.left), (0, 2, 2), "{fault:?}");
        world.database.faults.clear();
        let caught_up = world.backlog.catch_up(&world.counted, later()).await.unwrap();
        assert_eq!(caught_up, CatchUpResult { done: 2, ..CatchUpResult::default() });
        assert_eq!((world.total().await["events"], world.version("counted", "b").await), (2, 1));

        // It is well again, and waited for again.
        assert_eq!(world.project(&batch).await, GroupResult::default());
        advance(Duration::from_secs(61)).await;
        let counted = of("counted");
        world.database.faults.plan(move |call| Some(fault).filter(|_| counted(call)));
        let more = world.store(&["a"]).await;
        assert!(world.project(&more).await.retry_from.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn the_batch_is_retried_while_all_models_or_the_backlog_fail() {
    let world = World::start().await;
    let batch = world.store(&["a"]).await;
    for tables in [["plain", "counted"], ["backlog", "counted"]] {
        let fails = tables.map(of);
        world.database.faults.plan(move |call| Some(Fault::Fail).filter(|_| fails.iter().any(|fails| fails(call))));
        for _ in 0..3 {
            assert_eq!(world.project(&batch).await, GroupResult { retry_from: Some("100".into()), noted: 0 });
            advance(WAIT).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_newer_backlog_entry_survives_catching_up() {
    let world = World::start().await;
    world.store(&["a"]).await;
    let behind = |version| LaggingStream { stream: StreamId::new("a"), version };
    world.backlog.record("plain", &[behind(1)]).await.unwrap();
    world.database.faults.plan(|call| {
        Some(Fault::Delay(Duration::from_millis(200)))
            .filter(|_| call.operation == "UpdateItem" || call.operation == "PutItem")
    });
    let again = async {
        sleep(Duration::from_millis(50)).await;
        let others = Backlog::new(world.database.client_without_faults(), "backlog");
        others.record("plain", &[behind(2)]).await.unwrap();
        // An older note changes nothing.
        others.record("plain", &[behind(1)]).await.unwrap();
    };
    let (caught_up, ()) = tokio::join!(world.backlog.catch_up(&world.plain, later()), again);
    assert_eq!(caught_up.unwrap(), CatchUpResult { done: 1, left: 1, ..CatchUpResult::default() });
}
