//! Frames that led to a defect once.

use std::path::Path;

use xswitch::tables::InterfaceId;

use crate::frames::lab::Lab;
use crate::{corpus, modes};

/// Every line of a file is a frame: the interface's number and the bytes in hexadecimal. An empty line ends a batch.
fn batches(text: &str) -> Vec<Vec<(InterfaceId, Vec<u8>)>> {
    let bytes = |hex: &str| -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    };
    let frame = |line: &str| {
        let (interface, hex) = line.split_once(' ').unwrap_or((line, ""));
        (InterfaceId(interface.parse().unwrap()), bytes(hex.trim()))
    };
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines.split(|line| line.is_empty()).map(|batch| batch.iter().map(|line| frame(line)).collect()).collect()
}

#[test]
fn what_led_to_a_defect_once_does_so_no_more() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/crashes");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "frames"));
    files.sort();
    for path in files {
        println!("{}", path.display());
        for ([snapshot, _], room) in [(corpus::snapshots(), 0), (modes::snapshots(), modes::ROOMS[4])] {
            let mut lab = Lab::of(snapshot, 64).with_room(room);
            for batch in batches(&std::fs::read_to_string(&path).unwrap()) {
                batch.iter().for_each(|(ingress, frame)| lab.add(*ingress, frame));
                lab.run(|_, _| {});
            }
        }
    }
}

#[test]
fn the_form_of_the_files() {
    let frames = |bytes: &[u8]| (InterfaceId(1), bytes.to_vec());
    let text = "# a comment\n1 00ff\n1\n\n1 07\n";
    assert_eq!(batches(text), [vec![frames(&[0, 255]), frames(&[])], vec![frames(&[7])]]);
}
