//! The status page, in a browser: what it shows, what it does, and what it does not do without the token.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use xswitch::control::dataplane::DataPlane;
use xswitch::control::discover::Watched;
use xswitch::control::health::{CheckDurations, Checked, DurationBucket};
use xswitch::control::orders::{Change, Order, Outcome, Refusal};
use xswitch::control::page::{self, token::Token};
use xswitch::control::requests::{Request, View};
use xswitch::control::roster::{Shown, Summary};
use xswitch::control::standing::BackendKey;
use xswitch::control::{api, serve};
use xswitch::dataplane::conntrack::State;
use xswitch::dataplane::family::V4;
use xswitch::tables::{BackendId, DropReason, InterfaceId, Protocol};

use super::browser::Browser;
use super::connections::make;
use super::endpoints::Lab;

pub const TOKEN: &str = "e3b0c44298fc1c149afbf4c8996fb924";
const DRAIN: &str = "document.querySelector('[data-backend=\"198.18.1.11:8080\"] button')";

/// A lab with a page, and with a loop that does what it is told.
pub struct Scene {
    pub lab: Lab,
    pub address: SocketAddr,
    pub orders: Arc<Mutex<Vec<Order>>>,
    stop: Arc<AtomicBool>,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn key(vip: &str, address: &str) -> BackendKey {
    BackendKey { service: (vip.parse().unwrap(), Protocol::Tcp), address: address.parse().unwrap() }
}

/// Two services; of the first, one backend is up and one is down.
fn view() -> View {
    let mut view = View::default();
    let mut add = |vip: &str, address: &str, state: &str, why: &str, last: &str| {
        let key = key(vip, address);
        let shown = Shown { state: state.into(), why: why.into(), share: 100, ..Shown::default() };
        view.shown.insert(key, shown);
        let checked = Checked {
            state: state.into(),
            since_s: 90,
            last: last.into(),
            checks: 40,
            failed: 3,
            agent: None,
            suspect: false,
        };
        view.checked.insert(key, checked);
        let misfits = vec!["198.18.9.9:80: another family".to_owned()];
        let enabled = Summary { state: "enabled".into(), misfits, ..Summary::default() };
        let source = "dns web.example.net:8080".to_owned();
        let watched = Watched { source, backends: 2, problem: None, age_s: Some(3) };
        view.watched.insert(key.service, watched);
        let buckets = vec![DurationBucket { up_to_s: 0.0025, checks: 39 }];
        view.durations.insert(key.service, CheckDurations { checks: 40, sum_s: 0.5, buckets });
        view.services.insert(key.service, enabled);
    };
    add("198.18.0.100:80", "198.18.1.11:8080", "up", "", "200 OK in 1.2 ms");
    add("198.18.0.100:80", "198.18.1.12:8080", "down", "connection refused", "connection refused");
    add("[2001:db8::100]:80", "[2001:db8:1::11]:80", "up", "", "connected in 0.4 ms");
    view
}

impl Scene {
    pub fn new(token: Option<&str>) -> Self {
        let mut lab = Lab::new();
        let (requests, mut asked) = mpsc::channel::<Request>(8);
        lab.source.requests = Some(requests);
        let orders = Arc::new(Mutex::new(vec![]));
        let noted = Arc::clone(&orders);
        lab.runtime.spawn(async move {
            let mut view = view();
            while let Some(request) = asked.recv().await {
                match request {
                    Request::Look(answer) => drop(answer.send(view.clone())),
                    Request::Order(order, answer) => {
                        noted.lock().unwrap().push(order.clone());
                        drop(answer.send(obey(&mut view, &order)));
                    }
                    Request::Reload(_, answer) => {
                        let said = || vec!["something".to_owned()];
                        let (overruled, kept, warnings) = (said(), said(), said());
                        let outcome = Outcome { overruled, kept, warnings, ..Outcome::default() };
                        drop(answer.send(Ok(outcome)));
                    }
                }
            }
        });
        let token = token.map(|token| {
            let path = lab.socket.with_file_name("token");
            std::fs::write(&path, token).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            path
        });
        let token = Arc::new(Token::read(token.as_deref()).unwrap());
        let listener =
            lab.runtime.block_on(api::bind("status_listen", "127.0.0.1:0".parse().unwrap())).unwrap();
        let address = listener.local_addr().unwrap();
        let source = lab.source.clone();
        lab.runtime.spawn(source.sampler.clone().run(Arc::clone(&source.dataplane), source.snapshot.clone()));
        lab.runtime.spawn(async move { serve::serve(listener, page::routes(source, token)).await });
        Self { lab, address, orders, stop: Arc::default() }
    }

