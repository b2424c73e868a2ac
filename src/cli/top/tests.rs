use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::{Color, Modifier};
use serde_json::{Value, json};

use super::app::{Action, App, Mode};
use super::draw::{Look, draw};
use super::rows::Pane;
use super::sample::{Key, Series, short};
use crate::control::connections::Listing;
use crate::control::orders::{Change, Order};
use crate::control::status::Status;

fn backend(address: &str, state: &str, why: &str, packets: u64) -> Value {
    json!({
        "address": address, "weight": 1, "state": state, "why": why, "takes_new": state == "up",
        "packets_in": packets, "packets_out": packets, "bytes_in": packets * 100, "bytes_out": packets * 900,
        "connections_new": packets / 10, "connections_active": 5, "connections_open": 4, "response_us": 1500,
        "next_hop": null
    })
}

/// What a switch says that has forwarded so many packets to the first of its three backends.
fn status(packets: u64) -> Status {
    let totals = json!({
        "received": packets * 2, "created": 0, "forwarded": packets * 2, "replied": 0, "to_kernel": 0,
        "dropped_total": packets / 100, "held": 0, "icmp_errors": 0, "icmp_limited": 0, "unexplained": 0
    });
    let port = json!({"interface": "eth0", "queue": 0, "rx_bytes": packets * 1000, "fill_level": 2040, "tx_in_flight": 3});
    let mut worker = totals.clone();
    for (key, value) in json!({
        "worker": 0, "core": 3, "epoch": 3, "connections_new": 1, "connections_closed": 0, "connections_active": 9,
        "connections_reclaimed": 0, "turns": packets, "busy_turns": packets / 4, "sleeps": 0,
        "pool_level": 3000, "pool_size": 4000, "ports": [port]
    }).as_object().unwrap() {
        worker[key] = value.clone();
    }
    let traffic = |service: &str, vip: &str, packets: u64, serving: Value, backends: Value| {
        json!({
            "name": service, "vip": vip, "protocol": "tcp", "forwarding": "nat", "scheduler": "wrr", "state": "enabled",
            "packets_in": packets, "packets_out": packets, "bytes_in": packets * 100, "bytes_out": packets * 900,
            "connections_new": packets / 10, "connections_active": 1234, "refused": 0, "serving": serving,
            "backends": backends
        })
    };
    let serving = |backends: u64, serving: u64| {
        json!({
            "backends": backends, "serving": serving, "backups": 0, "backups_able": 0, "backups_serving": 0, "leaving": 0
        })
    };
    serde_json::from_value(json!({
        "version": "0.1.0", "pid": 7, "uptime_s": 7265, "epoch": 3, "view_age_s": 0, "totals": totals,
        "connections": {"active": 1234, "max": 1_000_000, "max_ipv6": 0, "new": packets / 10, "closed": 0, "reclaimed": 0},
        "dropped": {"no_connection": packets / 100, "no_route": 1, "denied": 0},
        "services": [
            traffic("web", "198.18.0.100:80", packets, serving(2, 1), json!([
                backend("198.18.1.11:8080", "up", "", packets),
                backend("198.18.1.12:8080", "down", "connection refused", 0),
            ])),
            traffic("mail", "[2001:db8::100]:25", 0, serving(1, 1), json!([backend("198.18.1.13:25", "drain", "an operator's order", 0)])),
        ],
        "workers": [worker], "ports": []
    })).unwrap()
}

/// The app after two statuses, two seconds apart: 5,000 packets a second each way.
fn app() -> (App, Instant) {
    let (mut app, start) = (App::default(), Instant::now());
    app.hear(start, Ok(status(1000)));
    let now = start + Duration::from_secs(2);
    app.hear(now, Ok(status(11_000)));
    (app, now)
}

fn picture(app: &App, now: Instant, (width, height): (u16, u16), colours: bool) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let look = Look { colours, socket: "/run/xswitch.sock", interval_s: 2.0, now };
    terminal.draw(|frame| draw(frame, app, look)).unwrap();
    terminal
}

fn lines(terminal: &Terminal<TestBackend>) -> Vec<String> {
    let buffer = terminal.backend().buffer();
    let line = |y| (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..buffer.area.height).map(|y| line(y).trim_end().to_owned()).collect()
}

