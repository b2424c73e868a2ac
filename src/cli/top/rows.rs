//! What stands in each pane: its columns, its lines, and the orders that they can be in.

use std::collections::HashMap;

use super::sample::{Key, Series, short};
use crate::control::connections::Row;
use crate::control::status::{BackendStatus, ServiceStatus, Status, WorkerStatus, drop_explanations};

/// A pane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pane {
    /// Services.
    Services,
    /// Backends of all services.
    Backends,
    /// Workers and their rings.
    Workers,
    /// Why frames are dropped.
    Drops,
    /// Clients of the connections that were active last.
    Clients,
}

impl Pane {
    /// All of them, in their order.
    pub const ALL: [Self; 5] = [Self::Services, Self::Backends, Self::Workers, Self::Drops, Self::Clients];

    /// Its heading.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Services => "Services",
            Self::Backends => "Backends",
            Self::Workers => "Workers",
            Self::Drops => "Drops",
            Self::Clients => "Clients",
        }
    }

    /// Its columns, the most important first to last as they stand; what does not fit goes by rank, the highest first.
    pub const fn columns(self) -> &'static [Column] {
        match self {
            Self::Services => SERVICES,
            Self::Backends => BACKENDS,
            Self::Workers => WORKERS,
            Self::Drops => DROPS,
            Self::Clients => CLIENTS,
        }
    }

    /// Orders that its lines can be in.
    pub const fn orders(self) -> &'static [Order] {
        match self {
            Self::Services => &[
                Order::Given,
                Order::Number("packets/s", 0),
                Order::Number("connections", 1),
                Order::Text("name", 0),
            ],
            Self::Backends => &[
                Order::Given,
                Order::Number("trouble", 2),
                Order::Number("packets/s", 0),
                Order::Number("open connections", 1),
                Order::Text("address", 1),
            ],
            Self::Workers => &[Order::Given, Order::Number("packets/s", 0), Order::Number("busy", 1)],
            Self::Drops => &[Order::Number("drops/s", 0), Order::Number("total", 1), Order::Text("name", 0)],
            Self::Clients => &[Order::Number("connections", 0), Order::Text("address", 0)],
        }
    }
}

/// How lines are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As the switch has them.
    Given,
    /// By one of their numbers, the largest first.
    Number(&'static str, usize),
    /// By a cell.
    Text(&'static str, usize),
}

impl Order {
    /// What it is by.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Given => "as configured",
            Self::Number(name, _) | Self::Text(name, _) => name,
        }
    }
}

/// A column.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its heading.
    pub name: &'static str,
    /// Its width in characters; the last column of a pane has at least that.
    pub width: u16,
    /// Whether it is aligned to the right.
    pub right: bool,
    /// 0 is always shown.
    pub rank: u8,
}

const fn left(name: &'static str, width: u16, rank: u8) -> Column {
    Column { name, width, right: false, rank }
}

const fn right(name: &'static str, width: u16, rank: u8) -> Column {
    Column { name, width, right: true, rank }
}

/// The column that shows how it was lately.
pub const TREND: &str = "TREND";

const SERVICES: &[Column] = &[
    left("SERVICE", 14, 0),
    left("ADDRESS", 21, 2),
    left("WAY", 8, 5),
    left("SCHEDULER", 9, 6),
    left("STATE", 8, 3),
    right("UP", 6, 0),
    right("CONNS", 6, 1),
    right("NEW/S", 5, 1),
    right("PKT/S", 5, 0),
    right("BIT/S", 5, 1),
    right("REFUSED/S", 9, 4),
    left(TREND, 8, 1),
];

const BACKENDS: &[Column] = &[
    left("SERVICE", 12, 0),
    left("BACKEND", 21, 0),
    left("STATE", 8, 0),
    right("WEIGHT", 6, 4),
    right("OPEN", 6, 0),
    right("NEW/S", 5, 2),
    right("PKT/S", 5, 1),
    right("BIT/S", 5, 3),
    right("MS", 5, 3),
    left(TREND, 8, 1),
    left("WHY", 24, 5),
];

