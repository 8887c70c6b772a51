//! Invokes functions at the rates of the template.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use uuid::Uuid;

use crate::lambda::asynchronous::{Asynchronous, Background, PendingEvent, TooLarge};
use crate::lambda::{Containers, Invoke};
use crate::template::{ACCOUNT, Function, REGION, Schedule};

/// A schedule and its function.
#[derive(Clone, Debug)]
struct Timer<F> {
    schedule: Schedule,
    function: Asynchronous<F>,
}

/// All schedules of the template; they can also be run on demand.
#[derive(Debug, Default)]
pub(crate) struct Schedules(Vec<Timer<Arc<Containers>>>);

/// Why a schedule was not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotRun {
    #[error("the schedule {0} does not exist; there are: {1}")]
    Unknown(String, String),
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

impl<F: Invoke + Clone + 'static> Timer<F> {
    fn run(&self, now: DateTime<Utc>) -> Result<Uuid, TooLarge> {
        let (id, rule) = (Uuid::new_v4(), self.schedule.name.clone());
        let event = scheduled_event(id, &rule, now).into();
        self.function.accept(PendingEvent { event, event_id: id.to_string(), rule })?;
        Ok(id)
    }

    async fn keep_time(self) {
        let mut ticks = interval_at(Instant::now() + self.schedule.interval, self.schedule.interval);
        // Runs that were missed while the machine was suspended are skipped.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.run(Utc::now()) {
                tracing::error!(schedule = self.schedule.name, "{error}");
            }
        }
    }
}

impl Schedules {
    /// Starts the schedules of these functions.
    pub(crate) fn start<'a>(
        functions: impl Iterator<Item = (&'a Function, Asynchronous<Arc<Containers>>)>,
        background: &Background,
    ) -> Self {
        let timers = functions.flat_map(|(function, asynchronous)| {
            let timer = move |schedule: &Schedule| Timer { schedule: schedule.clone(), function: asynchronous.clone() };
            function.schedules.iter().map(timer)
        });
        let timers: Vec<_> = timers.collect();
        for timer in &timers {
            background.spawn(timer.clone().keep_time());
        }
        Self(timers)
    }

    /// Runs the schedule of that name, or of the function of that binary, now; returns the event's id.
    pub(crate) fn run(&self, name: &str) -> Result<Uuid, NotRun> {
        match self.0.iter().find(|timer| timer.schedule.name == name || timer.function.function == name) {
            Some(timer) => Ok(timer.run(Utc::now())?),
            None => {
                let names: Vec<&str> = self.0.iter().map(|timer| timer.function.function.as_str()).collect();
                Err(NotRun::Unknown(name.to_owned(), names.join(", ")))
            }
        }
    }
}

fn scheduled_event(id: Uuid, name: &str, time: DateTime<Utc>) -> Box<RawValue> {
    let event = json!({
        "version": "0", "id": id, "detail-type": "Scheduled Event", "source": "aws.events", "account": ACCOUNT,
        "time": time.to_rfc3339_opts(SecondsFormat::Secs, true), "region": REGION,
        "resources": [format!("arn:aws:events:{REGION}:{ACCOUNT}:rule/{name}")], "detail": {},
    });
    // JSON always becomes JSON.
    to_raw_value(&event).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;
    use crate::journal::EntryKind;
    use crate::lambda::asynchronous::tests::{Scripted, background};
    use crate::template::tests::template;

    #[tokio::test(start_paused = true)]
    async fn a_function_is_invoked_at_its_rate_and_on_demand() {
        let (background, script) = (background(), Scripted::default());
        let template = template();
        let function = template.function("OnThing").unwrap();
        let schedule = Schedule { interval: Duration::from_secs(60), ..function.schedules[0].clone() };
        let timer = Timer { schedule, function: Asynchronous::new(function, script.clone(), background.clone()) };
        background.spawn(timer.clone().keep_time());
        sleep(Duration::from_secs(59)).await;
        assert_eq!(script.calls(), 0);
        background.journal.past(1).await;
        assert_eq!(script.calls(), 2);
        let id = timer.run(Utc::now()).unwrap();
        background.journal.past(2).await;
        let EntryKind::Delivery(delivery) = background.journal.since(2).remove(0).kind else { panic!("no delivery") };
        assert_eq!((delivery.event_id, delivery.rule), (id.to_string(), "OnThingNightly".into()));
    }
}