fn shown(app: &App, now: Instant, size: (u16, u16)) -> String {
    lines(&picture(app, now, size, true)).join("\n")
}

fn press(app: &mut App, keys: &str) -> Vec<Action> {
    let code = |letter| match letter {
        '\n' => KeyCode::Enter,
        '\t' => KeyCode::Tab,
        '\u{1b}' => KeyCode::Esc,
        letter => KeyCode::Char(letter),
    };
    let keys = keys.chars().map(|letter| KeyEvent::new(code(letter), KeyModifiers::NONE));
    keys.map(|key| app.press(key)).collect()
}

#[test]
fn eighty_by_twenty_four_shows_one_pane_with_rates() {
    let (app, now) = app();
    let text = lines(&picture(&app, now, (80, 24), true));
    assert_eq!(text[0], format!("{:<70}{}", " xswitch 0.1.0  up 2 h 1 min  process 7", "every 2 s"));
    assert!(
        text[1].starts_with(" 1/3 backends up  10k pkt/s  40Mbit/s  500 new/s  50 drops/s  1.2k connections"),
        "{text:#?}"
    );
    assert!(text[2].contains("1 Services") && text[2].contains("5 Clients"), "{text:#?}");
    assert!(text[3].contains("Services: 2, by as configured"), "{text:#?}");
    let web: Vec<_> = text[5].split_whitespace().collect();
    assert_eq!(web[..7], ["│web", "198.18.0.100:80/tcp", "1/2", "1.2k", "500", "10k", "40M"], "{text:#?}");
    assert!(text[5].contains('█') && !text[6].contains('█'), "{text:#?}");
    assert!(text.iter().all(|line| line.chars().count() <= 80));
    assert!(text[23].ends_with("? help  q quit"), "{text:#?}");
}

#[test]
fn a_large_terminal_shows_all_at_once() {
    let (mut app, now) = app();
    let text = shown(&app, now, (140, 45));
    for part in [
        "Services: 2",
        "Backends: 3",
        "Workers: 1",
        "Drops: 2",
        "SCHEDULER",
        "WHY",
        "connection refused",
        "no_connection",
        "25%",
        "██████░░  75%",
        "[2001:db8::100]:25/tcp",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(!text.contains("denied"), "only what happened:\n{text}");
    press(&mut app, "3");
    let text = shown(&app, now, (100, 24));
    assert!(text.contains("RX WAIT") && text.contains("2.0k"), "{text}");
    press(&mut app, "2j");
    let text = shown(&app, now, (80, 24));
    assert!(!text.contains("WHY") && text.contains("connection refused"), "of the chosen one:\n{text}");
}

#[test]
fn every_size_can_be_drawn() {
    let (mut app, now) = app();
    for pane in 0..5 {
        for width in [1, 20, 39, 40, 60, 79, 80, 109, 110, 300] {
            for height in [1, 7, 8, 12, 24, 39, 40, 100] {
                let text = lines(&picture(&app, now, (width, height), pane % 2 == 0));
                if width < 40 || height < 8 {
                    assert!(!text.join("").contains("Services"), "{text:?}");
                } else {
                    assert!(text[2].contains("Services"), "{text:?}");
                }
            }
        }
        press(&mut app, "\t");
    }
    assert_eq!(app.focus, Pane::Services, "Tab goes round");
}

#[test]
fn what_is_wrong_is_seen_with_and_without_colours() {
    let (mut app, now) = app();
    press(&mut app, "2j");
    let row = |terminal: &Terminal<TestBackend>| {
        lines(terminal).iter().position(|line| line.contains(".12:8080")).unwrap()
    };
    let terminal = picture(&app, now, (80, 24), true);
    let cell = &terminal.backend().buffer()[(2, row(&terminal) as u16)];
    assert_eq!(
        (cell.fg, cell.modifier.contains(Modifier::REVERSED)),
        (Color::Red, true),
        "it is chosen, and down"
    );
    let terminal = picture(&app, now, (80, 24), false);
    let buffer = terminal.backend().buffer();
    let cell = &buffer[(2, row(&terminal) as u16)];
    assert!(cell.modifier.contains(Modifier::BOLD | Modifier::UNDERLINED));
    assert!(buffer.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset), "NO_COLOR");
    assert!(lines(&terminal)[row(&terminal)].contains("down"), "and it is said in a word");
}

