//! A rule's function or queue: events are handed to it, again and again where it cannot be reached, and then put aside.
//! <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-retry-policy.html>

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::faults::Faults;
use crate::asynchronous::{Asynchronous, Background, Parcel, TooLarge, in_queue};
use crate::journal::{Delivery, Outcome, What};
use crate::queues::name_of;
use crate::streams::Invoke;
use crate::template::{ACCOUNT, REGION, Rule};

/// What EventBridge does when a rule says nothing.
const MAX_RETRIES: u32 = 185;
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// A function or a queue that a rule sends events to.
#[derive(Clone, Debug)]
pub(crate) struct Target<F> {
    pub rule: Rule,
    /// Name of the rule's bus.
    pub bus: String,
    pub to: Destination<F>,
}

/// Where a rule's events go.
#[derive(Clone, Debug)]
pub(crate) enum Destination<F> {
    Function(Asynchronous<F>),
    /// By its ARN.
    Queue(String),
}

impl<F> Destination<F> {
    /// The function's binary, or the queue's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Function(function) => &function.function,
            Self::Queue(arn) => name_of(arn),
        }
    }

    pub fn arn(&self) -> &str {
        match self {
            Self::Function(function) => &function.arn,
            Self::Queue(arn) => arn,
        }
    }
}

/// What is wrong while the bus reaches nobody.
const UNREACHABLE: &str = "the target cannot be reached";

/// Why an event could not be handed over.
struct Undelivered {
    code: &'static str,
    message: String,
    /// What was exhausted; none when trying again would be of no use.
    condition: Option<&'static str>,
    attempts: u32,
}

