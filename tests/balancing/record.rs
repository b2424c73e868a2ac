//! Writes what was measured, for `tools/plot-balancing`.

use std::path::Path;

use serde_json::json;

use super::model::Outcome;

/// One bar of a plot.
pub struct Bar {
    pub label: String,
    /// Part of all that it should have.
    pub expected: f64,
    /// Part of all that it had.
    pub measured: f64,
    /// The most connections that were open at a time, where that is of interest.
    pub most_open: Option<u32>,
}

impl Outcome {
    /// A bar for each server.
    pub fn bars(&self, labels: &[&str], expected: &[f64]) -> Vec<Bar> {
        let whole: f64 = expected.iter().sum();
        let bar = |position: usize| Bar {
            label: labels[position].to_owned(),
            expected: expected[position] / whole,
            measured: self.share(position),
            most_open: Some(self.most_open[position]),
        };
        (0..self.taken.len()).map(bar).collect()
    }
}

/// Keeps a distribution, if anybody asked for it.
pub fn record(scheduler: &str, scene: &str, bars: &[Bar]) {
    let Some(directory) = std::env::var_os("XSWITCH_DISTRIBUTIONS") else { return };
    let bars: Vec<_> = bars
        .iter()
        .map(|bar| {
            json!({
                "label": bar.label,
                "expected": bar.expected,
                "measured": bar.measured,
                "most_open": bar.most_open,
            })
        })
        .collect();
    let line = json!({ "scheduler": scheduler, "scene": scene, "bars": bars }).to_string();
    std::fs::write(Path::new(&directory).join(format!("{scheduler}.json")), line + "\n").unwrap();
}

/// Whether a part is as large as expected, but for a part of that.
pub fn is_near(measured: f64, expected: f64, tolerance: f64) -> bool {
    (measured - expected).abs() <= expected * tolerance
}