#[test]
fn a_backend_is_drained_only_if_that_is_confirmed() {
    let (mut app, now) = app();
    assert_eq!(press(&mut app, "2jd"), [Action::None, Action::None, Action::None]);
    let order = Order {
        service: "web".into(),
        backend: Some("198.18.1.12:8080".parse().unwrap()),
        change: Change::Drain,
        save: false,
    };
    assert_eq!(app.mode, Mode::Confirm(order.clone()));
    assert!(shown(&app, now, (80, 24)).contains("drain backend 198.18.1.12:8080 of service web? y/n"));
    assert_eq!(press(&mut app, "n"), [Action::None]);
    assert!(app.mode == Mode::Browse && app.message == "nothing was changed");
    assert_eq!(press(&mut app, "d\n"), [Action::None, Action::None], "Enter is no yes");
    assert_eq!(press(&mut app, "dy")[1], Action::Give(order.clone()));
    assert_eq!(press(&mut app, "ey")[1], Action::Give(Order { change: Change::Enable, ..order }));
    let order = Order { service: "mail".into(), backend: None, change: Change::Drain, save: false };
    assert_eq!(press(&mut app, "1jdy")[3], Action::Give(order));
    press(&mut app, "3d");
    assert!(app.mode == Mode::Browse && app.message.contains("only services and backends"));
}

#[test]
fn the_chosen_one_stays_chosen_wherever_it_goes() {
    let (mut app, now) = app();
    press(&mut app, "2jj");
    let chosen = |app: &App| {
        let lines = app.lines(app.focus);
        lines[app.chosen(app.focus, &lines).unwrap()].cells[1].clone()
    };
    assert_eq!(chosen(&app), "198.18.1.13:25");
    press(&mut app, "s");
    assert!(shown(&app, now, (80, 24)).contains("by trouble"));
    assert_eq!(app.lines(Pane::Backends)[0].cells[1], "198.18.1.12:8080", "what is down comes first");
    assert_eq!(chosen(&app), "198.18.1.13:25");
    let mut fewer = status(12_000);
    fewer.services.pop();
    app.hear(now + Duration::from_secs(2), Ok(fewer));
    assert_eq!(chosen(&app), "198.18.1.11:8080", "it is gone: the last one");
    press(&mut app, "G");
    press(&mut app, "jjjk");
    assert_eq!(app.chosen(Pane::Backends, &app.lines(Pane::Backends)), Some(0));
}

#[test]
fn a_filter_shows_what_has_it_and_a_service_opens_its_backends() {
    let (mut app, now) = app();
    press(&mut app, "2/REFUSED");
    assert!(shown(&app, now, (80, 24)).contains("show only lines with: REFUSED"));
    press(&mut app, "\n");
    assert_eq!(app.lines(Pane::Backends).len(), 1, "in whatever case, in whatever column");
    press(&mut app, "/x\n");
    assert!(shown(&app, now, (80, 24)).contains("nothing has that in it"));
    press(&mut app, "\u{1b}");
    assert_eq!(app.lines(Pane::Backends).len(), 3);
    press(&mut app, "1j\n");
    assert_eq!((app.focus, app.lines(Pane::Backends).len()), (Pane::Backends, 1));
}

#[test]
fn a_lost_switch_is_named_and_comes_back() {
    let (mut app, now) = app();
    app.hear(now, Err("nobody listens at /run/xswitch.sock".into()));
    let later = now + Duration::from_secs(9);
    let text = shown(&app, later, (80, 24));
    assert!(text.contains("no answer, all below is 9 s old; trying again: nobody listens"), "{text}");
    assert!(text.contains("web"), "what was known stays");
    let mut other = status(5);
    other.pid = 8;
    app.hear(later, Ok(other));
    let text = shown(&app, later, (80, 24));
    assert!(text.contains("process 8") && text.contains("the switch was started anew"), "{text}");
    assert_eq!(app.series.rates(&Key::Total), Default::default(), "two processes have no rate");
    let empty = App::default();
    assert!(shown(&empty, now, (80, 24)).contains("asking /run/xswitch.sock"));
}

