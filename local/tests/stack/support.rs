//! A stack of a small template whose functions obey their events.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use orders_local::lambda::Logs;
use orders_local::stack::{Stack, StackOptions};

use crate::obedient;

/// The small template.
pub fn template() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/stack/template.yaml")
}

/// A temporary directory of a test.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("orders-local-test-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// All files below a directory.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Whether a process still runs.
pub fn alive(pid: &serde_json::Value) -> bool {
    // A zombie has exited.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Whether such a process exists, even as a zombie.
pub fn exists(pid: &serde_json::Value) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// The log lines of functions.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// Collects into this.
    pub fn logs(&self) -> Logs {
        let lines = self.0.clone();
        Logs::to(move |name, line| lines.lock().unwrap().push(format!("{name}: {line}")))
    }

    /// All lines so far.
    pub fn text(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }
}

/// A stack and the log of its functions.
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

/// Starts one that retries without delay.
pub async fn start(data: Option<&Path>) -> Running {
    let log = Log::default();
    let mut options = StackOptions::new(obedient::directory());
    options.template = template();
    options.retry_wait = Duration::from_millis(1);
    options.data = data.map(Into::into);
    options.logs = log.logs();
    Running { stack: Stack::start(options).await.unwrap(), log }
}
