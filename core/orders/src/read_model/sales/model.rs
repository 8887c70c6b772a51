//! What an order adds to the sales totals of days.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::day::Day;
use super::figure::{Figure, Figures};
use crate::domain::event::OrderEvent;
use crate::domain::ids::PaymentId;
use crate::domain::money::{Currency, Money};
use crate::domain::state::{Order, Status};
use crate::store::order_of;
use dynamodb_event_store::projection::{COUNTED, ChangeError, Counts, CurrentRow, ReadModel, RowChange, RowItem};
use dynamodb_event_store::{Commit, StreamId};

/// The read model of sales: totals of each day in UTC, in the deployment's currency.
#[derive(Clone, Copy, Debug)]
pub struct Sales {
    /// The currency of all amounts.
    pub currency: Currency,
}

impl Sales {
    /// The name of a day's total: `2026-11-28#EUR`. Names sort as the days do.
    pub(super) fn total(&self, day: Day) -> String {
        format!("{day}#{}", self.currency.code())
    }

    /// Whether a total is one of a day in the deployment's currency.
    fn is_own(&self, total: &str) -> bool {
        total.split_once('#').and_then(|(day, _)| day.parse().ok()).is_some_and(|day| self.total(day) == total)
    }
}

impl ReadModel for Sales {
    type Aggregate = Order;

    const NAME: &'static str = "sales";
    const KEY: &'static str = "order_id";

    fn includes(&self, stream: &StreamId) -> bool {
        order_of(stream).is_some()
    }

    fn change(
        &self,
        stream: &StreamId,
        commits: &[Commit<OrderEvent>],
        before: CurrentRow<'_>,
    ) -> Result<RowChange, ChangeError> {
        let mut sold = match before {
            CurrentRow::Missing => None,
            CurrentRow::NotRead => return Err(ChangeError::NeedsRow),
            CurrentRow::Row(row) => Some(Sold::read(self, row).ok_or(ChangeError::Unusable)?),
        };
        for (version, event) in commits.iter().flat_map(Commit::versioned) {
            let misplaced = |why| ChangeError::InvalidEvent { version, why };
            if Some(event.order_id()) != order_of(stream) {
                return Err(misplaced("it names another order"));
            }
            match (&mut sold, event) {
                (None, OrderEvent::OrderCreated { total, created_at, .. }) => {
                    sold = Some(Sold::new(self, *total, Day::of(*created_at)));
                }
                (Some(sold), event) if !matches!(event, OrderEvent::OrderCreated { .. }) => sold.add(self, event),
                _ => return Err(misplaced("an order is created by its first event")),
            }
        }
        Ok(sold.map(Sold::into_change).unwrap_or_default())
    }
}

/// A row: what an order adds to which totals, and what later events need.
#[derive(Clone, Debug, PartialEq)]
struct Sold {
    known: Known,
    counted: BTreeMap<String, Figures>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Known {
    created_on: Day,
    status: Status,
    total: Money,
    /// The payment that paid the order. A refund due of any other payment is also its capture.
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_id: Option<PaymentId>,
}

impl Sold {
    fn new(sales: &Sales, total: Money, created_on: Day) -> Self {
        let known = Known { created_on, status: Status::Pending, total, payment_id: None };
        let mut sold = Self { known, counted: BTreeMap::new() };
        sold.count(sales, created_on, Figure::Orders(Status::Pending), total);
        sold
    }

    fn add(&mut self, sales: &Sales, event: &OrderEvent) {
        if let Some(status) = event.status() {
            self.move_to(sales, status);
        }
        match event {
            OrderEvent::OrderPaid { payment_id, amount, paid_at, .. } => {
                self.known.payment_id = Some(payment_id.clone());
                self.count(sales, Day::of(*paid_at), Figure::Payments, *amount);
            }
            OrderEvent::OrderRefundDue { payment_id, amount, due_at, .. } => {
                let day = Day::of(*due_at);
                if self.known.payment_id.as_ref() != Some(payment_id) {
                    self.count(sales, day, Figure::Payments, *amount);
                }
                self.count(sales, day, Figure::RefundsDue, *amount);
            }
            OrderEvent::OrderRefunded { amount, refunded_at, .. } => {
                self.count(sales, Day::of(*refunded_at), Figure::Refunds, *amount);
            }
            // No money moves.
            OrderEvent::OrderCreated { .. }
            | OrderEvent::OrderShipped { .. }
            | OrderEvent::OrderDelivered { .. }
            | OrderEvent::OrderReturned { .. }
            | OrderEvent::OrderCancelled { .. }
            | OrderEvent::OrderPaymentDeferred { .. }
            | OrderEvent::OrderPaymentRejected { .. } => {}
        }
    }

