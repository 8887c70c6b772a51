//! Asynchronous invocations: nobody waits for an answer; failures are tried again, and in the end put aside.
//! <https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html>

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use chrono::{SecondsFormat, Utc};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::containers::InvokeError;
use crate::journal::{Delivery, Journal, Outcome, What};
use crate::queues::{Queues, name_of};
use crate::streams::Invoke;
use crate::template::{AsyncPolicy, Function};

/// Most bytes of an event that nobody waits for.
const PAYLOAD_LIMIT: usize = 1024 * 1024;
/// The longest wait before another attempt, in first waits.
const LONGEST_WAIT: u32 = 5;

/// What everything that goes on in the background shares. It ends when the last clone is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Background {
    pub journal: Journal,
    pub queues: Queues,
    /// The wait before a first repeat; each further one is twice as long. On AWS it is a minute.
    pub first_wait: Duration,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

impl Background {
    pub(crate) fn new(journal: Journal, queues: Queues, first_wait: Duration) -> Self {
        Self { journal, queues, first_wait, tasks: Arc::default() }
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

    /// The wait after that many attempts.
    pub(crate) fn wait(&self, attempts: u32) -> Duration {
        self.first_wait * 2_u32.saturating_pow(attempts.saturating_sub(1)).min(LONGEST_WAIT)
    }
}

/// An event is larger than what a function takes when nobody waits for the answer.
#[derive(Debug, thiserror::Error)]
#[error("the event has more than {PAYLOAD_LIMIT} bytes")]
pub(crate) struct TooLarge;

/// An event on its way to a function.
#[derive(Clone, Debug)]
pub(crate) struct Parcel {
    pub event: Arc<RawValue>,
    pub event_id: String,
    /// Name of the rule or schedule that sent it.
    pub rule: String,
}

/// What a function is called for.
#[derive(Clone, Copy, Debug)]
enum Cause {
    /// Something that happened, and that is told once.
    Event,
    /// The time, which comes again.
    Schedule,
}

/// A function, called without waiting.
#[derive(Clone, Debug)]
pub(crate) struct Asynchronous<F> {
    /// Its binary.
    pub function: String,
    pub arn: String,
    cause: Cause,
    policy: AsyncPolicy,
    invoke: F,
    background: Background,
}

/// The record for an on-failure destination.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    version: &'static str,
    timestamp: String,
    request_context: RequestContext<'a>,
    request_payload: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_context: Option<ResponseContext>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_payload: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext<'a> {
    request_id: Uuid,
    function_arn: String,
    condition: &'a str,
    approximate_invoke_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResponseContext {
    status_code: u16,
    executed_version: &'static str,
    function_error: &'static str,
}

impl<F: Invoke + Clone + 'static> Asynchronous<F> {
    pub(crate) fn new(function: &Function, invoke: F, background: Background) -> Self {
        let (name, arn, policy) = (function.binary.clone(), function.arn(), function.asynchronous.clone());
        Self { function: name, arn, cause: Cause::Event, policy, invoke, background }
    }

    /// The same function, called by the clock.
    pub(crate) fn by_schedule(self) -> Self {
        Self { cause: Cause::Schedule, ..self }
    }

    /// Takes the event; what becomes of it is in the journal.
    pub(crate) fn accept(&self, parcel: Parcel) -> Result<(), TooLarge> {
        if parcel.event.get().len() > PAYLOAD_LIMIT {
            return Err(TooLarge);
        }
        let function = self.clone();
        self.background.spawn(async move { function.run(&parcel).await });
        Ok(())
    }

