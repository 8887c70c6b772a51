//! `rebuild`: invokes the function that rebuilds rows until every segment is done, as the template's state machine does.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use indicatif::{ProgressBar, ProgressStyle};
use orders_local::files::write_atomically;
use orders_local::lambda::{InvokeError, Logs};
use orders_local::stack::{Environment, StackError, StackOptions};
use serde_json::{Value, json};

use super::{Rebuild, join_running_stack, say};
use crate::{INTERRUPTED, Stop};

/// The state machine, its function, and the table that this reads.
const STATE_MACHINE: &str = "Rebuild";
const FUNCTION: &str = "rebuild-orders";
const EVENTS: &str = "OrderEvents";
/// Seconds of a run.
const SECONDS: u64 = 1;
/// Attempts of a run, and the first backoff.
const ATTEMPTS: u32 = 4;
const BACKOFF: Duration = Duration::from_secs(1);

/// Why not all rows are rebuilt. Rows that were written are valid.
#[derive(Debug, thiserror::Error)]
enum RebuildError {
    #[error("no local stack runs on port {0}: start one with `cargo run`, or use --data DIR for the data of one")]
    NothingRuns(u16),
    #[error("{0} does not have the progress of such a rebuild: use another file, or delete this one")]
    OtherProgress(PathBuf),
    #[error("cannot store the progress in {0}: {1}")]
    NotStored(PathBuf, std::io::Error),
    #[error("segment {0} failed {ATTEMPTS} times: {1}")]
    Failed(usize, String),
    #[error("unexpected response of {FUNCTION}: {0}")]
    Response(#[from] serde_json::Error),
    #[error(transparent)]
    Stack(#[from] StackError),
}

/// The next run of each segment: the last response, or the first request.
struct Runs {
    next: Mutex<Vec<Value>>,
    file: Option<PathBuf>,
}

/// Rebuilds all rows, and shows the progress on the standard error stream.
///
/// # Errors
/// When there is no stack or data, or a segment exhausts its retries.
pub async fn run(mut options: StackOptions, how: &Rebuild, stop: Stop<'_>) -> Result<ExitCode, Box<dyn Error>> {
    if !join_running_stack(&mut options).await {
        return Err(RebuildError::NothingRuns(options.port).into());
    }
    let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template(
        "{bar:40} {percent:>3}%  {human_pos} of {human_len} commits, {per_sec}, {eta} left",
    )?);
    let above = bar.clone();
    options.logs = Logs::to(move |function, line| {
        if !line.contains(" INFO ") {
            above.suspend(|| eprintln!("{function} | {line}"));
        }
    });
    let runs = Runs::open(how)?;
    let environment = Environment::start(&options).await?;
    bar.set_length(commits(&environment).await);
    let begun = Instant::now();
    let ended = tokio::select! {
        ended = runs.to_the_end(&environment, &bar) => Some(ended),
        () = stop => None,
    };
    bar.finish_and_clear();
    environment.stop().await;
    let sums = runs.sums();
    let count = |name: &str| sums.get(name).copied().unwrap_or(0);
    let orders = count("streams");
    let Some(ended) = ended else {
        let next = match &runs.file {
            Some(file) => format!("the same command continues from {}", file.display()),
            None => "--resume FILE would store the progress".to_owned(),
        };
        eprintln!("stopped after {orders} orders; {next}");
        return Ok(ExitCode::from(INTERRUPTED));
    };
    ended?;
    runs.forget();
    let (events, written, took) = (count("events"), count("written"), begun.elapsed().as_secs_f64());
    say(&format!("{orders} orders with {events} events in {took:.1} s: {written} rows written"));
    for (name, meaning) in [
        ("right", "rows were correct"),
        ("newer", "rows were written meanwhile, and skipped"),
        ("lowered", "rows differed from their events, and were recreated"),
        ("removed", "rows had no events, and were removed"),
        ("corrected", "totals were not the sum of their rows, and were corrected"),
        ("unsettled", "totals were written meanwhile, and not compared"),
        ("unprojectable", "orders have events that cannot be projected; the lines above name them"),
    ] {
        if count(name) > 0 {
            say(&format!("{} {meaning}", count(name)));
        }
    }
    Ok(if count("unprojectable") > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The approximate number of items of the event table.
async fn commits(environment: &Environment) -> u64 {
    let Some(table) = environment.template().table(EVENTS) else { return 0 };
    let described = environment.client().describe_table().table_name(&table.name).send().await;
    let count = described.ok().and_then(|response| response.table?.item_count);
    count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0)
}

impl Runs {
    /// All segments from their start, or from the progress in the file.
    fn open(how: &Rebuild) -> Result<Self, RebuildError> {
        let first = |segment| {
            let mut first = json!({
                "model": how.model, "segment": segment, "total_segments": how.segments, "seconds": SECONDS,
            });
            if let Some(table) = &how.table {
                first["table"] = json!(table);
            }
            if how.after_restore {
                first["after_restore"] = json!(true);
            }
            first
        };
        let first: Vec<Value> = (0..how.segments).map(first).collect();
        let next = match how.resume.as_deref().map(|file| (file, std::fs::read(file))) {
            Some((file, Ok(text))) => stored(&text, &first).ok_or_else(|| RebuildError::OtherProgress(file.into()))?,
            Some((file, Err(error))) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(RebuildError::NotStored(file.into(), error));
            }
            _ => first,
        };
        Ok(Self { next: Mutex::new(next), file: how.resume.clone() })
    }

    async fn to_the_end(&self, environment: &Environment, bar: &ProgressBar) -> Result<(), RebuildError> {
        let ends = join_all((0..self.get().len()).map(|segment| async move {
            while self.get()[segment]["progress"]["done"] != true {
                let response = self.invoke(environment, segment).await?;
                self.advance(segment, response)?;
                bar.set_position(self.sums().get("commits").copied().unwrap_or(0));
            }
            Ok(())
        }));
        ends.await.into_iter().collect()
    }

    /// One run of a segment. It is idempotent, so it is retried.
    async fn invoke(&self, environment: &Environment, segment: usize) -> Result<Value, RebuildError> {
        let run = self.get()[segment].to_string();
        let mut attempt = 1;
        loop {
            match environment.invoke_from(STATE_MACHINE, FUNCTION, run.clone().into()).await? {
                Ok(response) => return Ok(serde_json::from_slice(&response)?),
                Err(InvokeError::Function(_)) if attempt < ATTEMPTS => tokio::time::sleep(BACKOFF * attempt).await,
                Err(error) => return Err(RebuildError::Failed(segment, error.to_string())),
            }
            attempt += 1;
        }
    }

    fn advance(&self, segment: usize, response: Value) -> Result<(), RebuildError> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        next[segment] = response;
        match &self.file {
            Some(file) => write_atomically(file, &*next).map_err(|error| RebuildError::NotStored(file.clone(), error)),
            None => Ok(()),
        }
    }

