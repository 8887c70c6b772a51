//! Asynchronous invocations: nobody waits for a response; failures are retried, and in the end stored in a queue.
//! <https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html>

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use chrono::{SecondsFormat, Utc};
use serde::Serialize;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{Invoke, InvokeError};
use crate::iam::Iam;
use crate::journal::{Delivery, EntryKind, Journal, Outcome};
use crate::queues::Queues;
use crate::template::{AsyncPolicy, Function};

/// Most bytes of the event of an asynchronous invocation.
const PAYLOAD_LIMIT: usize = 1024 * 1024;
/// The longest backoff, in first backoffs.
const LONGEST_BACKOFF: u32 = 5;

/// What all background work shares. It ends when the last clone is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Background {
    pub journal: Journal,
    pub queues: Queues,
    pub iam: Iam,
    /// The backoff before a first retry; each further one is twice as long. On AWS it is a minute.
    pub first_backoff: Duration,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

impl Background {
    pub(crate) fn new(journal: Journal, queues: Queues, iam: Iam, first_backoff: Duration) -> Self {
        Self { journal, queues, iam, first_backoff, tasks: Arc::default() }
    }

    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(work);
    }

    /// Ends all of it.
    pub(crate) fn stop(&self) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }

    /// The backoff after that many attempts.
    pub(crate) fn backoff(&self, attempts: u32) -> Duration {
        self.first_backoff * 2_u32.saturating_pow(attempts.saturating_sub(1)).min(LONGEST_BACKOFF)
    }

    /// Sends a failed event to a queue.
    pub(crate) fn send(&self, queue: &str, body: Box<RawValue>, attributes: BTreeMap<String, String>) -> Outcome {
        match self.queues.send(queue, body, attributes) {
            Ok(name) => Outcome::InQueue(name),
            Err(error) => {
                tracing::error!("an event is lost: {error}");
                Outcome::Lost
            }
        }
    }
}

/// The event is too large for an asynchronous invocation.
#[derive(Debug, thiserror::Error)]
#[error("the event has more than {PAYLOAD_LIMIT} bytes")]
pub(crate) struct TooLarge;

/// An event to deliver.
#[derive(Clone, Debug)]
pub(crate) struct PendingEvent {
    pub event: Arc<RawValue>,
    pub event_id: String,
    /// Name of the rule or schedule that sent it.
    pub rule: String,
}

/// A function, invoked asynchronously.
#[derive(Clone, Debug)]
pub(crate) struct Asynchronous<F> {
    /// Its binary.
    pub function: String,
    arn: String,
    /// Whether a schedule invokes it, so that another run follows.
    is_scheduled: bool,
    policy: AsyncPolicy,
    invoke: F,
    background: Background,
}

