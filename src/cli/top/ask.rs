//! Who asks the switch: a thread each for its status, for its clients and for orders, so that keys never wait.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use crate::control::client::{self, ClientError};
use crate::control::connections::{Listing, Question, Sort};
use crate::control::orders::{Order, Outcome};
use crate::control::status::Status;

/// Connections of which clients are told apart.
const CONNECTIONS: usize = 2000;
/// Between the end of one look at the connections and the next, at the least, and as a multiple of what the last one took: while
/// one runs, the switch refuses others.
pub const CLIENTS_PAUSE: Duration = Duration::from_secs(10);
const CLIENTS_SHARE: u32 = 5;

/// What there is to be shown.
#[derive(Debug)]
pub enum News {
    /// How the switch stands.
    Status(Result<Box<Status>, String>),
    /// Who is connected, and when to ask again.
    Clients(Result<Listing, String>, Duration),
    /// What came of an order.
    Done(String),
    /// It is to end.
    Stop,
}

/// The threads behind it. They end with the process.
#[derive(Debug)]
pub struct Asking {
    socket: PathBuf,
    tell: Sender<News>,
    /// What they say.
    pub news: Receiver<News>,
    clients: Sender<()>,
    now: Sender<()>,
}

impl Asking {
    /// Begins to ask.
    pub fn start(socket: &Path, interval: Duration) -> Self {
        let (tell, news) = channel();
        let (clients, wanted) = channel();
        let (now, hurry) = channel();
        let asking = Self { socket: socket.to_owned(), tell, news, clients, now };
        let (path, tell) = (socket.to_owned(), asking.tell.clone());
        std::thread::spawn(move || follow_status(&path, interval, &tell, &hurry));
        let (path, tell) = (socket.to_owned(), asking.tell.clone());
        std::thread::spawn(move || follow_clients(&path, &tell, &wanted));
        asking
    }

    /// Where others tell something.
    pub fn tell(&self) -> Sender<News> {
        self.tell.clone()
    }

    /// Has the connections looked through.
    pub fn clients(&self) {
        let _ = self.clients.send(());
    }

    /// Has an order carried out, and the status asked for at once when it is.
    pub fn give(&self, order: Order) {
        let (path, tell, now) = (self.socket.clone(), self.tell.clone(), self.now.clone());
        std::thread::spawn(move || {
            let outcome = client::post::<Outcome>(&path, "/v1/orders", &order);
            let _ = now.send(());
            tell.send(News::Done(told(outcome)))
        });
    }
}

fn told(outcome: Result<Outcome, ClientError>) -> String {
    match outcome {
        Ok(Outcome { changes, .. }) if changes.is_empty() => "it was so already: nothing changed".into(),
        Ok(Outcome { changes, warnings, .. }) => [changes, warnings].concat().join("; "),
        Err(error) => error.to_string(),
    }
}

fn follow_status(path: &Path, interval: Duration, tell: &Sender<News>, hurry: &Receiver<()>) {
    loop {
        let began = Instant::now();
        let status =
            client::get::<Status>(path, "/v1/status").map(Box::new).map_err(|error| error.to_string());
        if tell.send(News::Status(status)).is_err() {
            return;
        }
        let _ = hurry.recv_timeout(interval.saturating_sub(began.elapsed()));
    }
}

fn follow_clients(path: &Path, tell: &Sender<News>, wanted: &Receiver<()>) {
    while wanted.recv().is_ok() {
        let began = Instant::now();
        let question = Question { sort: Sort::Recent, limit: CONNECTIONS, ..Question::default() };
        let listing = client::post(path, "/v1/connections", &question).map_err(|error| error.to_string());
        let pause = CLIENTS_PAUSE.max(began.elapsed() * CLIENTS_SHARE);
        if tell.send(News::Clients(listing, pause)).is_err() {
            return;
        }
    }
}
