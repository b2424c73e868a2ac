//! docs/API.md says of every field that commands print what it is, and of no other.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use xswitch::control::rates::Sample;
use xswitch::dataplane::conntrack::State;
use xswitch::dataplane::family::V4;

use super::connections::make;
use super::page::Scene;

/// Field to type, of one section of the document.
type Documented = BTreeMap<String, String>;

fn section(title: &str) -> Documented {
    let document = include_str!("../../docs/API.md");
    let (_, section) = document.split_once(&format!("\n## {title}\n")).unwrap();
    let rows = section.split("\n## ").next().unwrap().lines();
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        Some((cells.next()?.trim_end_matches('`').to_owned(), cells.next()?.to_owned()))
    };
    rows.filter_map(row).collect()
}

/// Compares a value with what is documented of `path`, and notes what it saw.
fn compare(value: &Value, path: &str, documented: &Documented, seen: &mut BTreeSet<String>) {
    let said = |kind: &str| {
        let said =
            documented.get(path).unwrap_or_else(|| panic!("docs/API.md has no row for `{path}`: {kind}"));
        let right = said
            .strip_suffix(" or null")
            .map_or(said.as_str() == kind, |said| said == kind || kind == "null");
        assert!(right, "docs/API.md says of `{path}`: {said}; it is {kind}: {value}");
    };
    match value {
        Value::Object(fields) => {
            let each = format!("{path}.*");
            if !path.is_empty() && !documented.contains_key(&each) {
                said("object");
                seen.insert(path.to_owned());
            }
            for (name, value) in fields {
                let dot = if path.is_empty() { "" } else { "." };
                let below =
                    if documented.contains_key(&each) { each.clone() } else { format!("{path}{dot}{name}") };
                compare(value, &below, documented, seen);
            }
            return;
        }
        Value::Array(items) => {
            return items.iter().for_each(|item| compare(item, &format!("{path}[]"), documented, seen));
        }
        Value::Null => said("null"),
        Value::Bool(_) => said("true or false"),
        Value::Number(_) => said("number"),
        Value::String(_) => said("text"),
    }
    seen.insert(path.to_owned());
}

fn printed(scene: &Scene, words: &str) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xswitch"));
    let output =
        command.args(words.split(' ')).arg("--json").arg("--socket").arg(&scene.lab.socket).output().unwrap();
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A scene in which something is to be said in every field.
fn scene() -> Scene {
    let scene = Scene::new(None);
    scene.lab.serve();
    let state = State::Established;
    make::<V4>(&scene.lab, ("203.0.113.9", 40_000), ("198.18.0.100", 80), 0, state, 0);
    let (dataplane, snapshot) = (&*scene.lab.source.dataplane, scene.lab.source.snapshot.borrow().clone());
    let before = Instant::now() - Duration::from_secs(1);
    scene.lab.source.sampler.keep(Sample::take(dataplane, &snapshot, before));
    scene.lab.count();
    scene
}

fn holds(value: &Value, path: &str, documented: &Documented) {
    let mut seen = BTreeSet::new();
    compare(value, path, documented, &mut seen);
    let missing: Vec<_> =
        documented.keys().filter(|field| field.starts_with(path) && !seen.contains(*field)).collect();
    assert!(missing.is_empty(), "docs/API.md has rows that nothing is printed for: {missing:?} in {value:#}");
}

#[test]
fn the_status_is_what_the_document_says() {
    let (scene, documented) = (scene(), section("The status"));
    holds(&printed(&scene, "status"), "", &documented);
    let services = printed(&scene, "services");
    holds(&services, "services", &documented);
    let mut backends = printed(&scene, "backends");
    let named = |backend: &mut Value| backend.as_object_mut().unwrap().remove("service").unwrap();
    let names: Vec<_> = backends.as_array_mut().unwrap().iter_mut().map(named).collect();
    assert_eq!(names, ["web", "web", "web6"]);
    holds(&backends, "services[].backends", &documented);
    assert_eq!(
        services[0]["rates"]["connections_new_per_s"],
        scene_rate(&services[0]),
        "the sum of its backends"
    );
}

fn scene_rate(service: &Value) -> Value {
    let rates = service["backends"].as_array().unwrap().iter();
    rates.map(|backend| backend["rates"]["connections_new_per_s"].as_f64().unwrap()).sum::<f64>().into()
}

#[test]
fn connections_and_orders_are_what_the_document_says() {
    let scene = scene();
    holds(&printed(&scene, "connections"), "", &section("Connections"));
    holds(&printed(&scene, "connections --kill --all"), "", &section("Connections that were ended"));
    let orders = section("Orders and reloads");
    let mut seen = BTreeSet::new();
    compare(&printed(&scene, "backend drain web 198.18.1.11:8080"), "", &orders, &mut seen);
    compare(&printed(&scene, "reload"), "", &orders, &mut seen);
    assert_eq!(seen.iter().collect::<Vec<_>>(), orders.keys().collect::<Vec<_>>());
}