impl<F: Invoke + Clone + 'static> Asynchronous<F> {
    pub(crate) fn new(function: &Function, invoke: F, background: Background) -> Self {
        let (name, arn, policy) = (function.binary.clone(), function.arn(), function.asynchronous.clone());
        Self { function: name, arn, is_scheduled: false, policy, invoke, background }
    }

    /// The same function, invoked by a schedule.
    pub(crate) fn scheduled(self) -> Self {
        Self { is_scheduled: true, ..self }
    }

    /// Accepts the event; the outcome is in the journal.
    pub(crate) fn accept(&self, pending: PendingEvent) -> Result<(), TooLarge> {
        if pending.event.get().len() > PAYLOAD_LIMIT {
            return Err(TooLarge);
        }
        let function = self.clone();
        self.background.spawn(async move { function.run(&pending).await });
        Ok(())
    }

    async fn run(&self, pending: &PendingEvent) {
        let accepted = Instant::now();
        let mut failures = 0;
        for attempt in 1.. {
            let result = self.invoke.invoke(Bytes::copy_from_slice(pending.event.get().as_bytes())).await;
            let (reason, failed) = match result {
                Ok(_) => return self.write(pending, attempt, Outcome::Done, None),
                Err(InvokeError::Stopping) => return,
                Err(InvokeError::Function(error)) => (String::from_utf8_lossy(&error).into_owned(), Some(error)),
                // A function that cannot be started is retried until the event is too old.
                Err(error) => (error.to_string(), None),
            };
            failures += u32::from(failed.is_some());
            let backoff = self.background.backoff(attempt);
            let condition = if failed.is_some() && failures > self.policy.max_retries {
                "RetriesExhausted"
            } else if accepted.elapsed() + backoff > self.policy.max_age {
                "EventAgeExceeded"
            } else {
                self.write(pending, attempt, Outcome::Failed, Some(reason));
                sleep(backoff).await;
                continue;
            };
            let outcome = self.give_up(pending, condition, attempt, failed.as_deref());
            return self.write(pending, attempt, outcome, Some(reason));
        }
    }

    fn give_up(&self, pending: &PendingEvent, condition: &str, attempts: u32, error: Option<&[u8]>) -> Outcome {
        let (function, rule) = (&self.function, &pending.rule);
        match &self.policy.on_failure {
            Some(queue) => {
                let record = self.failure_record(&pending.event, condition, attempts, error);
                self.background.send(queue, raw(&record), BTreeMap::new())
            }
            None if self.is_scheduled => {
                tracing::error!(
                    function,
                    schedule = rule,
                    "a scheduled run failed {attempts} times: the next run follows"
                );
                Outcome::Missed
            }
            None => {
                let event = &pending.event_id;
                tracing::error!(
                    function,
                    rule,
                    event,
                    "an event is lost: the function failed {attempts} times and has no queue"
                );
                Outcome::Lost
            }
        }
    }

    /// The record for the on-failure destination. Payloads are unchanged.
    fn failure_record(
        &self,
        event: &RawValue,
        condition: &str,
        attempts: u32,
        error: Option<&[u8]>,
    ) -> BTreeMap<&'static str, Box<RawValue>> {
        let context = json!({
            "requestId": Uuid::new_v4(),
            "functionArn": format!("{}:$LATEST", self.arn),
            "condition": condition,
            "approximateInvokeCount": attempts,
        });
        let mut record = BTreeMap::from([
            ("version", raw(&"1.0")),
            ("timestamp", raw(&Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true))),
            ("requestContext", raw(&context)),
            ("requestPayload", event.to_owned()),
        ]);
        if let Some(error) = error {
            let response = json!({"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"});
            record.insert("responseContext", raw(&response));
            record.extend(serde_json::from_slice(error).ok().map(|error| ("responsePayload", error)));
        }
        record
    }

    fn write(&self, pending: &PendingEvent, attempt: u32, outcome: Outcome, reason: Option<String>) {
        self.background.journal.write(EntryKind::Delivery(Delivery {
            event_id: pending.event_id.clone(),
            rule: pending.rule.clone(),
            function: self.function.clone(),
            outcome,
            attempt,
            reason,
        }));
    }
}

