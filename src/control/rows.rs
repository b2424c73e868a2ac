//! Which row belongs to whom, across snapshots: rows never move, and a row that was given up is not given to another
//! while anything may still refer to it.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// One row of a table, and since which epoch nobody has it.
#[derive(Debug, Clone, Copy)]
struct Row {
    number: u32,
    retired: Option<u64>,
}

/// Rows by the identity of their owner.
#[derive(Debug)]
pub struct Rows<K> {
    by_key: HashMap<K, Row>,
    /// First row that was never used.
    fresh: u32,
    limit: u32,
    /// Retired rows that are kept before one is reused although fresh ones are left.
    spare: usize,
    /// Rows that are retired now.
    retired: usize,
    /// Rows that may be reused, the longest retired last, as of the first need since [`Rows::look_again`].
    reusable: Option<Vec<(u32, K)>>,
}

impl<K: Hash + Eq + Clone> Rows<K> {
    /// No rows yet, and never more than `limit`. A retired row goes to a new owner once more than `spare` are retired
    /// or no fresh one is left.
    pub fn new(limit: usize, spare: usize) -> Self {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX - 1);
        Self { by_key: HashMap::new(), fresh: 0, limit, spare, retired: 0, reusable: None }
    }

    /// Rows ever used: the length of the table.
    pub fn used(&self) -> usize {
        self.fresh as usize
    }

    /// The row of this owner, if it holds one now.
    pub fn get(&self, key: &K) -> Option<u32> {
        self.by_key.get(key).filter(|row| row.retired.is_none()).map(|row| row.number)
    }

    /// The row of this owner: the one it had, a fresh one, or the longest retired of those that `reusable` (row,
    /// epoch of its retirement) allows. None when there is no such row.
    pub fn assign(&mut self, key: &K, reusable: impl Fn(u32, u64) -> bool) -> Option<u32> {
        if let Some(row) = self.by_key.get_mut(key) {
            self.retired -= usize::from(row.retired.take().is_some());
            return Some(row.number);
        }
        let scarce = self.fresh >= self.limit || self.retired > self.spare;
        let number = match scarce.then(|| self.reuse(reusable)).flatten() {
            Some(number) => number,
            None if self.fresh < self.limit => {
                self.fresh += 1;
                self.fresh - 1
            }
            None => return None,
        };
        self.by_key.insert(key.clone(), Row { number, retired: None });
        Some(number)
    }

    /// The owners and their rows, without retired ones, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, u32)> {
        self.by_key.iter().filter(|(_, row)| row.retired.is_none()).map(|(key, row)| (key, row.number))
    }

    /// All owners and their rows, retired ones included.
    pub fn iter_all(&self) -> impl Iterator<Item = (&K, u32)> {
        self.by_key.iter().map(|(key, row)| (key, row.number))
    }

    /// Retires, as of `epoch`, the rows of all owners that `keep` (owner, row) does not hold on to.
    pub fn retain(&mut self, keep: impl Fn(&K, u32) -> bool, epoch: u64) {
        for (key, row) in &mut self.by_key {
            if row.retired.is_none() && !keep(key, row.number) {
                row.retired = Some(epoch);
                self.retired += 1;
            }
        }
        self.look_again();
    }

    /// What is in use may have changed: the next need looks for reusable rows anew, and those that follow it do not.
    pub fn look_again(&mut self) {
        self.reusable = None;
    }

    fn reuse(&mut self, reusable: impl Fn(u32, u64) -> bool) -> Option<u32> {
        let by_key = &self.by_key;
        let found = self.reusable.get_or_insert_with(|| {
            let retired = by_key.iter().filter_map(|(key, row)| Some(((row.retired?, row.number), key)));
            let oldest_first: BTreeMap<(u64, u32), &K> = retired.collect();
            let found = oldest_first.into_iter().rev();
            let found = found.filter(|((epoch, number), _)| reusable(*number, *epoch));
            found.map(|((_, number), key)| (number, key.clone())).collect()
        });
        loop {
            let (number, key) = found.pop()?;
            // Its owner may have come back meanwhile.
            if self.by_key.get(&key).is_some_and(|row| row.retired.is_some() && row.number == number) {
                self.by_key.remove(&key);
                self.retired -= 1;
                return Some(number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(rows: &mut Rows<&'static str>, names: &[&'static str], epoch: u64) {
        rows.retain(|key, _| names.contains(key), epoch);
    }

    #[test]
    fn an_owner_that_returns_gets_its_row_back() {
        let mut rows = Rows::new(8, usize::MAX);
        assert_eq!(rows.assign(&"a", |_, _| true), Some(0));
        assert_eq!(rows.assign(&"b", |_, _| true), Some(1));
        keep(&mut rows, &["b"], 2);
        assert_eq!((rows.get(&"a"), rows.get(&"b")), (None, Some(1)));
        assert_eq!(rows.assign(&"c", |_, _| true), Some(2), "fresh rows are left");
        assert_eq!(rows.assign(&"a", |_, _| true), Some(0));
    }

    #[test]
    fn without_fresh_rows_the_longest_retired_reusable_one_is_taken() {
        let mut rows = Rows::new(3, usize::MAX);
        for name in ["a", "b", "c"] {
            rows.assign(&name, |_, _| true);
        }
        keep(&mut rows, &["b", "c"], 5);
        keep(&mut rows, &["c"], 6);
        assert_eq!(rows.assign(&"d", |_, _| false), None, "connections are left");
        rows.look_again();
        assert_eq!(rows.assign(&"d", |row, _| row != 0), Some(1), "row 0 still has connections");
        rows.look_again();
        assert_eq!(rows.assign(&"e", |_, retired| retired < 6), Some(0));
        assert_eq!(rows.assign(&"f", |_, _| true), None);
        assert_eq!(rows.used(), 3);
    }

    #[test]
    fn many_owners_are_given_rows_in_one_look() {
        let mut rows = Rows::new(4, 0);
        for name in ["a", "b", "c", "d"] {
            rows.assign(&name, |_, _| true);
        }
        keep(&mut rows, &["d"], 1);
        let looks = std::cell::Cell::new(0);
        let asked = |_, _| {
            looks.set(looks.get() + 1);
            true
        };
        assert_eq!(rows.assign(&"e", asked), Some(0));
        assert_eq!(rows.assign(&"b", asked), Some(1), "it came back before its row was given away");
        assert_eq!(rows.assign(&"f", asked), Some(2));
        assert_eq!((rows.assign(&"g", asked), looks.get()), (None, 3));
    }

    #[test]
    fn spare_rows_are_reused_before_the_table_grows() {
        let mut rows = Rows::new(100, 1);
        for name in ["a", "b"] {
            rows.assign(&name, |_, _| true);
        }
        keep(&mut rows, &[], 1);
        assert_eq!(rows.assign(&"c", |_, _| true), Some(0));
        assert_eq!(rows.assign(&"d", |_, _| true), Some(2));
    }
}
