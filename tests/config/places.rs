//! Several mistakes in one file are all named, with their places.

use super::said;

const FIVE: &str = r#"[switch]
interfaces = ["eth0", "eth1"]
ring_siz = 2048
snat_ports = "32767-1024"

[[service]]
name = "web"
vip = 198.18.0.100:80
forwarding = "natt"

[[service.backend]]
address = "198.18.1.11"
weight = "3"
"#;

#[test]
fn five_different_mistakes_in_one_file_are_all_named() {
    assert_eq!(
        places(FIVE),
        [
            "3:1: unknown key `ring_siz` in [switch] (did you mean `ring_size`? known here: busy_poll, \
             busy_poll_device, control_socket, huge_pages, icmp_rate, idle, interfaces, max_affinities, max_connections, max_connections_ipv6, max_fragmented, metrics_listen, resolvers, ring_size, \
             snat_addresses, snat_ports, status_listen, status_token_file, topology, tunnel_sources, verify_checksums, workers, xdp_mode, zero_copy)",
            "4:14: `snat_ports`: \"32767-1024\" is empty: it ends before it begins \
             (the lower port first: \"1024-32767\")",
            "8:7: this is not a TOML value (text goes in double quotes: vip = \"198.18.0.100:80\")",
            "9:14: `forwarding`: unknown word \"natt\" (did you mean \"nat\"? available: nat, full-nat, dsr, ipip, gue)",
            "12:11: `address`: \"198.18.1.11\" is not an address with a port (add the port: \"198.18.1.11:80\")",
            "13:10: `weight`: a whole number belongs here, this is a string (write weight = 3)",
        ]
    );
}

#[test]
fn the_list_shows_the_lines_and_ends_in_the_count() {
    let error = xswitch::config::parse(FIVE, "x.toml").unwrap_err().to_string();
    let first = "x.toml:3:1: error: unknown key `ring_siz` in [switch]\n  | ring_siz = 2048\n  | ^^^^^^^^\n  = help: ";
    assert!(error.starts_with(first), "{error}");
    assert!(error.contains("  | forwarding = \"natt\"\n  |              ^^^^^^\n"), "{error}");
    assert!(error.ends_with("\n6 errors"), "{error}");
}

/// Each place, and the beginning of what is said there.
fn places(text: &str) -> Vec<String> {
    said(text).iter().map(|d| format!("{}:{}: {} ({})", d.line, d.column, d.message, d.help)).collect()
}

#[test]
fn several_lines_that_are_not_toml_are_all_named() {
    let text = "[switch]\ninterfaces = [\"eth0\"]\nworkers 3\nidle = spin\nring_size = 2048\nring_size = 2048\n\
                zero_copy = True\nsnat_ports = \"1-2\"\n[[service]]\nvip = \"198.18.0.1:80\n";
    assert_eq!(
        places(text),
        [
            "3:9: key with no value, expected '=' (a key and its value are joined by \"=\": workers = 3)",
            "4:8: this is not a TOML value (text goes in double quotes: idle = \"spin\")",
            "6:1: duplicate key (\"ring_size\" is already set above: keep one of the two)",
            "7:13: this is not a TOML value (write zero_copy = true)",
            "8:14: `snat_ports`: ports below 1024 belong to well-known services \
             (ports from 1024 up: \"1024-32767\")",
            "10:21: the string does not end \
             (a string ends on its line, with the quote it began with: name = \"web\")",
        ]
    );
}

const NOT_CLOSED: &str = "2:14: the list is not closed \
                          (a list is written in brackets, with commas: interfaces = [\"eth0\", \"eth1\"])";

#[test]
fn a_list_that_is_not_closed_is_named_where_it_opens() {
    let text = "[switch]\ninterfaces = [\"eth0\", \"eth1\"\nring_size = 3000\n[[service]]\nname = \"a\"\n";
    assert_eq!(places(text), [NOT_CLOSED, "3:13: `ring_size`: 3000 is not a power of two (2048 or 4096)"]);
    let text = "[switch]\ninterfaces = [\"eth0\"\n[[service]]\nname = \"a b\"\n";
    assert_eq!(places(text)[0], NOT_CLOSED);
    let text = "[switch]\ninterfaces = [\n  \"eth0\",\n  eth1,\n]\nring_size = 3000\nsnat_addresses = [1 2]";
    assert_eq!(
        places(text),
        [
            "4:3: text without quotes (text goes in double quotes: \"eth1\")",
            "6:13: `ring_size`: 3000 is not a power of two (2048 or 4096)",
            "7:19: text without quotes (text goes in double quotes: \"1 2\")",
        ]
    );
}

#[test]
fn a_broken_heading_hides_its_section_and_no_more() {
    let text =
        "[switch]\ninterfaces = [\"eth0\"]\n[[service]\nname = 3\n[timeouts]\nudp_s = 0\n[switch]\nx = 1\n";
    assert_eq!(
        places(text),
        [
            "3:11: unclosed array table, expected ']' (a table is written [switch], a list of tables [[service]])",
            "6:9: `udp_s`: 0 is out of bounds (a number from 1 to 604800)",
            "7:2: duplicate key (this table is already there: merge the two, or write [[switch]] if it is a list)",
        ]
    );
}

#[test]
fn what_a_broken_line_hides_is_not_called_missing() {
    let found = said("[switch]\ninterfaces = [\"eth0\"]\n[[service]]\nname \"web\"\nvip = 198.18.0.1:80\n");
    let errors: Vec<_> = found.iter().filter(|d| d.message.contains("missing")).collect();
    assert!(errors.is_empty(), "{errors:?}");
}
