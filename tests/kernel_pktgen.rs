//! `tools/pktgen/kernel-pktgen`: what it would tell the kernel, what it refuses, what it says where there is no pktgen.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::{Command, Output};

const ENDS: &str =
    "--interface lo --to 02:00:00:00:00:01 --source 198.19.0.0/24:1024-2047 --destination 198.18.0.100:80";

fn tool(line: &str, proc: &Path) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/pktgen/kernel-pktgen");
    Command::new(script).args(line.split_whitespace()).env("PKTGEN_PROC", proc).output().unwrap()
}

fn dry_run(options: &str) -> Vec<String> {
    let output = tool(&format!("{ENDS} {options} --dry-run"), Path::new("/nowhere"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_scene_becomes_commands_of_the_kernel() {
    let commands = dry_run("--flows 1000 --size 590 --rate 1.5M --count 100000 --cpu 1");
    for expected in [
        "kpktgend_1 add_device lo",
        "lo count 100000",
        "lo pkt_size 590",
        "lo dst_mac 02:00:00:00:00:01",
        "lo src_min 198.19.0.0",
        "lo src_max 198.19.0.255",
        "lo udp_src_min 1024",
        "lo udp_src_max 2047",
        "lo dst_min 198.18.0.100",
        "lo udp_dst_min 80",
        "lo udp_dst_max 80",
        "lo flows 1000",
        "lo ratep 1500000",
        "lo flag UDPCSUM",
    ] {
        assert!(commands.iter().any(|command| command == expected), "{expected} is not in {commands:#?}");
    }
    let one = dry_run("");
    assert_eq!(
        one.iter().rfind(|command| command.starts_with("lo src_max")).unwrap(),
        "lo src_max 198.19.0.0"
    );
    assert!(one.contains(&"lo delay 0".to_owned()) && !one.iter().any(|command| command.contains("RND")));
}

#[test]
fn bad_arguments_are_named() {
    for (options, said) in [
        ("--size 59", "--size: 59 is no number from 60"),
        ("--flows 0", "--flows: 0 is no number from 1"),
        ("--rate fast", "--rate: fast is no rate"),
        ("--to 02:00", "--to: 02:00 is no MAC address"),
        ("--source 198.19.0.0/8", "length of the prefix: 8"),
        ("--source 198.19.0.300", "198.19.0.300 is no IPv4 address"),
        ("--destination 2001:db8::1", "is no IPv4 address"),
        ("--destination 198.18.0.1:90-80", "80 is no number from 90"),
        ("--count", "--count needs a value"),
        ("--bogus", "unknown argument --bogus"),
    ] {
        let output = tool(&format!("{ENDS} {options}"), Path::new("/nowhere"));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{options}: {error}");
        assert!(error.contains(said), "{options}: {error}");
    }
    assert_eq!(tool("--interface lo", Path::new("/nowhere")).status.code(), Some(2));
}

#[test]
fn a_kernel_without_pktgen_is_told_of() {
    // A place where there is none, whatever modules this kernel has.
    let output = tool(ENDS, Path::new("/nowhere"));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    let is_root = !error.contains("needs root");
    assert!(
        !is_root || error.contains("this kernel has no pktgen") && error.contains("xswitch pktgen send"),
        "{error}"
    );
}
