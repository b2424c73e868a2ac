//! Backends on the loopback interface that behave as real ones do at their worst.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

use super::*;
use crate::config::valid::{self, Http, Tls};
use crate::control::health::tests::health;

/// Asks once, with a timeout of 300 ms, and says what comes out as a person reads it.
async fn ask(address: SocketAddr, check: Check) -> String {
    ask_within(address, check, 300).await
}

async fn ask_within(address: SocketAddr, check: Check, timeout_ms: u32) -> String {
    let how = Arc::new(valid::Health { timeout_ms, ..health(check) });
    let question = Question { address, how, service: None };
    let began = std::time::Instant::now();
    let answer = Checker::default().ask(&question, None).await;
    assert!(began.elapsed() < Duration::from_millis(u64::from(timeout_ms) + 5000), "it goes on and on");
    match answer {
        // Times differ.
        Ok(passed) => passed.to_string().rsplit_once(" in ").unwrap().0.to_owned(),
        Err(failed) => failed.to_string(),
    }
}

/// A server that treats every connection alike.
async fn server<F>(treat: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(treat(stream));
        }
    });
    address
}

/// One that reads a request, says this, and closes.
async fn saying(text: impl Into<String>) -> SocketAddr {
    let text = text.into();
    server(move |mut stream| {
        let text = text.clone();
        async move {
            let _ = stream.read(&mut [0; 2048]).await;
            let _ = stream.write_all(text.as_bytes()).await;
        }
    })
    .await
}

async fn silent() -> SocketAddr {
    server(|stream| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await
}

async fn closed() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn http() -> Http {
    Http {
        method: "GET".to_owned(),
        path: "/health?full=1".to_owned(),
        host: None,
        statuses: vec![(200, 399)],
        body: String::new(),
    }
}

fn wanting(body: &str) -> Check {
    Check::Http(Http { body: body.to_owned(), ..http() })
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn tcp_asks_whether_the_port_is_open_and_the_server_sees_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    assert_eq!(ask(address, Check::Tcp).await, "answered");
    let accepted = tokio::time::timeout(Duration::from_millis(100), listener.accept()).await;
    assert!(accepted.is_err(), "the handshake was not completed");
    assert_eq!(ask(closed().await, Check::Tcp).await, "connection refused");
}

#[tokio::test]
async fn tcp_notices_a_server_whose_queue_is_full() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // Nobody accepts: the queue takes one more than it says.
    let mut waiting = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
    {
        waiting.push(stream);
    }
    assert_eq!(ask(address, Check::Tcp).await, "no answer within 300 ms");
}

#[tokio::test]
async fn http_judges_by_status_and_body() {
    let ok = saying(answer("200 OK", "it is OK, really")).await;
    assert_eq!(ask(ok, wanting("")).await, "200 OK");
    assert_eq!(ask(ok, wanting("OK, r")).await, "200 OK");
    assert_eq!(ask(ok, wanting("fine")).await, "body lacks \"fine\"");
    let lying = saying(answer("500 Oops", "")).await;
    assert_eq!(ask(lying, wanting("")).await, "status 500, wanted 200-399");
    let some = Check::Http(Http { statuses: vec![(200, 204), (301, 301)], ..http() });
    assert_eq!(ask(saying(answer("404 None", "")).await, some).await, "status 404, wanted 200-204, 301");
}

#[tokio::test]
async fn http_sends_what_was_configured() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    for (host, sent) in
        [(None, address.to_string()), (Some("www.example.net".to_owned()), "www.example.net".to_owned())]
    {
        let check = Check::Http(Http { method: "HEAD".to_owned(), host, ..http() });
        let asking = tokio::spawn(ask(address, check));
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 2048];
        let length = stream.read(&mut request).await.unwrap();
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        let request = String::from_utf8_lossy(&request[..length]).to_lowercase();
        assert!(request.starts_with("head /health?full=1 http/1.1\r\n"), "{request}");
        for line in [&format!("host: {sent}"), "connection: close", "user-agent: xswitch-health"] {
            assert!(request.contains(&format!("\r\n{line}\r\n")), "{line} lacks in {request}");
        }
        assert_eq!(asking.await.unwrap(), "204 No Content");
    }
}