    /// Counts the order under another status, on the day of its creation.
    fn move_to(&mut self, sales: &Sales, status: Status) {
        let Known { created_on, total, .. } = self.known;
        let before = std::mem::replace(&mut self.known.status, status);
        let figures = self.counted.entry(sales.total(created_on)).or_default();
        figures[Figure::Orders(before)].count -= 1;
        figures[Figure::Orders(before)].amount -= i128::from(total.0);
        self.count(sales, created_on, Figure::Orders(status), total);
    }

    /// Adds one. The sum of 64-bit amounts of one order cannot overflow 128 bits.
    fn count(&mut self, sales: &Sales, day: Day, figure: Figure, amount: Money) {
        let tally = &mut self.counted.entry(sales.total(day)).or_default()[figure];
        tally.count += 1;
        tally.amount += i128::from(amount.0);
    }

    /// `None` for a row that counts anything but days in the deployment's currency: it is rebuilt from the events.
    fn read(sales: &Sales, row: &RowItem) -> Option<Self> {
        let counts = Counts::read(Some(row.get(COUNTED)?)).ok()?;
        let of_day =
            |(total, counters): (&String, _)| sales.is_own(total).then(|| (total.clone(), Figures::of(counters)));
        let counted = counts.totals().map(of_day).collect::<Option<_>>()?;
        Some(Self { known: serde_dynamo::from_item(row.clone()).ok()?, counted })
    }

