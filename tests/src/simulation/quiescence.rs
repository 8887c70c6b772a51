//! The end of a history: the faults end, the clock runs on, and everything that was under way is completed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lambda_http::Context;
use orders_functions::rebuild::Model;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::action::Action;
use super::bounds::Bound;
use super::network::Outside;
use super::provider::payment_name;
use super::step::{Act, Batch, CALM};
use super::tables::{BACKLOG, ROWS, TOTALS};
use super::world::World;
use crate::sales_history::recount;

/// Whatever is in flight has arrived by then.
const IN_FLIGHT: Duration = Duration::from_secs(70);
/// Rounds in which everything but payments that the provider does not know is settled.
const ROUNDS: usize = 6;
/// How long a payment may be unknown to the provider.
const UNKNOWN_FOR: Duration = Duration::from_secs(25 * 3600);

impl World {
    /// Comes to rest, and checks that nothing is left undone.
    ///
    /// # Errors
    /// What is left, or differs.
    pub async fn come_to_rest(&mut self) -> Result<(), String> {
        self.restore_order();
        sleep(IN_FLIGHT).await;
        self.check_commits()?;
        self.settle_down().await?;
        if self.deferred().next().is_some() {
            sleep(UNKNOWN_FOR).await;
            // The older a payment, the fewer runs verify it.
            let days = 1 + self.began.elapsed().as_secs() / UNKNOWN_FOR.as_secs();
            for _ in 0..self.settings.settlements * days as usize {
                self.calmly(Act::Settle).await?;
                if self.deferred().next().is_none() {
                    break;
                }
            }
        }
        if !self.is_at_rest() {
            self.settle_down().await?;
        }
        if let Some(stream) = self.deferred().next() {
            return Err(format!("a payment of order {stream} stays deferred"));
        }
        if !self.is_at_rest() {
            let (left, projected) = (&self.unprocessed, &self.projector);
            return Err(format!("not everything ends: {left:?}, {projected:?}, {:?}", self.publisher));
        }
        self.check_rest().await
    }

    /// Checks a world at rest.
    ///
    /// # Errors
    /// What differs.
    pub async fn check_rest(&mut self) -> Result<(), String> {
        self.check_money()?;
        self.check_publication()?;
        self.check_sales()?;
        self.check_rows().await?;
        if self.is_maintained { self.check_verification().await } else { Ok(()) }
    }

    async fn settle_down(&mut self) -> Result<(), String> {
        for _ in 0..ROUNDS {
            self.work_off().await?;
            if self.is_at_rest() {
                break;
            }
            sleep(Duration::from_secs(600)).await;
        }
        Ok(())
    }

    async fn work_off(&mut self) -> Result<(), String> {
        for act in [Act::Project(Batch::Redriven(255)), Act::Publish(Batch::Redriven(255))] {
            self.calmly(act).await?;
        }
        let commits = self.network.outside().tables.commits.len();
        for _ in 0..=commits / 100 {
            self.calmly(Act::Project(Batch::Next(100))).await?;
            self.calmly(Act::Publish(Batch::Next(100))).await?;
        }
        if self.network.outside().tables.items(BACKLOG).next().is_some() {
            self.calmly(Act::CatchUp).await?;
        }
        let payments: Vec<u16> = self.network.outside().provider.payments.keys().copied().collect();
        payments.into_iter().for_each(|payment| self.refund(payment));
        for act in self.unprocessed.values().copied().collect::<Vec<_>>() {
            self.calmly(act).await?;
        }
        if self.deferred().next().is_some() {
            self.calmly(Act::Settle).await?;
        }
        if self.checker.orders.values().any(|order| order.ledger.status == "pending") {
            self.calmly(Act::Expire).await?;
        }
        Ok(())
    }

    async fn calmly(&mut self, act: Act) -> Result<(), String> {
        self.run(&[(act, CALM)], None).await
    }

