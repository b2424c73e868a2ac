//! `[service.limits]`.

use super::Part;
use crate::config::valid::Limits;

/// What is worth saying when it comes or goes.
pub(super) fn detail(limits: &Limits) -> String {
    let named = [
        ("new_connections_per_s", u64::from(limits.new_connections_per_s)),
        ("packets_per_s", u64::from(limits.packets_per_s)),
        ("bits_per_s", limits.bits_per_s),
        ("client_new_connections_per_s", u64::from(limits.client_new_connections_per_s)),
        ("client_packets_per_s", u64::from(limits.client_packets_per_s)),
        ("client_connections", u64::from(limits.client_connections)),
    ];
    let set = named.iter().filter(|(_, value)| *value > 0).map(|(key, value)| format!("{key} {value}"));
    set.collect::<Vec<_>>().join(", ")
}

/// Says what is other in `new`.
pub(super) fn compare(old: &Limits, new: &Limits, part: &mut Part<'_>) {
    let Limits {
        new_connections_per_s,
        packets_per_s,
        bits_per_s,
        client_new_connections_per_s,
        client_packets_per_s,
        client_connections,
        burst_ms,
    } = old;
    part.key("new_connections_per_s", new_connections_per_s, &new.new_connections_per_s);
    part.key("packets_per_s", packets_per_s, &new.packets_per_s);
    part.key("bits_per_s", bits_per_s, &new.bits_per_s);
    part.key("client_new_connections_per_s", client_new_connections_per_s, &new.client_new_connections_per_s);
    part.key("client_packets_per_s", client_packets_per_s, &new.client_packets_per_s);
    part.key("client_connections", client_connections, &new.client_connections);
    part.key("burst_ms", burst_ms, &new.burst_ms);
}
