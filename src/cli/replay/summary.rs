//! What came of a replay. With `--json` its fields are those of `xswitch status --json`, where both have them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::cli::{status as shown, table};
use crate::control::dataplane::{DataPlane, PortStatus, SteeredStatus, WorkerHandle};
use crate::control::requests::View;
use crate::control::status::{Connections, Facts, Limits, ServiceStatus, Status, Totals};
use crate::tables::{InterfaceId, Loads, Mailbox, Snapshot, Steering, WorkerCounters};

/// What the counters of the data path do not say.
#[derive(Debug, Clone, Copy, Default)]
pub struct Numbers {
    /// From the earliest to the latest frame.
    pub duration_ns: u64,
    /// Frames of which the capture holds the beginning only.
    pub skipped_cut: u64,
    /// Frames larger than a chunk of packet memory.
    pub skipped_large: u64,
}

/// The whole summary.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Milliseconds from the earliest to the latest frame.
    pub duration_ms: u64,
    /// `received + created = forwarded + replied + to_kernel + dropped_total + held`; `held` is 0, since a replay ends with no
    /// fragment waiting.
    #[serde(flatten)]
    pub totals: Totals,
    /// Dropped frames by reason; every reason is there.
    pub dropped: BTreeMap<String, u64>,
    /// Frames that were not replayed. They are in no other number.
    pub skipped: Skipped,
    /// The connection table at the end.
    pub connections: Connections,
    /// In the order of the configuration.
    pub services: Vec<ServiceStatus>,
    /// In the order of the configuration.
    pub interfaces: Vec<InterfaceSummary>,
    /// Neighbours whose MAC address the configuration does not tell, though frames should go there (the first 16).
    pub unresolved: Vec<Unresolved>,
    #[serde(skip)]
    status: Status,
}

/// Frames that were not replayed.
#[derive(Debug, Serialize)]
pub struct Skipped {
    /// The capture holds their beginning only (snapshot length).
    pub cut: u64,
    /// They are larger than 4,096 bytes, as offloads make them; no AF_XDP socket receives such.
    pub large: u64,
}

/// One interface.
#[derive(Debug, Serialize)]
pub struct InterfaceSummary {
    /// Its name.
    pub interface: String,
    /// Frames that arrived.
    pub received: u64,
    /// Frames that left.
    pub sent: u64,
    /// Of those, frames written to a capture: all, or none where `--out` names no capture for the interface.
    pub written: u64,
}

/// A neighbour whose MAC address is not known.
#[derive(Debug, Serialize)]
pub struct Unresolved {
    /// On whose link it is.
    pub interface: String,
    /// The neighbour.
    pub address: IpAddr,
}

impl Summary {
    /// Reads the counters.
    pub fn new(
        snapshot: Snapshot,
        limits: Limits,
        (counters, loads): (Arc<WorkerCounters>, Arc<Loads>),
        written: &[bool],
        numbers: Numbers,
        unresolved: &BTreeSet<(InterfaceId, IpAddr)>,
    ) -> Self {
        let name = |id: InterfaceId| {
            snapshot.interfaces.get(id.index()).map_or_else(String::new, |interface| interface.name.clone())
        };
        let interfaces = snapshot.interfaces.iter().zip(written).map(|(interface, written)| {
            let port = counters.port(interface.id);
            let sent = port.map_or(0, |port| port.tx_frames.get());
            InterfaceSummary {
                interface: interface.name.clone(),
                received: port.map_or(0, |port| port.rx_frames.get()),
                sent,
                written: if *written { sent } else { 0 },
            }
        });
        let interfaces = interfaces.collect();
        let unresolved = unresolved
            .iter()
            .map(|(interface, address)| Unresolved { interface: name(*interface), address: *address })
            .collect();
        let view = View::default();
        let facts = Facts {
            snapshot: &snapshot,
            uptime: Duration::ZERO,
            limits,
            view: &view,
            view_age: None,
            before: None,
        };
        let status = Status::collect(facts, &OneWorker::new(Arc::clone(&counters), loads));
        Self {
            duration_ms: numbers.duration_ns / 1_000_000,
            totals: status.totals.clone(),
            dropped: status.dropped.clone(),
            skipped: Skipped { cut: numbers.skipped_cut, large: numbers.skipped_large },
            connections: status.connections.clone(),
            services: status.services.clone(),
            interfaces,
            unresolved,
            status,
        }
    }

    /// As JSON, with a line feed at the end.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).map_or_else(|error| error.to_string(), |text| text + "\n")
    }

    fn interface_table(&self) -> String {
        let mut rows = vec![table::header(&["INTERFACE", "RECEIVED", "SENT", "WRITTEN"])];
        rows.extend(self.interfaces.iter().map(|row| {
            let numbers = [row.received, row.sent, row.written].map(|number| number.to_string());
            [vec![row.interface.clone()], numbers.to_vec()].concat()
        }));
        table::table(rows)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown::equation(&self.totals))?;
        f.write_str(&shown::connections(&self.connections))?;
        writeln!(f, "time         {}.{:03} s", self.duration_ms / 1000, self.duration_ms % 1000)?;
        write!(f, "\n{}", table::table(shown::service_rows(&self.status)))?;
        write!(f, "\n{}", self.interface_table())?;
        f.write_str(&shown::drops(&self.status))?;
        let Skipped { cut, large } = self.skipped;
        if cut > 0 {
            writeln!(f, "\nskipped {cut}: the capture holds only their beginning; capture with `-s 0`")?;
        }
        if large > 0 {
            let remedy = "switch off receive offloads (gro, lro) before capturing";
            writeln!(f, "\nskipped {large}: larger than 4,096 bytes; {remedy}")?;
        }
        for Unresolved { interface, address } in &self.unresolved {
            writeln!(f, "\nno MAC address of {address} on {interface}: add a [[neighbor]]")?;
        }
        Ok(())
    }
}

/// The one worker of a replay, for those who collect statistics. It has neither rings nor programs.
struct OneWorker([WorkerHandle; 1], Arc<Loads>);

impl OneWorker {
    fn new(counters: Arc<WorkerCounters>, loads: Arc<Loads>) -> Self {
        Self([WorkerHandle { mailbox: Arc::new(Mailbox::default()), counters, core: None }], loads)
    }
}

impl DataPlane for OneWorker {
    fn workers(&self) -> &[WorkerHandle] {
        &self.0
    }

    fn loads(&self) -> &Arc<Loads> {
        &self.1
    }

    fn wake(&self) {}

    fn steer(&self, _: &Steering) -> Vec<String> {
        Vec::new()
    }

    fn interface_gone(&self, _: InterfaceId) {}

    fn interface_appeared(&self, _: InterfaceId, _: &Steering) -> Result<(), String> {
        Ok(())
    }

    fn interface_link(&self, _: InterfaceId, _: bool) {}

    fn ports(&self) -> Vec<PortStatus> {
        Vec::new()
    }

    fn steered(&self) -> Vec<SteeredStatus> {
        Vec::new()
    }
}