    fn is_at_rest(&self) -> bool {
        let commits = self.network.outside().tables.commits.len();
        let read = self.projector.is_done(commits) && self.publisher.is_done(commits);
        read && self.unprocessed.is_empty() && self.deferred().next().is_none()
    }

    fn deferred(&self) -> impl Iterator<Item = &String> {
        self.checker.orders.iter().filter(|(_, order)| order.ledger.deferred.is_some()).map(|(stream, _)| stream)
    }

    /// Every capture is recorded, and the customer has paid what is kept.
    fn check_money(&self) -> Result<(), String> {
        let outside = self.network.outside();
        let mut balance: BTreeMap<String, u64> = BTreeMap::new();
        for (payment, booked) in &outside.provider.payments {
            let stream = booked.order.to_string();
            let recorded = self.checker.orders[&stream].ledger.captured.get(&payment_name(*payment)).copied();
            if let Some(recorded) = recorded {
                *balance.entry(stream).or_default() += recorded - booked.refunded.unwrap_or_default();
            }
            (usize::from(booked.silent)..booked.captures.len())
                .try_for_each(|nth| self.check_capture(&outside, *payment, nth))?;
        }
        for (stream, order) in &self.checker.orders {
            let (kept, balance) = (order.ledger.kept(), balance.get(stream).copied().unwrap_or_default());
            if kept != balance || order.ledger.owed() > 0 {
                return Err(format!("order {stream} keeps {kept}, of {balance} paid: {:?}", order.ledger));
            }
        }
        Ok(())
    }

    /// What an event reported is recorded once it is processed.
    pub(super) fn check_processed(&self, act: &Act) -> Result<(), String> {
        let outside = self.network.outside();
        match act {
            Act::CaptureArrives { payment, nth } => self.check_capture(&outside, *payment, (*nth).into()),
            Act::RefundArrives { payment } => {
                let ledger = &self.checker.orders[&outside.provider.payments[payment].order.to_string()].ledger;
                let recorded = ledger.refunded.contains_key(&payment_name(*payment));
                if recorded { Ok(()) } else { Err(format!("the refund of p{payment} is not recorded")) }
            }
            _ => Ok(()),
        }
    }

    /// A capture is recorded. Of those that contradict each other, the first to be known is, and the others are reported.
    fn check_capture(&self, outside: &Outside, payment: u16, nth: usize) -> Result<(), String> {
        let booked = &outside.provider.payments[&payment];
        let cents = booked.captures[nth];
        let ledger = &self.checker.orders[&booked.order.to_string()].ledger;
        let recorded = ledger.captured.get(&payment_name(payment)).copied();
        let event = format!("captured-{payment}-{nth}");
        let reported = || {
            let mut data = outside.bus.entries.iter().map(|entry| &entry.detail["data"]);
            data.any(|data| data["event_id"] == *event && data["unrecorded_money"] == true)
        };
        if cents == 0 || recorded == Some(cents.into()) || (recorded.is_some() && reported()) {
            return Ok(());
        }
        Err(format!("p{payment} captured {cents}, but {recorded:?} is recorded, and nothing is reported"))
    }

    /// A verification of the rows and of the sales finds no difference.
    async fn check_verification(&self) -> Result<(), String> {
        for model in [Model::Orders, Model::Sales] {
            let action = Action::new(CALM, self.began, None);
            let mut context = Context::default();
            context.deadline = action.now().timestamp_millis() as u64 + 300_000;
            let verified = action.run(self.containers[0].verify(model, &context)).await.expect("it does not crash");
            let found = verified.map_err(|error| error.to_string())?;
            if !found.done || found.different > 0 || found.unsettled > 0 {
                return Err(format!("a verification of {model:?} finds {found:?}"));
            }
        }
        Ok(())
    }

