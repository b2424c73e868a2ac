//! What Prometheus is to make of the metrics, by Prometheus' own tool: the scrape, the alerts, the dashboard.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use xswitch::control::metrics;

use super::endpoints::parse;
use super::page::Scene;

fn root(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

/// A scrape of a switch that has something to say about everything.
fn scrape() -> String {
    let scene = Scene::new(None);
    scene.lab.count();
    metrics::render(&scene.lab.runtime.block_on(scene.lab.source.status()))
}

fn promtool(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn approves(arguments: &[&str], input: &str) {
    let Output { status, stdout, stderr } = promtool(arguments, input);
    let said = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
    assert!(status.success(), "promtool {arguments:?}: {said}");
}

#[test]
fn promtool_has_nothing_to_say_about_a_scrape() {
    let text = scrape();
    parse(&text);
    approves(&["check", "metrics"], &text);
    let odd = promtool(&["check", "metrics"], "# TYPE xswitch_oddities counter\nxswitch_oddities 1\n");
    assert!(!odd.status.success(), "it would notice");
}

#[test]
fn every_alert_fires_for_what_it_is_about() {
    let (rules, tests) = (root("config/xswitch.rules.yml"), root("tests/control/alerts.yml"));
    approves(&["check", "rules", rules.to_str().unwrap()], "");
    approves(&["test", "rules", tests.to_str().unwrap()], "");
    let rules = std::fs::read_to_string(rules).unwrap();
    let tests = std::fs::read_to_string(tests).unwrap();
    let operations = std::fs::read_to_string(root("docs/OPERATIONS.md")).unwrap();
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 15, "{alerts:?}");
    for alert in alerts {
        assert!(tests.contains(&format!("alertname: {alert}\n")), "{alert} is not tested");
        assert!(operations.contains(&format!("\n### {alert}\n")), "{alert} has no remedy");
    }
}

/// Names of our metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !allowed(c)).filter(|word| word.starts_with("xswitch_"));
    words.map(str::to_owned).collect()
}

/// All texts that Grafana asks Prometheus with.
fn questions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if ["expr", "query", "definition"].contains(&key.as_str()) => {
                        found.push(text.clone());
                    }
                    _ => questions(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| questions(item, found)),
        _ => {}
    }
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_there_are() {
    let there_are: BTreeSet<String> =
        parse(&scrape()).keys().map(|sample| sample.split('{').next().unwrap().to_owned()).collect();
    let rules = std::fs::read_to_string(root("config/xswitch.rules.yml")).unwrap();
    let dashboard = std::fs::read_to_string(root("config/grafana-dashboard.json")).unwrap();
    let mut asked = vec![];
    questions(&serde_json::from_str(&dashboard).unwrap(), &mut asked);
    assert!(asked.len() > 25);
    for text in asked.iter().map(String::as_str).chain(rules.lines().filter(|line| line.contains("expr:"))) {
        for name in names(text) {
            assert!(there_are.contains(&name), "{name} is in no scrape: {text}");
        }
    }
}

#[test]
fn series_are_bounded_and_what_is_left_out_is_counted() {
    let scene = Scene::new(None);
    let mut status = scene.lab.runtime.block_on(scene.lab.source.status());
    let (mut service, backend) = (status.services[0].clone(), status.services[0].backends[0].clone());
    let address = |number: usize| format!("10.0.{}.{}:80", number / 256, number % 256).parse().unwrap();
    service.backends = (0..2500)
        .map(address)
        .map(|address| {
            let mut backend = backend.clone();
            backend.address = address;
            backend
        })
        .collect();
    status.services = (0..510)
        .map(|number| {
            let mut service = service.clone();
            service.name = format!("s{number}");
            if number > 0 {
                service.backends.truncate(1);
            }
            service
        })
        .collect();
    let samples = parse(&metrics::render(&status));
    let count = |name: &str| samples.keys().filter(|sample| sample.starts_with(name)).count();
    assert_eq!(count("xswitch_backend_weight{"), metrics::MOST_BACKENDS);
    assert_eq!(count("xswitch_service_refused_total{"), metrics::MOST_SERVICES);
    assert_eq!(samples["xswitch_services_unlabelled"], 10.0);
    assert_eq!(samples["xswitch_backends_unlabelled"], 2500.0 + 509.0 - 2000.0);
}
