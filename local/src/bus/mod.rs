//! The event buses: they accept events, match them to the template's rules, and deliver them to functions and queues.

mod endpoint;
mod entry;
mod faults;
mod redrive;
mod target;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use chrono::Utc;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::journal::{EntryKind, Journal};
use crate::lambda::Containers;
use crate::lambda::asynchronous::{Background, PendingEvent};
use crate::served::Served;
pub use entry::{EntryError, RequestEntry};
pub use faults::{Call, Fault, Faults, Mode};

pub(crate) use target::Target;

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

impl Bus {
    /// Buses of these names, and the default one.
    pub(crate) fn new(names: &[String], targets: Vec<Target<Arc<Containers>>>, background: Background) -> Self {
        let names = names.iter().cloned().chain(["default".to_owned()]).collect();
        Self(Arc::new(Inner { names, targets, background, faults: Faults::default() }))
    }

    /// Serves the buses to AWS SDKs.
    ///
    /// # Errors
    /// The listener has no address.
    pub(crate) fn serve(&self, listener: TcpListener) -> io::Result<Served> {
        Served::on(listener, "the event bus", endpoint::router(self.clone()))
    }

    /// The latest events and deliveries.
    pub fn journal(&self) -> &Journal {
        &self.0.background.journal
    }

    /// The injected faults.
    pub fn faults(&self) -> &Faults {
        &self.0.faults
    }

    /// The bus of events that name none: the template's own one, if it has one.
    pub(crate) fn default_bus(&self) -> &str {
        let own = self.0.names.iter().find(|name| *name != "default");
        own.map_or("default", String::as_str)
    }

    fn has(&self, name: &str) -> bool {
        self.0.names.contains(name)
    }

    /// Puts an event on its bus; returns the event's id. As on AWS, an event for a bus that does not exist is lost.
    ///
    /// # Errors
    /// EventBridge's error of the entry.
    pub fn put(&self, entry: &RequestEntry) -> Result<Uuid, EntryError> {
        let event = entry.to_event(Utc::now()).inspect_err(|error| {
            let (code, message) = (error.code.to_owned(), error.message.clone());
            let (source, detail_type) = (entry.source.clone(), entry.detail_type.clone());
            self.journal().write(EntryKind::Refused { source, detail_type, code, message });
        })?;
        if !self.has(&event.bus) {
            tracing::warn!("an event for the bus {}, which does not exist, is lost", event.bus);
        }
        let matching = |target: &&Target<_>| target.rule.bus == event.bus && target.rule.pattern.matches(&event.value);
        let targets: Vec<_> = self.0.targets.iter().filter(matching).collect();
        let names = targets.iter().map(|target| target.name().to_owned()).collect();
        // The event precedes its deliveries.
        self.journal().write(EntryKind::Event { bus: event.bus.clone(), event: event.text.clone(), targets: names });
        for target in targets {
            let rule = target.rule.name.clone();
            let pending = PendingEvent { event: event.text.clone(), event_id: event.id.to_string(), rule };
            target.clone().deliver(pending, &self.0.background, &self.0.faults);
        }
        Ok(event.id)
    }
}
