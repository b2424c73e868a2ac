//! What becomes of connections when their backend goes down, and of new ones when nobody is left.
//!
//! The check asks another port than clients do, so that a backend that is "down" still answers those whom it has.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::common::actors::{Actor, Manner};
use crate::common::lab::setup::{Topology, V4};
use crate::common::lab::{Lab, NAMES, Setup, VIP, nat};
use crate::common::services::{self, Service, at};
use crate::common::switch::Switch;
use crate::common::traffic;

/// Where clients are served.
const PORT: u16 = 31050;
/// Where checks ask.
const CHECK: u16 = 31051;
const LIMIT: Duration = Duration::from_secs(15);
/// Within this, a client that only listens knows.
const KNOWS_WITHIN: Duration = Duration::from_secs(5);

scenes! {
    kept_connections_go_on in two_setups;
    a_client_that_only_listens_learns_of_a_reset in in_five_ways;
    rescheduled_datagrams_are_answered_by_another in two_setups;
}

macro_rules! in_five_ways {
    ($scene:ident) => {
        mod $scene {
            use crate::common::lab::{dsr, full_nat_one_arm, gue, ipip, nat};

            #[test]
            fn nat_with_two_workers() {
                super::$scene(nat(2));
            }
            #[test]
            fn full_nat_on_one_arm_with_one_worker() {
                super::$scene(full_nat_one_arm(1));
            }
            #[test]
            fn dsr_with_two_workers() {
                super::$scene(dsr(2));
            }
            #[test]
            fn ipip_with_one_worker() {
                super::$scene(ipip(1));
            }
            #[test]
            fn gue_with_two_workers() {
                super::$scene(gue(2));
            }
        }
    };
}
use in_five_ways;

/// Backends that can be called down while they serve.
struct Scene {
    checked: Vec<Actor>,
    servers: Vec<Actor>,
    service: Service,
}

impl Scene {
    fn new(lab: &Lab, lines: &str) -> Self {
        let start = |port| {
            move |backend: &crate::common::lab::Backend| Actor::start(&backend.host, &backend.name, port)
        };
        let checked: Vec<_> = lab.backends.iter().map(start(CHECK)).collect();
        let servers: Vec<_> = lab.backends.iter().map(start(PORT)).collect();
        let service = Service::new(lab, "web", PORT)
            .lines(&format!("scheduler = \"rr\"\n{lines}"))
            .tables(&format!(
                "[service.health]\ncheck = \"tcp\"\nport = {CHECK}\ninterval_ms = 300\nfast_interval_ms = 100\n\
                 timeout_ms = 200\nrise = 2\nfall = 2\npassive_failures = 0"
            ));
        let service = (1..=2).fold(service, |service, number| service.with(at(lab, number, PORT)));
        Self { checked, servers, service }
    }

    fn behave(&self, manner: &Manner) {
        self.servers.iter().for_each(|server| server.behave(manner.clone()));
    }

    /// Which backend has the open connection: 0 or 1.
    fn holder(&self, lab: &Lab, switch: &Switch<'_>) -> usize {
        let holds = |place: &usize| switch.connections_open("web", at(lab, *place as u8 + 1, PORT)) > 0;
        crate::common::wait::wait_for("a backend has the connection", LIMIT, || (0..2).find(holds))
    }

    /// Makes a backend fail its checks.
    fn take_down(&self, lab: &Lab, switch: &Switch<'_>, place: usize) {
        self.checked[place].behave(Manner::Refuse);
        switch.wait_for_state(&self.service.name, at(lab, place as u8 + 1, PORT), "down", LIMIT);
    }
}

fn connect(lab: &Lab, server: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = lab.client.enter(|| TcpStream::connect_timeout(&server, Duration::from_millis(1500)))?;
    stream.set_read_timeout(Some(KNOWS_WITHIN))?;
    Ok(stream)
}

fn echoes(stream: &mut TcpStream, word: &[u8]) -> std::io::Result<()> {
    stream.write_all(word)?;
    let mut answer = vec![0; word.len()];
    stream.read_exact(&mut answer)?;
    assert_eq!(answer, word);
    Ok(())
}

