//! What the service manager is told (sd_notify(3)): ready, reloading, stopping, and alive.
//!
//! ```text
//!  start ──▶ READY=1 ──┬── reload: RELOADING=1, and READY=1 with a STATUS that says how it went
//!                      ├── WATCHDOG=1, as long as the loop and every worker go on
//!                      └── end: STOPPING=1
//! ```
//!
//! Without a manager that asks for it (`NOTIFY_SOCKET`), nothing is said.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::dataplane::DataPlane;
use crate::sys::clock;

/// How often within the watchdog's time all are looked at: once may fall into a moment in which the loop is busy.
const LOOKS: u32 = 4;

/// The service manager's end, and the loop's pulse. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Supervisor {
    socket: Option<Arc<UnixDatagram>>,
    watchdog: Option<Duration>,
    pulse: Arc<AtomicU64>,
}

impl Supervisor {
    /// What `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` name. Opened at start: the socket may lie where nothing can be
    /// reached later.
    pub fn from_environment() -> Self {
        let Some(place) = std::env::var_os("NOTIFY_SOCKET") else { return Self::default() };
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        // Meant for somebody else, for example a shell that started us.
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|time| ours && *time > 0).map(Duration::from_micros);
        match Self::to(&place, watchdog) {
            Ok(supervisor) => supervisor,
            Err(error) => {
                tracing::warn!(%error, "the service manager cannot be told anything");
                Self::default()
            }
        }
    }

    /// Talks to the socket at this path, or with this abstract name after "@".
    pub fn to(place: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let address = match place.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(place)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect_addr(&address)?;
        Ok(Self { socket: Some(Arc::new(socket)), watchdog, pulse: Arc::default() })
    }

    /// It switches. `status` is what `systemctl status` shows.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// It reads its configuration again, until it is ready again.
    pub fn reloading(&self) {
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", clock::monotonic_ns() / 1000));
    }

    /// It ends.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=the kernel gets its traffic back");
    }

    /// The loop has made a turn.
    pub fn beat(&self) {
        self.pulse.fetch_add(1, Ordering::Relaxed);
    }

    /// Feeds the watchdog as long as the loop and all workers make progress; returns at once where there is none.
    pub async fn feed(self, dataplane: Arc<dyn DataPlane>) {
        let Some(period) = self.watchdog else { return };
        let mut ticks = tokio::time::interval((period / LOOKS).max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut progress = Progress::default();
        loop {
            ticks.tick().await;
            let turns = dataplane.workers().iter().map(|worker| worker.counters.turns.get());
            let (pulse, turns) = (self.pulse.load(Ordering::Relaxed), turns.collect());
            match progress.look(pulse, turns) {
                Look::All => self.tell("WATCHDOG=1"),
                Look::Stuck(who) => tracing::error!("{who} makes no progress: the watchdog is not fed"),
                Look::StillStuck => {}
            }
        }
    }

    fn tell(&self, text: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = socket.send(text.as_bytes()) {
            tracing::debug!(%error, "the service manager was not told: {text}");
        }
    }
}

/// Values may not hold line ends.
fn one_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// What the loop and the workers had counted when they were last looked at.
#[derive(Debug, Default)]
struct Progress {
    pulse: Option<u64>,
    turns: Vec<u64>,
    stuck: bool,
}

/// What a look finds.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// All have moved since the look before.
    All,
    /// These have not, and had before.
    Stuck(String),
    /// Somebody has not moved for longer.
    StillStuck,
}

impl Progress {
    fn look(&mut self, pulse: u64, turns: Vec<u64>) -> Look {
        let still = turns.iter().zip(&self.turns).enumerate().filter(|(_, (now, then))| now == then);
        let mut still: Vec<String> = still.map(|(number, _)| format!("worker {number}")).collect();
        if self.pulse == Some(pulse) {
            still.push("the control loop".to_owned());
        }
        (self.pulse, self.turns) = (Some(pulse), turns);
        match (still.is_empty(), std::mem::replace(&mut self.stuck, !still.is_empty())) {
            (true, _) => Look::All,
            (false, false) => Look::Stuck(still.join(" and ")),
            (false, true) => Look::StillStuck,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(watchdog: Option<Duration>) -> (UnixDatagram, Supervisor, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        (manager, Supervisor::to(path.as_os_str(), watchdog).unwrap(), folder)
    }

    fn heard(manager: &UnixDatagram) -> String {
        let mut buffer = [0; 1024];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn the_manager_hears_each_step_as_sd_notify_has_it() {
        let (manager, supervisor, _folder) = pair(None);
        supervisor.ready("2 services\nand more");
        assert_eq!(heard(&manager), "READY=1\nSTATUS=2 services");
        supervisor.reloading();
        let reloading = heard(&manager);
        let time: u64 = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse().unwrap();
        assert!(time > 0 && time <= clock::monotonic_ns() / 1000);
        supervisor.stopping();
        assert!(heard(&manager).starts_with("STOPPING=1\n"));
    }

    #[test]
    fn an_abstract_name_is_reached_too_and_nobody_there_is_an_error() {
        let name = format!("xswitch-test-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let supervisor = Supervisor::to(OsStr::new(&format!("@{name}")), None).unwrap();
        supervisor.ready("fine");
        assert_eq!(heard(&manager), "READY=1\nSTATUS=fine");
        drop(manager);
        supervisor.ready("nobody hears it, and nothing happens");
        Supervisor::to(OsStr::new("/no/such/socket"), None).unwrap_err();
    }

    #[test]
    fn progress_needs_the_loop_and_every_worker() {
        let mut progress = Progress::default();
        assert_eq!(progress.look(1, vec![1, 1]), Look::All);
        assert_eq!(progress.look(2, vec![2, 2]), Look::All);
        assert_eq!(progress.look(3, vec![3, 2]), Look::Stuck("worker 1".into()));
        assert_eq!(progress.look(3, vec![3, 2]), Look::StillStuck, "it was said once");
        assert_eq!(progress.look(4, vec![4, 3]), Look::All);
        assert_eq!(progress.look(4, vec![5, 4]), Look::Stuck("the control loop".into()));
    }
}
