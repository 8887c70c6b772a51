//! Gives a batch of records to a function until every record is processed or given up, as Lambda does.
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-eventsourcemapping.html>

use std::time::Duration;

use axum::body::Bytes;
use chrono::Utc;
use serde_json::{Value, json};

use super::failures::{Failures, GivenUp};
use super::reader::Record;
use crate::containers::InvokeError;
use crate::template::StreamMapping;

/// The wait before the first repeat of a batch that failed; each further one is twice as long.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// The longest wait.
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// Something that takes an event and answers, like a function.
pub(crate) trait Invoke: Send + Sync {
    fn invoke(&self, event: Bytes) -> impl Future<Output = Result<Bytes, InvokeError>> + Send;
}

/// The stack is stopping; what was not processed is delivered again after the next start.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stopping;

/// A function's reading of one shard.
pub(super) struct Delivery<'a, F> {
    pub function: &'a F,
    pub function_arn: &'a str,
    pub settings: &'a StreamMapping,
    /// Name of the mapping among all of the stack.
    pub mapping: &'a str,
    pub stream: &'a str,
    pub shard: &'a str,
    pub failures: &'a Failures,
}

/// Records that are still to be processed, and how often they were tried again.
struct Work {
    records: Vec<Record>,
    retries: u32,
}

/// How an invocation went.
enum Outcome {
    Processed,
    /// Those before this index are processed.
    FailedFrom(usize),
    /// The function failed as a whole, or answered nonsense.
    Failed,
}

impl<F: Invoke> Delivery<'_, F> {
    /// Returns when every record is processed or given up, in order.
    pub(super) async fn deliver(&self, batch: Vec<Record>) -> Result<(), Stopping> {
        let mut waiting = vec![Work { records: batch, retries: 0 }];
        while let Some(mut work) = waiting.pop() {
            self.give_up_the_aged(&mut work).await;
            if work.records.is_empty() {
                continue;
            }
            match self.attempt(&work.records).await? {
                Outcome::Processed => continue,
                Outcome::FailedFrom(index) if index > 0 => {
                    // It got further, so what is left has failed for the first time.
                    work = Work { records: work.records.split_off(index), retries: 0 };
                }
                Outcome::Failed if self.settings.bisect && work.records.len() > 1 => {
                    // Cutting in two is not a repeat, and needs no wait.
                    let second = work.records.split_off(work.records.len() / 2);
                    waiting.push(Work { records: second, retries: work.retries });
                    waiting.push(work);
                    continue;
                }
                Outcome::FailedFrom(_) | Outcome::Failed => {}
            }
            if self.settings.max_retries.is_some_and(|most| work.retries >= most) {
                self.give_up("RetryAttemptsExhausted", work.retries + 1, &work.records).await;
            } else {
                tokio::time::sleep(backoff(work.retries)).await;
                work.retries += 1;
                waiting.push(work);
            }
        }
        Ok(())
    }

    async fn attempt(&self, records: &[Record]) -> Result<Outcome, Stopping> {
        let records_json: Vec<&Value> = records.iter().map(|record| &record.json).collect();
        match self.function.invoke(Bytes::from(json!({ "Records": records_json }).to_string())).await {
            Ok(answer) if self.settings.reports_failures => Ok(outcome(&answer, records)),
            Ok(_) => Ok(Outcome::Processed),
            Err(InvokeError::Stopping) => Err(Stopping),
            Err(error) => {
                tracing::debug!(mapping = self.mapping, records = records.len(), "{error}");
                Ok(Outcome::Failed)
            }
        }
    }

    /// Gives up the records at the front that are older than the mapping allows.
    async fn give_up_the_aged(&self, work: &mut Work) {
        let Some(oldest) =
            self.settings.max_age.and_then(|age| Utc::now().checked_sub_signed(chrono::Duration::from_std(age).ok()?))
        else {
            return;
        };
        let is_aged = |record: &Record| record.created.is_some_and(|created| created < oldest);
        let fresh = work.records.iter().position(|record| !is_aged(record)).unwrap_or(work.records.len());
        if fresh > 0 {
            let kept = work.records.split_off(fresh);
            self.give_up("RecordAgeExceeded", work.retries, &work.records).await;
            work.records = kept;
        }
    }

    /// Sends the records to the on-failure destination; without one they are lost, as on Lambda.
    async fn give_up(&self, condition: &str, attempts: u32, records: &[Record]) {
        let count = records.len();
        let Some(bucket) = &self.settings.on_failure else {
            tracing::error!(
                mapping = self.mapping,
                condition,
                "{count} records are lost: there is no on-failure destination"
            );
            return;
        };
        let given_up = GivenUp {
            function_arn: self.function_arn,
            mapping: self.mapping,
            stream: self.stream,
            shard: self.shard,
            condition,
            attempts,
            records,
        };
        let mut tries = 0;
        loop {
            match self.failures.keep(bucket, &given_up) {
                Ok(file) => {
                    tracing::error!(
                        mapping = self.mapping,
                        condition,
                        "{count} records given up, kept in {}",
                        file.display()
                    );
                    return;
                }
                Err(error) => tracing::error!(mapping = self.mapping, "cannot keep {count} failed records: {error}"),
            }
            tokio::time::sleep(backoff(tries)).await;
            tries += 1;
        }
    }
}