    /// From now on, there is traffic.
    pub fn start_traffic(&self) {
        let (dataplane, stop) = (Arc::clone(&self.lab.dataplane), Arc::clone(&self.stop));
        std::thread::spawn(move || {
            let mut turn = 0u32;
            while !stop.load(Ordering::Relaxed) {
                turn += 1;
                // Not the same every second: a picture should have something to show.
                let wave = 1.0 + 0.35 * (f64::from(turn) / 60.0).sin() + 0.1 * (f64::from(turn) / 7.0).sin();
                let frames = (2_100.0 * wave) as u64;
                for worker in dataplane.workers() {
                    let counters = &worker.counters;
                    counters.pool_size.set(16_384);
                    counters.pool_level.set(11_100 + u64::from(turn % 900));
                    counters.turns.add(1000);
                    counters.busy_turns.add((520.0 * wave) as u64);
                    counters.received.add(frames);
                    counters.forwarded.add(frames - 3);
                    counters.dropped(DropReason::NoConnection).add(3);
                    counters.connections_new.add(41);
                    counters.connections_active.set(700 + (400.0 * wave) as u64);
                    for (row, part) in [(0, 6), (2, 4)] {
                        let backend = counters.backend(BackendId(row)).unwrap();
                        backend.packets_in.add(frames * part / 20);
                        backend.bytes_in.add(frames * part * 5);
                        backend.packets_out.add(frames * part / 10);
                        backend.bytes_out.add(frames * part * 70);
                        backend.connections_new.add(4 * part);
                    }
                    let port = counters.port(InterfaceId(0)).unwrap();
                    port.rx_frames.add(frames);
                    port.rx_bytes.add(frames * 420);
                    port.tx_bytes.add(frames * 417);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
    }

    fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

fn obey(view: &mut View, order: &Order) -> Result<Outcome, Refusal> {
    let state = if order.change == Change::Enable { "up" } else { "drain" };
    let Some(backend) = order.backend else {
        return Err(Refusal::Conflict("only backends here".into()));
    };
    let key = key("198.18.0.100:80", &backend.to_string());
    let shown =
        view.shown.get_mut(&key).ok_or_else(|| Refusal::Conflict("there is no such backend".into()))?;
    shown.state = state.into();
    Ok(Outcome { changes: vec![format!("backend {backend}: now {state}")], ..Outcome::default() })
}

fn text(browser: &mut Browser, selector: &str) -> String {
    let text = browser.evaluate(&format!("document.querySelector({selector:?}).innerText"));
    text.as_str().unwrap().to_owned()
}

#[test]
fn the_page_shows_services_backends_health_and_rates_as_they_change() {
    let scene = Scene::new(None);
    let mut browser = Browser::start();
    browser.resize(1280, 1000);
    browser.open(&scene.url());
    browser.wait("document.getElementById('live').textContent === 'live'");
    let backend = text(&mut browser, "[data-backend='198.18.1.12:8080']");
    for part in ["▼ down", "connection refused"] {
        assert!(backend.contains(part), "{part} is missing in {backend}");
    }
    assert!(text(&mut browser, "[data-backend='198.18.1.11:8080']").contains("200 OK in 1.2 ms"));
    assert!(text(&mut browser, "[data-service=web6]").contains("[2001:db8::100]:80/tcp · gue · wrr"));
    let trouble = text(&mut browser, "#trouble");
    assert!(trouble.contains("web 198.18.1.12:8080 is down: connection refused"), "{trouble}");
    assert_eq!(text(&mut browser, "#figure-received strong"), "0/s");
    let nodes = text(&mut browser, "#topology");
    for part in ["eth0", "web6", "198.18.0.100:80/tcp", "198.18.1.11:8080", "via eth1"] {
        assert!(nodes.contains(part), "{part} is missing in {nodes}");
    }
    assert_eq!(browser.evaluate("document.querySelectorAll('#wires path').length"), json!(2 + 3));
    scene.start_traffic();
    browser.wait("/^[1-9].* k\\/s$/.test(document.querySelector('#figure-received strong').innerText)");
    browser.wait("document.getElementById('drops').innerText.includes('no_connection')");
    browser.wait("/[1-9].* [kM]bit\\/s/.test(document.querySelector('[data-service=web] .rates').innerText)");
    browser.wait("/[1-9]/.test(document.querySelector('#workers tr td:nth-child(2)').innerText)");
    assert!(
        text(&mut browser, "#drops").contains("A TCP segment that is not a SYN"),
        "it says what it means"
    );
    assert_eq!(browser.complaints, [] as [&str; 0]);
}

#[test]
fn connections_are_found_and_questions_that_cannot_be_are_answered() {
    let scene = Scene::new(None);
    for port in 0..5 {
        make::<V4>(
            &scene.lab,
            ("203.0.113.9", 40_000 + port),
            ("198.18.0.100", 80),
            u32::from(port % 2),
            State::Established,
            2048,
        );
    }
    let mut browser = Browser::start();
    browser.open(&scene.url());
    browser.wait("document.querySelectorAll('[name=service] option').length === 3");
    let search = |browser: &mut Browser, fields: &str| {
        browser.evaluate(&format!(
            "{{ const f = document.forms.search; f.reset(); {fields}; f.requestSubmit(); }}"
        ));
        browser.wait("!['', 'Looking…'].includes(document.getElementById('found').innerText)");
        text(browser, "#found")
    };
    assert_eq!(search(&mut browser, ""), "5 connections.");
    assert_eq!(browser.evaluate("document.querySelectorAll('#connections tr').length"), json!(5));
    assert_eq!(
        search(&mut browser, "f.service.value = 'web'; f.backend.value = '198.18.1.12'"),
        "2 connections."
    );
    let rows = text(&mut browser, "#connections");
    for part in ["203.0.113.9:4000", "198.18.0.100:80/tcp", "198.18.1.12:8080", "established", "2 s"] {
        assert!(rows.contains(part), "{part} is missing in {rows}");
    }
    assert_eq!(search(&mut browser, "f.client.value = '203.0.113.8'"), "0 connections.");
    let complaints = std::mem::take(&mut browser.complaints);
    assert_eq!(complaints, [] as [&str; 0]);
    let wrong = search(&mut browser, "f.client.value = 'nonsense'");
    assert!(wrong.contains("is no client: an address"), "{wrong}");
}

#[test]
fn the_token_unlocks_drain_and_enable_also_by_keyboard() {
    let scene = Scene::new(Some(TOKEN));
    let mut browser = Browser::start();
    browser.open(&scene.url());
    browser.wait(&format!("{DRAIN} !== null"));
    assert_eq!(browser.evaluate(&format!("{DRAIN}.checkVisibility()")), json!(false));
    let unlock = |browser: &mut Browser, token: &str| {
        browser.evaluate("document.getElementById('lock').focus()");
        browser.press("Enter");
        browser.wait("document.activeElement.type === 'password'");
        browser.write(token);
        browser.press("Enter");
        browser.wait("document.getElementById('said').innerText !== ''");
        text(browser, "#said")
    };
    let wrong = TOKEN.replace('e', "f");
    assert_eq!(unlock(&mut browser, &wrong), "the token is wrong");
    assert_eq!(browser.evaluate(&format!("{DRAIN}.checkVisibility()")), json!(false));
    browser.complaints.clear();
    browser.evaluate("document.getElementById('said').textContent = ''");
    assert_eq!(unlock(&mut browser, TOKEN), "Orders are unlocked.");
    assert_eq!(browser.evaluate(&format!("{DRAIN}.innerText")), json!("Drain"));
    assert_eq!(
        browser.evaluate(&format!("{DRAIN}.getAttribute('aria-label')")),
        json!("Drain backend 198.18.1.11:8080 of web")
    );
    browser.evaluate(&format!("{DRAIN}.focus()"));
    browser.press("Enter");
    browser.wait("document.getElementById('ask').open");
    assert_eq!(scene.orders.lock().unwrap().len(), 0, "it asks first");
    browser.press("Enter");
    browser.wait(&format!("{DRAIN}.innerText === 'Enable'"));
    assert!(text(&mut browser, "[data-backend='198.18.1.11:8080']").contains("◐ drain"));
    assert_eq!(
        browser.evaluate(&format!("document.activeElement === {DRAIN}")),
        json!(true),
        "the focus stays"
    );
    browser.press("Enter");
    browser.wait(&format!("{DRAIN}.innerText === 'Drain'"));
    let changes: Vec<_> = scene.orders.lock().unwrap().iter().map(|order| order.change).collect();
    assert_eq!(changes, [Change::Drain, Change::Enable]);
    assert_eq!(browser.complaints, [] as [&str; 0]);
    assert!(!browser.evaluate("document.documentElement.outerHTML").to_string().contains(TOKEN));
}

/// Texts that are too pale for their ground (WCAG 2.1, 1.4.3): less than 4.5 to 1.
const PALE: &str = r"(() => {
    const channel = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const numbers = (text) => text.match(/[\d.]+/g).map(Number);
    const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const ground = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const color = numbers(getComputedStyle(at).backgroundColor);
            if (color.length === 3 || color[3] === 1) return color;
        }
        return [255, 255, 255];
    };
    const pale = [];
    for (const element of document.querySelectorAll('body *')) {
        const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        if (!own || !element.checkVisibility() || element.closest('script, style, .hidden, .skip')) continue;
        const [one, two] = [light(numbers(getComputedStyle(element).color)), light(ground(element))];
        const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
        if (ratio < 4.5) pale.push(`${element.tagName} ${element.textContent.slice(0, 30)} ${ratio.toFixed(2)}`);
    }
    return pale;
})()";

/// Controls without a name, and headings or landmarks that are missing.
const UNNAMED: &str = r"(() => {
    const missing = [];
    for (const field of document.querySelectorAll('input, select')) if (!field.labels.length) missing.push(field.outerHTML);
    for (const button of document.querySelectorAll('button')) {
        if (button.checkVisibility() && !(button.innerText || button.getAttribute('aria-label'))) missing.push(button.outerHTML);
    }
    for (const one of ['header', 'main', 'h1', '[role=search]', 'html[lang]']) {
        if (document.querySelectorAll(one).length !== 1) missing.push(one);
    }
    for (const section of document.querySelectorAll('section')) {
        if (!document.getElementById(section.getAttribute('aria-labelledby'))) missing.push(section.outerHTML);
    }
    return missing;
})()";

