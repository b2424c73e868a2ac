//! Backends from a file: `ADDRESS:PORT [WEIGHT] [backup]` per line, `#` begins a comment.
//!
//! The file's stamp (inode, size, times) is looked at every second. inotify would say so sooner, but it watches an inode,
//! not a name: whoever writes a new file and renames it, as one should, needs the folder watched as well, through symbolic
//! links, and on network file systems nothing is said at all. A look costs one system call.

use std::collections::HashMap;
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::MAX_FOUND;
use super::judge::Judge;
use crate::config::valid::Backend;

/// Between two looks at the stamp.
const LOOK: Duration = Duration::from_secs(1);
/// A file that changed less than this ago may change again without another stamp, or be half written.
const SETTLED: Duration = Duration::from_secs(2);
/// A line of the longest address with weight and comment, for as many backends as there may be.
const MOST_BYTES: u64 = 200 * MAX_FOUND as u64;
/// The largest weight, as in the configuration.
const MOST_WEIGHT: u32 = 65_535;

/// By what a change is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What a look found.
#[derive(Debug, PartialEq)]
enum Look {
    /// The same as before, or not finished yet.
    Nothing,
    /// A text, and its stamp once that is to be relied on.
    Text(String, Option<Stamp>),
}

/// Watches the file for ever.
pub(super) async fn watch(path: PathBuf, weight: u32, mut judge: Judge) {
    let mut known = None;
    loop {
        let at = path.clone();
        // A file system may be slow or hang: not in the runtime's threads.
        let looked = tokio::task::spawn_blocking(move || look(&at, known)).await;
        match looked.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(Look::Nothing) => {}
            Ok(Look::Text(text, stamp)) => {
                judge.hear(parse(&text, weight));
                known = stamp;
            }
            Err(problem) => {
                judge.hear(Err(format!("{problem}: last good set kept")));
                known = None;
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn look(path: &Path, known: Option<Stamp>) -> Result<Look, String> {
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("not a regular file".to_owned());
    }
    let stamp = Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    };
    if known == Some(stamp) {
        return Ok(Look::Nothing);
    }
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!("more than {MOST_BYTES} bytes"));
    }
    let text = String::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())?;
    // A time in the future is settled as well: waiting for it would be for ever.
    let age = metadata.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
    let is_young = age.is_some_and(|age| age < SETTLED);
    if is_young && !text.is_empty() && !text.ends_with('\n') {
        return Ok(Look::Nothing);
    }
    Ok(Look::Text(text, (!is_young).then_some(stamp)))
}

/// The backends of a file. One line that is not understood and nothing is: it may be half of one.
fn parse(text: &str, weight: u32) -> Result<Vec<Backend>, String> {
    let mut lines: HashMap<SocketAddr, usize> = HashMap::new();
    let mut backends = Vec::new();
    for (number, line) in text.lines().enumerate().map(|(position, line)| (position + 1, line)) {
        let content = line.split('#').next().unwrap_or_default();
        let parsed = parse_line(content, weight).and_then(|backend| match backend {
            Some(backend) => match lines.insert(backend.address, number) {
                Some(first) => Err(format!("{} is on line {first} already", backend.address)),
                None => Ok(Some(backend)),
            },
            None => Ok(None),
        });
        backends.extend(parsed.map_err(|why| format!("line {number}: {why}: last good set kept"))?);
    }
    Ok(backends)
}

