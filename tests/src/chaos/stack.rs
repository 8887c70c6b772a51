//! The stack, as a process that can be killed and started again with the same data.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::processes::{self, Process};
use super::server::{Instruction, Message};
use super::{Settings, clock};

/// How long functions may live on without their stack.
const ORPHANED: Duration = Duration::from_secs(20);
/// How long a start or an end may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The stack.
pub struct Stack {
    program: PathBuf,
    binaries: PathBuf,
    seed: u64,
    launches: AtomicU64,
    /// The address of the payment provider.
    payments: String,
    /// The library that shifts clocks.
    clock: PathBuf,
    /// Everything that it stores.
    pub data: PathBuf,
    child: tokio::sync::Mutex<Option<Child>>,
    input: tokio::sync::Mutex<Option<ChildStdin>>,
    messages: tokio::sync::Mutex<Option<mpsc::UnboundedReceiver<Message>>>,
    description: RwLock<Arc<Value>>,
    counts: Arc<Mutex<BTreeMap<String, u64>>>,
    denied: Arc<Mutex<Vec<String>>>,
    orphans: Mutex<Vec<Process>>,
}

/// The seed of one launch of the stack, so that a restarted one has other faults.
fn seed_of(run: u64, launch: u64) -> u64 {
    fastrand::Rng::with_seed(run.wrapping_add(launch)).u64(..)
}

impl Stack {
    /// Starts it without data.
    pub async fn start(settings: &Settings, payments: String) -> Self {
        let data = std::env::temp_dir().join(format!("orders-chaos-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir_all(data.join("tmp")).expect("a directory");
        let this = Self {
            program: settings.program.clone(),
            binaries: settings.binaries.clone(),
            seed: settings.seed,
            launches: AtomicU64::new(0),
            payments,
            clock: clock::compile(&data),
            data,
            child: tokio::sync::Mutex::default(),
            input: tokio::sync::Mutex::default(),
            messages: tokio::sync::Mutex::default(),
            description: RwLock::default(),
            counts: Arc::default(),
            denied: Arc::default(),
            orphans: Mutex::default(),
        };
        let child = this.launch().await;
        *this.child.lock().await = Some(child);
        this
    }

    async fn launch(&self) -> Child {
        let mut child = Command::new(&self.program)
            .arg("serve")
            .args([&self.data, &self.binaries])
            .arg(seed_of(self.seed, self.launches.fetch_add(1, Ordering::Relaxed)).to_string())
            .arg(&self.payments)
            .envs(clock::environment(&self.clock))
            .env("TMPDIR", self.data.join("tmp"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::options().append(true).create(true).open(self.data.join("stack.log")).unwrap())
            .kill_on_drop(true)
            .spawn()
            .expect("the stack's process");
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, mut messages) = mpsc::unbounded_channel();
        let (counts, denied) = (self.counts.clone(), self.denied.clone());
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                match serde_json::from_str(&line) {
                    Ok(Message::Fault(name)) => *counts.lock().unwrap().entry(name).or_default() += 1,
                    Ok(Message::Denied(call)) => denied.lock().unwrap().push(call),
                    Ok(message) => drop(sender.send(message)),
                    // The last line of a killed process.
                    Err(_) => {}
                }
            }
        });
        let ready = timeout(PATIENCE, messages.recv()).await;
        let Ok(Some(Message::Ready(description))) = ready else {
            let log = std::fs::read_to_string(self.data.join("stack.log")).unwrap_or_default();
            panic!("the stack does not start: {ready:?}\n{log}");
        };
        *self.description.write().unwrap() = Arc::new(description);
        *self.input.lock().await = Some(input);
        *self.messages.lock().await = Some(messages);
        child
    }

    /// Describes the stack that runs now, or has run last.
    pub fn description(&self) -> Arc<Value> {
        self.description.read().unwrap().clone()
    }

    /// The name of a table.
    pub fn table(&self, logical_id: &str) -> String {
        self.description()["tables"][logical_id].as_str().expect("a table").to_owned()
    }

    /// Counts an occurrence.
    pub fn count(&self, name: &str) {
        *self.counts.lock().unwrap().entry(name.to_owned()).or_default() += 1;
    }

    /// The occurrences so far.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.counts.lock().unwrap().clone()
    }

    /// Instructs its process. A killed one ignores it.
    pub async fn instruct(&self, instruction: Instruction) {
        if let Some(input) = self.input.lock().await.as_mut() {
            drop(input.write_all(format!("{}\n", json!(instruction)).as_bytes()).await);
        }
    }

    /// Invokes a function; null if it fails or the stack is killed.
    pub async fn invoke(&self, function: &str, event: Value) -> Value {
        let mut messages = self.messages.lock().await;
        let Some(messages) = messages.as_mut() else { return Value::Null };
        self.instruct(Instruction::Invoke(function.to_owned(), event)).await;
        match messages.recv().await {
            Some(Message::Invoked(response)) => response,
            _ => Value::Null,
        }
    }

    /// Kills one process of a function.
    pub async fn kill_function(&self, random: usize) {
        let Some(stack) = self.child.lock().await.as_ref().and_then(Child::id) else { return };
        let functions = processes::children(stack);
        if let Some(chosen) = functions.get(random % functions.len().max(1)) {
            processes::kill(chosen.id);
            self.count(&format!("killed: {}", chosen.program));
        }
    }

    /// Kills the stack, and starts it again with its data.
    pub async fn kill_and_restart(&self) {
        let mut child = self.child.lock().await;
        if let Some(mut stack) = child.take() {
            let functions = stack.id().map(processes::children).unwrap_or_default();
            self.orphans.lock().unwrap().extend(functions);
            stack.kill().await.expect("the stack's process is killed");
            self.count("killed: the stack");
        }
        *child = Some(self.launch().await);
    }

    /// Ends it; returns what it leaves behind, and the calls that no policy allows.
    pub async fn end(&self) -> Vec<String> {
        let denied = self.denied.lock().unwrap().clone();
        let mut broken: Vec<String> = denied.iter().map(|call| format!("a call was denied: {call}")).collect();
        if let Some(mut stack) = self.child.lock().await.take() {
            let id = stack.id().expect("it runs");
            let zombies = processes::zombies(id);
            if !zombies.is_empty() {
                broken.push(format!("the stack does not wait for {zombies:?}"));
            }
            self.orphans.lock().unwrap().extend(processes::children(id));
            *self.input.lock().await = None;
            match timeout(PATIENCE, stack.wait()).await {
                Ok(Ok(status)) if status.success() => {}
                ended => broken.push(format!("the stack does not end cleanly: {ended:?}")),
            }
        }
        let orphans = self.orphans.lock().unwrap().clone();
        let survivors = processes::survivors(&orphans, ORPHANED).await;
        if !survivors.is_empty() {
            broken.push(format!("processes are left behind: {survivors:?}"));
        }
        broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restarted_stack_has_other_faults_that_the_seed_determines() {
        let seeds: std::collections::BTreeSet<u64> = (0..100).map(|launch| seed_of(7, launch)).collect();
        assert_eq!(seeds.len(), 100);
        assert!((0..100).all(|launch| seeds.contains(&seed_of(7, launch))));
    }
}