const WORKERS: &[Column] = &[
    right("WORKER", 6, 0),
    right("CORE", 4, 3),
    right("BUSY", 5, 0),
    right("PKT/S", 5, 0),
    right("BIT/S", 5, 2),
    right("DROP/S", 6, 0),
    right("LOST/S", 6, 1),
    left("POOL FREE", 14, 1),
    right("RX WAIT", 7, 2),
    right("TX WAIT", 7, 2),
    right("CONNS", 6, 2),
    left(TREND, 8, 1),
];

const DROPS: &[Column] = &[
    left("REASON", 20, 0),
    right("DROP/S", 6, 0),
    right("TOTAL", 12, 0),
    left(TREND, 8, 1),
    left("MEANING", 24, 0),
];

const CLIENTS: &[Column] =
    &[left("CLIENT", 24, 0), right("CONNECTIONS", 11, 0), right("SHARE", 6, 1), left("SERVICES", 20, 0)];

/// How a line is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Fine, or neither.
    Plain,
    /// Somebody meant it so.
    Noted,
    /// Wrong.
    Bad,
}

/// A line of a pane.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Whose it is.
    pub key: Key,
    /// One for each column; that of the trend is filled in when it is drawn.
    pub cells: Vec<String>,
    /// What it can be ordered by.
    pub numbers: [f64; 3],
    /// How it is to be taken.
    pub tone: Tone,
}

/// The lines of a pane, in order, as far as they have `filter` in them.
pub fn lines(pane: Pane, series: &Series, clients: &[Row], order: Order, filter: &str) -> Vec<Line> {
    let Some(status) = series.status() else { return Vec::new() };
    let mut lines: Vec<Line> = match pane {
        Pane::Services => status.services.iter().map(|service| of_service(service, series)).collect(),
        Pane::Backends => {
            let each = status
                .services
                .iter()
                .flat_map(|service| service.backends.iter().map(move |backend| (service, backend)));
            each.map(|(service, backend)| of_backend(service, backend, series)).collect()
        }
        Pane::Workers => status.workers.iter().map(|worker| of_worker(worker, series)).collect(),
        Pane::Drops => drops(status, series),
        Pane::Clients => of_clients(clients),
    };
    let filter = filter.to_lowercase();
    lines.retain(|line| line.cells.iter().any(|cell| cell.to_lowercase().contains(&filter)));
    match order {
        Order::Given => {}
        Order::Number(_, at) => lines.sort_by(|a, b| b.numbers[at].total_cmp(&a.numbers[at])),
        Order::Text(_, at) => lines.sort_by(|a, b| a.cells[at].cmp(&b.cells[at])),
    }
    lines
}

fn of_service(service: &ServiceStatus, series: &Series) -> Line {
    let key = Key::Service(service.name.clone());
    let (rates, serving) = (series.rates(&key), &service.serving);
    let up = serving.serving + serving.backups_serving;
    let state = match service.state.as_str() {
        "" | "enabled" => String::new(),
        state => state.to_owned(),
    };
    let tone = match (up, state.is_empty()) {
        (_, false) => Tone::Noted,
        (0, true) => Tone::Bad,
        (up, true) if up < serving.backends => Tone::Noted,
        _ => Tone::Plain,
    };
    let connections = service.traffic.connections_active as f64;
    let cells = vec![
        service.name.clone(),
        format!("{}/{}", service.vip, service.protocol),
        service.forwarding.clone(),
        service.scheduler.clone(),
        state,
        format!("{up}/{}", serving.backends + serving.backups),
        short(connections),
        short(rates.new),
        short(rates.packets),
        short(rates.bits),
        short(rates.dropped),
        String::new(),
    ];
    Line { key, cells, numbers: [rates.packets, connections, 0.0], tone }
}

