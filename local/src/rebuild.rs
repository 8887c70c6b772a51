//! `rebuild`: drives the function that makes rows anew to its end, segment by segment, as the template's state machine
//! does.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use indicatif::{ProgressBar, ProgressStyle};
use orders_local::containers::InvokeError;
use orders_local::database;
use orders_local::functions::Functions;
use orders_local::logs::Logs;
use orders_local::options::{StackError, StackOptions};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::Rebuild;
use crate::output::say;
use crate::{INTERRUPTED, Stop, running};

/// The function, and the table that it reads.
const FUNCTION: &str = "rebuild-orders";
const EVENTS: &str = "OrderEvents";
/// How long a run goes on before it says how far it is.
const SECONDS: u64 = 1;
/// How often a run that fails is tried, and how long it waits before it is tried again.
const ATTEMPTS: u32 = 4;
const WAIT: Duration = Duration::from_secs(1);

/// Why the rows are not all made anew. What was written holds.
#[derive(Debug, thiserror::Error)]
enum RebuildError {
    /// Start a stack, or name its data.
    #[error("no local stack runs on port {0}: start one with `cargo run`, or say --data DIR for what one has kept")]
    NothingRuns(u16),
    /// The file is of another rebuild, or of something else.
    #[error("{0} does not tell how far such a rebuild is: use another file, or delete this one")]
    OtherProgress(PathBuf),
    /// It cannot be written.
    #[error("cannot keep the progress in {0}: {1}")]
    Unkept(PathBuf, std::io::Error),
    /// The function cannot be run, or fails over and over.
    #[error("segment {0} was given up: {1}")]
    GivenUp(usize, String),
    /// The function answers what it should not.
    #[error("the answer of {FUNCTION} is none: {0}")]
    Answer(#[from] serde_json::Error),
    /// The stack has no such function.
    #[error(transparent)]
    Stack(#[from] StackError),
}

/// What of an answer is counted.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct Counts {
    done: bool,
    streams: u64,
    commits: u64,
    events: u64,
    written: u64,
    right: u64,
    newer: u64,
    lowered: u64,
    removed: u64,
    corrected: u64,
    unsettled: u64,
    unprojectable: u64,
}

/// The next run of each segment: the last answer, or the first request.
struct Runs {
    next: Mutex<Vec<Value>>,
    file: Option<PathBuf>,
}

/// Makes all rows anew, and shows how far it is on the standard error stream.
///
/// # Errors
/// When nothing runs, or a segment fails over and over.
pub async fn run(mut options: StackOptions, how: &Rebuild, stop: Stop<'_>) -> Result<ExitCode, Box<dyn Error>> {
    if !running::join(&mut options).await {
        return Err(RebuildError::NothingRuns(options.port).into());
    }
    let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template(
        "{bar:40} {percent:>3}%  {human_pos} of {human_len} commits, {per_sec}, {eta} to go",
    )?);
    let above = bar.clone();
    options.logs = Logs::to(move |function, line| {
        if !line.contains(" INFO ") {
            above.suspend(|| eprintln!("{function} | {line}"));
        }
    });
    let runs = Runs::open(how)?;
    let functions = Functions::prepare(&options).await?;
    bar.set_length(commits(&functions).await);
    let begun = Instant::now();
    let ended = tokio::select! {
        ended = runs.to_the_end(&functions, &bar) => Some(ended),
        () = stop => None,
    };
    bar.finish_and_clear();
    functions.stop().await;
    let sum = runs.sum();
    let orders = sum.streams;
    match ended {
        None => {
            eprintln!(
                "stopped after {orders} orders; {}",
                match &runs.file {
                    Some(file) => format!("the same command goes on from {}", file.display()),
                    None => "with --resume FILE it would go on from here the next time".to_owned(),
                }
            );
            return Ok(ExitCode::from(INTERRUPTED));
        }
        Some(ended) => ended?,
    }
    runs.forget();
    let took = begun.elapsed().as_secs_f64();
    let Counts { events, written, right, newer, lowered, removed, corrected, unsettled, unprojectable, .. } = sum;
    say(&format!("{orders} orders with {events} events in {took:.1} s: {written} rows written"));
    if right > 0 {
        say(&format!("{right} rows were right, and were left"));
    }
    if newer > 0 {
        say(&format!("{newer} rows are newer than what was read, and were left"));
    }
    if lowered + removed > 0 {
        say(&format!(
            "{lowered} rows held what is not in their events, and were made anew; {removed} without events were removed"
        ));
    }
    if corrected > 0 {
        say(&format!("{corrected} totals were not the sum of what the rows count, and were corrected"));
    }
    if unsettled > 0 {
        say(&format!("{unsettled} totals were written meanwhile, and were not compared"));
    }
    if unprojectable > 0 {
        say(&format!("{unprojectable} orders have events of which no row can be made; the lines above name them"));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// How many items the event table has, as far as the database knows.
async fn commits(functions: &Functions) -> u64 {
    let Some(table) = functions.template().table(EVENTS) else { return 0 };
    let described = database::client(functions.dynamodb()).describe_table().table_name(&table.name).send().await;
    let count = described.ok().and_then(|answer| answer.table?.item_count);
    count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0)
}

impl Runs {
    /// All segments from their start, or from where the file says that they are.
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
            Some((file, Ok(text))) => kept(&text, &first).ok_or_else(|| RebuildError::OtherProgress(file.into()))?,
            Some((file, Err(error))) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(RebuildError::Unkept(file.into(), error));
            }
            _ => first,
        };
        Ok(Self { next: Mutex::new(next), file: how.resume.clone() })
    }

    async fn to_the_end(&self, functions: &Functions, bar: &ProgressBar) -> Result<(), RebuildError> {
        let segments = self.get().len();
        let ends = join_all((0..segments).map(|segment| async move {
            while !counts(&self.get()[segment]).done {
                let answer = self.go_on(functions, segment).await?;
                self.advance(segment, answer)?;
                bar.set_position(self.sum().commits);
            }
            Ok(())
        }));
        ends.await.into_iter().collect()
    }

    /// One run of a segment. The same run again is safe, so it is tried again.
    async fn go_on(&self, functions: &Functions, segment: usize) -> Result<Value, RebuildError> {
        let run = self.get()[segment].to_string();
        let mut attempt = 1;
        loop {
            match functions.invoke(FUNCTION, run.clone().into()).await? {
                Ok(answer) => return Ok(serde_json::from_slice(&answer)?),
                Err(InvokeError::Function(_)) if attempt < ATTEMPTS => tokio::time::sleep(WAIT * attempt).await,
                Err(error) => return Err(RebuildError::GivenUp(segment, error.to_string())),
            }
            attempt += 1;
        }
    }

    fn advance(&self, segment: usize, answer: Value) -> Result<(), RebuildError> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        next[segment] = answer;
        match &self.file {
            Some(file) => save(file, &next).map_err(|error| RebuildError::Unkept(file.clone(), error)),
            None => Ok(()),
        }
    }

    fn get(&self) -> Vec<Value> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What all segments have done together.
    fn sum(&self) -> Counts {
        self.get().iter().map(counts).fold(Counts::default(), |sum, each| Counts {
            done: false,
            streams: sum.streams + each.streams,
            commits: sum.commits + each.commits,
            events: sum.events + each.events,
            written: sum.written + each.written,
            right: sum.right + each.right,
            newer: sum.newer + each.newer,
            lowered: sum.lowered + each.lowered,
            removed: sum.removed + each.removed,
            corrected: sum.corrected + each.corrected,
            unsettled: sum.unsettled + each.unsettled,
            unprojectable: sum.unprojectable + each.unprojectable,
        })
    }

    /// The work is done: a later rebuild is another one.
    fn forget(&self) {
        if let Some(file) = &self.file {
            drop(std::fs::remove_file(file));
        }
    }
}

