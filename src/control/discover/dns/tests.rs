//! Against a name server of our own, which says what it is told to, or nothing.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use hickory_resolver::proto::op::{Message, OpCode};
use hickory_resolver::proto::rr::Record;
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME};
use tokio::net::UdpSocket;

use super::*;
use crate::control::discover::Discovery;
use crate::control::discover::testing::{backend, next, next_addresses, problem, service, wanted};

/// What the server says to one question.
#[derive(Clone)]
enum Reply {
    Records(Vec<(u32, RData)>),
    Code(ResponseCode),
    Nothing,
}

/// A name server on the loopback interface; it ends with the test's runtime.
#[derive(Clone)]
struct Server {
    address: SocketAddr,
    zone: Arc<Mutex<HashMap<(String, RecordType), Reply>>>,
    asked: Arc<Mutex<Vec<(String, Instant)>>>,
}

impl Server {
    async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let server = Self { address, zone: Arc::default(), asked: Arc::default() };
        let answering = server.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
                if let Some(answer) = answering.answer(&buffer[..length]) {
                    socket.send_to(&answer, client).await.unwrap();
                }
            }
        });
        server
    }

    fn answer(&self, request: &[u8]) -> Option<Vec<u8>> {
        let request = Message::from_vec(request).unwrap();
        let query = request.queries[0].clone();
        let name = query.name().to_string();
        self.asked.lock().unwrap().push((name.clone(), Instant::now()));
        let mut answer = Message::response(request.metadata.id, OpCode::Query);
        answer.add_query(query.clone());
        answer.metadata.recursion_available = true;
        let reply = self.zone.lock().unwrap().get(&(name, query.query_type())).cloned();
        match reply.unwrap_or(Reply::Code(ResponseCode::NXDomain)) {
            Reply::Nothing => return None,
            Reply::Code(code) => answer.metadata.response_code = code,
            Reply::Records(records) => {
                for (ttl, data) in records {
                    answer.add_answer(Record::from_rdata(query.name().clone(), ttl, data));
                }
            }
        }
        Some(answer.to_vec().unwrap())
    }

    fn says(&self, name: &str, kind: RecordType, reply: Reply) {
        self.zone.lock().unwrap().insert((name.to_owned(), kind), reply);
    }

    /// A or AAAA records.
    fn lists(&self, name: &str, ttl: u32, addresses: &[&str]) {
        let data = |address: &&str| match address.parse().unwrap() {
            IpAddr::V4(address) => (RecordType::A, (ttl, RData::A(A(address)))),
            IpAddr::V6(address) => (RecordType::AAAA, (ttl, RData::AAAA(AAAA(address)))),
        };
        let records: Vec<_> = addresses.iter().map(data).collect();
        self.says(name, records[0].0, Reply::Records(records.into_iter().map(|(_, data)| data).collect()));
    }

    /// SRV records: priority, weight, port, target.
    fn serves(&self, name: &str, ttl: u32, records: &[(u16, u16, u16, &str)]) {
        let data = records.iter().map(|(priority, weight, port, target)| {
            let target = Name::from_ascii(target).unwrap();
            (ttl, RData::SRV(SRV::new(*priority, *weight, *port, target)))
        });
        self.says(name, RecordType::SRV, Reply::Records(data.collect()));
    }

    fn questions(&self) -> Vec<Instant> {
        self.asked.lock().unwrap().iter().map(|(_, at)| *at).collect()
    }
}

fn dns(name: &str) -> Source {
    Source::Dns { name: name.to_owned(), port: 8080 }
}

fn srv() -> Source {
    Source::Srv { name: "_http._tcp.example.net".to_owned() }
}

/// One look, as the watcher takes it.
async fn look_at(server: &Server, source: Source, ipv4: bool) -> Result<(Vec<Backend>, u32), String> {
    let resolver = resolver_of(&[server.address]).unwrap();
    look(&resolver, &source, 7, ipv4).await.map(|answer| (answer.backends, answer.ttl_s))
}

