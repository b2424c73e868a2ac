//! What belongs to no service stays with the switch's kernel, and what belongs to one never enters it.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::common::lab::{Lab, NAMES, SWITCH, Setup, WEB, WEB_PORT};
use crate::common::namespace::Namespace;
use crate::common::process::Background;
use crate::common::servers;
use crate::common::switch::Switch;
use crate::common::traffic;

scenes! {
    sessions_to_the_switch_itself_and_ping_work_under_load in every_setup;
    the_switch_can_check_its_backends_while_it_forwards in every_setup;
    the_kernel_of_the_switch_forwards_nothing in every_setup;
}

/// How long the load lasts while a session and ping go on beside it.
const LOAD: Duration = Duration::from_millis(1500);

fn sessions_to_the_switch_itself_and_ping_work_under_load(setup: Setup) {
    let lab = Lab::new(setup);
    let address = SocketAddrV4::new(SWITCH, 2222);
    let _server = servers::tcp_echo(&lab.switch, address);
    let mut session = Session::open(&lab.client, address);
    let switch = Switch::start(&lab);
    let ping = Ping::start(&lab);

    let start = Instant::now();
    for round in 0.. {
        if start.elapsed() > LOAD {
            break;
        }
        traffic::parallel_requests(&lab.client, WEB, 50)
            .assert_shared_by([2, 3, 5], usize::from(setup.queues));
        session.type_line(round);
    }
    // The session outlives the switch as well: its frames go the same way with and without the XDP program.
    ping.assert_nothing_lost();
    switch.finish();
    session.type_line(99);
    Session::open(&lab.client, address);
}

fn the_switch_can_check_its_backends_while_it_forwards(setup: Setup) {
    let lab = Lab::new(setup);
    let switch = Switch::start(&lab);
    for _ in 0..5 {
        traffic::requests(&lab.client, WEB, 20).assert_shared_by([2, 3, 5], usize::from(setup.queues));
        for backend in &lab.backends {
            let direct = SocketAddrV4::new(backend.address, WEB_PORT);
            let answers = traffic::requests(&lab.switch, direct, 5);
            assert_eq!(
                answers.by_backend.get(&backend.name),
                Some(&5),
                "the switch's kernel got {answers:?}"
            );
        }
    }
    switch.finish();
}

fn the_kernel_of_the_switch_forwards_nothing(setup: Setup) {
    let lab = Lab::new(setup);
    // Were a frame of a service passed to the kernel, this would let it forward and count it.
    lab.switch.sysctl("net.ipv4.ip_forward", "1");
    let switch = Switch::start(&lab);
    traffic::requests(&lab.client, WEB, 100).assert_shared_by([2, 3, 5], usize::from(setup.queues));
    traffic::datagrams(&lab.client, NAMES, 20).assert_shared_by([2, 3, 5], usize::from(setup.queues));
    let counted = lab.switch.run("nstat --ignore --zeros --noupdate IpForwDatagrams");
    let forwarded = counted.lines().find_map(|line| line.strip_prefix("IpForwDatagrams"));
    let forwarded =
        forwarded.and_then(|rest| rest.split_whitespace().next()).expect("nstat knows the counter");
    assert_eq!(forwarded, "0", "the kernel forwarded frames of the service");
    switch.finish();
}

/// A TCP connection to the switch's own address in which somebody types.
struct Session {
    stream: TcpStream,
}

impl Session {
    fn open(client: &Namespace, address: SocketAddrV4) -> Self {
        let stream = client.enter(|| TcpStream::connect_timeout(&address.into(), Duration::from_secs(5)));
        let stream = stream.expect("the switch's own port answers");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a time-out can be set");
        let mut session = Self { stream };
        session.type_line(0);
        session
    }

    fn type_line(&mut self, number: usize) {
        let line = format!("line {number}\n");
        self.stream.write_all(line.as_bytes()).expect("the session takes what is typed");
        let mut echoed = vec![0; line.len()];
        self.stream.read_exact(&mut echoed).expect("the session echoes what is typed");
        assert_eq!(echoed, line.as_bytes());
    }
}

/// The client pings the switch's own address all the while.
struct Ping {
    process: Background,
}

impl Ping {
    fn start(lab: &Lab) -> Self {
        let log = lab.directory().join("ping.log");
        Self { process: lab.client.spawn(&format!("ping -n -i 0.02 {SWITCH}"), &log) }
    }

    fn assert_nothing_lost(mut self) {
        self.process.signal(Signal::INT);
        self.process.wait_for_end(Duration::from_secs(5));
        let log = self.process.log();
        let summary = log.lines().find(|line| line.contains("packets transmitted")).expect("ping sums up");
        let numbers: Vec<u64> =
            summary.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
        // The very last echo may still be under way when ping is stopped.
        assert!(numbers[0] > 10 && numbers[1] + 1 >= numbers[0], "ping: {summary}");
    }
}