fn parse_line(content: &str, weight: u32) -> Result<Option<Backend>, String> {
    let mut words = content.split_whitespace();
    let Some(address) = words.next() else { return Ok(None) };
    let parsed = address.parse::<SocketAddr>();
    let parsed = parsed.map_err(|_| format!("{address:?} is not an address with a port"))?;
    // A zone means an interface: what is left is address and port.
    let mut backend = Backend::new(SocketAddr::new(parsed.ip(), parsed.port()), weight);
    let mut next = words.next();
    if let Some(word) = next.filter(|word| *word != "backup") {
        let number = word.parse().ok().filter(|number| *number <= MOST_WEIGHT);
        backend.weight = number.ok_or_else(|| format!("{word:?} is no weight from 0 to {MOST_WEIGHT}"))?;
        next = words.next();
    }
    backend.backup = next == Some("backup");
    let beyond = if backend.backup { words.next() } else { next };
    match beyond {
        Some(word) => Err(format!("{word:?} is not understood: ADDRESS:PORT [WEIGHT] [backup]")),
        None => Ok(Some(backend)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::valid::Source;
    use crate::control::discover::Discovery;
    use crate::control::discover::testing::{backend, next, next_addresses, problem, service, wanted};

    #[test]
    fn a_line_has_an_address_and_may_have_more() {
        let text = "# servers\n\n10.0.0.1:80\n  10.0.0.2:80 3 # three\n[2001:db8::1]:80 0 backup\r\n10.0.0.3:80 backup";
        let expected = [
            backend("10.0.0.1:80", 7, false),
            backend("10.0.0.2:80", 3, false),
            backend("[2001:db8::1]:80", 0, true),
            backend("10.0.0.3:80", 7, true),
        ];
        assert_eq!(parse(text, 7).unwrap(), expected);
        assert_eq!(parse("", 7).unwrap(), []);
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        let cases = [
            ("10.0.0.1:80\n10.0.0", "line 2: \"10.0.0\" is not an address with a port"),
            ("web:80", "line 1: \"web:80\" is not an address with a port"),
            ("10.0.0.1:80 x", "line 1: \"x\" is no weight from 0 to 65535"),
            ("10.0.0.1:80 65536", "line 1: \"65536\" is no weight from 0 to 65535"),
            ("10.0.0.1:80 1 2", "line 1: \"2\" is not understood: ADDRESS:PORT [WEIGHT] [backup]"),
            ("10.0.0.1:80 backup 2", "line 1: \"2\" is not understood: ADDRESS:PORT [WEIGHT] [backup]"),
            ("10.0.0.1:80\n\n10.0.0.1:80 2", "line 3: 10.0.0.1:80 is on line 1 already"),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text, 1).unwrap_err(), format!("{expected}: last good set kept"));
        }
    }

    #[test]
    fn a_young_file_is_read_again_and_half_a_line_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backends");
        std::fs::write(&path, "10.0.0.1:8").unwrap();
        assert_eq!(look(&path, None), Ok(Look::Nothing));
        std::fs::write(&path, "10.0.0.1:80\n").unwrap();
        assert_eq!(look(&path, None), Ok(Look::Text("10.0.0.1:80\n".into(), None)));
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - 2 * SETTLED).unwrap();
        let Ok(Look::Text(_, Some(stamp))) = look(&path, None) else { panic!("an old file has a stamp") };
        assert_eq!(look(&path, Some(stamp)), Ok(Look::Nothing));
    }

    #[test]
    fn what_is_no_file_is_a_problem() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(look(folder.path(), None), Err("not a regular file".into()));
        assert!(look(&folder.path().join("none"), None).unwrap_err().contains("No such file"));
        let path = folder.path().join("bytes");
        std::fs::write(&path, b"\xff\n").unwrap();
        assert_eq!(look(&path, None), Err("not UTF-8".into()));
    }

    #[tokio::test]
    async fn a_file_is_followed_and_its_mistakes_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backends");
        let write = |text: &str| {
            let fresh = folder.path().join("fresh");
            std::fs::write(&fresh, text).unwrap();
            std::fs::rename(fresh, &path).unwrap();
        };
        let (discovery, mut found) = Discovery::start();
        let key = service("198.18.0.100:80");
        discovery.set(vec![(key, wanted(Source::File { path: path.clone() }, 1))], &[]);
        assert!(problem(&discovery, &key).await.contains("No such file"), "there is no file yet");

        write("10.0.0.2:80\n10.0.0.1:80 3\n");
        let expected = [backend("10.0.0.1:80", 3, false), backend("10.0.0.2:80", 7, false)];
        assert_eq!(next(&mut found).await, expected);
        write("10.0.0.1:80\n10.0\n");
        assert!(problem(&discovery, &key).await.starts_with("line 2:"));
        assert_eq!(discovery.watched()[&key].backends, 2);
        write("");
        tokio::time::sleep(2 * LOOK).await;
        assert!(problem(&discovery, &key).await.contains("fewer than min_backends = 1"));
        write("10.0.0.4:80\n");
        assert_eq!(next_addresses(&mut found).await, ["10.0.0.4:80"]);
        let watched = &discovery.watched()[&key];
        assert_eq!((watched.backends, &watched.problem), (1, &None));
        assert_eq!(watched.source, format!("file {}", path.display()));
        assert!(watched.age_s.is_some_and(|age| age < 10));
    }
}
