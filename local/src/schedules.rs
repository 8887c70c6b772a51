//! Calls functions at the times that the template says.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::sleep;
use uuid::Uuid;

use crate::asynchronous::{Asynchronous, Background, Parcel, TooLarge};
use crate::containers::Containers;
use crate::streams::Invoke;
use crate::template::{ACCOUNT, Function, REGION, Schedule};

/// A function's calls by the clock.
#[derive(Clone, Debug)]
struct Timer<F> {
    schedule: Schedule,
    /// What SAM calls the rule: the function's logical id and the event's name.
    name: String,
    function: Asynchronous<F>,
}

/// All schedules of the template; they can also be run at once. Clones are the same ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Schedules(Arc<Vec<Timer<Arc<Containers>>>>);

/// Why a schedule was not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotRun {
    #[error("there is no schedule {0}; there are: {1}")]
    Unknown(String, String),
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

impl<F: Invoke + Clone + 'static> Timer<F> {
    fn run(&self, now: DateTime<Utc>) -> Result<Uuid, TooLarge> {
        let id = Uuid::new_v4();
        let event = self.schedule.input.clone().unwrap_or_else(|| scheduled_event(id, &self.name, now));
        self.function.accept(Parcel { event, event_id: id.to_string(), rule: self.name.clone() })?;
        Ok(id)
    }

    async fn keep_time(self) {
        let mut last = Utc::now();
        while let Some(due) = self.schedule.expression.next(last) {
            sleep((due - Utc::now()).to_std().unwrap_or_default()).await;
            if let Err(error) = self.run(due) {
                tracing::error!(schedule = self.name, "{error}");
            }
            // What was missed, while the machine slept, is not made up for.
            last = due.max(Utc::now());
        }
    }
}

impl Schedules {
    /// Starts the schedules of these functions.
    pub(crate) fn start(functions: &[(&Function, Asynchronous<Arc<Containers>>)], background: &Background) -> Self {
        let mut timers = Vec::new();
        for (function, asynchronous) in functions {
            for schedule in &function.schedules {
                let name = format!("{}{}", function.logical_id, schedule.name);
                timers.push(Timer { schedule: schedule.clone(), name, function: asynchronous.clone() });
            }
        }
        for timer in &timers {
            background.spawn(timer.clone().keep_time());
        }
        Self(Arc::new(timers))
    }

    /// Runs the schedule of that name, or of the function of that binary, now; answers the event's id.
    pub(crate) fn run(&self, name: &str) -> Result<Uuid, NotRun> {
        let timers = &self.0;
        let Some(timer) = timers
            .iter()
            .find(|timer| [&timer.name, &timer.schedule.name, &timer.function.function].contains(&&name.to_owned()))
        else {
            let names: Vec<&str> = timers.iter().map(|timer| timer.function.function.as_str()).collect();
            return Err(NotRun::Unknown(name.to_owned(), names.join(", ")));
        };
        Ok(timer.run(Utc::now())?)
    }
}

fn scheduled_event(id: Uuid, name: &str, time: DateTime<Utc>) -> Arc<RawValue> {
    let event = json!({
        "version": "0", "id": id, "detail-type": "Scheduled Event", "source": "aws.events", "account": ACCOUNT,
        "time": time.to_rfc3339_opts(SecondsFormat::Secs, true), "region": REGION,
        "resources": [format!("arn:aws:events:{REGION}:{ACCOUNT}:rule/{name}")], "detail": {},
    });
    // JSON always is JSON.
    RawValue::from_string(event.to_string()).map(Into::into).unwrap_or_else(|_| RawValue::NULL.to_owned().into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::asynchronous::tests::{Scripted, background};
    use crate::journal::What;
    use crate::template::{FailurePolicy, fixture};

    fn timer(expression: &str, background: &Background) -> (Timer<Scripted>, Scripted) {
        let script = Scripted::default();
        let function = fixture::template().function("Health").unwrap().clone();
        let schedule = Schedule {
            name: "Tick".into(),
            expression: expression.parse().unwrap(),
            input: None,
            failure: FailurePolicy::default(),
        };
        let function = Asynchronous::new(&function, script.clone(), background.clone());
        (Timer { schedule, name: "HealthTick".into(), function }, script)
    }

    #[tokio::test(start_paused = true)]
    async fn a_function_is_called_every_time_that_its_schedule_is_due() {
        let background = background();
        let (timer, script) = timer("rate(1 minute)", &background);
        background.spawn(timer.keep_time());
        sleep(Duration::from_secs(59)).await;
        assert_eq!(script.calls(), 0);
        background.journal.past(1).await;
        assert_eq!(script.calls(), 2);
    }

    #[tokio::test]
    async fn a_schedule_can_be_run_at_once() {
        let background = background();
        let (timer, script) = timer("rate(1 day)", &background);
        let id = timer.run(Utc::now()).unwrap();
        background.journal.past(0).await;
        let What::Delivery(delivery) = background.journal.since(0).remove(0).what else { panic!("no delivery") };
        assert_eq!((delivery.event_id, delivery.rule), (id.to_string(), "HealthTick".into()));
        assert_eq!(script.calls(), 1);
    }

    #[test]
    fn a_schedule_that_does_not_exist_is_named() {
        assert!(Schedules::default().run("nothing").unwrap_err().to_string().contains("nothing"));
    }
}
