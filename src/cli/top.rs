//! `xswitch top`: services, backends, workers, drops and clients as they change, and keys to drain and enable.
//!
//! | file | holds |
//! |---|---|
//! | [`ask`] | threads that ask the switch |
//! | [`sample`] | rates, and how they were lately |
//! | [`rows`] | what stands in each pane |
//! | [`app`] | what is chosen, and what keys do |
//! | [`draw`] | the picture |

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::signal::unix::{SignalKind, signal};

use super::{BAD_INPUT, FAILED};
use app::{Action, App};
use ask::{Asking, News};
use draw::{Look, draw};
use rows::Pane;

mod app;
mod ask;
mod draw;
mod rows;
mod sample;
#[cfg(test)]
mod tests;

/// How long a key may wait for what comes from the switch, and the other way round.
const GLANCE: Duration = Duration::from_millis(50);
/// How often ages in the picture are written anew.
const REDRAW: Duration = Duration::from_secs(1);

/// What is asked, and how often.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Ask the switch every so many seconds: 0.2 to 3600.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = interval)]
    interval: f64,
    /// Control socket of the running switch.
    #[arg(long, value_name = "PATH", default_value = "/run/xswitch.sock")]
    socket: PathBuf,
}

fn interval(text: &str) -> Result<f64, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.2..=3600.0).contains(seconds));
    seconds.ok_or_else(|| "it is a number of seconds from 0.2 to 3600".into())
}

/// Shows it until somebody quits.
pub fn run(arguments: &Arguments) -> ExitCode {
    if !std::io::stdout().is_terminal() {
        eprintln!("xswitch top: standard output is no terminal: `xswitch status --json` is for programs");
        return ExitCode::from(BAD_INPUT);
    }
    let asking = Asking::start(&arguments.socket, Duration::from_secs_f64(arguments.interval));
    let shown = heed_signals(asking.tell()).and_then(|()| {
        let shown = ratatui::try_init().and_then(|terminal| show(terminal, arguments, &asking));
        ratatui::restore();
        shown
    });
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xswitch top: {error}");
            ExitCode::from(FAILED)
        }
    }
}

/// A signal ends it like a key would, so that the terminal is as it was.
fn heed_signals(tell: Sender<News>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut terminate, mut hangup, mut interrupt) = {
        let _within = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?, signal(SignalKind::interrupt())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        let _ = tell.send(News::Stop);
    });
    Ok(())
}

fn show(mut terminal: DefaultTerminal, arguments: &Arguments, asking: &Asking) -> std::io::Result<()> {
    // https://no-color.org
    let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let socket = arguments.socket.display().to_string();
    let mut app = App::default();
    let (mut drawn, mut stale) = (Instant::now(), true);
    let mut ask_clients = Some(Instant::now());
    loop {
        while let Ok(news) = asking.news.try_recv() {
            stale = true;
            match news {
                News::Status(answer) => app.hear(Instant::now(), answer.map(|status| *status)),
                News::Clients(answer, pause) => {
                    app.hear_clients(Instant::now(), answer);
                    ask_clients = Some(Instant::now() + pause);
                }
                News::Done(text) => app.message = text,
                News::Stop => return Ok(()),
            }
        }
        if app.focus == Pane::Clients && ask_clients.is_some_and(|at| at <= Instant::now()) {
            ask_clients = None;
            asking.clients();
        }
        if stale || drawn.elapsed() >= REDRAW {
            let look = Look { colours, socket: &socket, interval_s: arguments.interval, now: Instant::now() };
            terminal.draw(|frame| draw(frame, &app, look))?;
            (drawn, stale) = (Instant::now(), false);
        }
        if !event::poll(GLANCE)? {
            continue;
        }
        stale = true;
        if let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            match app.press(key) {
                Action::None => {}
                Action::Quit => return Ok(()),
                Action::Give(order) => asking.give(order),
            }
        }
    }
}
