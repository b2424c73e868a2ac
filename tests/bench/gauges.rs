//! Figures that must not rise unnoticed: instructions per packet of the scenes that matter, as they were committed last.

use std::collections::BTreeMap;

/// The scenes.
#[allow(dead_code, reason = "one of the two programs that share this file needs it")]
pub const GAUGES: [&str; 6] = [
    "established TCP, to the backend",
    "established TCP, to the client",
    "ipip: TCP",
    "new TCP connection",
    "Maglev pick",
    "drop: TCP without a connection",
];

/// How far a figure may be from the committed one, in percent.
pub const TOLERANCE: f64 = 3.0;

/// What a figure says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// About as before.
    Holds,
    /// More than is tolerated.
    Risen,
    /// So much less that the committed figure says nothing any more.
    Fallen,
}

/// What `measured` says where `committed` was measured before.
#[allow(dead_code, reason = "one of the two programs that share this file needs it")]
pub fn compare(committed: f64, measured: f64) -> Finding {
    let change = (measured / committed - 1.0) * 100.0;
    match change {
        change if change > TOLERANCE => Finding::Risen,
        change if change < -TOLERANCE => Finding::Fallen,
        _ => Finding::Holds,
    }
}

/// Reads the file of committed figures.
#[allow(dead_code, reason = "one of the two programs that share this file needs it")]
pub fn read(text: &str) -> Result<BTreeMap<String, f64>, toml::de::Error> {
    toml::from_str(text)
}

/// Writes it.
#[allow(dead_code, reason = "one of the two programs that share this file needs it")]
pub fn write(figures: &[(&str, f64)]) -> String {
    let head = "\
# Instructions per packet (\"process\" in docs/BENCHMARKS.md) of the release build: what tests/gauges.rs compares with. Measured
# with rustc 1.95 for x86-64. Written by `tools/bench --commit`, which is to be run where a figure has fallen by more than 3 %,
# or has risen for a good reason: say it in the commit.

";
    let lines: String = figures.iter().map(|(scene, figure)| format!("{scene:?} = {figure:.1}\n")).collect();
    format!("{head}{lines}")
}