fn counts(run: &Value) -> Counts {
    serde_json::from_value(run["progress"].clone()).unwrap_or_default()
}

/// What a file has kept, if it is of the rebuild that begins with these runs.
fn kept(text: &[u8], first: &[Value]) -> Option<Vec<Value>> {
    let kept: Vec<Value> = serde_json::from_slice(text).ok()?;
    let begun = |run: &Value| {
        let mut run = run.clone();
        drop(run.as_object_mut()?.remove("progress"));
        Some(run)
    };
    kept.iter().map(begun).eq(first.iter().cloned().map(Some)).then_some(kept)
}

/// Whole or not at all.
fn save(file: &Path, runs: &[Value]) -> std::io::Result<()> {
    let draft = file.with_extension("draft");
    std::fs::write(&draft, serde_json::to_vec(runs)?)?;
    std::fs::rename(draft, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn how(segments: u32, table: Option<&str>, resume: Option<&Path>) -> Rebuild {
        let (model, table) = ("orders".to_owned(), table.map(str::to_owned));
        Rebuild { model, segments, table, resume: resume.map(Path::to_owned), after_restore: false }
    }

    #[test]
    fn a_rebuild_goes_on_from_its_file_and_from_no_other() {
        let file = std::env::temp_dir().join(format!("orders-rebuild-{}.json", uuid::Uuid::new_v4()));
        let asked = how(2, Some("rows-2"), Some(&file));
        let runs = Runs::open(&asked).unwrap();
        let mut answer = runs.get()[1].clone();
        answer["progress"] =
            json!({ "token": { "stream_id": "a", "version": 3 }, "streams": 7, "commits": 20, "done": false });
        runs.advance(1, answer.clone()).unwrap();
        let again = Runs::open(&asked).unwrap();
        assert_eq!((again.get()[1].clone(), again.sum().streams, again.sum().commits), (answer, 7, 20));
        assert_eq!(again.get()[0], runs.get()[0]);
        for other in [how(3, Some("rows-2"), Some(&file)), how(2, None, Some(&file))] {
            assert!(matches!(Runs::open(&other), Err(RebuildError::OtherProgress(_))), "{other:?}");
        }
        std::fs::write(&file, "no progress").unwrap();
        assert!(matches!(Runs::open(&asked), Err(RebuildError::OtherProgress(_))));
        again.forget();
        assert_eq!(Runs::open(&asked).unwrap().sum().streams, 0, "and begins anew once it is done");
    }
}
