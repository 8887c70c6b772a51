//! The event buses: take events, match them to the template's rules, and give them to the rules' functions and queues.

mod dev;
mod endpoint;
mod entry;
mod faults;
pub mod tail;
mod target;

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::Utc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::asynchronous::{Background, Parcel};
use crate::containers::Containers;
use crate::journal::{Journal, What};
pub(crate) use dev::router;
pub use entry::{EntryError, RequestEntry};
pub use faults::{Call, Fault, Faults, Mode};

pub(crate) use target::{Destination, Target};

/// The buses of a template, with its rules. Clones are the same buses.
#[derive(Clone, Debug)]
pub struct Bus(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    names: BTreeSet<String>,
    targets: Vec<Target<Arc<Containers>>>,
    background: Background,
    faults: Faults,
}

/// Where AWS SDKs reach the buses. It is closed when this is dropped.
#[derive(Debug)]
pub(crate) struct Endpoint(JoinHandle<()>);

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Bus {
    /// Buses of these names, beside the default one.
    pub(crate) fn new(names: &[String], targets: Vec<Target<Arc<Containers>>>, background: Background) -> Self {
        let names = names.iter().cloned().chain(["default".to_owned()]).collect();
        Self(Arc::new(Inner { names, targets, background, faults: Faults::default() }))
    }

    /// Serves the buses to AWS SDKs.
    pub(crate) fn serve(&self, listener: TcpListener) -> Endpoint {
        let router = endpoint::router(self.clone());
        Endpoint(tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!("the event bus stopped: {error}");
            }
        }))
    }

    /// What happened lately.
    pub fn journal(&self) -> &Journal {
        &self.0.background.journal
    }

    /// The faults to come.
    pub fn faults(&self) -> &Faults {
        &self.0.faults
    }

    /// The bus that is meant when none is named: the template's own, where it has one.
    pub(crate) fn usual(&self) -> &str {
        let own = self.0.names.iter().find(|name| *name != "default");
        own.map_or("default", String::as_str)
    }

    fn has(&self, name: &str) -> bool {
        self.0.names.contains(name)
    }

    /// Puts an event on its bus; answers the event's id. A bus that does not exist swallows it, as on AWS.
    ///
    /// # Errors
    /// What EventBridge has against the entry.
    pub fn put(&self, entry: &RequestEntry) -> Result<Uuid, EntryError> {
        let event = match entry.to_event(Utc::now()) {
            Ok(event) => event,
            Err(error) => {
                let (code, message) = (error.code.to_owned(), error.message.clone());
                let (source, detail_type) = (entry.source.clone(), entry.detail_type.clone());
                self.journal().write(What::Refused { source, detail_type, code, message });
                return Err(error);
            }
        };
        if !self.has(&event.bus) {
            tracing::warn!("an event for the bus {}, which does not exist, is lost", event.bus);
        }
        let matching = |target: &&Target<_>| target.bus == event.bus && target.rule.pattern.matches(&event.value);
        let targets: Vec<_> = self.0.targets.iter().filter(matching).collect();
        let names = targets.iter().map(|target| target.to.name().to_owned()).collect();
        // First, so that what comes of it stands below it.
        self.journal().write(What::Event { bus: event.bus.clone(), event: event.text.clone(), targets: names });
        for target in targets {
            let input = target.rule.input.clone().unwrap_or_else(|| event.text.clone());
            let parcel = Parcel { event: input, event_id: event.id.to_string(), rule: target.rule.name.clone() };
            target.clone().deliver(parcel, &self.0.background, &self.0.faults);
        }
        Ok(event.id)
    }
}
