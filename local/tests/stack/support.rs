//! A stack of a small template whose functions do what their events say.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use orders_local::binaries;
use orders_local::logs::Logs;
use orders_local::stack::{Stack, StackOptions};
use tokio::sync::OnceCell;

/// The directory of the function that does what its event says.
pub async fn examples() -> PathBuf {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    let build = || async { binaries::build_with(&["--package", "orders-local", "--example", "obedient"]).await };
    BUILT.get_or_try_init(build).await.unwrap().join("examples")
}

/// Lines that functions wrote.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// Gathers into this.
    pub fn logs(&self) -> Logs {
        let lines = self.0.clone();
        Logs::to(move |name, line| lines.lock().unwrap().push(format!("{name}: {line}")))
    }

    /// All lines so far.
    pub fn text(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }
}

/// A stack and what its functions wrote.
pub struct Running {
    stack: Stack,
    log: Log,
}

impl Running {
    pub fn log(&self) -> String {
        self.log.text()
    }

    pub async fn shutdown(self) {
        self.stack.shutdown().await;
    }
}

impl Deref for Running {
    type Target = Stack;
    fn deref(&self) -> &Stack {
        &self.stack
    }
}

/// Starts one; each extra is a function and a variable of its environment.
pub async fn start(extra: &[(&str, &str, &str)]) -> Running {
    let log = Log::default();
    let mut options = StackOptions::new(examples().await);
    options.template = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/stack/template.yaml");
    options.logs = log.logs();
    for (function, name, value) in extra {
        let environment: &mut BTreeMap<_, _> = options.function_environment.entry((*function).to_owned()).or_default();
        environment.insert((*name).to_owned(), (*value).to_owned());
    }
    Running { stack: Stack::start(options).await.unwrap(), log }
}

/// Waits for the condition, at most ten seconds.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
