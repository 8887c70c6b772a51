//! Delivers a batch of records to a function until every record is processed or its retries are exhausted, as Lambda does.
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-eventsourcemapping.html>

use std::time::Duration;

use axum::body::Bytes;
use chrono::Utc;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::failures::{Discarded, Failures};
use super::reader::Record;
use crate::lambda::{Invoke, InvokeError};
use crate::template::StreamMapping;

/// The first backoff of a failed batch; each further one is twice as long.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// The longest backoff.
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

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

/// Records to process, and how often they were retried.
struct Work {
    records: Vec<Record>,
    retries: u32,
}

/// The result of an invocation.
enum Outcome {
    Processed,
    /// The records before this index are processed.
    FailedFrom(usize),
    /// The whole batch failed.
    Failed,
}

impl<F: Invoke> Delivery<'_, F> {
    /// Returns when every record is processed or discarded, in order.
    pub(super) async fn deliver(&self, batch: Vec<Record>) -> Result<(), Stopping> {
        let mut pending = vec![Work { records: batch, retries: 0 }];
        while let Some(mut work) = pending.pop() {
            self.discard_expired(&mut work).await;
            if work.records.is_empty() {
                continue;
            }
            match self.attempt(&work.records).await? {
                Outcome::Processed => continue,
                Outcome::FailedFrom(index) if index > 0 => {
                    // There was progress, so the rest has failed for the first time.
                    work = Work { records: work.records.split_off(index), retries: 0 };
                }
                Outcome::Failed if self.settings.bisect && work.records.len() > 1 => {
                    // A bisection is not a retry, and needs no backoff.
                    let second = work.records.split_off(work.records.len() / 2);
                    pending.push(Work { records: second, retries: work.retries });
                    pending.push(work);
                    continue;
                }
                Outcome::FailedFrom(_) | Outcome::Failed => {}
            }
            if self.settings.max_retries.is_some_and(|most| work.retries >= most) {
                self.discard("RetryAttemptsExhausted", work.retries + 1, &work.records).await;
            } else {
                sleep(backoff(work.retries)).await;
                work.retries += 1;
                pending.push(work);
            }
        }
        Ok(())
    }

    async fn attempt(&self, records: &[Record]) -> Result<Outcome, Stopping> {
        let json: Vec<&Value> = records.iter().map(|record| &record.json).collect();
        match self.function.invoke(Bytes::from(json!({ "Records": json }).to_string())).await {
            Ok(response) => Ok(outcome(&response, records)),
            Err(InvokeError::Stopping) => Err(Stopping),
            Err(error) => {
                tracing::debug!(mapping = self.mapping, records = records.len(), "{error}");
                Ok(Outcome::Failed)
            }
        }
    }

    /// Discards the records at the front that are older than the mapping allows.
    async fn discard_expired(&self, work: &mut Work) {
        let Some(age) = self.settings.max_age else { return };
        let oldest = Utc::now() - chrono::Duration::seconds(age.into());
        let is_expired = |record: &Record| record.created.is_some_and(|created| created < oldest);
        let expired = work.records.iter().take_while(|record| is_expired(record)).count();
        if expired > 0 {
            let rest = work.records.split_off(expired);
            self.discard("RecordAgeExceeded", work.retries, &work.records).await;
            work.records = rest;
        }
    }

    /// Writes the records to the on-failure destination.
    async fn discard(&self, condition: &str, attempts: u32, records: &[Record]) {
        let (count, mapping) = (records.len(), self.mapping);
        let discarded = Discarded {
            function_arn: self.function_arn,
            mapping,
            stream: self.stream,
            shard: self.shard,
            condition,
            attempts,
            records,
        };
        for tries in 0.. {
            match self.failures.write(&self.settings.on_failure, &discarded) {
                Ok(file) => {
                    let file = file.display();
                    return tracing::error!(mapping, condition, "{count} records discarded, stored in {file}");
                }
                Err(error) => tracing::error!(mapping, "cannot store {count} failed records: {error}"),
            }
            sleep(backoff(tries)).await;
        }
    }
}

fn backoff(retries: u32) -> Duration {
    FIRST_BACKOFF.saturating_mul(1 << retries.min(10)).min(LONGEST_BACKOFF)
}

