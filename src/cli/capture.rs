//! `xswitch capture`: frames as they come and as they leave, with what became of them, as pcapng.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{BAD_INPUT, FAILED};
use crate::control::capture::{FEWEST_BYTES, Filter, MOST_SECONDS, Question, SNAPLEN};
use crate::control::client::{self, ClientError, Streamed};
use crate::tables::DropReason;
use crate::tables::capture::Outcome;
use blocks::{Blocks, Seen};

mod blocks;

/// Which frames, how many of them, and where they go.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Write to this file; to standard output: -. `--out - | wireshark -k -i -` shows frames as they come.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Only frames of this service: of its connections either way, refused ones, ICMP errors about them.
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Only with this address, or one in this prefix: in the frame, or of its connection on either side.
    #[arg(long, value_name = "ADDRESS|PREFIX")]
    host: Option<String>,
    /// Only with this port, likewise.
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Only of this protocol; icmp is that of both versions.
    #[arg(long, value_name = "PROTOCOL", value_parser = ["tcp", "udp", "icmp", "arp"])]
    protocol: Option<String>,
    /// Only those that came in through this interface.
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// Only those of which this became. A held frame is a fragment that waits for the first of its datagram.
    #[arg(long, value_name = "VERDICT", value_parser = clap::builder::PossibleValuesParser::new(Outcome::NAMES))]
    verdict: Option<String>,
    /// Only those that were dropped for this reason, as `xswitch status` names it.
    #[arg(long, value_name = "REASON", value_parser = reasons())]
    reason: Option<String>,
    /// Keep one in N of them: 1/N.
    #[arg(long, value_name = "1/N", default_value = "1/1", value_parser = sample)]
    sample: u32,
    /// End after so many frames.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after so many seconds.
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_SECONDS)))]
    seconds: u32,
    /// End before the file is longer than so many bytes: 4096, 500K, 100M, 2G.
    #[arg(long, value_name = "BYTES", default_value = "100M", value_parser = size)]
    size: u64,
    /// Keep so many bytes of a frame.
    #[arg(long, value_name = "BYTES", default_value_t = 2048, value_parser = clap::value_parser!(u16).range(i64::from(SNAPLEN.0)..=i64::from(SNAPLEN.1)))]
    snaplen: u16,
    /// Control socket of the running switch.
    #[arg(long, value_name = "PATH", default_value = "/run/xswitch.sock")]
    socket: PathBuf,
}

fn reasons() -> clap::builder::PossibleValuesParser {
    let names = DropReason::ALL.iter().map(|reason| reason.name());
    clap::builder::PossibleValuesParser::new(names.collect::<Vec<_>>())
}

fn sample(text: &str) -> Result<u32, String> {
    let number = text.strip_prefix("1/").unwrap_or(text).parse().ok();
    number.filter(|number| *number > 0).ok_or_else(|| "it is 1/N: 1/100 keeps every hundredth frame".into())
}

fn size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    let enough = bytes.filter(|bytes| *bytes >= FEWEST_BYTES);
    enough.ok_or_else(|| format!("it is a number of bytes from {FEWEST_BYTES} on, also with K, M or G"))
}

/// Where it goes, once there is something.
enum Out {
    Pipe(std::io::Stdout),
    File(File),
}

impl Out {
    fn open(arguments: &Arguments) -> std::io::Result<Self> {
        if arguments.is_pipe() {
            Ok(Self::Pipe(std::io::stdout()))
        } else {
            File::create(&arguments.out).map(Self::File)
        }
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Pipe(pipe) => pipe.write_all(bytes).and_then(|()| pipe.flush()),
            Self::File(file) => file.write_all(bytes),
        }
    }
}

impl Arguments {
    fn is_pipe(&self) -> bool {
        self.out.as_os_str() == "-"
    }

    fn question(&self) -> Question {
        Question {
            filter: Filter {
                service: self.service.clone(),
                host: self.host.clone(),
                port: self.port,
                protocol: self.protocol.clone(),
                interface: self.interface.clone(),
                verdict: self.verdict.clone(),
                reason: self.reason.clone(),
            },
            sample: self.sample,
            snaplen: self.snaplen,
            count: self.count,
            seconds: self.seconds,
            size: Some(self.size),
        }
    }
}

