//! Faults of the bus, injected by a plan.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// A fault of a request to the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Status 500; the request is not processed.
    Fail,
    /// Every entry whose number, from 1, is a multiple of this is rejected with `ThrottlingException`; the status is 200.
    FailEntries(usize),
    /// The request is processed, and the connection closes without a response.
    LoseResponse,
    /// The request is not processed, and no response comes.
    Hang,
    /// The request is processed, and no response comes.
    HangAfter,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `PutEvents` or `DescribeEventBus`.
    pub operation: String,
    /// How many requests of that operation there were before.
    pub before: usize,
}

/// The mode of the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// No faults.
    Ok,
    /// Every other entry is rejected inside a successful response.
    Partial,
    /// Every request fails.
    Down,
    /// It accepts events and cannot reach their targets.
    Deaf,
}

type Plan = Box<dyn FnMut(&Call) -> Option<Fault> + Send>;

struct State {
    plan: Plan,
    deaf: bool,
    counts: std::collections::BTreeMap<String, usize>,
}

/// The injected faults. Clones are the same ones.
#[derive(Clone)]
pub struct Faults(Arc<Mutex<State>>);

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faults")
    }
}

impl Default for Faults {
    fn default() -> Self {
        let counts = std::collections::BTreeMap::new();
        Self(Arc::new(Mutex::new(State { plan: Box::new(|_| None), deaf: false, counts })))
    }
}

impl Faults {
    /// From now on, `plan` returns the fault of each request.
    pub fn plan(&self, plan: impl FnMut(&Call) -> Option<Fault> + Send + 'static) {
        self.state(|state| state.plan = Box::new(plan));
    }

    /// From now on, the bus is in that mode.
    pub fn mode(&self, mode: Mode) {
        let fault = match mode {
            Mode::Ok | Mode::Deaf => None,
            Mode::Partial => Some(Fault::FailEntries(2)),
            Mode::Down => Some(Fault::Fail),
        };
        self.plan(move |call| fault.filter(|_| call.operation == "PutEvents" || mode == Mode::Down));
        self.state(|state| state.deaf = mode == Mode::Deaf);
    }

    pub(super) fn next(&self, operation: &str) -> Option<Fault> {
        self.state(|state| {
            let count = state.counts.entry(operation.to_owned()).or_default();
            let call = Call { operation: operation.to_owned(), before: *count };
            *count += 1;
            (state.plan)(&call)
        })
    }

    /// Whether targets cannot be reached.
    pub(super) fn is_deaf(&self) -> bool {
        self.state(|state| state.deaf)
    }

    fn state<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