fn kept_connections_go_on(setup: Setup) {
    let lab = Lab::new(setup);
    let scene = Scene::new(&lab, "on_down = \"keep\"");
    let switch = Switch::start_text(&lab, &services::text(&lab, [&scene.service]));
    scene.behave(&Manner::Echo);
    let mut client = connect(&lab, scene.service.vip).expect("it connects");
    echoes(&mut client, b"before").expect("it echoes");
    let holder = scene.holder(&lab, &switch);
    scene.take_down(&lab, &switch, holder);
    echoes(&mut client, b"after").expect("a kept connection goes on");
    switch.finish();
}

fn a_client_that_only_listens_learns_of_a_reset(setup: Setup) {
    let lab = Lab::new(setup);
    let scene = Scene::new(&lab, "on_down = \"reset\"");
    let switch = Switch::start_text(&lab, &services::text(&lab, [&scene.service]));
    scene.behave(&Manner::Echo);
    let mut client = connect(&lab, scene.service.vip).expect("it connects");
    echoes(&mut client, b"the last word").expect("it echoes");
    let holder = scene.holder(&lab, &switch);
    let listening = Instant::now();
    scene.take_down(&lab, &switch, holder);
    let error = client.read(&mut [0; 16]).expect_err("the connection was reset");
    eprintln!("the client knew after {:?}", listening.elapsed());
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    // It comes back at once, and is served by the other one.
    let mut client = connect(&lab, scene.service.vip).expect("it connects again");
    echoes(&mut client, b"again").expect("it echoes");
    let other = at(&lab, 2 - holder as u8, PORT);
    assert_eq!(switch.connections_open("web", other), 1, "{:#}", switch.service("web"));
    switch.finish();
}

fn rescheduled_datagrams_are_answered_by_another(setup: Setup) {
    let lab = Lab::new(setup);
    let mut scene = Scene::new(&lab, "on_down = \"reschedule\"");
    // The lab's own UDP servers.
    let names = lab.setup.backend_port(NAMES.port());
    scene.service.protocol = "udp";
    scene.service.vip = NAMES.into();
    for (number, backend) in (1..).zip(&mut scene.service.backends) {
        backend.address = at(&lab, number, names);
    }
    let switch = Switch::start_text(&lab, &services::text(&lab, [&scene.service]));
    let flow = traffic::Datagrams::open(&lab.client, NAMES);
    let first = flow.ask("before").expect("it is answered");
    assert_eq!(flow.ask("again").as_ref(), Some(&first), "a flow stays where it is");
    let place = usize::from(first == "b2");
    scene.checked[place].behave(Manner::Refuse);
    switch.wait_for_state("web", at(&lab, place as u8 + 1, names), "down", LIMIT);
    let second = flow.ask("after").expect("another one answers");
    assert_ne!(first, second);
    switch.finish();
}

#[test]
fn a_rescheduled_connection_is_ended_by_the_backend_that_does_not_know_it() {
    let lab = Lab::new(nat(2));
    let scene = Scene::new(&lab, "on_down = \"reschedule\"");
    let switch = Switch::start_text(&lab, &services::text(&lab, [&scene.service]));
    scene.behave(&Manner::Echo);
    let mut client = connect(&lab, scene.service.vip).expect("it connects");
    echoes(&mut client, b"before").expect("it echoes");
    let holder = scene.holder(&lab, &switch);
    scene.take_down(&lab, &switch, holder);
    let error = echoes(&mut client, b"after").expect_err("the other backend has no such connection");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    switch.finish();
}

