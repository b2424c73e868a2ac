//! What clients do, and what they got.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Barrier;
use std::time::Duration;

use super::lab::Lab;
use super::namespace::Namespace;
use super::process;
use super::servers::PEER_QUESTION;

/// How long a client waits for one answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers, by the backend that gave them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Requests without an answer.
    pub failures: usize,
    /// Answers per backend name.
    pub by_backend: BTreeMap<String, usize>,
}

impl Answers {
    fn collect<T: AsRef<str>>(asked: usize, answers: impl IntoIterator<Item = T>) -> Self {
        let mut collected = Self { failures: asked, ..Self::default() };
        for answer in answers {
            *collected.by_backend.entry(answer.as_ref().to_owned()).or_default() += 1;
            collected.failures -= 1;
        }
        collected
    }

    /// Answers that `b1`, `b2`, `b3` gave.
    pub fn counts(&self) -> [usize; 3] {
        ["b1", "b2", "b3"].map(|name| self.by_backend.get(name).copied().unwrap_or(0))
    }

    /// Panics unless every request was answered and the counts lie within `tolerance` of the weights.
    pub fn assert_shared_by(&self, weights: [usize; 3], tolerance: usize) {
        assert_eq!(self.failures, 0, "requests failed: {self:?}");
        let (asked, total): (usize, usize) = (self.counts().iter().sum(), weights.iter().sum());
        for (count, weight) in self.counts().into_iter().zip(weights) {
            let expected = asked * weight / total;
            assert!(
                count.abs_diff(expected) <= tolerance,
                "weights {weights:?}, answers {:?}",
                self.counts()
            );
        }
    }
}

/// `count` HTTP requests with curl, each over its own connection, one after the other.
pub fn requests(client: &Namespace, server: impl Into<SocketAddr>, count: usize) -> Answers {
    let server = server.into();
    // curl itself counts up the range in brackets: one process, `count` requests.
    let line = format!(
        "curl --silent --connect-timeout 5 --max-time 10 --header Connection:close http://{server}/?[1-{count}]"
    );
    let finished = client.run_within(Duration::from_secs(120), &line);
    Answers::collect(count, finished.stdout.lines())
}

/// Whether one HTTP request is answered within `limit`.
pub fn is_served(client: &Namespace, server: impl Into<SocketAddr>, limit: Duration) -> bool {
    let server = server.into();
    let seconds = limit.as_secs_f64();
    let line = format!("curl --silent --fail --max-time {seconds} --output /dev/null http://{server}/");
    client.run_within(limit + Duration::from_secs(5), &line).code == 0
}

/// An HTTP connection that stays open.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Opens one from `client`.
    pub fn open(
        client: &Namespace,
        server: impl Into<SocketAddr>,
        patience: Duration,
    ) -> std::io::Result<Self> {
        let server = server.into();
        client.enter(|| Self::open_here(server, patience))
    }

    /// Opens one from the namespace of this thread.
    pub fn open_here(server: SocketAddr, patience: Duration) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&server, patience)?;
        stream.set_read_timeout(Some(patience))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// One request; the answer is the name of the backend.
    pub fn ask(&mut self) -> std::io::Result<String> {
        self.stream.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(std::io::Error::other)?;
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(String::from_utf8_lossy(&body).trim().to_owned())
    }
}

/// `count` connections that are open at the same time; then one request on each, all at once.
pub fn parallel_requests(client: &Namespace, server: impl Into<SocketAddr>, count: usize) -> Answers {
    let server = server.into();
    let barrier = Barrier::new(count);
    let one_client = || {
        let connection = Connection::open_here(server, PATIENCE);
        barrier.wait();
        connection.and_then(|mut connection| connection.ask())
    };
    let answers: Vec<_> = client.enter(|| {
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..count).map(|_| scope.spawn(one_client)).collect();
            clients.into_iter().map(|client| client.join().expect("a client does not panic")).collect()
        })
    });
    for error in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        eprintln!("a parallel request failed: {error}");
    }
    Answers::collect(count, answers.into_iter().flatten())
}

/// Any port of any address, in the family of `server`.
pub fn any_port(server: SocketAddr) -> SocketAddr {
    let address = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    address.parse().expect("an address")
}

/// A UDP socket at a client.
#[derive(Debug)]
pub struct Datagrams {
    socket: UdpSocket,
}

impl Datagrams {
    /// Opens one towards `server`.
    pub fn open(client: &Namespace, server: impl Into<SocketAddr>) -> Self {
        let server = server.into();
        let socket = client.enter(|| {
            let socket = UdpSocket::bind(any_port(server))?;
            socket.connect(server)?;
            socket.set_read_timeout(Some(Duration::from_millis(500)))?;
            Ok::<_, std::io::Error>(socket)
        });
        Self { socket: socket.expect("a UDP socket can be opened") }
    }

    /// Sends one datagram and does not wait.
    pub fn send(&self, payload: &str) {
        // An earlier ICMP error shows up here and says nothing about this datagram.
        let _ = self.socket.send(payload.as_bytes());
    }

    /// Sends `payload` up to five times until it is answered; the answer is the name of the backend.
    pub fn ask(&self, payload: &str) -> Option<String> {
        let (name, echoed) = self.exchange(payload)?;
        (echoed == payload).then_some(name)
    }

    /// The address and the port from which the server sees this socket.
    pub fn seen_from(&self) -> Option<SocketAddr> {
        self.exchange(PEER_QUESTION)?.1.parse().ok()
    }