#[test]
fn the_time_to_the_next_look_is_the_ttl_within_bounds() {
    let bounds = Bounds { least: 5, most: 300 };
    let answered = [0, 5, 60, 86400].map(|ttl| bounds.after_answer(ttl).as_secs());
    assert_eq!(answered, [5, 5, 60, 300]);
    let failed = [1, 2, 3, 7, 40, u32::MAX].map(|failures| bounds.after_failure(failures).as_secs());
    assert_eq!(failed, [5, 10, 20, 300, 300, 300]);
}

#[tokio::test]
async fn a_name_has_the_addresses_of_the_vips_family() {
    let server = Server::start().await;
    server.lists("web.example.net.", 60, &["10.0.0.2", "10.0.0.1"]);
    server.lists("web.example.net.", 30, &["2001:db8::1"]);
    let (backends, ttl_s) = look_at(&server, dns("web.example.net"), true).await.unwrap();
    assert_eq!(backends, [backend("10.0.0.2:8080", 7, false), backend("10.0.0.1:8080", 7, false)]);
    assert_eq!(ttl_s, 60);
    let (backends, ttl_s) = look_at(&server, dns("web.example.net."), false).await.unwrap();
    assert_eq!((backends, ttl_s), (vec![backend("[2001:db8::1]:8080", 7, false)], 30));
}

#[tokio::test]
async fn an_alias_is_followed_and_the_shortest_ttl_counts() {
    let server = Server::start().await;
    let alias = RData::CNAME(CNAME(Name::from_ascii("real.example.net.").unwrap()));
    server.says("web.example.net.", RecordType::A, Reply::Records(vec![(20, alias)]));
    server.lists("real.example.net.", 60, &["10.0.0.1"]);
    let (backends, ttl_s) = look_at(&server, dns("web.example.net"), true).await.unwrap();
    assert_eq!((backends, ttl_s), (vec![backend("10.0.0.1:8080", 7, false)], 20));
}

#[tokio::test]
async fn srv_records_give_ports_weights_and_backups() {
    let server = Server::start().await;
    let records =
        [(10, 3, 81, "a.example.net."), (10, 0, 82, "b.example.net."), (20, 5, 83, "c.example.net.")];
    server.serves("_http._tcp.example.net.", 60, &records);
    server.lists("a.example.net.", 40, &["10.0.0.1", "10.0.0.11"]);
    server.lists("b.example.net.", 50, &["10.0.0.2"]);
    server.lists("c.example.net.", 50, &["10.0.0.3"]);
    let (backends, ttl_s) = look_at(&server, srv(), true).await.unwrap();
    let expected = [
        backend("10.0.0.1:81", 3, false),
        backend("10.0.0.11:81", 3, false),
        backend("10.0.0.2:82", 7, false),
        backend("10.0.0.3:83", 5, true),
    ];
    assert_eq!((backends.as_slice(), ttl_s), (expected.as_slice(), 40));
}

#[tokio::test]
async fn a_target_that_is_gone_is_left_out_and_one_that_is_unknown_spoils_the_look() {
    let server = Server::start().await;
    server.serves(
        "_http._tcp.example.net.",
        60,
        &[(0, 0, 80, "a.example.net."), (0, 0, 80, "b.example.net.")],
    );
    server.lists("a.example.net.", 60, &["10.0.0.1"]);
    let (backends, _) = look_at(&server, srv(), true).await.unwrap();
    assert_eq!(backends, [backend("10.0.0.1:80", 7, false)]);
    server.says("b.example.net.", RecordType::A, Reply::Code(ResponseCode::ServFail));
    assert!(look_at(&server, srv(), true).await.unwrap_err().contains("the name server says"));
    server.serves("_http._tcp.example.net.", 60, &[(0, 0, 0, ".")]);
    assert!(look_at(&server, srv(), true).await.unwrap_err().contains("no SRV records with a target"));
    server.serves("_http._tcp.example.net.", 60, &[(0, 0, 80, "gone.example.net.")]);
    assert!(look_at(&server, srv(), true).await.unwrap_err().contains("none of the servers"));
}