    fn get(&self) -> Vec<Value> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The sums of the counts of all segments.
    fn sums(&self) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for (name, value) in self.get().iter().filter_map(|run| run["progress"].as_object()).flatten() {
            *sums.entry(name.clone()).or_default() += value.as_u64().unwrap_or(0);
        }
        sums
    }

    /// Removes the file: a later rebuild starts from the beginning.
    fn forget(&self) {
        if let Some(file) = &self.file {
            drop(std::fs::remove_file(file));
        }
    }
}

/// The runs in a file, if it is of the rebuild with these first requests.
fn stored(text: &[u8], first: &[Value]) -> Option<Vec<Value>> {
    let runs: Vec<Value> = serde_json::from_slice(text).ok()?;
    let request = |run: &Value| {
        let mut run = run.clone();
        drop(run.as_object_mut()?.remove("progress"));
        Some(run)
    };
    runs.iter().map(request).eq(first.iter().cloned().map(Some)).then_some(runs)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn how(segments: u32, table: Option<&str>, resume: Option<&Path>) -> Rebuild {
        let (model, table) = ("orders".to_owned(), table.map(str::to_owned));
        Rebuild { model, segments, table, resume: resume.map(Path::to_owned), after_restore: false }
    }

    #[test]
    fn a_rebuild_continues_from_its_own_file_only() {
        let file = std::env::temp_dir().join(format!("orders-rebuild-{}.json", uuid::Uuid::new_v4()));
        let requested = how(2, Some("rows-2"), Some(&file));
        let runs = Runs::open(&requested).unwrap();
        let mut response = runs.get()[1].clone();
        response["progress"] =
            json!({ "token": { "stream_id": "a", "version": 3 }, "streams": 7, "commits": 20, "done": false });
        runs.advance(1, response.clone()).unwrap();
        let again = Runs::open(&requested).unwrap();
        assert_eq!((again.get()[1].clone(), again.sums()["streams"], again.sums()["commits"]), (response, 7, 20));
        assert_eq!(again.get()[0], runs.get()[0]);
        for other in [how(3, Some("rows-2"), Some(&file)), how(2, None, Some(&file))] {
            assert!(matches!(Runs::open(&other), Err(RebuildError::OtherProgress(_))), "{other:?}");
        }
        std::fs::write(&file, "no progress").unwrap();
        assert!(matches!(Runs::open(&requested), Err(RebuildError::OtherProgress(_))));
        again.forget();
        assert!(Runs::open(&requested).unwrap().sums().is_empty(), "it starts from the beginning once it is done");
    }
}
