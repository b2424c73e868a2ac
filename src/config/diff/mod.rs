//! What one configuration changes of another, in sentences for an operator.
//!
//! Every structure is taken apart without `..`: a field that is added to one does not compile until it is compared here.

mod acl;
mod health;
mod limits;
mod said;
mod service;
mod statics;
mod switch;

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use super::valid::Config;
use said::{Said, several};

/// What changes, a sentence for each key, in the order of the file; what is removed comes after what stays. Empty only if
/// the two are equal.
///
/// Services are the same if VIP and protocol are, backends if the address is, rules and interfaces if the name is.
pub fn difference(old: &Config, new: &Config) -> Vec<String> {
    let Config { switch, timeouts, acl: own_acl, services, snat, neighbors, routes, interfaces } = old;
    let mut sentences = Vec::new();
    switch::switch(switch, &new.switch, &mut Part::of("[switch] ", &mut sentences));
    switch::timeouts(timeouts, &new.timeouts, &mut Part::of("[timeouts] ", &mut sentences));
    let mut file = Part::of("", &mut sentences);
    file.table("[acl]", (own_acl, &new.acl), acl::detail, acl::compare);
    file.entries(services, &new.services);
    file.entries(snat, &new.snat);
    file.entries(neighbors, &new.neighbors);
    file.entries(routes, &new.routes);
    file.entries(interfaces, &new.interfaces);
    sentences
}

/// One of several tables of the same kind.
trait Entry: PartialEq {
    /// What makes it the same one before and after.
    type Key: Eq + Hash;
    /// What several of them are called.
    const SEVERAL: &'static str;

    fn key(&self) -> Self::Key;
    /// What it is called.
    fn label(&self) -> String;
    /// What is worth saying when it comes or goes.
    fn detail(&self) -> String;
    /// Says what is other in `new`.
    fn compare(&self, new: &Self, part: &mut Part<'_>);
}

/// Where the sentences about one table go.
struct Part<'s> {
    /// How each of them begins.
    whose: String,
    sentences: &'s mut Vec<String>,
}

impl<'s> Part<'s> {
    fn of(whose: impl Into<String>, sentences: &'s mut Vec<String>) -> Self {
        Self { whose: whose.into(), sentences }
    }

    /// A part of this part.
    fn below(&mut self, label: &str) -> Part<'_> {
        Part { whose: format!("{}{label}: ", self.whose), sentences: self.sentences }
    }

    fn say(&mut self, what: &str) {
        self.sentences.push(format!("{}{what}", self.whose));
    }

    /// A key with one value.
    fn key<T: PartialEq + Said>(&mut self, key: &str, old: &T, new: &T) {
        if old != new {
            self.say(&format!("{key} {} → {}", old.said(), new.said()));
        }
    }

    /// A key with a list: what came and what went, or both lists if it is neither.
    fn list<T: Eq + Hash + Said>(&mut self, key: &str, old: &[T], new: &[T]) {
        if old == new {
            return;
        }
        let (before, after): (HashSet<_>, HashSet<_>) = (old.iter().collect(), new.iter().collect());
        let added: Vec<_> = new.iter().filter(|item| !before.contains(item)).collect();
        let removed: Vec<_> = old.iter().filter(|item| !after.contains(item)).collect();
        if added.is_empty() && removed.is_empty() {
            return self.say(&format!("{key} [{}] → [{}]", several(old.iter()), several(new.iter())));
        }
        let changes = [(added, "added"), (removed, "removed")];
        let changes = changes.into_iter().filter(|(items, _)| !items.is_empty());
        let changes: Vec<_> =
            changes.map(|(items, what)| format!("{} {what}", several(items.into_iter()))).collect();
        self.say(&format!("{key}: {}", changes.join(", ")));
    }

    /// A table that may be missing.
    fn table<T: PartialEq>(
        &mut self,
        label: &str,
        (old, new): (&Option<T>, &Option<T>),
        detail: impl Fn(&T) -> String,
        compare: impl Fn(&T, &T, &mut Part<'_>),
    ) {
        match (old, new) {
            (None, Some(new)) => self.say(&format!("{label} added ({})", detail(new))),
            (Some(old), None) => self.say(&format!("{label} removed ({})", detail(old))),
            (Some(old), Some(new)) if old != new => compare(old, new, &mut self.below(label)),
            _ => {}
        }
    }

    /// Tables of one kind.
    fn entries<E: Entry>(&mut self, old: &[E], new: &[E]) {
        if old == new {
            return;
        }
        let before: HashMap<E::Key, &E> = old.iter().map(|entry| (entry.key(), entry)).collect();
        let after: HashMap<E::Key, &E> = new.iter().map(|entry| (entry.key(), entry)).collect();
        for entry in new {
            match before.get(&entry.key()) {
                None => self.say(&format!("{} added ({})", entry.label(), entry.detail())),
                Some(old) if *old != entry => old.compare(entry, &mut self.below(&old.label())),
                Some(_) => {}
            }
        }
        for entry in old.iter().filter(|entry| !after.contains_key(&entry.key())) {
            self.say(&format!("{} removed ({})", entry.label(), entry.detail()));
        }
        let stayed_before = old.iter().map(E::key).filter(|key| after.contains_key(key));
        let stayed_after = new.iter().map(E::key).filter(|key| before.contains_key(key));
        if !stayed_before.eq(stayed_after) {
            self.say(&format!("{} in another order", E::SEVERAL));
        }
    }
}
