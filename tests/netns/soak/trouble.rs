//! What goes wrong, again and again and all at once: floods, reloads, backends that die, links that go down, operators who look.

use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::network::{self, CHECKED, FLAPPING, LIMITED, LONE};
use super::windows::{Concerns, Windows};
use crate::common::actors::{Actor, Manner};
use crate::common::lab::setup::{Family, V4, V6, address};
use crate::common::lab::{CLIENT, Lab, NAMES, WEB};
use crate::common::namespace::Namespace;
use crate::common::servers::Web;
use crate::common::services::at;
use crate::common::switch::{METRICS, Switch, number, socket};
use crate::common::traffic;
use crate::common::wait::wait_until;
use crate::floods;

/// Outer bound of what somebody waits for, on a machine that has much else to do.
const LIMIT: Duration = Duration::from_secs(90);
/// Sources of floods that no host has. The switch sends to them by the client, which does not go on with what they began.
const NOBODY: &str = "198.19.0.0/16";
const NOBODY_IPV6: &str = "2001:db8:19::/112";
/// Few sources, each of which is limited.
const FEW: &str = "198.19.255.0/30";
/// Frames per second of a flood.
const RATE: &str = "15k";

/// Chance, the same again for the same seed (xorshift64*).
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `sides`.
    pub fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % sides
    }

    /// Sleeps between these many milliseconds.
    fn rest(&mut self, from: u64, to: u64) {
        std::thread::sleep(Duration::from_millis(from + self.below(to - from)));
    }
}

/// How often each kind of trouble was made.
#[derive(Debug, Default)]
pub struct Made {
    pub reloads: AtomicU32,
    pub floods: AtomicU32,
    pub kills: AtomicU32,
    pub failed_checks: AtomicU32,
    pub drains: AtomicU32,
    pub questions: AtomicU32,
    pub captures: AtomicU32,
    pub links: AtomicU32,
    pub interfaces: AtomicU32,
}

fn count(counter: &AtomicU32) -> u32 {
    counter.fetch_add(1, Ordering::Relaxed)
}

/// Servers that live and die.
pub struct Servers {
    limited: Vec<Web>,
    flapping: Vec<Option<Web>>,
    checks: Vec<Actor>,
    lone: Option<Web>,
}

impl Servers {
    pub fn start(lab: &Lab) -> Self {
        let each =
            |letter: &str, port| (1..=3).map(|number| start(lab, letter, number, port)).collect::<Vec<_>>();
        let hosts = lab.backends.iter();
        Self {
            limited: each("l", LIMITED),
            flapping: each("k", FLAPPING).into_iter().map(Some).collect(),
            checks: hosts.map(|backend| Actor::start(&backend.host, &backend.name, CHECKED)).collect(),
            lone: Some(start(lab, "o", 1, LONE)),
        }
    }

    /// Whether none was forgotten.
    pub fn all_live(&self) -> bool {
        self.limited.len() == 3 && self.lone.is_some() && self.flapping.iter().all(Option::is_some)
    }
}

/// nginx of its own at a backend, for one port, which it serves already.
fn start(lab: &Lab, letter: &str, number: u8, port: u16) -> Web {
    let host = &lab.backends[usize::from(number) - 1].host;
    let web = Web::start(host, &format!("{letter}{number}"), &[at(lab, number, port)], lab.directory());
    wait_until("nginx listens", LIMIT, || {
        host.enter(|| TcpStream::connect_timeout(&at(lab, number, port), LIMIT)).is_ok()
    });
    web
}

/// Everything that trouble needs.
pub struct Stage<'a> {
    pub lab: &'a Lab,
    pub switch: &'a Switch<'a>,
    pub windows: &'a Windows,
    pub made: &'a Made,
    /// When nothing new is begun any more.
    pub until: Instant,
}