    /// Sends `payload` up to five times until it is answered; the answer is a name and what comes behind it.
    fn exchange(&self, payload: &str) -> Option<(String, String)> {
        let mut buffer = vec![0; 65_535];
        for _ in 0..5 {
            self.send(payload);
            let Ok(length) = self.socket.recv(&mut buffer) else { continue };
            let answer = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let Some((name, echoed)) = answer.split_once(' ') else { continue };
            // What answers an earlier question comes too late.
            if echoed == payload || payload == PEER_QUESTION {
                return Some((name.to_owned(), echoed.to_owned()));
            }
        }
        None
    }
}

/// What a TCP and a UDP server see as the address of a client.
pub fn seen_from(client: &Namespace, web: SocketAddr, names: SocketAddr) -> [Option<IpAddr>; 2] {
    let line = format!("curl --silent --fail --max-time 5 http://{web}/peer");
    let over_tcp = client.run_within(Duration::from_secs(10), &line).stdout.trim().parse().ok();
    [over_tcp, Datagrams::open(client, names).seen_from().map(|seen| seen.ip())]
}

/// Sends `data` in datagrams, a few on their way at any time, and returns what was echoed, in order.
pub fn echo_in_datagrams(client: &Namespace, server: SocketAddr, data: &[u8]) -> std::io::Result<Vec<u8>> {
    /// Fits every tunnel.
    const CHUNK: usize = 1200;
    const WINDOW: usize = 16;
    let socket = client.enter(|| UdpSocket::bind(any_port(server)))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    let mut buffer = [0; 2048];
    let mut echoed = vec![0; data.len()];
    for window in (0..data.len()).step_by(CHUNK * WINDOW) {
        let mut missing: Vec<usize> =
            (window..data.len().min(window + CHUNK * WINDOW)).step_by(CHUNK).collect();
        for _ in 0..5 {
            for &start in &missing {
                let chunk = &data[start..data.len().min(start + CHUNK)];
                socket.send(&[&(start as u64).to_be_bytes()[..], chunk].concat())?;
            }
            while !missing.is_empty() {
                let Ok(length) = socket.recv(&mut buffer) else { break };
                // Behind the name of the backend: where the chunk belongs, and the chunk.
                let Some((start, chunk)) = buffer[3..length].split_first_chunk() else { continue };
                let start = usize::try_from(u64::from_be_bytes(*start)).map_err(std::io::Error::other)?;
                if let Some(place) = echoed.get_mut(start..start + chunk.len()) {
                    place.copy_from_slice(chunk);
                }
                missing.retain(|&expected| expected != start);
            }
        }
        if !missing.is_empty() {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
    }
    Ok(echoed)
}

/// A file goes to a backend by HTTP and arrives as it is; with `download`, it comes back as well.
pub fn transfer(lab: &Lab, server: SocketAddr, size_mib: u32, download: bool) {
    let original = lab.directory().join("original");
    random_file(&original, size_mib);
    if download {
        self::download(&lab.client, server, &original);
    }
    curl(&lab.client, &format!("--upload-file {} http://{server}/upload/uploaded", original.display()));
    let uploads = lab.backends.iter().map(|backend| backend.uploaded("uploaded"));
    let uploaded: Vec<_> = uploads.filter(|path| path.exists()).collect();
    assert_eq!(uploaded.len(), 1, "one backend took the upload");
    assert_eq!(sha256(&uploaded[0]), sha256(&original), "the upload differs");
    std::fs::remove_file(&uploaded[0]).expect("the upload can be removed");
}

/// A file in the lab's directory, which every nginx serves, comes to the client as it is.
pub fn download(client: &Namespace, server: SocketAddr, original: &Path) {
    let name = original.file_name().and_then(|name| name.to_str()).expect("the file has a name");
    let downloaded = original.with_extension("downloaded");
    curl(client, &format!("--output {} http://{server}/files/{name}", downloaded.display()));
    assert_eq!(sha256(&downloaded), sha256(original), "the download differs");
}

fn curl(client: &Namespace, arguments: &str) {
    let line = format!("curl --silent --show-error --fail --max-time 60 {arguments}");
    let finished = client.run_within(Duration::from_secs(65), &line);
    assert_eq!(finished.code, 0, "curl {arguments}: {}", finished.stderr);
}

/// `count` UDP requests, each from its own port: all are open until the last was asked, for a port that came back would
/// find its flow of before, and its backend.
pub fn datagrams(client: &Namespace, server: impl Into<SocketAddr>, count: usize) -> Answers {
    let server = server.into();
    let sockets: Vec<_> = (0..count).map(|_| Datagrams::open(client, server)).collect();
    let ask = |(number, socket): (usize, &Datagrams)| socket.ask(&format!("question {number}"));
    Answers::collect(count, sockets.iter().enumerate().filter_map(ask))
}

/// A file of random bytes.
pub fn random_file(path: &Path, mebibytes: u32) {
    let mut random =
        std::fs::File::open("/dev/urandom").expect("there is /dev/urandom").take(u64::from(mebibytes) << 20);
    let mut file = std::fs::File::create(path).expect("a file can be made");
    std::io::copy(&mut random, &mut file).expect("a file can be written");
}

/// Random bytes.
pub fn random_bytes(mebibytes: u32) -> Vec<u8> {
    let mut bytes = vec![0; (mebibytes as usize) << 20];
    let mut random = std::fs::File::open("/dev/urandom").expect("there is /dev/urandom");
    random.read_exact(&mut bytes).expect("/dev/urandom gives what is asked for");
    bytes
}

/// The SHA-256 of a file.
pub fn sha256(path: &Path) -> String {
    let line = process::run(&format!("sha256sum {}", path.display()));
    line.split_whitespace().next().expect("sha256sum prints the sum first").to_owned()
}