    async fn run(&self, parcel: &Parcel) {
        let accepted = Instant::now();
        let mut failures = 0;
        for attempt in 1.. {
            let answer = self.invoke.invoke(Bytes::copy_from_slice(parcel.event.get().as_bytes())).await;
            let (reason, failed) = match answer {
                Ok(_) => return self.write(parcel, attempt, Outcome::Done, None),
                Err(InvokeError::Stopping) => return,
                Err(InvokeError::Function(answer)) => (String::from_utf8_lossy(&answer).into_owned(), Some(answer)),
                // That it cannot be started is not counted against the event, only its age is.
                Err(error) => (error.to_string(), None),
            };
            failures += u32::from(failed.is_some());
            let wait = self.background.wait(attempt);
            let condition = match () {
                () if failed.is_some() && failures > self.policy.max_retries => "RetriesExhausted",
                () if accepted.elapsed() + wait > self.policy.max_age => "EventAgeExceeded",
                () => {
                    self.write(parcel, attempt, Outcome::Failed, Some(reason));
                    sleep(wait).await;
                    continue;
                }
            };
            let outcome = self.put_aside(parcel, condition, attempt, failed.as_deref());
            return self.write(parcel, attempt, outcome, Some(reason));
        }
    }

    fn put_aside(&self, parcel: &Parcel, condition: &str, attempts: u32, answer: Option<&[u8]>) -> Outcome {
        if self.policy.dead_letter.is_none() && self.policy.on_failure.is_none() {
            return self.give_up(parcel, attempts);
        }
        let mut outcome = Outcome::Lost;
        let queues = &self.background.queues;
        if let Some(queue) = &self.policy.dead_letter {
            let attributes = [("ErrorCode", "200"), ("ErrorMessage", condition)];
            let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let sent = queues.send(queue, parcel.event.as_ref().to_owned(), BTreeMap::from(attributes));
            outcome = in_queue(sent, queue);
        }
        if let Some(queue) = &self.policy.on_failure {
            let payload = answer.and_then(|answer| serde_json::from_slice::<&RawValue>(answer).ok());
            let record = Record {
                version: "1.0",
                timestamp: Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true),
                request_context: RequestContext {
                    request_id: Uuid::new_v4(),
                    function_arn: format!("{}:$LATEST", self.arn),
                    condition,
                    approximate_invoke_count: attempts,
                },
                request_payload: &parcel.event,
                response_context: answer.map(|_| ResponseContext {
                    status_code: 200,
                    executed_version: "$LATEST",
                    function_error: "Unhandled",
                }),
                response_payload: payload,
            };
            let record = serde_json::value::to_raw_value(&record).unwrap_or_else(|_| parcel.event.as_ref().to_owned());
            outcome = in_queue(queues.send(queue, record, BTreeMap::new()), queue);
        }
        outcome
    }

    /// What it comes to that a call has failed for good, and that the function has no queue for that.
    fn give_up(&self, parcel: &Parcel, attempts: u32) -> Outcome {
        let (function, rule, plural) = (&self.function, &parcel.rule, if attempts == 1 { "" } else { "s" });
        match self.cause {
            Cause::Event => {
                tracing::error!(
                    function,
                    rule,
                    event = parcel.event_id,
                    "an event is lost after {attempts} attempt{plural}: the function has no queue for what fails"
                );
                Outcome::Lost
            }
            Cause::Schedule => {
                tracing::error!(
                    function,
                    schedule = rule,
                    "a scheduled run is given up after {attempts} attempt{plural}: the next one comes in its time"
                );
                Outcome::Missed
            }
        }
    }

    fn write(&self, parcel: &Parcel, attempt: u32, outcome: Outcome, reason: Option<String>) {
        self.background.journal.write(What::Delivery(Delivery {
            event_id: parcel.event_id.clone(),
            rule: parcel.rule.clone(),
            function: self.function.clone(),
            outcome,
            attempt,
            reason,
        }));
    }
}