fn backoff(retries: u32) -> Duration {
    FIRST_BACKOFF.saturating_mul(1 << retries.min(10)).min(LONGEST_BACKOFF)
}

/// What `ReportBatchItemFailures` says: the lowest failed record is where to go on from.
fn outcome(answer: &[u8], records: &[Record]) -> Outcome {
    let answer = if answer.is_empty() { Ok(Value::Null) } else { serde_json::from_slice::<Value>(answer) };
    let failures = match &answer {
        Ok(Value::Null) => return Outcome::Processed,
        Ok(Value::Object(answer)) => match answer.get("batchItemFailures") {
            None | Some(Value::Null) => return Outcome::Processed,
            Some(Value::Array(failures)) => failures,
            Some(_) => return Outcome::Failed,
        },
        _ => return Outcome::Failed,
    };
    let mut lowest = None;
    for failure in failures {
        let sequence = failure.get("itemIdentifier").and_then(Value::as_str);
        // One that names no record of the batch makes all of it a failure.
        let Some(index) = records.iter().position(|record| Some(record.sequence.as_str()) == sequence) else {
            return Outcome::Failed;
        };
        lowest = Some(lowest.map_or(index, |lowest: usize| lowest.min(index)));
    }
    lowest.map_or(Outcome::Processed, Outcome::FailedFrom)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::template::fixture;

    /// Answers as told, and remembers the numbers of the records of each call.
    struct Fake<A>(A, Mutex<Vec<Vec<u32>>>);

    impl<A: Fn(&[u32]) -> Result<Value, InvokeError> + Send + Sync> Invoke for Fake<A> {
        async fn invoke(&self, event: Bytes) -> Result<Bytes, InvokeError> {
            let event: Value = serde_json::from_slice(&event).unwrap();
            let numbers: Vec<u32> = event["Records"]
                .as_array()
                .unwrap()
                .iter()
                .map(|record| record["dynamodb"]["SequenceNumber"].as_str().unwrap().parse().unwrap())
                .collect();
            self.1.lock().unwrap().push(numbers.clone());
            (self.0)(&numbers).map(|answer| Bytes::from(answer.to_string()))
        }
    }

    fn record(number: u32) -> Record {
        Record {
            sequence: number.to_string(),
            partition: "p".into(),
            created: Some(Utc::now()),
            json: json!({"dynamodb": {"SequenceNumber": number.to_string()}}),
        }
    }

    fn failing(numbers: &[u32]) -> Result<Value, InvokeError> {
        let failures: Vec<Value> = numbers.iter().map(|n| json!({"itemIdentifier": n.to_string()})).collect();
        Ok(json!({ "batchItemFailures": failures }))
    }

    fn crash() -> Result<Value, InvokeError> {
        Err(InvokeError::Function(Bytes::from_static(b"crash")))
    }

    struct Run {
        calls: Vec<Vec<u32>>,
        result: Result<(), Stopping>,
        /// For each file the condition and the numbers of the records in it.
        given_up: Vec<(String, Vec<u32>)>,
    }

    async fn run(
        batch: Vec<Record>,
        change: impl FnOnce(&mut StreamMapping),
        answer: impl Fn(&[u32]) -> Result<Value, InvokeError> + Send + Sync,
    ) -> Run {
        let mut settings = fixture::template().function("ProjectThings").unwrap().streams[0].clone();
        change(&mut settings);
        let failures = Failures::new(None);
        let fake = Fake(answer, Mutex::default());
        let delivery = Delivery {
            function: &fake,
            function_arn: "arn:f",
            settings: &settings,
            mapping: "ProjectThings-Stream",
            stream: "arn:s",
            shard: "shard-1",
            failures: &failures,
        };
        let result = delivery.deliver(batch).await;
        let mut given_up = Vec::new();
        let mut directories = vec![failures.path().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                    continue;
                }
                let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
                let payload: Value = serde_json::from_str(file["payload"].as_str().unwrap()).unwrap();
                let numbers = payload["Records"].as_array().unwrap().iter();
                let numbers =
                    numbers.map(|record| record["dynamodb"]["SequenceNumber"].as_str().unwrap().parse().unwrap());
                assert_eq!(file["DDBStreamBatchInfo"]["batchSize"], numbers.len());
                given_up.push((file["requestContext"]["condition"].as_str().unwrap().to_owned(), numbers.collect()));
            }
        }
        given_up.sort();
        Run { calls: fake.1.into_inner().unwrap(), result, given_up }
    }

    fn batch(numbers: std::ops::Range<u32>) -> Vec<Record> {
        numbers.map(record).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_partial_failure_is_retried_from_the_lowest_failed_record() {
        let first = Mutex::new(true);
        let run = run(
            batch(0..5),
            |_| {},
            |_| failing(if std::mem::take(&mut *first.lock().unwrap()) { &[4, 2] } else { &[] }),
        )
        .await;
        assert_eq!(run.calls, [vec![0, 1, 2, 3, 4], vec![2, 3, 4]]);
        assert!(run.given_up.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_poison_record_is_cut_out_of_its_batch_and_kept_while_the_others_are_processed_in_order() {
        let processed = Mutex::new(Vec::<u32>::new());
        let run = run(
            batch(0..8),
            |settings| settings.max_retries = Some(2),
            |numbers| {
                if numbers.contains(&5) {
                    return crash();
                }
                processed.lock().unwrap().extend(numbers);
                failing(&[])
            },
        )
        .await;
        assert_eq!(*processed.lock().unwrap(), [0, 1, 2, 3, 4, 6, 7]);
        assert_eq!(run.given_up, [("RetryAttemptsExhausted".to_owned(), vec![5])]);
        assert_eq!(run.calls.iter().filter(|call| **call == [5]).count(), 3, "once, and two retries");
    }

    #[tokio::test(start_paused = true)]
    async fn without_bisection_a_batch_is_tried_again_as_a_whole_and_then_kept_as_a_whole() {
        let run = run(
            batch(0..3),
            |settings| {
                settings.bisect = false;
                settings.max_retries = Some(1);
            },
            |_| crash(),
        )
        .await;
        assert_eq!(run.calls, [vec![0, 1, 2], vec![0, 1, 2]]);
        assert_eq!(run.given_up, [("RetryAttemptsExhausted".to_owned(), vec![0, 1, 2])]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_that_stays_failed_is_given_up_with_what_follows_it_in_the_batch() {
        let run = run(
            batch(0..4),
            |settings| settings.max_retries = Some(2),
            |numbers| {
                if numbers.contains(&2) { failing(&[2]) } else { failing(&[]) }
            },
        )
        .await;
        assert_eq!(run.calls, [vec![0, 1, 2, 3], vec![2, 3], vec![2, 3]]);
        assert_eq!(run.given_up, [("RetryAttemptsExhausted".to_owned(), vec![2, 3])]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_names_no_record_of_the_batch_is_a_failure_of_all() {
        for nonsense in
            [json!({"batchItemFailures": [{"itemIdentifier": "99"}]}), json!({"batchItemFailures": 1}), json!("ok")]
        {
            let first = Mutex::new(true);
            let run = run(
                batch(0..2),
                |settings| settings.bisect = false,
                |_| {
                    if std::mem::take(&mut *first.lock().unwrap()) { Ok(nonsense.clone()) } else { Ok(Value::Null) }
                },
            )
            .await;
            assert_eq!(run.calls, [vec![0, 1], vec![0, 1]], "{nonsense}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_means_nothing_to_a_mapping_that_takes_no_reports() {
        let run = run(batch(0..2), |settings| settings.reports_failures = false, |_| failing(&[0])).await;
        assert_eq!(run.calls.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn records_that_are_too_old_are_kept_and_the_younger_ones_processed() {
        let mut records = batch(0..3);
        records[0].created = Some(Utc::now() - chrono::Duration::hours(2));
        let run = run(records, |settings| settings.max_age = Some(Duration::from_secs(3600)), |_| failing(&[])).await;
        assert_eq!(run.calls, [vec![1, 2]]);
        assert_eq!(run.given_up, [("RecordAgeExceeded".to_owned(), vec![0])]);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_bound_a_batch_is_tried_until_it_is_processed() {
        let calls = Mutex::new(0);
        let run = run(
            batch(0..1),
            |settings| settings.max_retries = None,
            |_| {
                *calls.lock().unwrap() += 1;
                if *calls.lock().unwrap() < 200 { crash() } else { failing(&[]) }
            },
        )
        .await;
        assert_eq!((run.calls.len(), run.given_up.len()), (200, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_stack_stops_nothing_is_given_up() {
        let run = run(batch(0..2), |_| {}, |_| Err(InvokeError::Stopping)).await;
        assert_eq!((run.result, run.calls.len(), run.given_up.len()), (Err(Stopping), 1, 0));
    }
}