fn of_backend(service: &ServiceStatus, backend: &BackendStatus, series: &Series) -> Line {
    let key = Key::Backend(service.name.clone(), backend.address);
    let rates = series.rates(&key);
    let tone = match backend.state.as_str() {
        "down" => Tone::Bad,
        "up" | "" => Tone::Plain,
        _ => Tone::Noted,
    };
    let trouble = match tone {
        Tone::Bad => 2.0,
        Tone::Noted => 1.0,
        Tone::Plain => 0.0,
    };
    let milliseconds = match backend.response_us {
        0 => String::new(),
        us @ ..10_000 => format!("{:.2}", f64::from(us) / 1000.0),
        us => format!("{}", us / 1000),
    };
    let open = backend.connections_open as f64;
    let cells = vec![
        service.name.clone(),
        backend.address.to_string(),
        backend.state.clone(),
        backend.weight.to_string(),
        short(open),
        short(rates.new),
        short(rates.packets),
        short(rates.bits),
        milliseconds,
        String::new(),
        backend.why.clone(),
    ];
    Line { key, cells, numbers: [rates.packets, open, trouble], tone }
}

fn of_worker(worker: &WorkerStatus, series: &Series) -> Line {
    let key = Key::Worker(worker.worker);
    let rates = series.rates(&key);
    let waits = |count: fn(&crate::control::status::PortTraffic) -> u64| {
        short(worker.ports.iter().map(count).sum::<u64>() as f64)
    };
    let free = worker.pool_level as f64 / worker.pool_size.max(1) as f64;
    let cells = vec![
        worker.worker.to_string(),
        worker.core.map_or_else(|| "-".to_owned(), |core| core.to_string()),
        format!("{:.0}%", rates.busy),
        short(rates.packets),
        short(rates.bits),
        short(rates.dropped),
        short(rates.lost),
        gauge(free),
        waits(|port| port.fill_level),
        waits(|port| port.tx_in_flight),
        short(worker.connections_active as f64),
        String::new(),
    ];
    let tone = if rates.lost > 0.0 { Tone::Bad } else { Tone::Plain };
    Line { key, cells, numbers: [rates.packets, rates.busy, 0.0], tone }
}

/// Ten boxes and a percentage.
fn gauge(part: f64) -> String {
    let part = part.clamp(0.0, 1.0);
    let full = (part * 8.0).round() as usize;
    format!("{}{} {:>3.0}%", "█".repeat(full), "░".repeat(8 - full), part * 100.0)
}

fn drops(status: &Status, series: &Series) -> Vec<Line> {
    let meaning = drop_explanations();
    let happened = status.dropped.iter().filter(|(_, total)| **total > 0);
    let line = |(reason, total): (&String, &u64)| {
        let key = Key::Drop(reason.clone());
        let rate = series.rates(&key).dropped;
        let meaning = meaning.get(reason.as_str()).copied().unwrap_or_default().to_owned();
        let cells = vec![reason.clone(), short(rate), total.to_string(), String::new(), meaning];
        let tone = if rate > 0.0 { Tone::Noted } else { Tone::Plain };
        Line { key, cells, numbers: [rate, *total as f64, 0.0], tone }
    };
    happened.map(line).collect()
}

/// Clients of some connections, by address.
fn of_clients(connections: &[Row]) -> Vec<Line> {
    let mut by_client: HashMap<std::net::IpAddr, (usize, Vec<&str>)> = HashMap::new();
    for row in connections {
        let (count, services) = by_client.entry(row.client.ip()).or_default();
        *count += 1;
        let service = row.service.as_deref().unwrap_or("outbound");
        if !services.contains(&service) {
            services.push(service);
        }
    }
    let line = |(client, (count, services)): (std::net::IpAddr, (usize, Vec<&str>))| {
        let share = 100.0 * count as f64 / connections.len() as f64;
        let cells = vec![client.to_string(), count.to_string(), format!("{share:.0}%"), services.join(", ")];
        Line {
            key: Key::Client(client.to_string()),
            cells,
            numbers: [count as f64, 0.0, 0.0],
            tone: Tone::Plain,
        }
    };
    let mut lines: Vec<Line> = by_client.into_iter().map(line).collect();
    // Of equals, always the same first.
    lines.sort_by(|a, b| a.cells[0].cmp(&b.cells[0]));
    lines
}