/// Takes both backends down and returns what a client gets then, over TCP and over UDP.
fn with_nobody_left(lab: &Lab, choice: &str) -> (Result<(), ErrorKind>, Result<usize, ErrorKind>) {
    let scene = Scene::new(lab, &format!("on_no_backend = \"{choice}\""));
    let mut udp = scene.service.clone();
    (udp.name, udp.protocol) = ("names".to_owned(), "udp");
    let switch = Switch::start_text(lab, &services::text(lab, [&scene.service, &udp]));
    for place in 0..2 {
        scene.take_down(lab, &switch, place);
        switch.wait_for_state("names", at(lab, place as u8 + 1, PORT), "down", LIMIT);
    }
    let tcp = connect(lab, scene.service.vip)
        .and_then(|mut client| echoes(&mut client, b"GET / HTTP/1.1\r\n\r\n"))
        .map_err(|error| error.kind());
    let socket = lab.client.enter(|| UdpSocket::bind(traffic::any_port(udp.vip))).expect("a port is free");
    let ask = || {
        socket.connect(udp.vip)?;
        socket.set_read_timeout(Some(Duration::from_millis(1500)))?;
        socket.send(b"question")?;
        socket.recv(&mut [0; 64])
    };
    let udp = ask().map_err(|error: std::io::Error| error.kind());
    // One comes back, and serves.
    scene.behave(&Manner::Echo);
    scene.checked[0].behave(Manner::Answer);
    switch.wait_for_state("web", at(lab, 1, PORT), "up", LIMIT);
    let mut client = connect(lab, scene.service.vip).expect("it connects");
    echoes(&mut client, b"again").expect("it echoes");
    switch.finish();
    (tcp, udp)
}

#[test]
fn with_nobody_left_drop_is_silent() {
    let (tcp, udp) = with_nobody_left(&Lab::new(nat(1)), "drop");
    assert!(matches!(tcp, Err(ErrorKind::TimedOut | ErrorKind::WouldBlock)), "{tcp:?}");
    assert!(matches!(udp, Err(ErrorKind::TimedOut | ErrorKind::WouldBlock)), "{udp:?}");
}

#[test]
fn with_nobody_left_reject_says_so() {
    let (tcp, udp) = with_nobody_left(&Lab::new(nat(2)), "reject");
    assert_eq!(tcp, Err(ErrorKind::ConnectionRefused));
    assert_eq!(udp, Err(ErrorKind::ConnectionRefused));
}

#[test]
fn with_nobody_left_the_kernel_answers() {
    let lab = Lab::new(nat(2));
    assert_eq!(lab.setup.topology, Topology::Routed);
    lab.switch.ip(&format!("address add {VIP}/32 dev lo"));
    let sorry = Actor::start(&lab.switch, "sorry", PORT);
    sorry.behave(Manner::Echo);
    let _udp = crate::common::servers::udp_names(&lab.switch, "sorry", SocketAddr::new(VIP.into(), PORT));
    let (tcp, udp) = with_nobody_left(&lab, "to_kernel");
    assert_eq!(tcp, Ok(()), "the listener of the switch's kernel answers");
    assert_eq!(udp, Ok("sorry question".len()));
    assert_eq!(sorry.taken(), 1, "it answered while nobody else could, and no longer");
    assert_eq!(V4.bulk().ip(), VIP);
}

#[test]
fn a_kept_connection_outlives_its_backends_checks_before_the_kernel_answers() {
    let lab = Lab::new(nat(2));
    lab.switch.ip(&format!("address add {VIP}/32 dev lo"));
    let sorry = Actor::start(&lab.switch, "sorry", PORT);
    sorry.behave(Manner::Echo);
    let scene = Scene::new(&lab, "on_no_backend = \"to_kernel\"\non_down = \"keep\"");
    let switch = Switch::start_text(&lab, &services::text(&lab, [&scene.service]));
    scene.behave(&Manner::Echo);
    let mut kept = connect(&lab, scene.service.vip).expect("it connects");
    echoes(&mut kept, b"before").expect("it echoes");
    let held = at(&lab, scene.holder(&lab, &switch) as u8 + 1, PORT);
    (0..2).for_each(|place| scene.take_down(&lab, &switch, place));
    switch.settle();
    // Long enough for whoever would leave the service to the kernel.
    let new = connect(&lab, scene.service.vip).map_err(|error| error.kind());
    assert!(matches!(new, Err(ErrorKind::TimedOut | ErrorKind::WouldBlock)), "{new:?}");
    echoes(&mut kept, b"after").expect("a kept connection goes on");
    assert_eq!((switch.connections_open("web", held), sorry.taken()), (1, 0));
    drop(kept);
    let served = || connect(&lab, scene.service.vip).and_then(|mut client| echoes(&mut client, b"sorry"));
    crate::common::wait::wait_until("the kernel answers", LIMIT, || served().is_ok());
    assert!(sorry.taken() > 0, "{:#}", switch.service("web"));
    switch.finish();
}