/// Reads a `ReportBatchItemFailures` response: delivery continues at the lowest failed record.
fn outcome(response: &[u8], records: &[Record]) -> Outcome {
    let response = if response.is_empty() { Ok(Value::Null) } else { serde_json::from_slice::<Value>(response) };
    let failures = match &response {
        Ok(Value::Null) => return Outcome::Processed,
        Ok(Value::Object(response)) => match response.get("batchItemFailures") {
            None | Some(Value::Null) => return Outcome::Processed,
            Some(Value::Array(failures)) => failures,
            Some(_) => return Outcome::Failed,
        },
        _ => return Outcome::Failed,
    };
    let position = |failure: &Value| {
        let sequence = failure.get("itemIdentifier")?.as_str()?;
        records.iter().position(|record| record.sequence == sequence)
    };
    // An identifier that is not in the batch makes the whole batch a failure.
    match failures.iter().map(position).collect::<Option<Vec<_>>>() {
        Some(positions) => positions.into_iter().min().map_or(Outcome::Processed, Outcome::FailedFrom),
        None => Outcome::Failed,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::streams::tests::numbers_in;
    use crate::template::tests::template;

    /// Answers with a function, and records the numbers of the records of each call.
    struct Fake<A>(A, Mutex<Vec<Vec<u32>>>);

    impl<A: Fn(&[u32]) -> Result<Value, InvokeError> + Send + Sync> Invoke for Fake<A> {
        async fn invoke(&self, event: Bytes) -> Result<Bytes, InvokeError> {
            let numbers = numbers_in(&serde_json::from_slice(&event).unwrap());
            self.1.lock().unwrap().push(numbers.clone());
            (self.0)(&numbers).map(|answer| Bytes::from(answer.to_string()))
        }
    }

    fn record(number: u32) -> Record {
        let json = json!({"dynamodb": {"SequenceNumber": number.to_string()}});
        Record { sequence: number.to_string(), created: Some(Utc::now()), json }
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
        discarded: Vec<(String, Vec<u32>)>,
    }

    async fn run(
        batch: impl IntoIterator<Item = Record>,
        change: impl FnOnce(&mut StreamMapping),
        answer: impl Fn(&[u32]) -> Result<Value, InvokeError> + Send + Sync,
    ) -> Run {
        let mut settings = template().function("ProjectThings").unwrap().streams[0].clone();
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
        let result = delivery.deliver(batch.into_iter().collect()).await;
        let mut discarded = Vec::new();
        let mut paths = vec![failures.path().to_owned()];
        while let Some(path) = paths.pop() {
            if path.is_file() {
                let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
                let numbers = numbers_in(&serde_json::from_str(file["payload"].as_str().unwrap()).unwrap());
                assert_eq!(file["DDBStreamBatchInfo"]["batchSize"], numbers.len());
                discarded.push((file["requestContext"]["condition"].as_str().unwrap().to_owned(), numbers));
            } else {
                paths.extend(std::fs::read_dir(path).into_iter().flatten().map(|entry| entry.unwrap().path()));
            }
        }
        Run { calls: fake.1.into_inner().unwrap(), result, discarded }
    }

    #[tokio::test(start_paused = true)]
    async fn a_partial_failure_is_retried_from_the_lowest_failed_record() {
        let first = Mutex::new(true);
        let answer = |_: &[u32]| failing(if std::mem::take(&mut *first.lock().unwrap()) { &[4, 2] } else { &[] });
        let run = run((0..5).map(record), |_| {}, answer).await;
        assert_eq!(run.calls, [vec![0, 1, 2, 3, 4], vec![2, 3, 4]]);
        assert!(run.discarded.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_poison_record_is_isolated_by_bisection_and_stored_while_the_others_are_processed_in_order() {
        let processed = Mutex::new(Vec::<u32>::new());
        let answer = |numbers: &[u32]| {
            if numbers.contains(&5) {
                return crash();
            }
            processed.lock().unwrap().extend(numbers);
            failing(&[])
        };
        let run = run((0..8).map(record), |settings| settings.max_retries = Some(2), answer).await;
        assert_eq!(*processed.lock().unwrap(), [0, 1, 2, 3, 4, 6, 7]);
        assert_eq!(run.discarded, [("RetryAttemptsExhausted".to_owned(), vec![5])]);
        assert_eq!(run.calls.iter().filter(|call| **call == [5]).count(), 3, "once, and two retries");
    }

    #[tokio::test(start_paused = true)]
    async fn without_bisection_a_batch_is_retried_and_stored_as_a_whole() {
        let change = |settings: &mut StreamMapping| (settings.bisect, settings.max_retries) = (false, Some(1));
        let run = run((0..3).map(record), change, |_| crash()).await;
        assert_eq!(run.calls, [vec![0, 1, 2], vec![0, 1, 2]]);
        assert_eq!(run.discarded, [("RetryAttemptsExhausted".to_owned(), vec![0, 1, 2])]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_that_keeps_failing_is_discarded_with_what_follows_it_in_the_batch() {
        let answer = |numbers: &[u32]| failing(if numbers.contains(&2) { &[2] } else { &[] });
        let run = run((0..4).map(record), |settings| settings.max_retries = Some(2), answer).await;
        assert_eq!(run.calls, [vec![0, 1, 2, 3], vec![2, 3], vec![2, 3]]);
        assert_eq!(run.discarded, [("RetryAttemptsExhausted".to_owned(), vec![2, 3])]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_that_cannot_be_read_is_a_failure_of_the_whole_batch() {
        let unknown = json!({"batchItemFailures": [{"itemIdentifier": "99"}]});
        for response in [unknown, json!({"batchItemFailures": 1}), json!("ok")] {
            let first = Mutex::new(true);
            let answer = |_: &[u32]| {
                Ok(if std::mem::take(&mut *first.lock().unwrap()) { response.clone() } else { Value::Null })
            };
            let run = run((0..2).map(record), |settings| settings.bisect = false, answer).await;
            assert_eq!(run.calls, [vec![0, 1], vec![0, 1]], "{response}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn expired_records_are_stored_and_the_others_processed() {
        let mut records: Vec<_> = (0..3).map(record).collect();
        records[0].created = Some(Utc::now() - chrono::Duration::hours(2));
        let run = run(records, |settings| settings.max_age = Some(3600), |_| failing(&[])).await;
        assert_eq!(run.calls, [vec![1, 2]]);
        assert_eq!(run.discarded, [("RecordAgeExceeded".to_owned(), vec![0])]);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_discarded_when_the_stack_stops() {
        let run = run((0..2).map(record), |_| {}, |_| Err(InvokeError::Stopping)).await;
        assert_eq!((run.result, run.calls.len(), run.discarded.len()), (Err(Stopping), 1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_bound_a_batch_is_retried_until_it_is_processed() {
        let calls = Mutex::new(0);
        let answer = |_: &[u32]| {
            *calls.lock().unwrap() += 1;
            if *calls.lock().unwrap() < 200 { crash() } else { failing(&[]) }
        };
        let run = run([record(0)], |settings| settings.max_retries = None, answer).await;
        assert_eq!((run.calls.len(), run.discarded.len()), (200, 0));
    }
}
