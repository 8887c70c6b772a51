//! The sliding window: never more than the limit in any window.
//!
//! The item holds the total cost ever admitted (`c`) and a checkpoint of that total at the start of each sub-window
//! (`s<index>`). So the cost in a window is one difference, and the limit check is one comparison. `hi` is the newest
//! sub-window.

use std::collections::BTreeMap;
use std::time::Duration;

use super::algorithm::{Algorithm, EXPIRES_AT, Item, MAX_SKEW, Step, Update, expiry};
use super::decision::{Decision, Micros, quota, span};

const COUNT: &str = "c";
const NEWEST: &str = "hi";

/// The total below which a request may be admitted on an item that was never read. Such a request cannot remove stale
/// checkpoints; this bounds their number.
const UNSEEN: i64 = 30;

/// At most `limit` units in any `window`, counted in sub-windows.
///
/// It rejects only what an exact log over the window plus one sub-window would reject. With clock errors up to ε, the limit
/// holds for any window shorter by 2ε; network delay counts as clock error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlidingWindow {
    limit: u32,
    window: Micros,
    part: Micros,
}

/// A parsed item.
struct View {
    count: i64,
    newest: i64,
    /// The count before the first admission of each sub-window that had one.
    checkpoints: BTreeMap<i64, i64>,
}

impl View {
    fn of(item: &Item) -> Option<Self> {
        let checkpoint = |(name, count): (&String, &i64)| Some((name.strip_prefix('s')?.parse().ok()?, *count));
        let checkpoints = item.iter().filter_map(checkpoint).collect();
        Some(Self { count: *item.get(COUNT)?, newest: *item.get(NEWEST)?, checkpoints })
    }

    /// The count before the first admission in sub-window `oldest` or later.
    fn base(&self, oldest: i64) -> i64 {
        self.checkpoints.range(oldest..).next().map_or(self.count, |(_, count)| *count)
    }
}

/// The sub-window of a request, given the last read item.
struct Place {
    /// The sub-window. A slow clock adopts the item's newer one.
    index: i64,
    /// The oldest sub-window in the request's window.
    oldest: i64,
    entry: Entry,
}

/// How a request enters its sub-window.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Entry {
    /// As the first: it adds a checkpoint and removes those that no window needs any more.
    Open,
    /// After others, also if the item has moved on to a later sub-window.
    Join,
    /// As the first after more than a window, so that the item may expire at any time; or the item was written by a clock
    /// that is impossibly far ahead.
    Restart,
}

impl SlidingWindow {
    /// At most `limit` units in any `window`, counted in `parts` sub-windows. Numbers below 1 count as 1.
    pub fn new(limit: u32, window: Micros, parts: u32) -> Self {
        let window = window.max(1);
        Self { limit: limit.max(1), window, part: (window / Micros::from(parts.max(1))).max(1) }
    }

    fn oldest(&self, now: Micros) -> i64 {
        now.saturating_sub(self.window).div_euclid(self.part)
    }

    /// When sub-window `index` leaves the window.
    fn leaves_at(&self, index: i64) -> Micros {
        index.saturating_add(1).saturating_mul(self.part).saturating_add(self.window)
    }

    fn place(&self, view: Option<&View>, now: Micros) -> Place {
        let (own, oldest) = (now.div_euclid(self.part), self.oldest(now));
        let far = now.saturating_add(MAX_SKEW).div_euclid(self.part);
        match view.map(|view| view.newest) {
            Some(newest) if newest < oldest || newest > far => Place { index: own, oldest, entry: Entry::Restart },
            Some(newest) if newest >= own => {
                let oldest = self.oldest(now.max(newest.saturating_mul(self.part)));
                Place { index: newest, oldest, entry: Entry::Join }
            }
            _ => Place { index: own, oldest, entry: Entry::Open },
        }
    }

    fn expiry(&self, now: Micros) -> i64 {
        expiry(now.saturating_add(self.window).saturating_add(self.window))
    }

    /// The decision for the state in `view`.
    fn decision(&self, allowed: bool, view: &View, oldest: i64, now: Micros, cost: u32) -> Decision {
        let limit = i64::from(self.limit);
        let used = view.count.saturating_sub(view.base(oldest));
        // The request fits once the checkpoint at the window's start has reached `needed`: the last sub-window that began
        // below it must leave the window.
        let needed = view.count.saturating_add(i64::from(cost)).saturating_sub(limit);
        let blocking = view.checkpoints.range(oldest..).take_while(|(_, count)| **count < needed).last();
        let retry = blocking.filter(|_| !allowed).map_or(0, |(index, _)| self.leaves_at(*index).saturating_sub(now));
        Decision {
            allowed,
            limit: self.limit,
            remaining: quota(limit.saturating_sub(used), self.limit),
            reset_after: span(self.leaves_at(view.newest).saturating_sub(now)),
            retry_after: span(retry),
        }
    }
}

impl Algorithm for SlidingWindow {
    fn limit(&self) -> u32 {
        self.limit
    }