#[tokio::test]
async fn http_says_how_a_backend_misbehaves() {
    assert_eq!(ask(closed().await, wanting("")).await, "connection refused");
    assert_eq!(ask(silent().await, wanting("")).await, "connected, but no answer within 300 ms");
    let at_once = server(|stream| async move { drop(stream) }).await;
    let cause = ask(at_once, wanting("")).await;
    assert!(["closed without a whole answer", "connection reset"].contains(&cause.as_str()), "{cause}");
    let cause = ask(saying("SSH-2.0-OpenSSH_9.9\r\n").await, wanting("")).await;
    assert!(cause.starts_with("the answer is not HTTP"), "{cause}");
    let first = server(|mut stream| async move {
        let _ = stream.write_all(b"220 mail.example.net ESMTP\r\n").await;
        let _ = stream.read(&mut [0; 2048]).await;
    })
    .await;
    let cause = ask(first, wanting("")).await;
    assert!(cause.starts_with("the answer is not HTTP"), "who speaks first: {cause}");
    let short = saying("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfive.").await;
    assert_eq!(ask(short, wanting("ten")).await, "closed without a whole answer");
}

#[tokio::test]
async fn an_answer_after_the_timeout_is_none() {
    let late = server(|mut stream| async move {
        tokio::time::sleep(Duration::from_millis(600)).await;
        let _ = stream.write_all(answer("200 OK", "OK").as_bytes()).await;
    })
    .await;
    assert_eq!(ask(late, wanting("")).await, "connected, but no answer within 300 ms");
    assert_eq!(ask_within(late, wanting(""), 5000).await, "200 OK");
    let dripping = server(|mut stream| async move {
        let _ = stream.read(&mut [0; 2048]).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(b".").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(ask(dripping, wanting("")).await, "200 OK", "whoever wants no body does not wait for it");
    assert_eq!(ask(dripping, wanting("OK")).await, "connected, but no answer within 300 ms");
}

#[tokio::test]
async fn of_an_endless_body_only_the_beginning_is_read() {
    let endless = server(|mut stream| async move {
        let _ = stream.read(&mut [0; 2048]).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nbeginning").await;
        while stream.write_all(&[b'.'; 4096]).await.is_ok() {}
    })
    .await;
    assert_eq!(ask_within(endless, wanting("OK"), 5000).await, "the first 64 KiB of the body lack \"OK\"");
    assert_eq!(ask_within(endless, wanting("beginning...."), 5000).await, "200 OK");
    let head = saying(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(200_000))).await;
    let cause = ask_within(head, wanting(""), 5000).await;
    assert!(cause.starts_with("the answer is not HTTP"), "{cause}");
}

/// Makes certificates: `ca.pem`, and for each of the names NAME.pem and NAME.key.
fn certificates(directory: &Path) {
    let script = r#"
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 -subj /CN=authority \
            -keyout ca.key -out ca.pem
        issue() { # NAME SUBJECT-ALTERNATIVE-NAME OPTIONS...
            name=$1 subject=$2; shift 2
            openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=server -keyout $name.key -out $name.csr
            echo "subjectAltName=$subject" >$name.ext
            openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile $name.ext -out $name.pem "$@"
        }
        issue good DNS:www.example.net,IP:127.0.0.1 -days 9
        issue expired DNS:www.example.net -not_before 20200101000000Z -not_after 20200201000000Z ||
            issue expired DNS:www.example.net -days -1
        # Of the first version: without extensions.
        openssl x509 -req -in good.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 9 -out old.pem
        cp good.key old.key
    "#;
    let made = Command::new("sh").args(["-ec", script]).current_dir(directory).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// A TLS server with one of these certificates.
async fn tls_server(directory: &Path, name: &str) -> SocketAddr {
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let certificate = CertificateDer::from_pem_file(directory.join(format!("{name}.pem"))).unwrap();
    let key = PrivateKeyDer::from_pem_file(directory.join(format!("{name}.key"))).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    server(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let _ = stream.read(&mut [0; 2048]).await;
            let _ = stream.write_all(answer("200 OK", "OK").as_bytes()).await;
        }
    })
    .await
}