    /// Each event is on the bus under one id.
    fn check_publication(&self) -> Result<(), String> {
        let outside = self.network.outside();
        let mut published: BTreeMap<(&str, u64), BTreeSet<(&str, &str)>> = BTreeMap::new();
        for entry in outside.bus.entries.iter().filter(|entry| entry.detail_type != "OrderCommandRejected") {
            let metadata = &entry.detail["metadata"];
            let place =
                (metadata["order_id"].as_str().unwrap_or_default(), metadata["version"].as_u64().unwrap_or_default());
            let id = metadata["event_id"].as_str().unwrap_or_default();
            published.entry(place).or_default().insert((id, &entry.detail_type));
        }
        let mut ids = BTreeSet::new();
        for (stream, order) in &self.checker.orders {
            for (version, event) in (1..).zip(&order.events) {
                let found: Vec<_> = published.remove(&(stream.as_str(), version)).into_iter().flatten().collect();
                let [(id, name)] = found[..] else {
                    return Err(format!("event {version} of order {stream} was published as {found:?}"));
                };
                if name != event.name() || !ids.insert(id) {
                    return Err(format!("event {version} of order {stream}, {}, is {name} {id}", event.name()));
                }
            }
        }
        if published.is_empty() { Ok(()) } else { Err(format!("published, but not stored: {published:?}")) }
    }

    /// The totals of the sales are the recount of the events.
    fn check_sales(&self) -> Result<(), String> {
        let outside = self.network.outside();
        let mut totals: BTreeMap<(String, String), i128> = BTreeMap::new();
        for item in outside.tables.items(TOTALS) {
            let name = item["name"]["S"].as_str().unwrap_or_default();
            for (counter, value) in
                item.iter().filter(|(counter, _)| !["changes", "shard", "name"].contains(&counter.as_str()))
            {
                let number: i128 = value["N"].as_str().and_then(|number| number.parse().ok()).unwrap_or_default();
                *totals.entry((name.to_owned(), counter.clone())).or_default() += number;
            }
        }
        totals.retain(|_, total| *total != 0);
        let mut counts = dynamodb_event_store::projection::Counts::default();
        for order in self.checker.orders.values() {
            recount(&order.events.iter().collect::<Vec<_>>(), &mut counts);
        }
        let counted = counts.totals().flat_map(|(name, counters)| {
            counters.iter().map(|(counter, number)| ((name.clone(), counter.clone()), *number))
        });
        let counted: BTreeMap<_, _> = counted.filter(|(_, number)| *number != 0).collect();
        if totals == counted { Ok(()) } else { Err(format!("the sales are {totals:?} instead of {counted:?}")) }
    }

    /// Each row shows its order, and so does the store, with its snapshots.
    async fn check_rows(&mut self) -> Result<(), String> {
        for (stream, order) in &self.checker.orders {
            let action = Action::new(CALM, self.began, None);
            let views =
                Arc::clone(&action).run(self.containers[0].views(order.state.placed().expect("an order").order_id));
            let (row, loaded) = views.await.expect("it does not crash");
            if loaded.stream().state() != &order.state {
                return Err(format!("order {stream} is loaded as {loaded:?}"));
            }
            let stored =
                self.network.outside().tables.items(ROWS).find(|row| row["order_id"]["S"] == **stream).cloned();
            let parked = stored.as_ref().is_some_and(|row| row.contains_key("parked"));
            self.checker.bounds.count(Bound::ParkedRow, parked);
            if parked && self.settings.row_limit < 400 * 1024 {
                continue;
            }
            let expected = orders_core::read_model::OrderView::of(loaded.stream());
            if row != expected {
                return Err(format!("the row is {row:?} instead of {expected:?}"));
            }
            let books = json!([order.head().to_string(), order.ledger.status]);
            let shown = stored.map_or(Value::Null, |row| json!([row["version"]["N"], row["status"]["S"]]));
            if shown != books {
                return Err(format!("the row of order {stream} shows {shown} instead of {books}"));
            }
        }
        Ok(())
    }
}
