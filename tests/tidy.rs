//! Holds what no compiler checks: who may know whom, where `unsafe` may stand, that documents keep up with the code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use xswitch::tables::DropReason;

/// Room → rooms of this crate that it may name.
const MAY_USE: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("sys", &[]),
    ("tables", &["wire"]),
    ("xsk", &["tables", "sys"]),
    ("dataplane", &["wire", "tables", "xsk", "sys"]),
    ("pktgen", &["wire", "tables", "xsk", "sys"]),
    ("config", &["wire", "tables"]),
    ("control", &["config", "tables", "wire", "sys"]),
    ("boot", &["config", "control", "dataplane", "sys", "tables", "wire", "xsk"]),
    ("doctor", &["boot", "config", "control", "sys", "tables", "wire", "xsk"]),
    ("cli", &["boot", "config", "control", "dataplane", "doctor", "pktgen", "sys", "tables", "wire", "xsk"]),
];

/// Files longer than this would not be held in mind.
const LONGEST_FILE: usize = 500;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(under: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(under).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
}

/// Every Rust file of `src`, with its room and its code without comments.
fn sources() -> Vec<(PathBuf, String, String)> {
    let mut paths = Vec::new();
    files(&root().join("src"), "rs", &mut paths);
    paths
        .into_iter()
        .map(|path| {
            let inside = path.strip_prefix(root().join("src")).unwrap();
            let first = inside.components().next().unwrap().as_os_str().to_string_lossy();
            let room = first.trim_end_matches(".rs").to_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            let code: String = text.lines().filter(|l| !l.trim_start().starts_with("//")).fold(
                String::new(),
                |mut code, line| {
                    code.push_str(line);
                    code.push('\n');
                    code
                },
            );
            (path, room, code)
        })
        .collect()
}

#[test]
fn every_room_names_only_the_rooms_below_it() {
    let allowed: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let mut wrong = Vec::new();
    for (path, room, code) in sources() {
        if room == "main" || room == "lib" {
            continue;
        }
        let allowed = allowed.get(room.as_str()).unwrap_or_else(|| panic!("no rule for the room {room}"));
        for piece in code.split("crate::").skip(1) {
            let names: Vec<String> = match piece.strip_prefix('{') {
                Some(group) => group
                    .split('}')
                    .next()
                    .unwrap()
                    .split(',')
                    .map(|name| name.trim().split("::").next().unwrap().to_owned())
                    .collect(),
                None => vec![piece.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()],
            };
            for name in names {
                let is_room = MAY_USE.iter().any(|(other, _)| *other == name);
                if is_room && name != room && !allowed.contains(&name.as_str()) {
                    wrong.push(format!("{}: {room} may not use {name}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn unsafe_stays_in_its_two_rooms() {
    for (path, room, code) in sources() {
        let has = code.contains("unsafe {") || code.contains("unsafe impl") || code.contains("unsafe fn");
        assert!(!has || room == "xsk" || room == "sys", "{}: unsafe outside xsk and sys", path.display());
    }
}

#[test]
fn the_packet_path_formats_nothing_and_asks_no_clock() {
    for (path, room, code) in sources() {
        if room != "dataplane" {
            continue;
        }
        let path = path.display().to_string();
        let code = code.split("#[cfg(test)]").next().unwrap();
        if path.ends_with("tests.rs") || path.ends_with("models.rs") {
            continue;
        }
        for forbidden in ["format!", "println!", "tracing::", "Mutex", "RwLock", "SystemTime"] {
            assert!(!code.contains(forbidden), "{path}: {forbidden} on the packet path");
        }
        if !path.ends_with("worker.rs") {
            assert!(!code.contains("Instant"), "{path}: time is handed in");
        }
    }
}

#[test]
fn files_stay_short_enough_to_hold_in_mind() {
    for (path, _, _) in sources() {
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= LONGEST_FILE, "{} has {lines} lines", path.display());
    }
}

#[test]
fn every_drop_reason_is_explained_in_the_datapath_document() {
    let document = std::fs::read_to_string(root().join("docs/DATAPATH.md")).unwrap();
    for reason in DropReason::ALL {
        let row = format!("| `{}` |", reason.name());
        assert!(document.contains(&row), "docs/DATAPATH.md has no row for {}", reason.name());
    }
}

#[test]
fn every_check_of_the_doctor_stands_in_the_operations_document() {
    let document = std::fs::read_to_string(root().join("docs/OPERATIONS.md")).unwrap();
    let mut checks = 0;
    for (path, room, code) in sources() {
        if room != "doctor" || !path.display().to_string().contains("/judge/") {
            continue;
        }
        let code = code.split("#[cfg(test)]\n").next().unwrap();
        for piece in code.split("Finding::").skip(1) {
            let Some((kind, rest)) = piece.split_once('(') else { continue };
            let Some(rest) = rest.trim_start().strip_prefix('"') else { continue };
            if ["error", "warning", "note"].contains(&kind) {
                let check = rest.split('"').next().unwrap();
                assert!(
                    document.contains(&format!("`{check}`")),
                    "docs/OPERATIONS.md says nothing of {check}"
                );
                checks += 1;
            }
        }
    }
    assert!(checks > 50, "only {checks} were seen: are they written another way now?");
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut documents = vec![root().join("README.md")];
    files(&root().join("docs"), "md", &mut documents);
    for document in documents {
        let text = std::fs::read_to_string(&document).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = target.split('#').next().unwrap();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let path = document.parent().unwrap().join(target);
            assert!(path.exists(), "{}: no such file: {target}", document.display());
        }
    }
}

#[test]
fn the_image_is_built_with_what_the_tools_install() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let common = read("tools/lib/common.sh");
    let list = common.split("BUILD_PACKAGES=(").nth(1).and_then(|rest| rest.split(')').next()).unwrap();
    let recipe = read("tools/container/Containerfile");
    for package in list.split_whitespace() {
        assert!(
            recipe.split_whitespace().any(|word| word == package),
            "{package} is missing in the Containerfile"
        );
    }
    for file in ["config/xswitch.service", "config/xswitch.toml", "config/xswitch.default"] {
        assert!(read("Cargo.toml").contains(file), "the package lacks {file}");
    }
}