#[test]
fn everybody_can_read_it_by_day_by_night_and_on_a_telephone() {
    let scene = Scene::new(Some(TOKEN));
    scene.start_traffic();
    let mut browser = Browser::start();
    let ground = "getComputedStyle(document.body).backgroundColor";
    let mut grounds = vec![];
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        for width in [1280, 360] {
            browser.resize(width, 900);
            browser.open(&scene.url());
            browser.wait("document.querySelectorAll('#drops tr').length > 0");
            assert_eq!(browser.evaluate(PALE), json!([]), "{scheme}");
            assert_eq!(browser.evaluate(UNNAMED), json!([]));
            let wide = browser.evaluate("document.documentElement.scrollWidth");
            assert!(wide.as_u64().unwrap() <= u64::from(width), "{wide} of {width}");
            assert_eq!(browser.complaints, [] as [&str; 0]);
        }
        grounds.push(browser.evaluate(ground));
    }
    assert_ne!(grounds[0], grounds[1]);
    if let Some(path) = std::env::var_os("XSWITCH_PHOTOGRAPH") {
        photograph(&mut browser, &scene, Path::new(&path));
    }
}

/// The picture in the README: by day.
fn photograph(browser: &mut Browser, scene: &Scene, path: &Path) {
    let dark = path.with_extension("dark.png");
    for (scheme, path) in [("dark", dark.as_path()), ("light", path)] {
        browser.prefer(scheme);
        browser.resize(1280, 1180);
        browser.open(&scene.url());
        let history =
            "document.querySelector('#figure-received path:last-child').getAttribute('d')?.split('L').length";
        browser.wait(&format!("{history} > 45"));
        browser.photograph(path);
    }
    browser.resize(390, 1400);
    browser.wait("document.documentElement.scrollWidth <= 390");
    browser.photograph(&path.with_extension("narrow.png"));
}

