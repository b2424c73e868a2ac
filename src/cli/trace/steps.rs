//! The steps, for a person.

use std::fmt::Write;

use crate::cli::table::{header, table};
use crate::control::trace::{BackendStep, ChoiceStep, Headers, RewriteStep, Trace};

/// Width of the names of the steps.
const NAME: usize = 11;

/// The whole answer.
pub(super) fn text(trace: &Trace) -> String {
    let mut steps = Steps(String::new());
    packet(trace, &mut steps);
    steps.say("service", &service(trace));
    connection(trace, &mut steps);
    access(trace, &mut steps);
    affinity(trace, &mut steps);
    if !trace.backends.is_empty() {
        steps.say("backends", "");
        steps.put(&backends(trace));
    }
    trace.choice.iter().for_each(|choice| chosen(choice, &mut steps));
    trace.rewrite.iter().for_each(|rewrite| rewritten(rewrite, &mut steps));
    next_hop(trace, &mut steps);
    let verdict = &trace.verdict;
    let reason = verdict.reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
    steps.say("verdict", &format!("{}{reason}: {}", verdict.verdict.replace('_', " "), verdict.text));
    trace.notes.iter().for_each(|note| steps.say("note", note));
    steps.0
}

/// Lines that each begin with what they are about.
struct Steps(String);

impl Steps {
    fn say(&mut self, name: &str, text: &str) {
        let line = format!("{name:NAME$}{text}");
        // Writing into a string cannot fail.
        let _ = writeln!(self.0, "{}", line.trim_end());
    }

    fn put(&mut self, lines: &str) {
        lines.lines().for_each(|line| self.say("", line));
    }
}

fn packet(trace: &Trace, steps: &mut Steps) {
    let packet = &trace.packet;
    let kind = match packet.kind.as_str() {
        "syn" => "TCP SYN",
        "syn_ack" => "TCP SYN+ACK",
        "ack" => "TCP segment",
        _ => "UDP datagram",
    };
    let how = if packet.interface_given { "as you say" } else { "as the routes say" };
    steps.say(
        "packet",
        &format!(
            "{kind} of {} bytes, {} → {}, in through {} ({how})",
            packet.length, packet.source, packet.destination, packet.interface
        ),
    );
}

fn service(trace: &Trace) -> String {
    match &trace.service {
        Some(service) => {
            format!(
                "{} at {}: {}, scheduler {}",
                service.name, service.vip, service.forwarding, service.scheduler
            )
        }
        None => match &trace.snat {
            Some(rule) => format!("none: {}; [[snat]] {rule} translates it", trace.no_service),
            None => format!("none: {}", trace.no_service),
        },
    }
}

fn connection(trace: &Trace, steps: &mut Steps) {
    let Some(connection) = &trace.connection else {
        let text = if trace.live { "none yet" } else { "none: only a running switch has any" };
        return steps.say("connection", text);
    };
    let which = if connection.direction == "reply" { "an answer to" } else { "one of" };
    let backend = connection.backend.map_or_else(String::new, |backend| format!(", backend {backend}"));
    steps.say(
        "connection",
        &format!(
            "{which} {} → {}{backend}: {}, idle for {} s, forgotten in {} s",
            connection.client,
            connection.destination,
            connection.state,
            connection.idle_s,
            connection.expires_in_s
        ),
    );
}

fn access(trace: &Trace, steps: &mut Steps) {
    let Some(access) = &trace.access else { return };
    let text = match access.allowed {
        true => format!("client {} is allowed by the access lists", access.client),
        false => format!("client {} is denied by [acl], or by [service.acl] of the service", access.client),
    };
    steps.say("access", &text);
}

fn affinity(trace: &Trace, steps: &mut Steps) {
    let Some(affinity) = &trace.affinity else { return };
    let text = match (affinity.backend, affinity.remembered) {
        (Some(backend), _) => format!("client {} returns to {backend}", affinity.client),
        (None, true) => format!("client {} had a server that takes no new connections now", affinity.client),
        (None, false) => format!("client {} is not remembered", affinity.client),
    };
    steps.say("affinity", &text);
}

fn backends(trace: &Trace) -> String {
    let has_loads = trace.backends.iter().any(|backend| backend.load.is_some());
    let mut names = header(&["BACKEND", "STATE", "NEW", "WEIGHT", "OPEN", "RESPONSE"]);
    names.extend(has_loads.then(|| "LOAD".to_owned()));
    names.push("WHY".into());
    let line = |backend: &BackendStep| {
        let state = if backend.state.is_empty() { "-" } else { &backend.state };
        let response = match backend.response_us {
            0 => "-".to_owned(),
            microseconds => format!("{:.1} ms", f64::from(microseconds) / 1000.0),
        };
        let mut line = vec![
            backend.address.to_string(),
            state.to_owned(),
            if backend.takes_new { "yes" } else { "no" }.to_owned(),
            backend.weight.to_string(),
            backend.connections_open.to_string(),
            response,
        ];
        line.extend(
            has_loads.then(|| backend.load.map_or_else(|| "-".to_owned(), |load| format!("{load:.2}"))),
        );
        line.push(backend.why.clone());
        line
    };
    let mut text = table([names].into_iter().chain(trace.backends.iter().map(line)).collect());
    if trace.backends_left_out > 0 {
        let _ = writeln!(text, "and {} more: xswitch backends", trace.backends_left_out);
    }
    text
}

fn chosen(choice: &ChoiceStep, steps: &mut Steps) {
    steps.say("choice", &format!("{} by {}: {}", choice.backend, choice.by, choice.why));
    let same = choice.by_worker.windows(2).all(|pair| pair.first() == pair.last());
    if same || choice.by != "scheduler" {
        return;
    }
    for (worker, backend) in choice.by_worker.iter().enumerate() {
        let backend = backend.map_or_else(|| "nobody".to_owned(), |backend| backend.to_string());
        steps.say("", &format!("worker {worker}: {backend}"));
    }
}

fn rewritten(rewrite: &RewriteStep, steps: &mut Steps) {
    let (before, after) = (&rewrite.before, &rewrite.after);
    let line = |headers: &Headers| {
        let tags = headers.vlan.iter().map(|id| format!(" VLAN {id}")).collect::<String>();
        format!(
            "{} → {}, TTL {}, MAC {} → {}{tags}",
            headers.source, headers.destination, headers.ttl, headers.source_mac, headers.destination_mac
        )
    };
    steps.say("rewrite", &format!("before  {}", line(before)));
    steps.say("", &format!("after   {}", line(after)));
    if let Some(outer) = &rewrite.outer {
        let port = outer.port.map_or_else(String::new, |port| format!(", UDP port {port}"));
        steps.say(
            "",
            &format!("inside  {} {} → {}{port}", outer.encapsulation, outer.source, outer.destination),
        );
    }
    if let Some((free, all)) = rewrite.source_ports_free {
        steps.say("", &format!("source  {free} of {all} addresses and ports of the pool are free for this"));
    }
}

fn next_hop(trace: &Trace, steps: &mut Steps) {
    let Some(egress) = &trace.egress else { return };
    let mac = egress.mac.as_deref().unwrap_or("MAC address not known yet");
    steps
        .say("next hop", &format!("{} ({mac}) through {}, MTU {}", egress.via, egress.interface, egress.mtu));
}
