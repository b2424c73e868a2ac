//! `[[service]]` and what stands below it.

use std::net::SocketAddr;

use super::said::Said;
use super::{Entry, Part, acl, health, limits};
use crate::config::valid::{Affinity, Backend, Discover, Service};
use crate::tables::Protocol;

impl Entry for Service {
    type Key = (SocketAddr, Protocol);
    const SEVERAL: &'static str = "services";

    fn key(&self) -> Self::Key {
        (self.vip, self.protocol)
    }

    fn label(&self) -> String {
        format!("service {:?}", self.name)
    }

    fn detail(&self) -> String {
        format!("{}/{}", self.vip, self.protocol.name())
    }

    fn compare(&self, new: &Self, part: &mut Part<'_>) {
        let Self {
            name,
            vip,
            protocol,
            forwarding,
            scheduler,
            mss_clamp,
            syn_cookies,
            half_open,
            gue_port,
            maglev_table_size,
            announce,
            state,
            affinity: own_affinity,
            acl: own_acl,
            limits: own_limits,
            dscp,
            on_no_backend,
            on_down,
            drain_timeout_s,
            slow_start_s,
            health: own_health,
            discover: own_discover,
            backends,
        } = self;
        part.key("name", name, &new.name);
        part.key("vip", vip, &new.vip);
        part.key("protocol", protocol, &new.protocol);
        part.key("forwarding", forwarding, &new.forwarding);
        part.key("scheduler", scheduler, &new.scheduler);
        part.key("mss_clamp", mss_clamp, &new.mss_clamp);
        part.key("syn_cookies", syn_cookies, &new.syn_cookies);
        part.key("half_open", half_open, &new.half_open);
        part.key("gue_port", gue_port, &new.gue_port);
        part.key("maglev_table_size", maglev_table_size, &new.maglev_table_size);
        part.key("announce", announce, &new.announce);
        part.key("state", state, &new.state);
        part.key("on_no_backend", on_no_backend, &new.on_no_backend);
        part.key("on_down", on_down, &new.on_down);
        part.key("drain_timeout_s", drain_timeout_s, &new.drain_timeout_s);
        part.key("slow_start_s", slow_start_s, &new.slow_start_s);
        let remembered = |affinity: &Affinity| match &affinity.group {
            Some(group) => format!("group {group}"),
            None => format!("timeout_s {}", affinity.timeout_s),
        };
        part.table("affinity", (own_affinity, &new.affinity), remembered, affinity);
        part.table("acl", (own_acl, &new.acl), acl::detail, acl::compare);
        part.table("limits", (own_limits, &new.limits), limits::detail, limits::compare);
        part.key("dscp", dscp, &new.dscp);
        part.table("health", (own_health, &new.health), health::detail, health::compare);
        let source = |discover: &Discover| discover.source.said();
        part.table("discover", (own_discover, &new.discover), source, discover);
        part.entries(backends, &new.backends);
    }
}

fn affinity(old: &Affinity, new: &Affinity, part: &mut Part<'_>) {
    let Affinity { timeout_s, prefix_ipv4, prefix_ipv6, group } = old;
    part.key("timeout_s", timeout_s, &new.timeout_s);
    part.key("prefix_ipv4", &u32::from(*prefix_ipv4), &u32::from(new.prefix_ipv4));
    part.key("prefix_ipv6", &u32::from(*prefix_ipv6), &u32::from(new.prefix_ipv6));
    part.key("group", group, &new.group);
}

fn discover(old: &Discover, new: &Discover, part: &mut Part<'_>) {
    let Discover { source, weight, min_backends, interval_s } = old;
    part.key("source", source, &new.source);
    part.key("weight", weight, &new.weight);
    part.key("min_backends", min_backends, &new.min_backends);
    part.key("interval_s", interval_s, &new.interval_s);
}

impl Entry for Backend {
    type Key = SocketAddr;
    const SEVERAL: &'static str = "backends";

    fn key(&self) -> SocketAddr {
        self.address
    }

    fn label(&self) -> String {
        format!("backend {}", self.address)
    }

    fn detail(&self) -> String {
        let backup = if self.backup { ", backup" } else { "" };
        format!("weight {}{backup}", self.weight)
    }

    fn compare(&self, new: &Self, part: &mut Part<'_>) {
        let Self { address, weight, max_connections, backup, state } = self;
        part.key("address", address, &new.address);
        part.key("weight", weight, &new.weight);
        part.key("max_connections", max_connections, &new.max_connections);
        part.key("backup", backup, &new.backup);
        part.key("state", state, &new.state);
    }
}