    fn into_change(self) -> RowChange {
        let mut counts = Counts::default();
        for (total, figures) in self.counted {
            figures.counters().for_each(|(counter, n)| counts.add(&total, &counter, n));
        }
        #[expect(clippy::expect_used, reason = "a day, texts and an integer, in a struct: always an item")]
        let known: RowItem = serde_dynamo::to_item(self.known).expect("a struct of these is an item");
        let mut attributes: BTreeMap<_, _> = known.into_iter().map(|(name, value)| (name, Some(value))).collect();
        attributes.insert(COUNTED.to_owned(), Some(counts.to_attribute()));
        RowChange { attributes, unless_exists: None }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use aws_sdk_dynamodb::types::AttributeValue;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::domain::harness::*;
    use crate::domain::lifetimes::{commands, live};
    use dynamodb_event_store::{Metadata, Version};

    const SALES: fn() -> Sales = || Sales { currency: "EUR".parse().unwrap() };

    fn stream() -> StreamId {
        StreamId::new(order_id().to_string())
    }

    fn commit(first: Version, events: Vec<OrderEvent>) -> Commit<OrderEvent> {
        Commit {
            stream: stream(),
            first,
            events,
            id: Uuid::nil(),
            recorded_at: now(),
            metadata: Metadata::default(),
            request_hash: None,
            epoch: None,
        }
    }

    /// The same event on the n-th of November.
    fn on(day: u32, mut event: OrderEvent) -> OrderEvent {
        *event.occurred_at_mut() = format!("2026-11-{day:02}T{:02}:59:59.999Z", day % 24).parse().unwrap();
        event
    }

    /// The row after events, which are projected run by run.
    fn row(runs: &[&[OrderEvent]]) -> Result<RowItem, ChangeError> {
        let (mut row, mut first) = (RowItem::new(), 1);
        for events in runs {
            let before = if row.is_empty() { CurrentRow::Missing } else { CurrentRow::Row(&row) };
            // In several commits, as when the projector catches up.
            let (one, rest) = events.split_at(1);
            let mut commits = vec![commit(first, one.to_vec())];
            commits.extend((!rest.is_empty()).then(|| commit(first + 1, rest.to_vec())));
            let change = SALES().change(&stream(), &commits, before)?;
            for (attribute, value) in change.attributes {
                row.insert(attribute, value.unwrap());
            }
            first += events.len() as Version;
        }
        Ok(row)
    }

    /// What a row counts: `2026-11-01#EUR pending 1 4000`.
    fn counted(row: &RowItem) -> BTreeSet<String> {
        let counts = Counts::read(row.get(COUNTED)).unwrap();
        let lines = counts.totals().flat_map(|(total, counters)| {
            let figures = Figures::of(counters);
            Figure::ALL.into_iter().map(move |figure| (total, figure, figures[figure]))
        });
        let lines = lines.filter(|(.., tally)| (tally.count, tally.amount) != (0, 0));
        lines.map(|(total, figure, tally)| line(total, figure.name(), tally.count, tally.amount)).collect()
    }

    fn line(total: &str, figure: &str, count: i128, amount: i128) -> String {
        format!("{total} {figure} {count} {amount}")
    }

    /// The same, counted from the state that the events lead to.
    fn recount(history: &[OrderEvent]) -> BTreeSet<String> {
        let order = replay(history);
        let order = order.placed().unwrap();
        let mut found: BTreeMap<(Day, &str), (i128, i128)> = BTreeMap::new();
        let mut add = |at, figure, amount: Money| {
            let (count, sum) = found.entry((Day::of(at), figure)).or_default();
            (*count, *sum) = (*count + 1, *sum + i128::from(amount.0));
        };
        add(order.created_at, order.status.as_str(), order.total);
        order.payment.iter().for_each(|payment| add(payment.paid_at, "payments", order.total));
        for refund in &order.refunds {
            add(refund.due_at, "refunds_due", refund.amount);
            if order.payment.as_ref().is_none_or(|payment| payment.payment_id != refund.payment_id) {
                add(refund.due_at, "payments", refund.amount);
            }
            refund.done.iter().for_each(|done| add(done.refunded_at, "refunds", refund.amount));
        }
        let total = |day| SALES().total(day);
        found.into_iter().map(|((day, figure), (count, sum))| line(&total(day), figure, count, sum)).collect()
    }

    #[test]
    fn an_order_is_counted_under_its_current_status_on_the_day_of_its_creation() {
        let pending = [on(1, created())];
        assert_eq!(counted(&row(&[&pending]).unwrap()), ["2026-11-01#EUR pending 1 4000".to_owned()].into());
        let delivered = row(&[&pending, &[on(2, paid("p1"))], &[on(3, shipped())], &[on(4, delivered())]]).unwrap();
        let expected = ["2026-11-01#EUR delivered 1 4000", "2026-11-02#EUR payments 1 4000"];
        assert_eq!(counted(&delivered), expected.map(str::to_owned).into());
        // Nothing is stored that is 0.
        assert_eq!(delivered[COUNTED].as_m().unwrap()["2026-11-01#EUR"].as_m().unwrap().len(), 2);
    }

    #[test]
    fn money_is_counted_on_the_days_of_its_capture_refund_due_and_refund() {
        let cancelled = [on(3, cancelled()), on(3, refund_due("p1", TOTAL, "cancelled"))];
        let row = row(&[&[on(1, created()), on(2, paid("p1"))], &cancelled, &[on(5, refunded("p1", "r1", TOTAL))]]);
        let expected = [
            "2026-11-01#EUR cancelled 1 4000",
            "2026-11-02#EUR payments 1 4000",
            "2026-11-03#EUR refunds_due 1 4000",
            "2026-11-05#EUR refunds 1 4000",
        ];
        assert_eq!(counted(&row.unwrap()), expected.map(str::to_owned).into());
    }

    #[test]
    fn a_refund_due_of_another_payment_is_counted_as_its_capture_too() {
        let history = [on(1, created()), on(1, paid("p1")), on(2, refund_due("p2", OTHER, "paid already"))];
        let expected = [
            "2026-11-01#EUR paid 1 4000",
            "2026-11-01#EUR payments 1 4000",
            "2026-11-02#EUR payments 1 3999",
            "2026-11-02#EUR refunds_due 1 3999",
        ];
        assert_eq!(counted(&row(&[&history]).unwrap()), expected.map(str::to_owned).into());
    }

    #[test]
    fn a_history_in_any_pieces_counts_what_its_final_state_does() {
        let days = prop::collection::vec(1_u32..=5, 64);
        properties(2_000, &(commands(), any::<u64>(), days), |(commands, cuts, days)| {
            let (_, history) = live(&commands)?;
            let history: Vec<_> = history.into_iter().enumerate().map(|(n, event)| on(days[n % 64], event)).collect();
            if history.is_empty() {
                return Ok(());
            }
            let mut n = 0;
            let cut = history.chunk_by(|_, _| {
                n += 1;
                (cuts >> (n % 64)) & 1 == 0
            });
            let in_pieces = row(&cut.collect::<Vec<_>>()).unwrap();
            prop_assert_eq!(counted(&in_pieces), recount(&history));
            prop_assert_eq!(in_pieces, row(&[&history]).unwrap());
            Ok(())
        });
    }

    #[test]
    fn the_row_must_be_known_and_be_one_of_this_model() {
        let paid = [commit(2, vec![paid("p1")])];
        assert_eq!(SALES().change(&stream(), &paid, CurrentRow::NotRead), Err(ChangeError::NeedsRow));
        let good = row(&[&[created()]]).unwrap();
        SALES().change(&stream(), &paid, CurrentRow::Row(&good)).unwrap();
        for (attribute, value) in [
            ("status", Some(AttributeValue::S("teleported".into()))),
            ("created_on", Some(AttributeValue::S("yesterday".into()))),
            ("total", None),
            (COUNTED, None),
            (COUNTED, Some(AttributeValue::M([("2026-11-01#EUR".into(), AttributeValue::N("1".into()))].into()))),
        ] {
            let mut damaged = good.clone();
            damaged.remove(attribute);
            damaged.extend(value.map(|value| (attribute.to_owned(), value)));
            let change = SALES().change(&stream(), &paid, CurrentRow::Row(&damaged));
            assert_eq!(change, Err(ChangeError::Unusable), "{attribute}");
        }
    }

    #[test]
    fn a_row_that_counts_in_another_currency_is_unusable() {
        let mut row = row(&[&[on(1, created())]]).unwrap();
        let mut counts = Counts::read(row.get(COUNTED)).unwrap();
        counts.add("2026-11-02#EUR", "pending", 1);
        row.insert(COUNTED.to_owned(), counts.to_attribute());
        SALES().change(&stream(), &[], CurrentRow::Row(&row)).unwrap();
        for name in ["2026-11-02#USD", "2026-11-02#EURO", "2026-11-02#", "2026-11-02", "#EUR", "someday#EUR"] {
            let mut counts = counts.clone();
            counts.add(name, "pending", 1);
            row.insert(COUNTED.to_owned(), counts.to_attribute());
            assert_eq!(SALES().change(&stream(), &[], CurrentRow::Row(&row)), Err(ChangeError::Unusable), "{name}");
        }
    }

    #[test]
    fn an_event_of_another_order_or_in_an_impossible_position_is_found() {
        let elsewhere = StreamId::new(Uuid::from_u128(7).to_string());
        let good = row(&[&[created()]]).unwrap();
        for (stream, first, events, before, misplaced) in [
            (&elsewhere, 1, vec![created()], CurrentRow::Missing, 1),
            (&stream(), 1, vec![paid("p1")], CurrentRow::Missing, 1),
            (&stream(), 1, vec![created(), created()], CurrentRow::Missing, 2),
            (&stream(), 2, vec![paid("p1"), created()], CurrentRow::Row(&good), 3),
        ] {
            let change = SALES().change(stream, &[commit(first, events)], before);
            assert!(
                matches!(change, Err(ChangeError::InvalidEvent { version, .. }) if version == misplaced),
                "{change:?}"
            );
        }
    }

    #[test]
    fn only_streams_of_orders_have_rows() {
        assert!(SALES().includes(&stream()));
        for name in ["", "settings", &order_id().to_string().to_uppercase(), &order_id().0.simple().to_string()] {
            assert!(!SALES().includes(&StreamId::new(name)), "{name}");
        }
    }
}
