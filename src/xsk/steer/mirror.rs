//! A map of the program with what was last written to it, so that only differences are written.

use std::collections::BTreeMap;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{HashMap, Map, MapData, MapError};
use aya::{Ebpf, Pod};

use super::raw::RawPrefix;
use super::{Error, with_sources};

/// A map as aya has it.
pub trait Table<K, V>: TryFrom<Map, Error = MapError> {
    fn insert(&mut self, key: &K, value: &V) -> Result<(), MapError>;
    fn remove(&mut self, key: &K) -> Result<(), MapError>;
}

impl<K: Pod, V: Pod> Table<K, V> for HashMap<MapData, K, V> {
    fn insert(&mut self, key: &K, value: &V) -> Result<(), MapError> {
        Self::insert(self, key, value, 0)
    }
    fn remove(&mut self, key: &K) -> Result<(), MapError> {
        Self::remove(self, key)
    }
}

impl<V: Pod> Table<RawPrefix, V> for LpmTrie<MapData, [u8; 16], V> {
    fn insert(&mut self, (length, address): &RawPrefix, value: &V) -> Result<(), MapError> {
        Self::insert(self, &Key::new(*length, *address), value, 0)
    }
    fn remove(&mut self, (length, address): &RawPrefix) -> Result<(), MapError> {
        Self::remove(self, &Key::new(*length, *address))
    }
}

/// A map and its content.
pub struct Mirror<K, V, T = HashMap<MapData, K, V>> {
    name: &'static str,
    map: T,
    content: BTreeMap<K, V>,
}

impl<K: Ord + Copy, V: PartialEq + Copy, T: Table<K, V>> Mirror<K, V, T> {
    pub fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Self, Error> {
        Ok(Self { name, map: take_map(ebpf, name)?, content: BTreeMap::new() })
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.content.len()
    }

    /// Makes the map hold exactly this. Where that fails half-way, `content` is what the map holds, for the next time.
    pub fn set(&mut self, wanted: BTreeMap<K, V>) -> Result<(), Error> {
        let fail = |e: MapError| Error::Map(self.name, with_sources(&e));
        for (key, value) in &wanted {
            if self.content.get(key) != Some(value) {
                self.map.insert(key, value).map_err(fail)?;
                self.content.insert(*key, *value);
            }
        }
        let gone: Vec<K> = self.content.keys().filter(|key| !wanted.contains_key(key)).copied().collect();
        for key in gone {
            self.map.remove(&key).map_err(fail)?;
            self.content.remove(&key);
        }
        Ok(())
    }
}

/// Takes a map out of the object.
pub fn take_map<T: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, Error> {
    let map = ebpf.take_map(name).ok_or_else(|| Error::Map(name, "not in the program".into()))?;
    T::try_from(map).map_err(|e| Error::Map(name, with_sources(&e)))
}