#[test]
fn clients_are_counted_over_their_connections() {
    let (mut app, now) = app();
    press(&mut app, "5");
    assert!(shown(&app, now, (80, 24)).contains("looking through the connections"));
    let row = |client: &str, service: Option<&str>| {
        json!({
            "protocol": "tcp", "client": client, "destination": "198.18.0.100:80", "service": service, "forwarding": "nat",
            "backend": null, "source": client, "state": "established", "idle_s": 0, "expires_in_s": 9, "worker": 0
        })
    };
    let rows = [
        row("203.0.113.9:1", Some("web")),
        row("203.0.113.9:2", None),
        row("203.0.113.7:1", Some("web")),
        row("203.0.113.9:3", Some("web")),
    ];
    let connections = rows.map(|row| serde_json::from_value(row).unwrap()).into();
    app.hear_clients(now, Ok(Listing { total: 99, connections, ..Listing::default() }));
    let text = shown(&app, now + Duration::from_secs(3), (80, 24));
    assert!(text.contains("the 4 most recently active of 99 connections, 3 s ago"), "{text}");
    let first: Vec<_> = app.lines(Pane::Clients)[0].cells.clone();
    assert_eq!(first, ["203.0.113.9", "3", "75%", "web, outbound"]);
    app.hear_clients(now, Err("ask again".into()));
    assert!(shown(&app, now, (80, 24)).contains("Clients: ask again"), "{text}");
    assert_eq!(app.lines(Pane::Clients).len(), 2, "what was known stays");
}

#[test]
fn keys_end_it_and_help_is_shown() {
    let (mut app, now) = app();
    press(&mut app, "?");
    assert!(shown(&app, now, (80, 24)).contains("from a service to its backends"));
    assert_eq!(press(&mut app, "q"), [Action::None], "any key ends the help");
    assert!(!shown(&app, now, (80, 24)).contains("from a service to its backends"));
    assert_eq!(press(&mut app, "q"), [Action::Quit]);
    let stop = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    press(&mut app, "/");
    assert_eq!(app.press(stop), Action::Quit, "whatever is being typed");
}

#[test]
fn rates_are_differences_and_trends_their_shape() {
    let (mut series, start) = (Series::default(), Instant::now());
    let key = Key::Service("web".into());
    for (second, packets) in [0, 100, 300, 300, 1100].into_iter().enumerate() {
        series.add(start + Duration::from_secs(second as u64), status(packets));
    }
    assert_eq!(series.rates(&key).packets, 1600.0);
    assert_eq!(series.trend(&key, 6), "  ▁▂ █");
    assert_eq!(series.trend(&key, 2), " █");
    series.add(start + Duration::from_secs(5), status(0));
    assert_eq!(series.rates(&key).packets, 0.0, "counters that went back have no rate");
    series.add(start + Duration::from_secs(5), status(10));
    assert_eq!(series.rates(&key).packets, 0.0, "no time has passed");
    for second in 6..200 {
        series.add(start + Duration::from_secs(second), status(second * 10));
    }
    assert_eq!(series.trend(&key, 100).trim_start().chars().count(), 64);
}

#[test]
fn numbers_fit_five_characters() {
    let texts =
        [0.0, 0.04, 0.5, 9.4, 9.5, 99.6, 999.4, 999.5, 1234.0, 12_345.0, 999_499.0, 1e6, 9.96e9, 1e18];
    let short = texts.map(short);
    assert_eq!(
        short,
        ["0", "0.0", "0.5", "9.4", "10", "100", "999", "1.0k", "1.2k", "12k", "999k", "1.0M", "10G", "1000P"]
    );
    assert!(short.iter().all(|text| text.len() <= 5));
}

#[test]
fn an_interval_is_neither_none_nor_forever() {
    assert_eq!(super::interval("0.5"), Ok(0.5));
    for wrong in ["0", "0.1", "-1", "3601", "NaN", "inf", "two"] {
        assert!(super::interval(wrong).is_err(), "{wrong}");
    }
}
