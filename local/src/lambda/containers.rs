//! The processes of a function: started on demand, reused when idle, ended at a timeout.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use serde_json::json;
use tokio::process::Command;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;

use super::process::Process;
use super::runtime_api::{Invocation, PAYLOAD_LIMIT, Report, RuntimeApi};
use super::{InvokeError, Logs};
use crate::template::{ACCOUNT, Function, REGION};

/// How long a process may take until it requests its first invocation.
const INIT_LIMIT: Duration = Duration::from_secs(10);
/// How long reading the last lines of an ended process may take.
const OUTPUT_LIMIT: Duration = Duration::from_secs(1);
/// The variables that a process inherits.
const INHERITED: [&str; 5] = ["PATH", "RUST_LOG", "RUST_BACKTRACE", "LLVM_PROFILE_FILE", "SystemRoot"];

/// One function's containers.
#[derive(Debug)]
pub struct Containers {
    name: String,
    logical_id: String,
    program: PathBuf,
    environment: BTreeMap<String, String>,
    time_limit: Duration,
    logs: Logs,
    idle: Mutex<Vec<Container>>,
    places: Semaphore,
    most: u32,
    stopping: watch::Sender<bool>,
    crashes: watch::Sender<u64>,
}

#[derive(Debug)]
struct Container {
    process: Process,
    api: RuntimeApi,
    output: Vec<JoinHandle<()>>,
    /// Whether it has requested an invocation.
    ready: bool,
}

/// Why a container cannot be used any more.
enum Failure {
    /// It reported that it cannot start.
    InitError(Bytes),
    /// It did not request an invocation in time.
    InitTimedOut,
    /// The process has exited.
    Exited,
    /// The invocation timed out.
    TimedOut,
    Stopping,
}

impl Containers {
    /// None is started yet. The function's binary is in the directory `binaries`; `extra` replaces variables of its environment.
    pub fn new(
        function: &Function,
        binaries: &Path,
        extra: &BTreeMap<String, String>,
        most: u32,
        logs: Logs,
    ) -> Arc<Self> {
        let mut environment: BTreeMap<String, String> =
            INHERITED.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?))).collect();
        let own = [
            ("AWS_REGION", REGION),
            ("AWS_DEFAULT_REGION", REGION),
            ("AWS_ACCESS_KEY_ID", "local"),
            ("AWS_SECRET_ACCESS_KEY", "local"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_LAMBDA_FUNCTION_NAME", &function.logical_id),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &function.memory_mb.to_string()),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", &format!("/aws/lambda/{}", function.logical_id)),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "local"),
            ("_HANDLER", "bootstrap"),
            ("LANG", "en_US.UTF-8"),
            ("TZ", ":UTC"),
        ];
        environment.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
        environment.extend(function.environment.clone());
        environment.extend(extra.clone());
        Arc::new(Self {
            name: function.binary.clone(),
            logical_id: function.logical_id.clone(),
            program: binaries.join(format!("{}{}", function.binary, std::env::consts::EXE_SUFFIX)),
            environment,
            time_limit: function.timeout,
            logs,
            idle: Mutex::new(Vec::new()),
            places: Semaphore::new(most.max(1) as usize),
            most: most.max(1),
            stopping: watch::Sender::new(false),
            crashes: watch::Sender::new(0),
        })
    }

    /// The function's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The function's binary.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Invokes the function. The invocation continues when the caller is gone.
    ///
    /// # Errors
    /// When the function fails, times out or cannot be started.
    pub async fn invoke(self: &Arc<Self>, payload: Bytes) -> Result<Bytes, InvokeError> {
        let containers = self.clone();
        let run = tokio::spawn(async move { containers.run(payload).await });
        run.await.unwrap_or(Err(InvokeError::Stopping))
    }

    /// Kills every process of the function, as when its host fails; new ones take over.
    pub fn crash(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.crashes.send_modify(|crashes| *crashes += 1);
    }

    /// Ends every process, also those that are busy, and waits for their exit.
    pub async fn stop(&self) {
        self.stopping.send_replace(true);
        // A permit is returned once its process is gone.
        let all = self.places.acquire_many(self.most).await;
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for container in idle {
            container.end().await;
        }
        drop(all);
    }

    async fn run(&self, payload: Bytes) -> Result<Bytes, InvokeError> {
        if payload.len() > PAYLOAD_LIMIT {
            return Err(InvokeError::TooLarge);
        }
        let mut stopping = self.stopping.subscribe();
        let Ok(_place) = self.places.acquire().await else { return Err(InvokeError::Stopping) };
        if *stopping.borrow() {
            return Err(InvokeError::Stopping);
        }
        // Before a container is taken, so that no crash is missed.
        let mut crashes = self.crashes.subscribe();
        let mut container = match self.take_idle() {
            Some(container) => container,
            None => self.launch().await.map_err(|error| self.log_failure(error))?,
        };
        let outcome = tokio::select! {
            outcome = container.serve(self, payload) => outcome,
            _ = crashes.changed() => Err(Failure::Exited),
            _ = stopping.wait_for(|stopping| *stopping) => Err(Failure::Stopping),
        };
        match outcome {
            Ok(response) => {
                self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(container);
                response.map_err(InvokeError::Function)
            }
            Err(failure) => {
                let status = container.end().await;
                Err(self.log_failure(failure.explain(self.time_limit, status)))
            }
        }
    }

    /// Logs what the function cannot log itself.
    fn log_failure(&self, error: InvokeError) -> InvokeError {
        match &error {
            InvokeError::Function(_) | InvokeError::Start { .. } => self.logs.line(&self.name, &error.to_string()),
            InvokeError::TooLarge | InvokeError::Stopping => {}
        }
        error
    }

    /// An idle container whose process still runs.
    fn take_idle(&self) -> Option<Container> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| idle.pop()).find(|container| container.process.runs())
    }

    async fn launch(&self) -> Result<Container, InvokeError> {
        let failed = |source| InvokeError::Start { program: self.program.clone(), source };
        let api = RuntimeApi::start().await.map_err(failed)?;
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .envs(&self.environment)
            .env("AWS_LAMBDA_RUNTIME_API", api.address().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // Ctrl-C in a terminal signals the whole process group; the stack ends its processes itself.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn().map_err(failed)?;
        let mut output = Vec::new();
        if let Some(pipe) = child.stdout.take() {
            output.push(tokio::spawn(self.logs.clone().follow(self.name.clone(), pipe)));
        }
        if let Some(pipe) = child.stderr.take() {
            output.push(tokio::spawn(self.logs.clone().follow(self.name.clone(), pipe)));
        }
        Ok(Container { process: Process::new(child), api, output, ready: false })
    }
}

