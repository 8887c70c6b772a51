//! The SQS queues of the template, which hold failed events until they are redriven.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::files::write_atomically;
use crate::template::arn_name;

/// A message in a queue.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Message {
    /// Its id.
    pub id: Uuid,
    /// When it was sent.
    pub sent_at: DateTime<Utc>,
    /// Its body, which is JSON here.
    pub body: Box<RawValue>,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
}

/// All queues by name. Clones are the same queues.
#[derive(Clone, Debug)]
pub struct Queues(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directory: Option<PathBuf>,
    queues: Mutex<BTreeMap<String, Vec<Message>>>,
}

/// The template has no such queue.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the template has no queue {0}")]
pub struct NoQueue(pub String);

impl Queues {
    /// Queues of these names. With a data directory they survive a restart, as files.
    pub fn new(names: impl IntoIterator<Item = String>, data: Option<&Path>) -> Self {
        let directory = data.map(|data| data.join("queues"));
        let load = |name: String| {
            let messages = directory.as_ref().and_then(|directory| {
                let text = std::fs::read(directory.join(format!("{name}.json"))).ok()?;
                serde_json::from_slice(&text).ok()
            });
            (name, messages.unwrap_or_default())
        };
        let queues = Mutex::new(names.into_iter().map(load).collect());
        Self(Arc::new(Inner { directory, queues }))
    }

    /// The messages of each queue, oldest first.
    pub fn contents(&self) -> BTreeMap<String, Vec<Message>> {
        self.lock().clone()
    }

    /// Sends a message to the queue of that name or ARN; returns its name.
    ///
    /// # Errors
    /// [`NoQueue`].
    pub fn send(
        &self,
        queue: &str,
        body: Box<RawValue>,
        attributes: BTreeMap<String, String>,
    ) -> Result<String, NoQueue> {
        let message = Message { id: Uuid::new_v4(), sent_at: Utc::now(), body, attributes };
        self.change(queue, |messages| messages.push(message)).map(|()| arn_name(queue).to_owned())
    }

    /// Removes all messages from the queue of that name or ARN, oldest first.
    ///
    /// # Errors
    /// [`NoQueue`].
    pub fn take(&self, queue: &str) -> Result<Vec<Message>, NoQueue> {
        self.change(queue, std::mem::take)
    }

    fn change<T>(&self, queue: &str, change: impl FnOnce(&mut Vec<Message>) -> T) -> Result<T, NoQueue> {
        let name = arn_name(queue);
        let mut queues = self.lock();
        let messages = queues.get_mut(name).ok_or_else(|| NoQueue(name.to_owned()))?;
        let changed = change(messages);
        if let Some(directory) = &self.0.directory
            && let Err(error) = write_atomically(&directory.join(format!("{name}.json")), messages)
        {
            tracing::warn!("cannot write the queue {name} to {}: {error}", directory.display());
        }
        Ok(changed)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Message>>> {
        self.0.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_the_template_does_not_have_is_named() {
        let queues = Queues::new([], None);
        assert_eq!(queues.take("arn:aws:sqs:r:0:Lost").unwrap_err(), NoQueue("Lost".into()));
    }

    #[test]
    fn messages_survive_a_restart_with_a_data_directory() {
        let data = std::env::temp_dir().join(format!("orders-local-{}", Uuid::new_v4()));
        let open = || Queues::new(["Failed".to_owned()], Some(&data));
        let body = RawValue::from_string("1.10".into()).unwrap();
        open().send("Failed", body, BTreeMap::from([("ERROR_CODE".to_owned(), "X".to_owned())])).unwrap();
        let taken = open().take("Failed").unwrap();
        assert_eq!((taken[0].body.get(), taken[0].attributes["ERROR_CODE"].as_str()), ("1.10", "X"));
        assert!(open().take("Failed").unwrap().is_empty());
        std::fs::remove_dir_all(data).unwrap();
    }
}
