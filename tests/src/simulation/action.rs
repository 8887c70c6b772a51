//! The invocation that runs: its clock, the pace of its calls, what goes wrong with them, and its end.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use fastrand::Rng;
use service_clock::{Timestamp, set_system_time};
use tokio::time::{Instant, sleep};

use super::step::{Circumstances, Fault};
use crate::lives::start;

thread_local! {
    static CURRENT: RefCell<Option<Arc<Action>>> = const { RefCell::new(None) };
}

/// An invocation.
pub struct Action {
    pub(super) circumstances: Circumstances,
    began: Instant,
    state: Mutex<State>,
}

struct State {
    calls: u8,
    crashed: bool,
    /// How many of its writes lost each row to another writer.
    lost: BTreeMap<String, u32>,
    /// What the latencies of its calls are drawn from, if it runs beside others.
    pace: Option<Rng>,
}

impl Action {
    /// An invocation under these circumstances, in a world that began at an instant.
    pub fn new(circumstances: Circumstances, began: Instant, pace: Option<Rng>) -> Arc<Self> {
        Arc::new(Self {
            circumstances,
            began,
            state: Mutex::new(State { calls: 0, crashed: false, lost: BTreeMap::new(), pace }),
        })
    }

    /// The invocation that runs.
    pub fn current() -> Arc<Self> {
        CURRENT.with_borrow(|current| current.clone().expect("calls are made by invocations only"))
    }

    /// Runs its work; `None` if it ended before.
    pub async fn run<F: Future>(self: Arc<Self>, work: F) -> Option<F::Output> {
        let mut work = pin!(work);
        std::future::poll_fn(|context| {
            CURRENT.set(Some(Arc::clone(&self)));
            set_system_time(Some(self.now().timestamp_micros()));
            let polled = work.as_mut().poll(context);
            set_system_time(None);
            CURRENT.set(None);
            if self.state().crashed { Poll::Ready(None) } else { polled.map(Some) }
        })
        .await
    }

    /// The time by its clock.
    pub fn now(&self) -> Timestamp {
        let since = chrono::Duration::from_std(self.began.elapsed()).expect("a few years at most");
        start() + since + chrono::Duration::milliseconds(self.circumstances.clock.into())
    }

    /// Counts a call, and returns what goes wrong with it.
    pub fn next_call(&self) -> Option<Fault> {
        let mut state = self.state();
        let call = state.calls;
        state.calls = state.calls.saturating_add(1);
        let trouble = self.circumstances.trouble?;
        let strikes = trouble.call..trouble.call.saturating_add(trouble.calls);
        strikes.contains(&call).then_some(trouble.fault)
    }

    /// Counts a write that lost a row to another writer.
    pub fn lose(&self, row: String) -> u32 {
        let mut state = self.state();
        let lost = state.lost.entry(row).or_default();
        *lost += 1;
        *lost
    }

    /// Waits for as long as a call takes in one direction.
    pub async fn latency(&self) {
        let latency = self.state().pace.as_mut().map(|pace| Duration::from_millis(pace.u64(0..25)));
        if let Some(latency) = latency {
            sleep(latency).await;
        }
    }

    /// Ends the process.
    pub async fn crash(&self) -> std::convert::Infallible {
        self.state().crashed = true;
        std::future::pending().await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
