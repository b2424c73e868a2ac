//! The types that a value can have, and how a value of another type becomes right.

use std::ops::RangeInclusive;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::DeValue;

/// A type that a TOML value can have.
pub(super) trait Leaf: DeserializeOwned {
    /// Its name in messages.
    const NAME: &'static str;
    /// An example of it.
    const EXAMPLE: &'static str;
    /// How what was written instead becomes right, if that is plain.
    fn mend(_written: &str) -> Option<String> {
        None
    }
}

impl Leaf for String {
    const NAME: &'static str = "a string";
    const EXAMPLE: &'static str = "\"...\"";
    fn mend(written: &str) -> Option<String> {
        written.chars().all(|c| c.is_alphanumeric() || ".:-".contains(c)).then(|| format!("\"{written}\""))
    }
}

impl Leaf for i64 {
    const NAME: &'static str = "a whole number";
    const EXAMPLE: &'static str = "1";
}

impl Leaf for bool {
    const NAME: &'static str = "true or false";
    const EXAMPLE: &'static str = "true";
    fn mend(written: &str) -> Option<String> {
        written.trim_matches(['"', '\'', ' ']).parse().ok().map(|flag: bool| flag.to_string())
    }
}

/// What to write under `key` instead of what was written.
pub(super) fn write_instead<T: Leaf>(key: &str, written: &str) -> String {
    let right = T::mend(written).unwrap_or_else(|| T::EXAMPLE.to_owned());
    format!("write {key} = {right}")
}

/// The number within bounds that is nearest to what was written.
pub(super) fn nearest_number(
    written: &str,
    value: &Spanned<DeValue<'_>>,
    bounds: &RangeInclusive<i64>,
) -> i64 {
    let number = match value.get_ref() {
        // It does not fit into 64 bits.
        DeValue::Integer(_) if written.starts_with('-') => i64::MIN,
        DeValue::Integer(_) => i64::MAX,
        _ => written.trim_matches(['"', '\'', ' ']).parse().unwrap_or(1),
    };
    number.clamp(*bounds.start(), *bounds.end())
}