impl Stage<'_> {
    fn goes_on(&self) -> bool {
        Instant::now() < self.until
    }

    /// Another configuration every second or so.
    pub fn reload(&self, mut dice: Dice) {
        while self.goes_on() {
            dice.rest(300, 1500);
            self.switch.reload(&network::configuration(self.lab, 1 + count(&self.made.reloads)));
        }
    }

    /// Backends that die and come back, and one that is well but says that it is not.
    pub fn flap(&self, mut dice: Dice, servers: &mut Servers) {
        while self.goes_on() {
            dice.rest(300, 1500);
            match dice.below(3) {
                0 => {
                    let of_it = &servers.checks[1];
                    of_it.behave(Manner::Refuse);
                    self.kill(&mut dice, &mut servers.flapping[1], ("flapping", "k", 2, FLAPPING), || {
                        of_it.behave(Manner::Answer);
                    });
                }
                1 => self.kill(&mut dice, &mut servers.lone, ("lone", "o", 1, LONE), || {}),
                _ => {
                    // Whoever is connected stays so, and all others go elsewhere: no request may fail.
                    let ill = at(self.lab, 3, FLAPPING);
                    servers.checks[2].behave(Manner::Status(500));
                    self.wait_for_state("flapping", ill, "down");
                    servers.checks[2].behave(Manner::Answer);
                    self.wait_for_state("flapping", ill, "up");
                    count(&self.made.failed_checks);
                }
            }
        }
    }

    fn kill(
        &self,
        dice: &mut Dice,
        server: &mut Option<Web>,
        (service, letter, number, port): (&'static str, &str, u8, u16),
        revive: impl FnOnce(),
    ) {
        let broken = self.windows.open(Concerns::Service(service));
        drop(server.take());
        self.wait_for_state(service, at(self.lab, number, port), "down");
        dice.rest(200, 1500);
        *server = Some(start(self.lab, letter, number, port));
        revive();
        self.wait_for_state(service, at(self.lab, number, port), "up");
        drop(broken);
        count(&self.made.kills);
    }

    fn wait_for_state(&self, service: &str, backend: std::net::SocketAddr, state: &str) {
        wait_until(&format!("{service}: {backend} is {state}"), LIMIT, || {
            self.switch.state(service, backend) == state
        });
        self.switch.settle();
    }

    /// Bursts of what nobody asked for.
    pub fn flood(&self, mut dice: Dice) {
        while self.goes_on() {
            dice.rest(200, 2000);
            // While the interface is gone there is nothing to flood.
            let Some(macs) = macs(self.lab) else { continue };
            let to = &macs[1];
            let limited = network::vip(self.lab, LIMITED);
            let mut burst = |what: String| {
                format!("send --to {to} --flows 200000 --rate {RATE} --duration {} {what}", 2 + dice.below(4))
            };
            let line = match count(&self.made.floods) % 6 {
                0 => burst(format!("--source {NOBODY} --destination {WEB} --protocol tcp --flags syn")),
                1 => burst(format!("--source {NOBODY} --destination {NAMES} --protocol udp")),
                2 => self.replay("fragments", floods::fragment, &macs),
                3 => self.replay("errors", floods::error, &macs),
                4 => {
                    let web = V6.web();
                    burst(format!(
                        "--source [{NOBODY_IPV6}] --destination {web} --protocol tcp --flags syn --size 80"
                    ))
                }
                _ => burst(format!("--source {FEW} --destination {limited} --protocol tcp --flags syn")),
            };
            self.generate(&line);
        }
    }

    fn replay(&self, name: &str, build: floods::Build, macs: &[String; 2]) -> String {
        let file = floods::write_frames(self.lab, name, build, macs);
        format!("replay --in {} --rate {RATE} --loop 3", file.display())
    }

    /// `xswitch pktgen WORDS…` at the client, to its end: only a link that is broken may break it off.
    fn generate(&self, words: &str) {
        let begin = Instant::now();
        let line = format!("{} pktgen {words} --interface eth0 --json", self.switch.binary());
        let flood = {
            let _full = self.windows.open(Concerns::Handshakes);
            self.lab.client.run_within(LIMIT, &line)
        };
        let excused = self.windows.excuse(Concerns::All, begin, Instant::now());
        assert!(flood.code == 0 || excused, "{line}: {}{}", flood.stdout, flood.stderr);
    }

    /// Somebody who looks at everything, and takes backends out.
    pub fn operate(&self, mut dice: Dice) {
        while self.goes_on() {
            dice.rest(100, 800);
            count(&self.made.questions);
            let switch = &self.lab.switch;
            match dice.below(6) {
                0 => drop(self.switch.order("connections --count --json")),
                1 => drop(self.switch.order(&format!("trace {CLIENT}:1024 {WEB}/tcp --json"))),
                2 => {
                    let page = switch.run(&format!("curl --silent --fail http://{METRICS}/metrics"));
                    assert!(page.contains("xswitch_frames_received_total "), "{page}");
                }
                3 => {
                    let page = switch.run("curl --silent --fail http://127.0.0.1:9501/");
                    assert!(page.contains("</html>"), "{page}");
                    switch.run("curl --silent --fail --output /dev/null http://127.0.0.1:9501/v1/status");
                }
                4 => self.capture(),
                _ => {
                    let backend = at(self.lab, 1, FLAPPING);
                    self.switch.order(&format!("backend drain flapping {backend}"));
                    dice.rest(200, 2000);
                    self.switch.order(&format!("backend enable flapping {backend}"));
                    count(&self.made.drains);
                }
            }
        }
    }

    fn capture(&self) {
        let file: PathBuf = self.lab.directory().join("soak.pcapng");
        let line = format!(
            "{} capture --seconds 2 --sample 1/10 --out {} --socket {}",
            self.switch.binary(),
            file.display(),
            socket(self.lab).display()
        );
        let capture = self.lab.switch.run_within(LIMIT, &line);
        assert_eq!(capture.code, 0, "{}{}", capture.stdout, capture.stderr);
        assert!(std::fs::metadata(&file).is_ok_and(|file| file.len() > 0), "the capture is empty");
        count(&self.made.captures);
    }

    /// One side goes down, or is unplugged and plugged in again.
    pub fn break_link(&self, mut dice: Dice, kind: Break) {
        let (interface, unplug) = match kind {
            Break::None => return,
            Break::Down(interface) => (interface, false),
            Break::Unplug(interface) => (interface, true),
        };
        while self.goes_on() {
            dice.rest(1000, 4000);
            let broken = self.windows.open(Concerns::All);
            let (order, link) = if unplug { ("delete", "gone") } else { ("set", "down") };
            let down = if unplug { "" } else { " down" };
            self.lab.switch.ip(&format!("link {order} {interface}{down}"));
            self.wait_for_link(interface, link);
            dice.rest(200, 1500);
            if unplug {
                self.lab.plug_in_again(interface);
                count(&self.made.interfaces);
            } else {
                self.lab.switch.ip(&format!("link set {interface} up"));
                count(&self.made.links);
            }
            self.wait_for_link(interface, "up");
            prepare(self.lab);
            for server in [V4.web(), V6.web()] {
                wait_until("the service is back", LIMIT, || {
                    traffic::is_served(&self.lab.client, server, Duration::from_millis(1500))
                });
            }
            drop(broken);
            dice.rest(2000, 4000);
        }
    }

    fn wait_for_link(&self, interface: &str, state: &str) {
        wait_until(&format!("{interface} is {state}"), LIMIT, || self.switch.link(interface) == state);
    }
}

