//! Medians, ratios, and where the rest went.

use serde_json::{Value, json};

use super::Error;
use super::ends::median;
use super::ledger::Losses;
use super::subject::Subject;
use super::throughput::{Measurement, Results};

/// One scene over all rounds.
struct Summary {
    name: &'static str,
    /// Median, in frames per second.
    rate: f64,
    lowest: f64,
    highest: f64,
    /// Median over the rounds of the ratio to the first scene of the same round.
    ratio: f64,
    offered: f64,
    sent: u64,
    arrived: u64,
    losses: Losses,
    unexplained: i64,
    is_peer: bool,
}

fn summaries(results: &Results) -> Vec<Summary> {
    let Some((_, bare)) = results.first() else { return Vec::new() };
    results
        .iter()
        .map(|(scene, measurements)| {
            let mut rates: Vec<f64> = measurements.iter().map(|one| one.run.rate).collect();
            let mut ratios: Vec<f64> =
                measurements.iter().zip(bare).map(|(one, bare)| one.run.rate / bare.run.rate).collect();
            let mut offered: Vec<f64> = measurements.iter().map(|one| one.run.offered).collect();
            let mut losses = Losses::new();
            for (name, count) in measurements.iter().flat_map(|one| &one.losses) {
                *losses.entry(name.clone()).or_default() += count;
            }
            Summary {
                name: scene.name,
                lowest: rates.iter().copied().fold(f64::INFINITY, f64::min),
                highest: rates.iter().copied().fold(0.0, f64::max),
                rate: median(&mut rates),
                ratio: median(&mut ratios),
                offered: median(&mut offered),
                sent: measurements.iter().map(|one| one.run.sent).sum(),
                arrived: measurements.iter().map(|one| one.run.arrived).sum(),
                is_peer: matches!(scene.subject, Subject::Forwarding | Subject::Nftables),
                losses,
                unexplained: measurements.iter().map(Measurement::unexplained).sum(),
            }
        })
        .collect()
}

/// Prints two tables: how fast, and where the rest went.
pub fn tables(results: &Results) {
    let rounds = results.first().map_or(0, |(_, measurements)| measurements.len());
    let summaries = summaries(results);
    println!(
        "\n{:<56} {:>6} {:>13} {:>6}   median of {rounds}",
        "64-byte frames, one worker", "Mpps", "range", "ratio"
    );
    for one in &summaries {
        let range = format!("{:.2}–{:.2}", one.lowest / 1e6, one.highest / 1e6);
        println!("{:<56} {:>6.3} {range:>13} {:>6.2}", one.name, one.rate / 1e6, one.ratio);
    }
    println!("\nEvery frame offered, of all rounds");
    for one in &summaries {
        println!("{:<56} {:>11} sent at {:.1} Mpps", one.name, one.sent, one.offered / 1e6);
        println!("{:<56} {:>11} arrived", "", one.arrived);
        for (name, count) in &one.losses {
            println!("{:<56} {count:>11} {name}", "");
        }
        println!("{:<56} {:>11} unexplained", "", one.unexplained);
    }
}

/// The same as JSON.
pub fn json(results: &Results) -> Value {
    summaries(results)
        .into_iter()
        .map(|one| {
            json!({
                "scene": one.name,
                "frames_per_second": one.rate,
                "lowest": one.lowest,
                "highest": one.highest,
                "ratio": one.ratio,
                "sent": one.sent,
                "arrived": one.arrived,
                "lost": one.losses,
                "unexplained": one.unexplained,
            })
        })
        .collect()
}

/// A figure is worth something only when every frame is accounted for.
pub fn verdict(results: &Results) -> Result<(), Error> {
    let lost: Vec<String> = summaries(results)
        .into_iter()
        // What the kernel loses on its way is not all counted where we look.
        .filter(|one| one.unexplained != 0 && !one.is_peer)
        .map(|one| format!("{}: {} of {} frames are unexplained", one.name, one.unexplained, one.sent))
        .collect();
    if lost.is_empty() { Ok(()) } else { Err(lost.join("\n").into()) }
}
