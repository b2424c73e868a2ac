//! What runs at the backends.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::namespace::Namespace;
use super::process::Background;

/// How long a server thread waits before it looks whether it should stop.
const TICK: Duration = Duration::from_millis(50);

/// nginx: says its name at `/` and the client's address at `/peer`, serves the lab's directory at `/files/`, takes PUT at `/upload/`.
#[derive(Debug)]
pub struct Web {
    _process: Background,
    directory: PathBuf,
}

impl Web {
    /// Starts nginx on `addresses` in `host`.
    pub fn start(host: &Namespace, name: &str, addresses: &[SocketAddr], files: &Path) -> Self {
        let directory = files.join(name);
        fs::create_dir_all(directory.join("upload")).expect("a directory can be made");
        let configuration = directory.join("nginx.conf");
        fs::write(&configuration, nginx_configuration(name, addresses, files, &directory))
            .expect("a file can be written");
        let line =
            format!("nginx -e {0}/error.log -p {0} -c {1}", directory.display(), configuration.display());
        let process = host.spawn(&line, &directory.join("nginx.log"));
        Self { _process: process, directory }
    }

    /// Where an upload to `/upload/NAME` lies.
    pub fn uploaded(&self, name: &str) -> PathBuf {
        self.directory.join("upload").join(name)
    }
}

fn nginx_configuration(name: &str, addresses: &[SocketAddr], files: &Path, directory: &Path) -> String {
    let (files, directory) = (files.display(), directory.display());
    let listen = |address: &SocketAddr| format!("        listen {address} backlog=4096;\n");
    let listen: String = addresses.iter().map(listen).collect();
    format!(
        "# One process, so that it ends with the pid that was started.
daemon off;
master_process off;
user root;
pid {directory}/nginx.pid;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000;
    default_type text/plain;
    client_max_body_size 0;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
{listen}        location / {{ return 200 \"{name}\\n\"; }}
        location /peer {{ return 200 \"$remote_addr\\n\"; }}
        location /files/ {{ alias {files}/; }}
        location /upload/ {{ root {directory}; dav_methods PUT; }}
    }}
}}
"
    )
}

/// A server thread inside a namespace; it stops when this goes out of scope.
#[derive(Debug)]
struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(serve: impl FnOnce(&AtomicBool) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        Self { stop, thread: Some(std::thread::spawn(move || serve(&seen))) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A server that panicked has said so already.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Answers every datagram with its name and the payload: `b1 hello`. Asked for [`PEER_QUESTION`], it answers with the
/// address and the port that the question came from.
#[derive(Debug)]
pub struct UdpServer {
    _server: Server,
}

/// The question to which a UDP server answers with the address and the port that it sees.
pub const PEER_QUESTION: &str = "who am I?";

/// Starts a UDP server on `address` in `host`.
pub fn udp_names(host: &Namespace, name: &str, address: SocketAddr) -> UdpServer {
    let socket = host.enter(|| UdpSocket::bind(address)).expect("the UDP port is free");
    socket.set_read_timeout(Some(TICK)).expect("a time-out can be set");
    let prefix = format!("{name} ").into_bytes();
    let server = Server::start(move |stop| {
        let mut buffer = vec![0; 65_535];
        let mut answer = Vec::with_capacity(buffer.len());
        while !stop.load(Ordering::Relaxed) {
            if let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                let payload = &buffer[..length];
                answer.clear();
                answer.extend_from_slice(&prefix);
                match payload == PEER_QUESTION.as_bytes() {
                    true => answer.extend_from_slice(peer.to_string().as_bytes()),
                    false => answer.extend_from_slice(payload),
                }
                // A lost answer shows at the client.
                let _ = socket.send_to(&answer, peer);
            }
        }
    });
    UdpServer { _server: server }
}

/// Sends back what it gets, like an SSH session in which somebody types.
#[derive(Debug)]
pub struct TcpEcho {
    _server: Server,
}

/// Starts a TCP echo server on `address` in `host`, for one connection after the other.
pub fn tcp_echo(host: &Namespace, address: impl Into<SocketAddr>) -> TcpEcho {
    let address = address.into();
    let listener = host.enter(|| TcpListener::bind(address)).expect("the TCP port is free");
    listener.set_nonblocking(true).expect("a listener can be non-blocking");
    let server = Server::start(move |stop| {
        while !stop.load(Ordering::Relaxed) {
            match listener.accept() {
                Ok((connection, _)) => echo(connection, stop),
                Err(_) => std::thread::sleep(TICK),
            }
        }
    });
    TcpEcho { _server: server }
}

fn echo(mut connection: TcpStream, stop: &AtomicBool) {
    let prepared = connection
        .set_nonblocking(false)
        .and_then(|()| connection.set_nodelay(true))
        .and_then(|()| connection.set_read_timeout(Some(TICK)));
    prepared.expect("a connection can be set up");
    let mut buffer = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        match connection.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) if connection.write_all(&buffer[..length]).is_err() => return,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
