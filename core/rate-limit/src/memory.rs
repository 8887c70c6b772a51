//! A cache of items by key that evicts the least recently used.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::algorithm::Item;

/// Holds between `capacity` and twice as many items, in two generations: a used item moves to the young one, and when that
/// is full, the old one is dropped.
#[derive(Debug)]
pub(super) struct Memory {
    capacity: usize,
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<String, Item>,
    old: HashMap<String, Item>,
}

impl Memory {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, generations: Mutex::default() }
    }

    pub(super) fn get(&self, key: &str) -> Option<Item> {
        self.update(key, |item| (item.clone(), item))
    }

    pub(super) fn put(&self, key: &str, item: Option<Item>) {
        self.update(key, |_| ((), item));
    }

    /// Replaces the item of `key` atomically.
    pub(super) fn update<T>(&self, key: &str, change: impl FnOnce(Option<Item>) -> (T, Option<Item>)) -> T {
        // A panic in `change` leaves the maps consistent.
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let old = generations.old.remove(key);
        let (result, item) = change(generations.young.remove(key).or(old));
        if let Some(item) = item {
            if generations.young.len() >= self.capacity {
                generations.old = std::mem::take(&mut generations.young);
            }
            generations.young.insert(key.to_owned(), item);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(n: i64) -> Item {
        Item::from([("n".to_owned(), n)])
    }

    #[test]
    fn the_newest_items_are_retained_up_to_twice_the_capacity() {
        let memory = Memory::new(10);
        for n in 0..1000 {
            memory.put(&n.to_string(), Some(item(n)));
        }
        let kept: Vec<i64> = (0..1000).filter(|n| memory.get(&n.to_string()).is_some()).collect();
        assert!((10..=20).contains(&kept.len()), "{} kept", kept.len());
        assert_eq!(kept.last(), Some(&999));
    }

    #[test]
    fn a_frequently_used_item_is_not_evicted() {
        let memory = Memory::new(10);
        memory.put("used", Some(item(7)));
        for n in 0..1000 {
            memory.put(&n.to_string(), Some(item(n)));
            assert_eq!(memory.get("used"), Some(item(7)));
        }
    }

    #[test]
    fn putting_none_removes_the_item() {
        let memory = Memory::new(10);
        memory.put("key", Some(item(1)));
        memory.put("key", None);
        assert_eq!(memory.get("key"), None);
    }
}
