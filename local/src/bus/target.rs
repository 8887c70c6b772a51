//! Delivers an event to the target of a rule, with retries, and in the end to the rule's dead-letter queue.
//! <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-retry-policy.html>

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::faults::Faults;
use crate::iam::{Call, Caller, Denied};
use crate::journal::{Delivery, EntryKind, Outcome};
use crate::lambda::Invoke;
use crate::lambda::asynchronous::{Asynchronous, Background, PendingEvent};
use crate::template::{Rule, arn_name};

/// A rule and its target.
#[derive(Clone, Debug)]
pub(crate) struct Target<F> {
    pub rule: Rule,
    /// The function, unless the target is a queue.
    pub function: Option<Asynchronous<F>>,
}

/// The error while the bus reaches no target.
const UNREACHABLE: &str = "the target cannot be reached";

/// An event that could not be delivered.
struct Undelivered {
    code: &'static str,
    message: String,
    /// The limit that was reached, if a retry could have helped.
    condition: Option<&'static str>,
    attempts: u32,
}

impl<F: Invoke + Clone + 'static> Target<F> {
    /// The function's binary, or the queue's name.
    pub(super) fn name(&self) -> &str {
        self.function.as_ref().map_or_else(|| arn_name(&self.rule.target), |function| &function.function)
    }

    /// Delivers the event in the background.
    pub(super) fn deliver(self, pending: PendingEvent, background: &Background, faults: &Faults) {
        let (shared, faults) = (background.clone(), faults.clone());
        background.spawn(async move {
            if let Err(undelivered) = self.attempt(&pending, &shared, &faults).await {
                self.give_up(&pending, undelivered, &shared);
            }
        });
    }

    async fn attempt(
        &self,
        pending: &PendingEvent,
        background: &Background,
        faults: &Faults,
    ) -> Result<(), Undelivered> {
        let begun = Instant::now();
        let max_age = Duration::from_secs(self.rule.retry.max_age.into());
        for attempts in 1.. {
            if !faults.is_deaf() {
                return self.hand_over(pending, background, attempts);
            }
            let backoff = background.backoff(attempts);
            let condition = if attempts > self.rule.retry.max_retries {
                "MaximumRetryAttempts"
            } else if begun.elapsed() + backoff > max_age {
                "MaximumEventAgeInSeconds"
            } else {
                self.write(pending, background, attempts, Outcome::Failed, Some(UNREACHABLE.to_owned()));
                sleep(backoff).await;
                continue;
            };
            let message = UNREACHABLE.to_owned();
            return Err(Undelivered { code: "THROTTLING", message, condition: Some(condition), attempts });
        }
        Ok(())
    }

    /// Hands the event to a reachable target. A function writes its own outcome.
    fn hand_over(&self, pending: &PendingEvent, background: &Background, attempts: u32) -> Result<(), Undelivered> {
        let failed = |code, message| Undelivered { code, message, condition: None, attempts };
        if let Some(function) = &self.function {
            return function.accept(pending.clone()).map_err(|error| failed("INVALID_PARAMETER", error.to_string()));
        }
        self.check(&self.rule.target, background).map_err(|denied| failed("NO_PERMISSIONS", denied.to_string()))?;
        let sent = background.queues.send(&self.rule.target, pending.event.as_ref().to_owned(), BTreeMap::new());
        sent.map_err(|error| failed("NO_RESOURCE", error.to_string()))?;
        self.write(pending, background, attempts, Outcome::Done, None);
        Ok(())
    }

    fn give_up(&self, pending: &PendingEvent, undelivered: Undelivered, background: &Background) {
        let Undelivered { code, message, condition, attempts } = undelivered;
        let Rule { target, dead_letter, .. } = &self.rule;
        let attributes = [
            ("ERROR_CODE", Some(code.to_owned())),
            ("ERROR_MESSAGE", Some(message.clone())),
            ("RETRY_ATTEMPTS", Some((attempts - 1).to_string())),
            ("RULE_ARN", Some(self.rule.arn())),
            ("TARGET_ARN", Some(target.clone())),
            ("EXHAUSTED_RETRY_CONDITION", condition.map(str::to_owned)),
        ];
        let attributes = attributes.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let outcome = match self.check(dead_letter, background) {
            Ok(()) => background.send(dead_letter, pending.event.as_ref().to_owned(), attributes.collect()),
            Err(_) => Outcome::Lost,
        };
        self.write(pending, background, attempts, outcome, Some(message));
    }

    /// Whether the policy of a queue lets EventBridge send an event of this rule to it.
    fn check(&self, queue: &str, background: &Background) -> Result<(), Box<Denied>> {
        let caller = Caller::Service("events.amazonaws.com", self.rule.arn());
        let call = Call { action: "sqs:SendMessage".to_owned(), resource: queue.to_owned(), context: Vec::new() };
        background.iam.check(&caller, &call).inspect_err(|denied| {
            tracing::error!("the rule {} may not send to the queue {}: {denied}", self.rule.name, arn_name(queue));
        })
    }

    fn write(
        &self,
        pending: &PendingEvent,
        background: &Background,
        attempt: u32,
        outcome: Outcome,
        reason: Option<String>,
    ) {
        let (event_id, rule) = (pending.event_id.clone(), pending.rule.clone());
        let function = self.name().to_owned();
        background.journal.write(EntryKind::Delivery(Delivery { event_id, rule, function, outcome, attempt, reason }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Mode;
    use crate::lambda::asynchronous::tests::{Scripted, background, pending, queue};
    use crate::queues::Message;
    use crate::template::tests::template;

    /// The rule of the test template, whose target is a function, or a queue.
    fn target(script: Option<&Scripted>, background: &Background) -> Target<Scripted> {
        let template = template();
        let rule = template.rules.iter().find(|rule| rule.name == "Things").unwrap().clone();
        let function = template.function("OnThing").unwrap();
        let function = script.map(|script| Asynchronous::new(function, script.clone(), background.clone()));
        let target = if function.is_some() { rule.target } else { queue("Failed") };
        Target { rule: Rule { target, dead_letter: queue("Dead"), ..rule }, function }
    }

    async fn last(background: &Background, failures: u64) -> Outcome {
        background.journal.past(failures).await;
        match background.journal.since(failures).remove(0).kind {
            EntryKind::Delivery(delivery) => delivery.outcome,
            other => panic!("{other:?}"),
        }
    }

    fn taken(background: &Background, queue: &str) -> Message {
        background.queues.take(queue).unwrap().remove(0)
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_that_exhausts_its_retries_goes_to_the_dead_letter_queue_with_the_reason() {
        let (mut background, faults) = (background(), Faults::default());
        background.first_backoff = Duration::from_secs(10);
        faults.mode(Mode::Deaf);
        let mut target = target(Some(&Scripted::default()), &background);
        target.clone().deliver(pending("{\"n\":1.50}"), &background, &faults);
        assert_eq!(last(&background, 2).await, Outcome::InQueue("Dead".into()));
        let message = taken(&background, "Dead");
        assert_eq!(message.body.get(), "{\"n\":1.50}");
        assert_eq!(message.attributes["EXHAUSTED_RETRY_CONDITION"], "MaximumRetryAttempts");
        assert_eq!(message.attributes["RETRY_ATTEMPTS"], "2");
        assert_eq!(message.attributes["RULE_ARN"], "arn:aws:events:us-east-1:000000000000:rule/things/Things");
        assert!(message.attributes["TARGET_ARN"].ends_with(":function:OnThing"));

        target.rule.retry.max_age = 25;
        target.deliver(pending("{}"), &background, &faults);
        assert_eq!(last(&background, 4).await, Outcome::InQueue("Dead".into()));
        let condition = &taken(&background, "Dead").attributes["EXHAUSTED_RETRY_CONDITION"];
        assert_eq!(condition, "MaximumEventAgeInSeconds");
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_that_is_too_large_for_a_function_is_not_retried() {
        let background = background();
        let large = pending(&format!("\"{}\"", "x".repeat(1024 * 1024)));
        target(Some(&Scripted::default()), &background).deliver(large, &background, &Faults::default());
        assert_eq!(last(&background, 0).await, Outcome::InQueue("Dead".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_gets_the_event_unchanged_and_is_retried_like_a_function() {
        let (background, faults) = (background(), Faults::default());
        let target = target(None, &background);
        faults.mode(Mode::Deaf);
        target.clone().deliver(pending("{\"n\":1.50}"), &background, &faults);
        assert_eq!(last(&background, 0).await, Outcome::Failed);
        faults.mode(Mode::Ok);
        assert_eq!(last(&background, 1).await, Outcome::Done);
        let message = taken(&background, "Failed");
        assert_eq!((message.body.get(), message.attributes.len()), ("{\"n\":1.50}", 0));
    }
}