fn raw(value: &impl Serialize) -> Box<RawValue> {
    // Maps with text keys always become JSON.
    to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::Value;

    use super::*;
    use crate::template::tests::template;

    /// Responds by script, then with success, and counts.
    #[derive(Clone, Default)]
    pub(crate) struct Scripted(Arc<Mutex<Script>>);

    #[derive(Default)]
    struct Script {
        answers: Vec<Result<Bytes, InvokeError>>,
        calls: u32,
    }

    impl Scripted {
        pub(crate) fn failing(times: usize) -> Self {
            let failure = || Err(InvokeError::Function(Bytes::from_static(b"{\"errorMessage\": \"no\"}")));
            Self::answering((0..times).map(|_| failure()).collect())
        }

        fn answering(answers: Vec<Result<Bytes, InvokeError>>) -> Self {
            Self(Arc::new(Mutex::new(Script { answers, calls: 0 })))
        }

        pub(crate) fn calls(&self) -> u32 {
            self.0.lock().unwrap().calls
        }
    }

    impl Invoke for Scripted {
        async fn invoke(&self, _event: Bytes) -> Result<Bytes, InvokeError> {
            let mut script = self.0.lock().unwrap();
            script.calls += 1;
            script.answers.pop().unwrap_or_else(|| Ok(Bytes::from_static(b"null")))
        }
    }

    pub(crate) fn background() -> Background {
        let queues = Queues::new(["Failed".to_owned(), "Dead".to_owned()], None);
        Background::new(Journal::default(), queues, crate::iam::tests::iam(), Duration::from_secs(60))
    }

    pub(crate) fn queue(name: &str) -> String {
        format!("arn:aws:sqs:us-east-1:000000000000:{name}")
    }

    fn policy(max_retries: u32) -> AsyncPolicy {
        AsyncPolicy { max_retries, max_age: Duration::from_secs(1800), on_failure: Some(queue("Failed")) }
    }

    fn function(policy: AsyncPolicy) -> Function {
        Function { asynchronous: policy, ..template().function("Health").unwrap().clone() }
    }

    pub(crate) fn pending(text: &str) -> PendingEvent {
        let event = RawValue::from_string(text.to_owned()).unwrap().into();
        PendingEvent { event, event_id: "e".into(), rule: "r".into() }
    }

    async fn outcome(policy: AsyncPolicy, script: Scripted) -> (Background, Vec<Outcome>) {
        let background = background();
        Asynchronous::new(&function(policy), script, background.clone()).accept(pending("{\"a\":1.50}")).unwrap();
        let ended = |outcome: &Outcome| *outcome != Outcome::Failed;
        loop {
            let outcomes: Vec<Outcome> = background
                .journal
                .since(0)
                .into_iter()
                .filter_map(|entry| match entry.kind {
                    EntryKind::Delivery(delivery) => Some(delivery.outcome),
                    _ => None,
                })
                .collect();
            if outcomes.last().is_some_and(ended) {
                return (background, outcomes);
            }
            background.journal.past(outcomes.len() as u64).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_function_that_fails_is_retried_after_one_minute_and_after_two() {
        let begun = Instant::now();
        let script = Scripted::failing(2);
        let (_, outcomes) = outcome(policy(2), script.clone()).await;
        assert_eq!(outcomes, [Outcome::Failed, Outcome::Failed, Outcome::Done]);
        assert_eq!((begun.elapsed().as_secs(), script.calls()), (180, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_function_that_cannot_be_started_is_retried_until_the_event_is_too_old() {
        let cannot = || InvokeError::Start { program: "f".into(), source: std::io::ErrorKind::NotFound.into() };
        let script = Scripted::answering((0..99).map(|_| Err(cannot())).collect());
        let (background, _) = outcome(policy(2), script.clone()).await;
        assert!(script.calls() > 5, "more often than a function that fails");
        let record: Value = serde_json::from_str(background.queues.contents()["Failed"][0].body.get()).unwrap();
        assert_eq!(record["requestContext"]["condition"], "EventAgeExceeded");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_queue_an_event_is_lost_and_a_scheduled_run_is_missed() {
        let policy = || AsyncPolicy { on_failure: None, ..policy(0) };
        let (_, outcomes) = outcome(policy(), Scripted::failing(1)).await;
        assert_eq!(outcomes, [Outcome::Lost]);
        let background = background();
        let function = Asynchronous::new(&function(policy()), Scripted::failing(1), background.clone());
        function.scheduled().accept(pending("{}")).unwrap();
        background.journal.past(0).await;
        let EntryKind::Delivery(delivery) = background.journal.since(0).remove(0).kind else { panic!("no delivery") };
        assert_eq!(delivery.outcome, Outcome::Missed);
    }

    #[tokio::test]
    async fn an_event_over_one_megabyte_is_rejected() {
        let function = Asynchronous::new(&function(policy(0)), Scripted::default(), background());
        let event = |bytes: usize| pending(&format!("\"{}\"", "x".repeat(bytes - 2)));
        assert!(function.accept(event(PAYLOAD_LIMIT + 1)).is_err());
        assert!(function.accept(event(PAYLOAD_LIMIT)).is_ok());
    }
}
