//! The figures of a day's sales.

use std::ops::{Index, IndexMut};

use crate::domain::state::Status;
use dynamodb_event_store::projection::Counters;

/// Something that is counted, and whose amounts are added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Orders that were created on the day and have this status now; their totals.
    Orders(Status),
    /// Payments that were captured on the day, whether they paid an order or are due for refund.
    Payments,
    /// Payments that became due for refund on the day.
    RefundsDue,
    /// Payments that were refunded on the day.
    Refunds,
}

impl Figure {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; Status::ALL.len() + 3] = {
        let mut all = [Self::Payments; Status::ALL.len() + 3];
        let mut status = 0;
        while status < Status::ALL.len() {
            all[status] = Self::Orders(Status::ALL[status]);
            status += 1;
        }
        all[status + 1] = Self::RefundsDue;
        all[status + 2] = Self::Refunds;
        all
    };

    /// Its name, which its counter has too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Orders(status) => status.as_str(),
            Self::Payments => "payments",
            Self::RefundsDue => "refunds_due",
            Self::Refunds => "refunds",
        }
    }

    /// The name of the counter of its amounts.
    pub fn amount_name(self) -> String {
        format!("{}_amount", self.name())
    }
}

/// How many, and their amounts in minor units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub count: i128,
    /// The sum of their amounts.
    pub amount: i128,
}

/// A tally of each figure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures([Tally; Figure::ALL.len()]);

impl Figures {
    /// The captured money that the shop keeps: payments less refunds due.
    pub fn revenue(&self) -> i128 {
        self[Figure::Payments].amount - self[Figure::RefundsDue].amount
    }

    /// The sum of both; `None` on overflow.
    #[must_use]
    pub fn checked_add(mut self, other: &Self) -> Option<Self> {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            sum.count = sum.count.checked_add(more.count)?;
            sum.amount = sum.amount.checked_add(more.amount)?;
        }
        Some(self)
    }

    /// Whether a figure is negative, which is impossible for the sum of whole orders.
    pub(super) fn has_negative(&self) -> bool {
        self.0.iter().any(|tally| tally.count < 0 || tally.amount < 0)
    }

    /// The figures among some counters. A missing one is 0.
    pub(super) fn of(counters: &Counters) -> Self {
        let counter = |name: &str| counters.get(name).copied().unwrap_or_default();
        let mut figures = Self::default();
        for figure in Figure::ALL {
            figures[figure] = Tally { count: counter(figure.name()), amount: counter(&figure.amount_name()) };
        }
        figures
    }

    /// All of them as counters.
    pub(super) fn counters(&self) -> impl Iterator<Item = (String, i128)> {
        Figure::ALL
            .into_iter()
            .zip(self.0)
            .flat_map(|(figure, tally)| [(figure.name().to_owned(), tally.count), (figure.amount_name(), tally.amount)])
    }
}

impl Index<Figure> for Figures {
    type Output = Tally;

    fn index(&self, figure: Figure) -> &Tally {
        &self.0[place(figure)]
    }
}

impl IndexMut<Figure> for Figures {
    fn index_mut(&mut self, figure: Figure) -> &mut Tally {
        &mut self.0[place(figure)]
    }
}

/// The index of a figure in [`Figure::ALL`].
fn place(figure: Figure) -> usize {
    match figure {
        Figure::Orders(status) => status as usize,
        Figure::Payments => Status::ALL.len(),
        Figure::RefundsDue => Status::ALL.len() + 1,
        Figure::Refunds => Status::ALL.len() + 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_has_its_own_index_and_counters() {
        let mut figures = Figures::default();
        for (number, figure) in (1_i128..).zip(Figure::ALL) {
            figures[figure] = Tally { count: number, amount: -number * i128::from(u64::MAX) };
        }
        let counters: Counters = figures.counters().collect();
        assert_eq!(counters.len(), 2 * Figure::ALL.len());
        assert_eq!(Figures::of(&counters), figures);
        assert_eq!((counters["paid"], counters["pending_amount"]), (2, -18_446_744_073_709_551_615));
    }

    #[test]
    fn a_missing_counter_is_0_and_unknown_ones_are_ignored() {
        assert_eq!(Figures::of(&[("later".to_owned(), 7)].into()), Figures::default());
    }

    #[test]
    fn revenue_is_payments_less_refunds_due() {
        let mut figures = Figures::default();
        figures[Figure::Payments] = Tally { count: 1, amount: 4_000 };
        figures[Figure::RefundsDue] = Tally { count: 2, amount: 7_999 };
        assert_eq!((figures.revenue(), figures.has_negative()), (-3_999, false));
        figures[Figure::Orders(Status::Paid)].count = -1;
        assert!(figures.has_negative());
    }

    #[test]
    fn sums_do_not_overflow() {
        let mut most = Figures::default();
        most[Figure::Refunds].amount = i128::MAX;
        assert_eq!(most.checked_add(&Figures::default()), Some(most));
        assert_eq!(most.checked_add(&most), None);
    }
}