#[test]
fn a_page_without_a_token_only_shows() {
    let scene = Scene::new(None);
    let order = json!({"service": "web", "backend": "198.18.1.11:8080", "change": "drain"}).to_string();
    let answer = |header: &str| {
        let request = format!(
            "POST /v1/orders HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{header}\r\n{order}",
            scene.address,
            order.len()
        );
        super::hostile::exchange(scene.address, request.as_bytes())
    };
    assert!(answer("").starts_with("HTTP/1.1 403 "), "{}", answer(""));
    assert!(answer("authorization: Bearer \r\n").starts_with("HTTP/1.1 403 "));
    assert_eq!(scene.orders.lock().unwrap().len(), 0);
}

/// A status over the wire is what the documents say: every field of the control socket's is there.
#[test]
fn the_page_answers_programs_as_well() {
    let scene = Scene::new(None);
    let answer = super::hostile::exchange(
        scene.address,
        format!("GET /v1/status HTTP/1.1\r\nhost: {}\r\n\r\n", scene.address).as_bytes(),
    );
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["services"][0]["backends"][1]["state"], "down");
    assert_eq!((&body["services_left_out"], &body["backends_left_out"]), (&json!(0), &json!(0)));
    for header in
        ["cache-control: no-store", "x-frame-options: DENY", "content-security-policy: default-src 'none'"]
    {
        assert!(head.contains(header), "{header} is missing in\n{head}");
    }
}
