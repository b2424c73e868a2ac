//! What operators and monitors get to see while the loop that knows who serves answers, is busy, or refuses. The test
//! stands in for that loop.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use xswitch::control::client::{self, ClientError};
use xswitch::control::health::Pace;
use xswitch::control::metrics;
use xswitch::control::orders::{Outcome, Refusal, Reload};
use xswitch::control::rates::Sample;
use xswitch::control::requests::{Request, View};
use xswitch::control::roster::{Shown, Summary};
use xswitch::control::standing::BackendKey;
use xswitch::control::status::Status;
use xswitch::tables::Protocol;

use super::endpoints::{Lab, parse};

const VIP: &str = "198.18.0.100:80";
const BACKEND: &str = "xswitch_backend_up{service=\"web\",backend=\"198.18.1.11:8080\"}";

/// What the loop says: none while it has other things to do.
type Answer = Arc<Mutex<Option<View>>>;

/// A lab whose loop answers so. Orders do not fit, and the configuration file has a mistake.
fn lab(answer: &Answer) -> Lab {
    let mut lab = Lab::new();
    let (requests, mut asked) = mpsc::channel(8);
    lab.source.requests = Some(requests);
    let answer = Arc::clone(answer);
    lab.runtime.spawn(async move {
        let mut unanswered = vec![];
        while let Some(request) = asked.recv().await {
            match request {
                Request::Look(place) => match answer.lock().unwrap().clone() {
                    Some(view) => drop(place.send(view)),
                    None => unanswered.push(place),
                },
                Request::Order(_, place) => {
                    drop(place.send(Err(Refusal::Conflict("no such backend".into()))))
                }
                Request::Reload(_, place) => {
                    let mistake = "xswitch.toml:3:13: error: no such scheduler".to_owned();
                    drop(place.send(Err(Refusal::Invalid(mistake))));
                }
            }
        }
    });
    lab
}

/// "web" drains by an order; its first backend is up, its second one is a backup whose checks fail.
fn view() -> View {
    let mut view = View { pace: Pace { checks: 41, ..Pace::default() }, ..View::default() };
    let service = (VIP.parse().unwrap(), Protocol::Tcp);
    let key = |address: &str| BackendKey { service, address: address.parse().unwrap() };
    let up = Shown { state: "up".into(), share: 100, ..Shown::default() };
    let down = Shown { state: "down".into(), why: "refused".into(), backup: true, ..Shown::default() };
    view.shown = [(key("198.18.1.11:8080"), up), (key("198.18.1.12:8080"), down)].into();
    let drained =
        Summary { state: "drain".into(), ordered: true, drain_left_s: Some(9), ..Summary::default() };
    view.services = [(service, drained)].into();
    view
}

struct Ended {
    code: i32,
    output: String,
    error: String,
}