    fn window(&self) -> Duration {
        span(self.window)
    }

    fn step(&self, seen: Option<&Item>, now: Micros, cost: u32) -> Step {
        let view = seen.and_then(View::of);
        let Place { index, oldest, entry } = self.place(view.as_ref(), now);
        let room = i64::from(self.limit).saturating_sub(i64::from(cost));
        let base = view.as_ref().map_or(0, |view| view.base(oldest));
        let full = |view: &&View| entry != Entry::Restart && view.count.saturating_sub(base) > room;
        if let Some(view) = view.as_ref().filter(full) {
            return Step::Reject(self.decision(false, view, oldest, now, cost));
        }
        // For an item that was never read, the total bounds the cost in the window.
        let cap = (":cap", if view.is_some() { base.saturating_add(room) } else { room.min(UNSEEN) });
        let (condition, bound) = match (&view, entry) {
            // The item may have been used since it was read, or have expired and been recreated. The old total must not
            // be compared with the new one.
            (Some(view), Entry::Restart) => ("attribute_not_exists(c) OR hi = :seen", (":seen", view.newest)),
            (_, Entry::Join) => ("c <= :cap AND hi >= :idx", cap),
            _ => ("(attribute_not_exists(c) OR c <= :cap) AND (attribute_not_exists(hi) OR hi <= :idx)", cap),
        };
        let condition = condition.to_owned();
        let mut values = vec![(":n", i64::from(cost)), (":idx", index), (":expires", self.expiry(now)), bound];
        if entry == Entry::Join {
            let update = "SET c = c + :n, expires_at = :expires".to_owned();
            return Step::Try(Update { update, condition, names: vec![], values });
        }
        values.push((":zero", 0));
        let mut update = "SET #s = if_not_exists(#s, if_not_exists(c, :zero)), c = if_not_exists(c, :zero) + :n, \
                          hi = :idx, expires_at = :expires"
            .to_owned();
        let mut names = vec![("#s".to_owned(), format!("s{index}"))];
        let stale = view.iter().flat_map(|view| view.checkpoints.keys()).filter(|known| !keeps(**known, index, oldest));
        for (place, known) in stale.enumerate() {
            update.push_str(if place == 0 { " REMOVE " } else { ", " });
            update.push_str(&format!("#r{place}"));
            names.push((format!("#r{place}"), format!("s{known}")));
        }
        Step::Try(Update { update, condition, names, values })
    }

    fn accepted(&self, item: &Item, now: Micros) -> Decision {
        let none = || View { count: 0, newest: now.div_euclid(self.part), checkpoints: BTreeMap::new() };
        let view = View::of(item).unwrap_or_else(none);
        let Place { oldest, .. } = self.place(Some(&view), now);
        self.decision(true, &view, oldest, now, 0)
    }

    fn charge(&self, item: Option<&Item>, now: Micros, cost: u32) -> Item {
        let view = item.and_then(View::of);
        let Place { index, oldest, entry } = self.place(view.as_ref(), now);
        let View { count, mut checkpoints, .. } =
            view.unwrap_or(View { count: 0, newest: index, checkpoints: BTreeMap::new() });
        if entry != Entry::Join {
            checkpoints.retain(|known, _| keeps(*known, index, oldest));
            checkpoints.entry(index).or_insert(count);
        }
        let mut item: Item = checkpoints.into_iter().map(|(index, count)| (format!("s{index}"), count)).collect();
        item.extend([
            (COUNT.to_owned(), count.saturating_add(i64::from(cost))),
            (NEWEST.to_owned(), index),
            (EXPIRES_AT.to_owned(), self.expiry(now)),
        ]);
        item
    }
}