/// Ended with the test.
struct Process(std::process::Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A TLS server with a certificate that rustls would not serve.
fn old_tls_server(directory: &Path) -> (Process, SocketAddr) {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut openssl = Command::new("openssl");
    openssl.args(["s_server", "-quiet", "-www", "-cert", "old.pem", "-key", "old.key", "-accept"]);
    let null = std::process::Stdio::null;
    let openssl = openssl.arg(free.to_string()).current_dir(directory).stdin(null()).stdout(null()).spawn();
    (Process(openssl.unwrap()), free)
}

async fn ask_until_accepted(address: SocketAddr, check: Check) -> String {
    for _ in 0..100 {
        match ask_within(address, check.clone(), 5000).await {
            refused if refused == "connection refused" => tokio::time::sleep(Duration::from_millis(50)).await,
            said => return said,
        }
    }
    panic!("nobody listens at {address}");
}

#[tokio::test]
async fn https_says_what_is_wrong_with_a_certificate() {
    let directory = tempfile::tempdir().unwrap();
    certificates(directory.path());
    let (good, expired) =
        (tls_server(directory.path(), "good").await, tls_server(directory.path(), "expired").await);
    let ca_file = || Some(directory.path().join("ca.pem"));
    let named = |name: &str| Some(name.to_owned());
    let verified = |sni| {
        Check::Https(Http { body: "OK".to_owned(), ..http() }, Tls { verify: true, sni, ca_file: ca_file() })
    };
    assert_eq!(ask_within(good, verified(named("www.example.net")), 5000).await, "200 OK");
    assert_eq!(ask_within(good, verified(None), 5000).await, "200 OK", "without a name, for the address");
    assert_eq!(ask_within(expired, verified(named("www.example.net")), 5000).await, "certificate expired");
    let cause = ask_within(good, verified(named("other.example.net")), 5000).await;
    assert!(
        cause.starts_with("certificate not valid for name \"other.example.net\", but for www.example.net"),
        "{cause}"
    );
    let of_system = Check::Https(http(), Tls { verify: true, sni: named("www.example.net"), ca_file: None });
    let cause = ask_within(good, of_system, 5000).await;
    let none = cause.starts_with("cannot check: this system has no certificates");
    assert!(none || cause == "certificate from an unknown issuer", "{cause}");
    let any = || Check::Https(http(), Tls { verify: false, sni: named("other.example.net"), ca_file: None });
    assert_eq!(ask_within(expired, any(), 5000).await, "200 OK", "who does not verify takes any");
    let (_server, old) = old_tls_server(directory.path());
    assert_eq!(ask_until_accepted(old, any()).await, "200 OK", "of whatever version");
    assert_eq!(ask_within(saying(answer("200 OK", "")).await, any(), 5000).await, "the answer is not TLS");
    assert_eq!(
        ask(silent().await, any()).await,
        "connected, but in the TLS handshake no answer within 300 ms"
    );
    let missing = Tls { verify: true, sni: None, ca_file: Some("/no/such.pem".into()) };
    let cause = ask(good, Check::Https(http(), missing)).await;
    assert!(cause.starts_with("cannot check: ca_file /no/such.pem:"), "{cause}");
}

#[tokio::test]
async fn udp_wants_an_answer_that_contains_what_is_expected() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut datagram = [0; 64];
        while let Ok((length, from)) = socket.recv_from(&mut datagram).await {
            match &datagram[..length] {
                b"silence" => {}
                said => drop(socket.send_to(&[b"heard ", said].concat(), from).await),
            }
        }
    });
    let udp = |send: &str, expect: &str| Check::Udp { send: send.into(), expect: expect.into() };
    assert_eq!(ask(address, udp("ping", "heard ping")).await, "answered");
    assert_eq!(ask(address, udp("", "")).await, "answered", "an empty datagram is one, too");
    assert_eq!(ask(address, udp("ping", "pong\n")).await, "the answer lacks \"pong\\n\"");
    assert_eq!(ask(address, udp("silence", "")).await, "no answer within 300 ms");
    let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert_eq!(ask(closed, udp("", "")).await, "port unreachable");
}