/// The program at the lab's socket.
fn xswitch(lab: &Lab, words: &str) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xswitch"));
    let output = command.args(words.split(' ')).arg("--socket").arg(&lab.socket).output().unwrap();
    Ended {
        code: output.status.code().unwrap(),
        output: String::from_utf8(output.stdout).unwrap(),
        error: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A table's line that begins so, with its cells.
fn cells(table: &str, begin: &[&str]) -> Vec<String> {
    let lines = table.lines().map(|line| {
        line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    });
    let found = lines
        .into_iter()
        .find(|cells| cells.starts_with(&begin.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()));
    found.unwrap_or_else(|| panic!("no line {begin:?} in\n{table}"))
}

#[test]
fn a_busy_loop_raises_no_alarm() {
    let answer = Answer::default();
    let lab = lab(&answer);
    let scrape = || {
        let status = lab.runtime.block_on(lab.source.status());
        (status.view_age_s, parse(&metrics::render(&status)))
    };
    let (age, samples) = scrape();
    assert_eq!(age, None);
    let about = ["backend_up", "share_ratio", "xswitch_checks", "view_age"];
    let unknown = |name: &&String| about.iter().any(|part| name.contains(part));
    assert_eq!(samples.keys().find(unknown), None, "nobody said any of it yet");
    assert!(samples.contains_key("xswitch_uptime_seconds"), "the rest is there");

    *answer.lock().unwrap() = Some(view());
    let (age, samples) = scrape();
    let known = |samples: &std::collections::BTreeMap<String, f64>| {
        (samples[BACKEND], samples[&BACKEND.replace(".11:", ".12:")], samples["xswitch_checks_total"])
    };
    assert_eq!((age, known(&samples)), (Some(0), (1.0, 0.0, 41.0)));

    *answer.lock().unwrap() = None;
    let (age, samples) = scrape();
    assert_eq!(known(&samples), (1.0, 0.0, 41.0), "what was said last");
    assert!(age.is_some_and(|age| age >= 2), "{age:?}");
    assert_eq!(samples["xswitch_view_age_seconds"] as u64, age.unwrap());
    lab.serve();
    for command in ["status", "services", "backends"] {
        let text = xswitch(&lab, command).output;
        assert!(text.contains("states and checks as of "), "xswitch {command}:\n{text}");
    }
}

#[test]
fn services_and_backends_say_how_they_stand_and_why() {
    let lab = lab(&Arc::new(Mutex::new(Some(view()))));
    lab.serve();
    let services = xswitch(&lab, "services web").output;
    assert!(!services.contains("as of"), "{services}");
    let web = cells(&services, &["web"]);
    assert_eq!(web[5..7], ["drain", "1 of 1 serve, 1 of 1 backups serve"], "{services}");
    assert!(web.contains(&"an operator's order, connections end in 9 s".to_owned()), "{services}");
    assert_eq!(cells(&xswitch(&lab, "status").output, &["web"])[3], "drain");
    let backends = xswitch(&lab, "backends").output;
    assert_eq!(cells(&backends, &["web", "198.18.1.12:8080"]).last().unwrap(), "refused");
    let status: Status = client::get(&lab.socket, "/v1/status").unwrap();
    assert_eq!(status.services[0].serving.backups, 1);
}

#[test]
fn rates_stand_beside_the_totals_and_colours_are_for_terminals() {
    let lab = lab(&Arc::new(Mutex::new(Some(view()))));
    lab.serve();
    let services = xswitch(&lab, "services").output;
    assert!(!services.contains("PPS IN"), "there are none in the first second:\n{services}");
    let (dataplane, snapshot) = (&*lab.source.dataplane, lab.source.snapshot.borrow().clone());
    let before = Instant::now() - Duration::from_secs(1);
    lab.source.sampler.keep(Sample::take(dataplane, &snapshot, before));
    lab.count();
    for (command, begin, of) in [
        ("services", vec!["web"], 9),
        ("backends", vec!["web", "198.18.1.11:8080"], 7),
        ("status", vec!["web"], 11),
    ] {
        let text = xswitch(&lab, command).output;
        assert!(text.contains("NEW/S  PPS IN  OUT  BIT/S IN") && !text.contains('\u{1b}'), "{text}");
        let cells = cells(&text, &begin);
        let numbers: Vec<f64> =
            cells[of..of + 5].iter().map(|cell| cell.trim_end_matches('k').parse().unwrap()).collect();
        // 20 connections, 100 packets in and 14,000 bytes out, a second ago or a little more.
        let [new, packets_in, packets_out, bits_in, bits_out] = numbers[..] else { panic!("{text}") };
        assert!((1.0..=20.0).contains(&new) && (5.0..=100.0).contains(&packets_in), "{text}");
        assert!((packets_out, bits_in) == (0.0, 0.0) && bits_out > 1.0, "{text}");
    }
    assert!(xswitch(&lab, "status").output.contains("\nper second   "));
    let script = format!("{} backends --socket {}", env!("CARGO_BIN_EXE_xswitch"), lab.socket.display());
    let on_a_terminal = |no_colour: &str| {
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", &script, "/dev/null"]);
        let output = command.env("NO_COLOR", no_colour).env("TERM", "xterm").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(on_a_terminal("").contains("\u{1b}[31mdown\u{1b}[0m"), "{}", on_a_terminal(""));
    assert!(!on_a_terminal("1").contains('\u{1b}'), "{}", on_a_terminal("1"));
}

#[test]
fn a_misspelt_service_is_an_error_that_names_those_there_are() {
    let lab = lab(&Arc::new(Mutex::new(Some(view()))));
    lab.serve();
    for words in ["services wep", "backends wep", "services wep --json", "backends wep --json"] {
        let Ended { code, output, error } = xswitch(&lab, words);
        let command = words.split(' ').next().unwrap();
        let said = "there is no service \"wep\": did you mean \"web\"? there are \"web\", \"web6\"";
        assert_eq!((code, output.as_str(), error.trim()), (1, "", &*format!("xswitch {command}: {said}")));
        assert_eq!(xswitch(&lab, &words.replace("wep", "web")).code, 0);
    }
    let far = xswitch(&lab, "backends database").error;
    assert!(far.contains("there is no service \"database\"; there are \"web\""), "{far}");
}

#[test]
fn a_configuration_that_cannot_be_used_is_told_from_an_order_that_does_not_fit() {
    let lab = lab(&Answer::default());
    lab.serve();
    for words in ["reload", "reload --dry-run", "reload --json"] {
        let Ended { code, error, .. } = xswitch(&lab, words);
        assert_eq!((code, error.trim()), (2, "xswitch reload: xswitch.toml:3:13: error: no such scheduler"));
    }
    assert_eq!(xswitch(&lab, "backend drain web 198.18.1.77:1").code, 1);
    let refused = client::post::<Outcome>(&lab.socket, "/v1/reload", &Reload::default()).unwrap_err();
    assert!(matches!(refused, ClientError::Invalid(_)), "{refused}");
    assert_eq!(post(&lab, "/v1/reload", "{\"dryrun\": true}"), "400", "the request is wrong, not the file");
    assert_eq!(post(&lab, "/v1/reload", "{}"), "422");
}

/// The status of the answer to this body.
fn post(lab: &Lab, path: &str, body: &str) -> String {
    let mut stream = UnixStream::connect(&lab.socket).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().to_owned()
}