/// What happens to the links of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    None,
    Down(&'static str),
    Unplug(&'static str),
}

/// What the kernel forgets with a link: ways to those whom nobody knows, and who the backends' gateway was.
pub fn prepare(lab: &Lab) {
    lab.switch.ip(&format!("route replace {NOBODY} via {CLIENT}"));
    let client = address(Family::V6, 0, 1);
    lab.switch.ip(&format!("-6 route replace {NOBODY_IPV6} via {client}"));
    for backend in &lab.backends {
        backend.host.ip("-6 neighbor flush dev eth0");
    }
}

/// The MAC addresses at both ends of the client's cable, while there is one.
fn macs(lab: &Lab) -> Option<[String; 2]> {
    let of = |host: &Namespace| {
        let found = host.run_within(LIMIT, "cat /sys/class/net/eth0/address");
        (found.code == 0).then(|| found.stdout.trim().to_owned())
    };
    Some([of(&lab.client)?, of(&lab.switch)?])
}

/// That each kind of flood did what it is for, by the counters of the end.
pub fn assert_floods_were_felt(switch: &Switch<'_>) {
    let status = switch.look();
    assert!(number(&status["connections"], "displaced") > 0, "no flood filled the table");
    let web = switch.service("web");
    assert!(number(&web["syn_cookies"], "sent") > 0, "no SYN was answered with a cookie: {web:#}");
    for reason in ["fragment_budget", "icmp_budget", "icmp_forged", "rate_limited", "denied"] {
        assert!(number(&status["dropped"], reason) > 0, "nothing was dropped as {reason}");
    }
}