#[tokio::test]
async fn icmp_is_answered_by_every_host() {
    let checker = Checker::default();
    let how = Arc::new(health(Check::Icmp));
    // Many at once, of both families: nobody takes the answer of another.
    let v4 = (1..200u32).map(|n| SocketAddr::from((Ipv4Addr::from(0x7F02_0000 + n), 0)));
    let questions: Vec<_> = v4
        .chain(["[::1]:0".parse().unwrap()])
        .map(|address| Question { address, how: Arc::clone(&how), service: None })
        .collect();
    let answers =
        futures_util::future::join_all(questions.iter().map(|question| checker.ask(question, None))).await;
    if let Some(Err(Failed::Ours(cause))) = answers.first() {
        println!("left out, without CAP_NET_RAW: {cause}");
        return;
    }
    assert_eq!(answers.iter().find_map(|answer| answer.as_ref().err()), None);
}

#[tokio::test]
async fn agents_say_a_line_or_fail() {
    assert_eq!(
        ask(saying("75% ready\r\n").await, Check::Agent).await,
        "connected, but no answer within 300 ms"
    );
    let says =
        |line: &'static [u8]| server(move |mut stream| async move { drop(stream.write_all(line).await) });
    assert_eq!(ask(says(b"75% ready\r\nmore").await, Check::Agent).await, "\"75% ready\"");
    assert_eq!(
        ask(says(b"drain").await, Check::Agent).await,
        "\"drain\"",
        "the end of the connection ends a line"
    );
    assert_eq!(ask(says(b"").await, Check::Agent).await, "the agent said nothing");
    assert_eq!(
        ask(says(b"\x1b[2Jhello\n").await, Check::Agent).await,
        "the agent said \"\\x1b[2Jhello\", which means nothing"
    );
    assert_eq!(ask(silent().await, Check::Agent).await, "connected, but no answer within 300 ms");
    assert_eq!(ask(closed().await, Check::Agent).await, "connection refused");
    let endless =
        server(|mut stream| async move { while stream.write_all(b"up up up up").await.is_ok() {} }).await;
    assert!(ask_within(endless, Check::Agent, 5000).await.starts_with("\"up up"));
}

/// Ended when the test does.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_agent_of_the_manual_works() {
    use std::os::unix::fs::PermissionsExt;
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/HEALTH.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    let script = manual.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(script.lines().count() <= 22, "as long as it says");
    let directory = tempfile::tempdir().unwrap();
    let (agent, state) = (directory.path().join("agent"), directory.path().join("state"));
    std::fs::write(&agent, script).unwrap();
    std::fs::set_permissions(&agent, PermissionsExt::from_mode(0o755)).unwrap();
    let address = closed().await;
    let running = Command::new(&agent).arg(address.port().to_string()).env("STATE", &state).spawn();
    let _running = Running(running.unwrap());
    let mut said = String::new();
    for _ in 0..100 {
        said = ask_within(address, Check::Agent, 5000).await;
        if said != "connection refused" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(said.starts_with("\"ready ") && said.ends_with("%\""), "{said}");
    std::fs::write(&state, "drain # kernel update\n").unwrap();
    assert_eq!(ask_within(address, Check::Agent, 5000).await, "\"drain # kernel update\"");
}
