//! Instructions per packet do not rise unnoticed: the release build is counted by callgrind, and compared with the figures in
//! `tests/bench/instructions.toml`. `tools/test` builds what is counted.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::process::Command;

#[path = "bench/gauges.rs"]
mod gauges;

use gauges::{Finding, GAUGES, TOLERANCE, compare};

/// Names the release build of the example `bench-instructions`.
const PROGRAM: &str = "XSWITCH_BENCH_INSTRUCTIONS";
const FILE: &str = "tests/bench/instructions.toml";

/// Counts a scene and compares.
fn gauge(scene: &str) {
    let committed = gauges::read(include_str!("bench/instructions.toml")).unwrap();
    let committed = *committed.get(scene).unwrap_or_else(|| panic!("{FILE} has no {scene:?}"));
    let program = std::env::var_os(PROGRAM).unwrap_or_else(|| {
        panic!("{PROGRAM} does not name a release build of bench-instructions: tools/test builds one")
    });
    let output = Command::new(&program).args(["--count", scene]).output();
    let output = output.unwrap_or_else(|error| panic!("{PROGRAM}={}: {error}", program.display()));
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{scene} was not counted: {complained}");
    let measured: f64 = said.trim().parse().unwrap();
    let figures = format!("{scene}: {measured:.1} instructions, {committed:.1} in {FILE}");
    match compare(committed, measured) {
        Finding::Holds => println!("{figures}"),
        Finding::Fallen => println!("{figures}, which can be lowered: tools/bench --commit"),
        Finding::Risen => panic!("{figures}: more than {TOLERANCE} % too many"),
    }
}

#[test]
fn instructions_of_established_nat_to_the_backend() {
    gauge("established TCP, to the backend");
}

#[test]
fn instructions_of_established_nat_to_the_client() {
    gauge("established TCP, to the client");
}

#[test]
fn instructions_of_established_ipip() {
    gauge("ipip: TCP");
}

#[test]
fn instructions_of_a_new_connection() {
    gauge("new TCP connection");
}

#[test]
fn instructions_of_a_maglev_pick() {
    gauge("Maglev pick");
}

#[test]
fn instructions_of_a_drop() {
    gauge("drop: TCP without a connection");
}

#[test]
fn more_than_the_tolerance_is_a_rise_and_as_much_less_a_fall() {
    assert_eq!(compare(300.0, 308.9), Finding::Holds);
    assert_eq!(compare(300.0, 309.1), Finding::Risen);
    assert_eq!(compare(300.0, 291.1), Finding::Holds);
    assert_eq!(compare(300.0, 290.9), Finding::Fallen);
}

#[test]
fn every_gauge_is_committed_and_nothing_else() {
    let committed = gauges::read(include_str!("bench/instructions.toml")).unwrap();
    let mut names = GAUGES.to_vec();
    names.sort_unstable();
    assert!(committed.keys().eq(&names), "{:?}", committed.keys());
    let figures: Vec<_> = committed.iter().map(|(scene, figure)| (scene.as_str(), *figure)).collect();
    assert_eq!(gauges::read(&gauges::write(&figures)).unwrap(), committed);
}