impl<F: Invoke + Clone + 'static> Target<F> {
    /// What that rule sends its events to.
    pub(crate) fn new(rule: &Rule, to: Destination<F>) -> Self {
        let bus = rule.bus.as_deref().unwrap_or("default");
        let bus = bus.rsplit_once("event-bus/").map_or(bus, |(_, name)| name).to_owned();
        Self { rule: rule.clone(), bus, to }
    }

    /// Hands the event over in the background.
    pub(super) fn deliver(self, parcel: Parcel, background: &Background, faults: &Faults) {
        let (shared, faults) = (background.clone(), faults.clone());
        background.spawn(async move {
            if let Err(undelivered) = self.hand_over(&parcel, &shared, &faults).await {
                self.put_aside(&parcel, undelivered, &shared);
            }
        });
    }

    async fn hand_over(&self, parcel: &Parcel, background: &Background, faults: &Faults) -> Result<(), Undelivered> {
        let begun = Instant::now();
        let max_retries = self.rule.failure.max_retries.unwrap_or(MAX_RETRIES);
        let max_age = self.rule.failure.max_age.unwrap_or(MAX_AGE);
        for attempts in 1.. {
            if !faults.is_deaf() {
                return self.give(parcel, background, attempts);
            }
            let wait = background.wait(attempts);
            let condition = match () {
                () if attempts > max_retries => "MaximumRetryAttempts",
                () if begun.elapsed() + wait > max_age => "MaximumEventAgeInSeconds",
                () => {
                    self.write(parcel, background, attempts, Outcome::Failed, Some(UNREACHABLE.to_owned()));
                    sleep(wait).await;
                    continue;
                }
            };
            let message = UNREACHABLE.to_owned();
            return Err(Undelivered { code: "THROTTLING", message, condition: Some(condition), attempts });
        }
        Ok(())
    }

    /// Gives the event to a target that can be reached. What becomes of it in a function, the function says.
    fn give(&self, parcel: &Parcel, background: &Background, attempts: u32) -> Result<(), Undelivered> {
        match &self.to {
            Destination::Function(function) => function.accept(parcel.clone()).map_err(|error: TooLarge| Undelivered {
                code: "INVALID_PARAMETER",
                message: error.to_string(),
                condition: None,
                attempts,
            }),
            Destination::Queue(arn) => {
                let sent = background.queues.send(arn, parcel.event.as_ref().to_owned(), BTreeMap::new());
                sent.map_err(|error| Undelivered {
                    code: "NO_RESOURCE",
                    message: error.to_string(),
                    condition: None,
                    attempts,
                })?;
                self.write(parcel, background, attempts, Outcome::Done, None);
                Ok(())
            }
        }
    }

    fn put_aside(&self, parcel: &Parcel, undelivered: Undelivered, background: &Background) {
        let Undelivered { code, message, condition, attempts } = undelivered;
        let rule = &self.rule.name;
        let outcome = match &self.rule.failure.dead_letter {
            None => {
                tracing::error!(rule, "an event is lost: {message}, and the rule has no queue");
                Outcome::Lost
            }
            Some(queue) => {
                let bus = if self.bus == "default" { String::new() } else { format!("{}/", self.bus) };
                let mut attributes = BTreeMap::from([
                    ("ERROR_CODE", code.to_owned()),
                    ("ERROR_MESSAGE", message.clone()),
                    ("RETRY_ATTEMPTS", (attempts - 1).to_string()),
                    ("RULE_ARN", format!("arn:aws:events:{REGION}:{ACCOUNT}:rule/{bus}{rule}")),
                    ("TARGET_ARN", self.to.arn().to_owned()),
                ]);
                attributes.extend(condition.map(|condition| ("EXHAUSTED_RETRY_CONDITION", condition.to_owned())));
                let attributes = attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
                in_queue(background.queues.send(queue, parcel.event.as_ref().to_owned(), attributes), queue)
            }
        };
        self.write(parcel, background, attempts, outcome, Some(message));
    }

    fn write(&self, parcel: &Parcel, background: &Background, attempt: u32, outcome: Outcome, reason: Option<String>) {
        let (event_id, rule) = (parcel.event_id.clone(), parcel.rule.clone());
        let function = self.to.name().to_owned();
        background.journal.write(What::Delivery(Delivery { event_id, rule, function, outcome, attempt, reason }));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use serde_json::value::RawValue;

    use super::super::faults::Mode;
    use super::*;
    use crate::asynchronous::tests::{Scripted, background, queue};
    use crate::patterns::Pattern;
    use crate::template::{FailurePolicy, fixture};

    fn rule(failure: FailurePolicy) -> Rule {
        let pattern = Pattern::parse(&json!({"source": ["s"]})).unwrap();
        let bus = Some("arn:aws:events:us-east-1:000000000000:event-bus/things".to_owned());
        Rule { name: "R".into(), pattern, bus, input: None, failure }
    }

    fn target(failure: FailurePolicy, script: Scripted, background: &Background) -> Target<Scripted> {
        let function = fixture::template().function("Health").unwrap().clone();
        let function = Asynchronous::new(&function, script, background.clone());
        Target::new(&rule(failure), Destination::Function(function))
    }

    fn parcel(text: String) -> Parcel {
        Parcel { event: RawValue::from_string(text).unwrap().into(), event_id: "e".into(), rule: "R".into() }
    }

    async fn last(background: &Background, failures: u64) -> Outcome {
        background.journal.past(failures).await;
        match background.journal.since(failures).remove(0).what {
            What::Delivery(delivery) => delivery.outcome,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_reaches_the_function_once_it_can_be_reached() {
        let (background, faults, script) = (background(), Faults::default(), Scripted::default());
        faults.mode(Mode::Deaf);
        target(FailurePolicy::default(), script.clone(), &background).deliver(
            parcel("{}".into()),
            &background,
            &faults,
        );
        assert_eq!(last(&background, 0).await, Outcome::Failed);
        assert_eq!(script.calls(), 0);
        faults.mode(Mode::Ok);
        assert_eq!(last(&background, 1).await, Outcome::Done);
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_rule_s_attempts_it_goes_to_the_rule_s_queue_and_says_why() {
        let (background, faults) = (background(), Faults::default());
        faults.mode(Mode::Deaf);
        let failure = FailurePolicy { max_retries: Some(2), max_age: None, dead_letter: queue("Dead") };
        let target = target(failure, Scripted::default(), &background);
        target.deliver(parcel("{\"n\":1.50}".into()), &background, &faults);
        assert_eq!(last(&background, 2).await, Outcome::InQueue("Dead".into()));
        let message = background.queues.take("Dead").unwrap().remove(0);
        assert_eq!(message.body.get(), "{\"n\":1.50}");
        assert_eq!(message.attributes["EXHAUSTED_RETRY_CONDITION"], "MaximumRetryAttempts");
        assert_eq!(message.attributes["RETRY_ATTEMPTS"], "2");
        assert_eq!(message.attributes["RULE_ARN"], "arn:aws:events:us-east-1:000000000000:rule/things/R");
        assert!(message.attributes["TARGET_ARN"].ends_with(":function:Health"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_that_gets_too_old_for_its_rule_is_put_aside_too() {
        let (background, faults) = (background(), Faults::default());
        faults.mode(Mode::Deaf);
        let failure =
            FailurePolicy { max_retries: None, max_age: Some(Duration::from_secs(100)), dead_letter: queue("Dead") };
        target(failure, Scripted::default(), &background).deliver(parcel("{}".into()), &background, &faults);
        assert_eq!(last(&background, 1).await, Outcome::InQueue("Dead".into()));
        let message = background.queues.take("Dead").unwrap().remove(0);
        assert_eq!(message.attributes["EXHAUSTED_RETRY_CONDITION"], "MaximumEventAgeInSeconds");
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_that_no_function_can_take_is_put_aside_at_once() {
        let (background, faults) = (background(), Faults::default());
        let failure = FailurePolicy { max_retries: None, max_age: None, dead_letter: queue("Dead") };
        let large = parcel(format!("\"{}\"", "x".repeat(1024 * 1024)));
        target(failure, Scripted::default(), &background).deliver(large, &background, &faults);
        assert_eq!(last(&background, 0).await, Outcome::InQueue("Dead".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_gets_the_event_as_it_is_once_it_can_be_reached_and_is_put_aside_like_any_other() {
        let (background, faults) = (background(), Faults::default());
        let failure = FailurePolicy { max_retries: Some(1), max_age: None, dead_letter: queue("Dead") };
        let target: Target<Scripted> = Target::new(&rule(failure), Destination::Queue(queue("Failed").unwrap()));
        target.clone().deliver(parcel("{\"n\":1.50}".into()), &background, &faults);
        assert_eq!(last(&background, 0).await, Outcome::Done);
        let message = background.queues.take("Failed").unwrap().remove(0);
        assert_eq!((message.body.get(), message.attributes.len()), ("{\"n\":1.50}", 0));

        faults.mode(Mode::Deaf);
        target.clone().deliver(parcel("1".into()), &background, &faults);
        assert_eq!(last(&background, 1).await, Outcome::Failed);
        faults.mode(Mode::Ok);
        assert_eq!(last(&background, 2).await, Outcome::Done);

        faults.mode(Mode::Deaf);
        target.deliver(parcel("2".into()), &background, &faults);
        assert_eq!(last(&background, 4).await, Outcome::InQueue("Dead".into()));
        let message = background.queues.take("Dead").unwrap().remove(0);
        assert!(message.attributes["TARGET_ARN"].ends_with(":Failed"));
    }
}