/// What it comes to that a failed event was sent to a queue.
pub(crate) fn in_queue(sent: Result<(), crate::queues::NoQueue>, queue: &str) -> Outcome {
    match sent {
        Ok(()) => Outcome::InQueue(name_of(queue).to_owned()),
        Err(error) => {
            tracing::error!("an event is lost: {error}");
            Outcome::Lost
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::template::fixture;

    /// Answers by script, then with success, and counts.
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
        Background::new(Journal::default(), queues, Duration::from_secs(60))
    }

    pub(crate) fn queue(name: &str) -> Option<String> {
        Some(format!("arn:aws:sqs:us-east-1:000000000000:{name}"))
    }

    fn function(policy: AsyncPolicy) -> Function {
        Function { asynchronous: policy, ..fixture::template().function("Health").unwrap().clone() }
    }

    fn parcel(text: &str) -> Parcel {
        let event = RawValue::from_string(text.to_owned()).unwrap().into();
        Parcel { event, event_id: "e".into(), rule: "r".into() }
    }

    async fn outcome(policy: AsyncPolicy, script: Scripted) -> (Background, Vec<Outcome>) {
        let background = background();
        Asynchronous::new(&function(policy), script, background.clone()).accept(parcel("{\"a\":1.50}")).unwrap();
        let ended = |outcome: &Outcome| *outcome != Outcome::Failed;
        loop {
            let outcomes: Vec<Outcome> = background
                .journal
                .since(0)
                .into_iter()
                .filter_map(|entry| match entry.what {
                    What::Delivery(delivery) => Some(delivery.outcome),
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
    async fn a_function_that_fails_is_tried_again_after_one_minute_and_after_two() {
        let begun = Instant::now();
        let script = Scripted::failing(2);
        let (_, outcomes) = outcome(AsyncPolicy::default(), script.clone()).await;
        assert_eq!(outcomes, [Outcome::Failed, Outcome::Failed, Outcome::Done]);
        assert_eq!(begun.elapsed().as_secs(), 180);
        assert_eq!(script.calls(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_every_time_goes_to_its_queues_with_the_event_and_the_reason() {
        let policy = AsyncPolicy {
            max_retries: 1,
            on_failure: queue("Failed"),
            dead_letter: queue("Dead"),
            ..AsyncPolicy::default()
        };
        let (background, outcomes) = outcome(policy, Scripted::failing(9)).await;
        assert_eq!(outcomes, [Outcome::Failed, Outcome::InQueue("Failed".into())]);
        let contents = background.queues.contents();
        let record: Value = serde_json::from_str(contents["Failed"][0].body.get()).unwrap();
        assert_eq!(record["requestContext"]["condition"], "RetriesExhausted");
        assert_eq!(record["requestContext"]["approximateInvokeCount"], 2);
        assert_eq!(record["responsePayload"], json!({"errorMessage": "no"}));
        assert!(contents["Failed"][0].body.get().contains("\"requestPayload\":{\"a\":1.50}"));
        assert_eq!(contents["Dead"][0].body.get(), "{\"a\":1.50}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_function_that_cannot_be_called_is_tried_until_the_event_is_too_old() {
        let cannot = || InvokeError::Start { program: "f".into(), source: std::io::ErrorKind::NotFound.into() };
        let script = Scripted::answering((0..99).map(|_| Err(cannot())).collect());
        let policy =
            AsyncPolicy { max_age: Duration::from_secs(1800), on_failure: queue("Failed"), ..AsyncPolicy::default() };
        let (background, _) = outcome(policy, script.clone()).await;
        assert!(script.calls() > 5, "more often than a function that fails");
        let record: Value = serde_json::from_str(background.queues.contents()["Failed"][0].body.get()).unwrap();
        assert_eq!(record["requestContext"]["condition"], "EventAgeExceeded");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_queue_an_event_is_lost_and_a_scheduled_run_is_missed() {
        let policy = || AsyncPolicy { max_retries: 0, ..AsyncPolicy::default() };
        let (_, outcomes) = outcome(policy(), Scripted::failing(1)).await;
        assert_eq!(outcomes, [Outcome::Lost]);
        let background = background();
        let function = Asynchronous::new(&function(policy()), Scripted::failing(1), background.clone());
        function.by_schedule().accept(parcel("{}")).unwrap();
        background.journal.past(0).await;
        let What::Delivery(delivery) = background.journal.since(0).remove(0).what else { panic!("no delivery") };
        assert_eq!(delivery.outcome, Outcome::Missed);
    }

    #[tokio::test]
    async fn an_event_over_one_megabyte_is_not_taken() {
        let function = Asynchronous::new(&function(AsyncPolicy::default()), Scripted::default(), background());
        let event = |bytes: usize| parcel(&format!("\"{}\"", "x".repeat(bytes - 2)));
        assert!(function.accept(event(PAYLOAD_LIMIT + 1)).is_err());
        assert!(function.accept(event(PAYLOAD_LIMIT)).is_ok());
    }
}