impl Container {
    /// Runs one invocation: the response, or the error that the function reported.
    async fn serve(&mut self, function: &Containers, payload: Bytes) -> Result<Result<Bytes, Bytes>, Failure> {
        if !self.ready {
            let report = timeout(INIT_LIMIT, self.next_report()).await.map_err(|_| Failure::InitTimedOut)?;
            match report? {
                Report::InitError(reason) => return Err(Failure::InitError(reason)),
                _ => self.ready = true,
            }
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let deadline = now + function.time_limit;
        let trace = Uuid::new_v4().simple().to_string();
        let invocation = Invocation {
            request_id: Uuid::new_v4().to_string(),
            deadline_ms: u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX),
            arn: format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{}", function.logical_id),
            trace_id: format!("Root=1-{:08x}-{};Parent={};Sampled=0", now.as_secs(), &trace[..24], &trace[16..]),
            payload,
        };
        let started = Instant::now();
        let outcome = timeout(function.time_limit, async {
            self.api.deliver(invocation).await;
            loop {
                match self.next_report().await {
                    Ok(Report::Ready) => {}
                    Ok(Report::Response(response)) => return Ok(Ok(response)),
                    Ok(Report::Error(error)) => return Ok(Err(error)),
                    Ok(Report::InitError(reason)) => return Err(Failure::InitError(reason)),
                    Err(failure) => return Err(failure),
                }
            }
        });
        let outcome = outcome.await.unwrap_or(Err(Failure::TimedOut));
        function.logs.report(&function.name, started.elapsed());
        outcome
    }

    /// The next report of the process.
    async fn next_report(&mut self) -> Result<Report, Failure> {
        tokio::select! {
            // A report that precedes the exit counts.
            biased;
            report = self.api.report() => Ok(report),
            _ = self.process.ended() => Err(Failure::Exited),
        }
    }

    /// Ends the process if it still runs, and reads its last lines.
    async fn end(self) -> Option<ExitStatus> {
        let status = self.process.end().await;
        for output in self.output {
            drop(timeout(OUTPUT_LIMIT, output).await);
        }
        status
    }
}

impl Failure {
    /// In Lambda's words.
    fn explain(self, limit: Duration, status: Option<ExitStatus>) -> InvokeError {
        let (kind, message) = match self {
            Self::Stopping => return InvokeError::Stopping,
            Self::InitError(reason) => return InvokeError::Function(reason),
            Self::InitTimedOut => {
                ("Runtime.InitTimedOut", format!("Init timed out after {:.2} seconds", INIT_LIMIT.as_secs_f64()))
            }
            Self::TimedOut => ("Sandbox.Timedout", format!("Task timed out after {:.2} seconds", limit.as_secs_f64())),
            Self::Exited => (
                "Runtime.ExitError",
                match status {
                    Some(status) if !status.success() => format!("Runtime exited with error: {status}"),
                    _ => "Runtime exited without providing a reason".to_owned(),
                },
            ),
        };
        InvokeError::Function(json!({"errorType": kind, "errorMessage": message}).to_string().into())
    }
}