/// Captures until a limit is reached, a signal comes, or whoever reads the pipe is gone.
pub fn run(arguments: &Arguments) -> ExitCode {
    if arguments.is_pipe() && std::io::stdout().is_terminal() {
        eprintln!("xswitch capture: this is no text for a terminal: --out FILE, or `--out - | tshark -r -`");
        return ExitCode::from(BAD_INPUT);
    }
    let (mut blocks, mut out, mut failed) = (Blocks::default(), None, None);
    let streamed = client::stream(&arguments.socket, "/v1/capture", &arguments.question(), |piece| {
        let written = put(piece, &mut blocks, &mut out, arguments);
        failed = written.err();
        failed.is_none()
    });
    match (streamed, failed) {
        // A reader that has seen enough (`| head`) is no failure of ours.
        (Ok(_), Some(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        (Ok(_), Some(error)) => fail(&format!("{}: {error}", arguments.out.display())),
        (Ok(Streamed::Broken), None) => {
            eprint!("{}", summary(&blocks.seen, arguments));
            fail("the switch went away")
        }
        (Ok(_), None) => {
            eprint!("{}", summary(&blocks.seen, arguments));
            ExitCode::SUCCESS
        }
        (Err(ClientError::Invalid(text)), _) => {
            eprintln!("xswitch capture: {text}");
            ExitCode::from(BAD_INPUT)
        }
        (Err(error), _) => fail(&error.to_string()),
    }
}

fn fail(text: &str) -> ExitCode {
    eprintln!("xswitch capture: {text}");
    ExitCode::from(FAILED)
}

fn put(
    piece: &[u8],
    blocks: &mut Blocks,
    out: &mut Option<Out>,
    arguments: &Arguments,
) -> std::io::Result<()> {
    let garbage = || std::io::Error::other("what the switch sends is no capture of this version");
    let whole = blocks.take(piece).ok_or_else(garbage)?;
    let out = match out {
        Some(out) => out,
        None => out.insert(Out::open(arguments)?),
    };
    out.write(&whole)
}

/// What was captured and what was not.
fn summary(seen: &Seen, arguments: &Arguments) -> String {
    let Seen { packets, lost, ended, .. } = seen;
    let place =
        if arguments.is_pipe() { "standard output".into() } else { arguments.out.display().to_string() };
    let plural =
        |count: u64, one: &str| if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") };
    let of = if ended.is_empty() {
        String::new()
    } else {
        format!(" of {}, {} matched", plural(seen.frames, "frame"), seen.matched)
    };
    let why = match ended.as_str() {
        "" => "; interrupted".to_owned(),
        limit => format!("; ended by --{limit}"),
    };
    let mut text = format!("{}{of}, in {place}{why}\n", plural(*packets, "packet"));
    if *lost > 0 {
        let lost = plural(*lost, "frame");
        text.push_str(&format!(
            "{lost} matched and could not be kept: frames came faster than they were taken away; \
             narrow the filter, or use --sample or --snaplen\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parse(words: &[&str]) -> Result<Arguments, clap::Error> {
        Line::try_parse_from([&["capture"], words].concat()).map(|line| line.arguments)
    }

    #[test]
    fn what_is_not_said_has_limits() {
        let question = parse(&["--out", "-"]).unwrap().question();
        assert_eq!((question.seconds, question.size, question.count), (60, Some(100 << 20), None));
        assert_eq!(Question { size: None, ..question }, Question::default());
    }

    #[test]
    fn fractions_and_sizes_are_understood_or_refused() {
        assert_eq!([sample("1/100"), sample("7")], [Ok(100), Ok(7)]);
        assert_eq!([size("4096"), size("8K"), size("1G")], [Ok(4096), Ok(8192), Ok(1 << 30)]);
        for wrong in ["", "1/0", "0", "1/x", "2/3"] {
            assert!(sample(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "K", "4095", "1T", "99999999999G"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        for wrong in
            [&["--verdict", "dropped"][..], &["--reason", "x"], &["--snaplen", "64"], &["--seconds", "0"]]
        {
            assert!(parse(&[&["--out", "-"], wrong].concat()).is_err(), "{wrong:?}");
        }
        assert!(parse(&[]).is_err(), "it must go somewhere");
    }

    #[test]
    fn the_summary_says_what_was_captured_and_what_was_lost() {
        let arguments = parse(&["--out", "a.pcapng"]).unwrap();
        let ended = |ended: &str, lost| Seen { packets: 3, frames: 2, matched: 9, lost, ended: ended.into() };
        assert_eq!(
            summary(&ended("count", 0), &arguments),
            "3 packets of 2 frames, 9 matched, in a.pcapng; ended by --count\n"
        );
        let text = summary(&ended("", 1), &arguments);
        assert!(text.starts_with("3 packets, in a.pcapng; interrupted\n1 frame matched and could"), "{text}");
    }
}