#[tokio::test]
async fn each_way_of_not_answering_is_told_apart() {
    let server = Server::start().await;
    let said = look_at(&server, dns("gone.example.net"), true).await.unwrap_err();
    assert_eq!(said, "there is no name gone.example.net.");
    server.says("bare.example.net.", RecordType::A, Reply::Records(vec![]));
    let said = look_at(&server, dns("bare.example.net"), true).await.unwrap_err();
    assert_eq!(said, "bare.example.net. has no A records");
    server.says("ill.example.net.", RecordType::A, Reply::Code(ResponseCode::ServFail));
    let said = look_at(&server, dns("ill.example.net"), true).await.unwrap_err();
    assert!(said.starts_with("ill.example.net.: the name server says:"), "{said}");
    server.says("mute.example.net.", RecordType::A, Reply::Nothing);
    let said = look_at(&server, dns("mute.example.net"), true).await.unwrap_err();
    assert_eq!(said, "mute.example.net.: no name server answers");
    let said = look_at(&server, dns("not..a.name"), true).await.unwrap_err();
    assert!(said.starts_with("\"not..a.name\":"), "{said}");
}

#[tokio::test]
async fn a_name_is_followed_by_its_ttl_and_keeps_its_last_good_set() {
    let server = Server::start().await;
    let (discovery, mut found) = Discovery::start();
    let key = service("198.18.0.100:80");
    server.lists("web.example.net.", 1, &["10.0.0.2", "10.0.0.1"]);
    discovery.set(vec![(key, wanted(dns("web.example.net"), 1))], &[server.address]);
    assert_eq!(next_addresses(&mut found).await, ["10.0.0.1:8080", "10.0.0.2:8080"]);

    // Another order is the same set, and is not told.
    server.lists("web.example.net.", 1, &["10.0.0.1", "10.0.0.2"]);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    server.lists("web.example.net.", 1, &["10.0.0.3"]);
    assert_eq!(next_addresses(&mut found).await, ["10.0.0.3:8080"]);

    server.says("web.example.net.", RecordType::A, Reply::Code(ResponseCode::NXDomain));
    let said = problem(&discovery, &key).await;
    assert_eq!(said, "there is no name web.example.net.: last good set kept");
    assert_eq!(discovery.watched()[&key].backends, 1);
    server.lists("web.example.net.", 1, &["10.0.0.4"]);
    assert_eq!(next_addresses(&mut found).await, ["10.0.0.4:8080"], "nothing was told in between");
    assert_eq!(discovery.watched()[&key].source, "dns web.example.net:8080");
}

#[tokio::test]
async fn a_longer_ttl_is_waited_for() {
    let server = Server::start().await;
    let (discovery, mut found) = Discovery::start();
    server.lists("web.example.net.", 3, &["10.0.0.1"]);
    let key = service("198.18.0.100:80");
    discovery.set(vec![(key, wanted(dns("web.example.net"), 1))], &[server.address]);
    next(&mut found).await;
    server.lists("web.example.net.", 1, &["10.0.0.2"]);
    next(&mut found).await;
    server.lists("web.example.net.", 1, &["10.0.0.3"]);
    next(&mut found).await;
    let asked = server.questions();
    let pauses: Vec<Duration> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses[0] >= Duration::from_secs(3), "{pauses:?}");
    assert!(pauses[1] < Duration::from_secs(3), "{pauses:?}");
}

#[tokio::test]
async fn what_is_watched_as_before_goes_on_and_what_is_not_ends() {
    let server = Server::start().await;
    let (discovery, mut found) = Discovery::start();
    let key = service("198.18.0.100:80");
    server.lists("web.example.net.", 1, &["10.0.0.1", "10.0.0.2"]);
    let first = wanted(dns("web.example.net"), 2);
    discovery.set(vec![(key, first.clone())], &[server.address]);
    next(&mut found).await;
    discovery.set(vec![(key, first.clone())], &[server.address]);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(found.try_recv().is_err(), "nothing began anew");

    // Looked at in another way, it still has what it had.
    server.lists("web.example.net.", 1, &["10.0.0.1"]);
    discovery.set(vec![(key, Discover { weight: 9, ..first })], &[server.address]);
    assert!(problem(&discovery, &key).await.contains("fewer than min_backends = 2"));

    discovery.set(vec![], &[]);
    assert!(discovery.watched().is_empty());
    tokio::time::sleep(Duration::from_millis(200)).await;
    let asked = server.questions().len();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(server.questions().len(), asked, "nobody asks any longer");
}