/// Whether a window that ends in sub-window `index` needs the checkpoint `known`.
fn keeps(known: i64, index: i64, oldest: i64) -> bool {
    (oldest..=index).contains(&known)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::expression;

    /// The start of a sub-window of one second.
    const NOW: Micros = 1_700_000_000_000_000;
    const SECOND: Micros = 1_000_000;

    /// The decision when no other request interferes.
    fn check(window: SlidingWindow, item: &mut Option<Item>, now: Micros, cost: u32) -> Decision {
        let mut seen = item.clone();
        for _ in 0..2 {
            match window.step(seen.as_ref(), now, cost) {
                Step::Reject(decision) => return decision,
                Step::Try(update) => match expression::apply(&update, item.as_ref()) {
                    Some(stored) => return window.accepted(item.insert(stored), now),
                    None => seen = item.clone(),
                },
            }
        }
        panic!("an item that was just seen predicts the branch")
    }

    #[test]
    fn an_admitted_request_counts_until_its_sub_window_leaves_the_window() {
        let (window, mut item) = (SlidingWindow::new(3, 10 * SECOND, 10), None);
        assert_eq!(check(window, &mut item, NOW, 1).remaining, 2);
        assert_eq!(check(window, &mut item, NOW + 5 * SECOND, 2).remaining, 0);
        let rejected = check(window, &mut item, NOW + 6 * SECOND, 1);
        assert_eq!((rejected.allowed, rejected.limit, rejected.remaining), (false, 3, 0));
        assert_eq!(rejected.retry_after, Duration::from_secs(5));
        assert_eq!(rejected.reset_after, Duration::from_secs(10));
        assert!(!check(window, &mut item, NOW + 11 * SECOND - 1, 1).allowed);
        assert!(check(window, &mut item, NOW + 11 * SECOND, 1).allowed);
        assert!(!check(window, &mut item, NOW + 11 * SECOND, 1).allowed);
    }

    #[test]
    fn a_slow_clock_adopts_the_items_time_and_is_not_rejected_for_it() {
        let (window, mut item) = (SlidingWindow::new(2, 10 * SECOND, 10), None);
        assert!(check(window, &mut item, NOW + 3 * SECOND, 1).allowed);
        assert!(check(window, &mut item, NOW, 1).allowed);
        assert_eq!(item.as_ref().map(|item| item[NEWEST]), Some((NOW + 3 * SECOND) / SECOND));
        assert!(!check(window, &mut item, NOW, 1).allowed);
    }

    #[test]
    fn an_impossibly_late_time_is_overwritten() {
        let (window, mut item) = (SlidingWindow::new(2, 10 * SECOND, 10), None);
        assert!(check(window, &mut item, NOW + 86_400 * SECOND, 2).allowed);
        assert_eq!(check(window, &mut item, NOW, 1).remaining, 1);
        assert_eq!(check(window, &mut item, NOW + SECOND, 1).remaining, 0);
        assert!(!check(window, &mut item, NOW + 2 * SECOND, 1).allowed);
        assert!(check(window, &mut item, NOW + 11 * SECOND, 1).allowed);
    }

    #[test]
    fn the_item_stays_small_under_long_use() {
        let (window, mut item) = (SlidingWindow::new(1_000, 10 * SECOND, 10), None);
        for step in 0..10_000 {
            assert!(check(window, &mut item, NOW + step * 700_000, 1).allowed);
            assert!(item.as_ref().is_some_and(|item| item.len() <= 3 + 12), "{item:?}");
        }
    }

    #[test]
    fn the_item_stays_small_with_many_new_containers() {
        let (window, mut item) = (SlidingWindow::new(1_000, 10 * SECOND, 10), None);
        for step in 0..1_000 {
            let now = NOW + step * 7 * SECOND;
            let Step::Try(first) = window.step(None, now, 1) else { panic!("rejected without reading") };
            let stored = expression::apply(&first, item.as_ref()).map(|stored| item.insert(stored)).is_some();
            assert!(stored || check(window, &mut item, now, 1).allowed);
            assert!(item.as_ref().is_some_and(|item| item.len() <= 3 + 12 + 31), "{item:?}");
        }
    }

    fn any_item() -> impl Strategy<Value = Option<Item>> {
        let known = (
            any::<Option<i64>>(),
            any::<Option<i64>>(),
            proptest::collection::btree_map(any::<i64>(), any::<i64>(), 0..5),
        );
        proptest::option::of(known.prop_map(|(count, newest, checkpoints)| {
            let named = [(COUNT, count), (NEWEST, newest)];
            let named = named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
            named.chain(checkpoints.into_iter().map(|(index, count)| (format!("s{index}"), count))).collect()
        }))
    }

    proptest! {
        #[test]
        fn no_item_or_time_panics(
            item in any_item(), now: i64, limit: u32, length: i64, parts: u32, cost: u32,
        ) {
            let window = SlidingWindow::new(limit, length, parts);
            if let Step::Reject(decision) = window.step(item.as_ref(), now, cost) {
                prop_assert!(!decision.allowed);
            }
            window.accepted(&window.charge(item.as_ref(), now, cost), now);
            window.accepted(&item.unwrap_or_default(), now);
        }

        #[test]
        fn memory_and_table_charge_alike_and_retry_after_is_minimal(
            waits in proptest::collection::vec((-3 * SECOND..15 * SECOND, 1u32..5), 1..40),
        ) {
            let window = SlidingWindow::new(4, 10 * SECOND + 7, 10);
            let (mut item, mut now): (Option<Item>, _) = (None, NOW);
            for (wait, cost) in waits {
                now += wait;
                match window.step(item.as_ref(), now, cost) {
                    Step::Try(update) => {
                        let stored = expression::apply(&update, item.as_ref());
                        prop_assert_eq!(&stored, &Some(window.charge(item.as_ref(), now, cost)));
                        item = stored;
                    }
                    Step::Reject(decision) => {
                        let wait = i64::try_from(decision.retry_after.as_micros()).unwrap();
                        prop_assert!(wait > 0);
                        prop_assert!(matches!(window.step(item.as_ref(), now + wait, cost), Step::Try(_)));
                        prop_assert!(matches!(window.step(item.as_ref(), now + wait - 1, cost), Step::Reject(_)));
                    }
                }
            }
        }
    }
}
