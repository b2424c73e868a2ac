//! How large a configuration can be.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use xswitch::config::{self, Severity};

use super::said;

/// A switch with as many SNAT addresses, services and backends of each.
fn large(addresses: usize, services: usize, backends: usize) -> String {
    let pool: Vec<_> = (0..addresses).map(|n| format!("\"198.18.{}.{}\"", n / 256, n % 256)).collect();
    let mut text = format!("[switch]\ninterfaces = [\"eth0\"]\nsnat_addresses = [{}]\n", pool.join(", "));
    for service in 0..services {
        let (high, low) = (service / 256, service % 256);
        let _ = writeln!(text, "[[service]]\nname = \"s{service}\"\nvip = \"198.19.{high}.{low}:80\"");
        for backend in 0..backends {
            let port = backend + 1;
            let _ = writeln!(text, "[[service.backend]]\naddress = \"10.0.{high}.{low}:{port}\"");
        }
    }
    text
}

fn errors(text: &str) -> Vec<String> {
    let errors = said(text).into_iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
    errors.map(|diagnostic| diagnostic.message).collect()
}

#[test]
fn what_the_tables_hold_is_the_limit() {
    assert_eq!(errors(&large(4096, 1, 1)), [""; 0]);
    assert_eq!(errors(&large(4097, 1, 1)), ["`snat_addresses`: 4097 are more than 4096"]);
    assert_eq!(errors(&large(0, 8193, 1)), ["8193 services are more than 8192"]);
    assert_eq!(errors(&large(0, 4, 32768)), [""; 0]);
    let beyond = "131076 backends are more than 131072: those of this service no longer fit";
    assert_eq!(errors(&large(0, 4, 32769)), [beyond]);
}

#[test]
fn as_many_services_as_there_can_be_with_backends_are_accepted() {
    assert_eq!(errors(&large(0, 8192, 4)), [""; 0]);
}

/// A rule of outbound NAT for each of these numbers of inside prefixes, with as many addresses.
fn rules(sizes: &[(usize, usize)]) -> String {
    let mut text = large(4000, 1, 1);
    for (rule, (prefixes, addresses)) in sizes.iter().enumerate() {
        let inside: Vec<_> =
            (0..*prefixes).map(|n| format!("\"172.{}.{}.{}/32\"", 16 + rule, n / 256, n % 256)).collect();
        let addresses: Vec<_> = (0..*addresses).map(|n| format!("\"192.0.{rule}.{n}\"")).collect();
        let (inside, addresses) = (inside.join(", "), addresses.join(", "));
        let _ =
            writeln!(text, "[[snat]]\nname = \"r{rule}\"\ninside = [{inside}]\naddresses = [{addresses}]");
    }
    text
}

#[test]
fn rules_of_outbound_nat_share_one_limit() {
    assert_eq!(errors(&rules(&[(1000, 90), (24, 6)])), [""; 0]);
    assert_eq!(errors(&rules(&[(1000, 1), (25, 1)])), ["`inside`: with those above 1025 are more than 1024"]);
    assert_eq!(errors(&rules(&[(1, 90), (1, 7)])), ["`addresses`: with those above 4097 are more than 4096"]);
}

fn refusal(path: &Path) -> String {
    config::load(path).unwrap_err().to_string()
}

#[test]
fn only_regular_files_of_a_reasonable_size_are_read() {
    let directory = tempfile::tempdir().unwrap();
    assert!(refusal(directory.path()).contains("it is a directory, not a regular file"));
    assert!(refusal(Path::new("/dev/zero")).contains("it is a device, not a regular file"));
    let fifo = directory.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    assert!(refusal(&fifo).contains("it is a FIFO, not a regular file"));
    let large = directory.path().join("large.toml");
    std::fs::File::create(&large).unwrap().set_len((64 << 20) + 1).unwrap();
    assert!(refusal(&large).contains("it is larger than 64 MiB"));
}

#[test]
fn a_long_line_is_shown_around_the_mistake() {
    let text = format!("[switch]\ninterfaces = [\"eth0\"]\nworkers = 65 # {}\n", "x".repeat(10_000));
    let error = config::parse(&text, "x.toml").unwrap_err().to_string();
    assert!(error.contains("  | workers = 65 # xxx") && error.len() < 1000, "{error}");
}
