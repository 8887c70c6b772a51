//! Redelivers the messages of a queue to the functions that failed on them.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::Bus;
use crate::lambda::asynchronous::PendingEvent;
use crate::queues::{Message, NoQueue, Queues};

/// The part of an on-failure record that is needed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    request_context: Context,
    request_payload: Box<RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Context {
    function_arn: String,
}

impl Bus {
    pub(crate) fn queues(&self) -> &Queues {
        &self.0.background.queues
    }

    /// Redelivers every message of a queue; returns how many. An event that fails again returns to its queue.
    pub(crate) fn redrive(&self, queue: &str) -> Result<usize, NoQueue> {
        let mut count = 0;
        for message in self.queues().take(queue)? {
            match self.redeliver(&message) {
                Ok(()) => count += 1,
                Err(reason) => {
                    let id = message.id;
                    tracing::error!(queue, %id, "a message cannot be redelivered, and stays in its queue: {reason}");
                    self.queues().send(queue, message.body, message.attributes)?;
                }
            }
        }
        Ok(count)
    }

    fn redeliver(&self, message: &Message) -> Result<(), String> {
        let (arn, event) = match message.attributes.get("TARGET_ARN") {
            Some(arn) => (arn.clone(), message.body.clone()),
            None => {
                let record: Record = serde_json::from_str(message.body.get())
                    .map_err(|_| "it is neither a dead letter of a rule nor an on-failure record")?;
                let arn = record.request_context.function_arn;
                (arn.strip_suffix(":$LATEST").unwrap_or(&arn).to_owned(), record.request_payload)
            }
        };
        let target = self.0.targets.iter().find(|target| target.rule.target == arn);
        let target = target.ok_or_else(|| format!("no rule has the target {arn}"))?;
        let id = serde_json::from_str::<Value>(event.get()).ok();
        let event_id = id.and_then(|event| event.get("id")?.as_str().map(str::to_owned)).unwrap_or_default();
        let pending = PendingEvent { event: event.into(), event_id, rule: "redrive".into() };
        target.clone().deliver(pending, &self.0.background, &self.0.faults);
        Ok(())
    }
}
