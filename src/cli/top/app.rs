//! What is shown and chosen, and what keys do to it. Nothing here talks to a terminal or a switch.

use std::time::Instant;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::rows::{Line, Order as LineOrder, Pane, lines};
use super::sample::{Key, Series};
use crate::control::connections::{Listing, Row};
use crate::control::orders::{Change, Order};
use crate::control::status::Status;

/// What of a pane is shown.
#[derive(Debug, Clone, Default)]
pub struct View {
    order: usize,
    /// Only lines with this in them.
    pub filter: String,
    chosen: Option<Key>,
    at: usize,
}

/// What keys mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// They choose.
    Browse,
    /// They are typed into the filter.
    Filter,
    /// They say whether this is to be done.
    Confirm(Order),
    /// Any ends the help.
    Help,
}

/// What a key asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing that others must do.
    None,
    /// The end.
    Quit,
    /// The switch is to do this.
    Give(Order),
}

/// Clients, as far as they are known.
#[derive(Debug, Clone, Default)]
pub struct Clients {
    /// The connections that were active last.
    pub connections: Vec<Row>,
    /// How many there are in all.
    pub total: u64,
    /// When that was.
    pub at: Option<Instant>,
    /// Why it is not known better; empty where it is.
    pub trouble: String,
}

/// All of it.
#[derive(Debug)]
pub struct App {
    /// What the switch said.
    pub series: Series,
    /// Which pane the keys are for.
    pub focus: Pane,
    views: [View; 5],
    /// What keys mean.
    pub mode: Mode,
    /// What is to be said below.
    pub message: String,
    /// Why the switch does not answer; empty where it does.
    pub trouble: String,
    /// Who is connected.
    pub clients: Clients,
}

impl Default for App {
    fn default() -> Self {
        Self {
            series: Series::default(),
            focus: Pane::Services,
            views: Default::default(),
            mode: Mode::Browse,
            message: String::new(),
            trouble: String::new(),
            clients: Clients::default(),
        }
    }
}

impl App {
    /// The switch said how it stands, or did not answer.
    pub fn hear(&mut self, at: Instant, answer: Result<Status, String>) {
        match answer {
            Ok(status) => {
                let pid = status.pid;
                if self.series.add(at, status) {
                    self.message = format!("the switch was started anew: process {pid}");
                }
                self.trouble.clear();
            }
            Err(trouble) => self.trouble = trouble,
        }
    }

    /// It said who is connected, or not.
    pub fn hear_clients(&mut self, at: Instant, answer: Result<Listing, String>) {
        let clients = &mut self.clients;
        match answer {
            Ok(listing) => {
                clients.connections = listing.connections;
                (clients.total, clients.at) = (listing.total, Some(at));
                clients.trouble.clear();
            }
            Err(trouble) => clients.trouble = trouble,
        }
    }

    fn view_mut(&mut self) -> &mut View {
        &mut self.views[self.focus as usize]
    }

    /// What of a pane is shown.
    pub fn view(&self, pane: Pane) -> &View {
        &self.views[pane as usize]
    }

    /// In which order.
    pub fn order(&self, pane: Pane) -> LineOrder {
        let orders = pane.orders();
        orders[self.view(pane).order % orders.len()]
    }

    /// The lines of a pane.
    pub fn lines(&self, pane: Pane) -> Vec<Line> {
        lines(pane, &self.series, &self.clients.connections, self.order(pane), &self.view(pane).filter)
    }

    /// Which of its lines is chosen: the one that was, wherever it is now, or the one in its place.
    pub fn chosen(&self, pane: Pane, lines: &[Line]) -> Option<usize> {
        let view = self.view(pane);
        let last = lines.len().checked_sub(1)?;
        let found = view.chosen.as_ref().and_then(|key| lines.iter().position(|line| line.key == *key));
        Some(found.unwrap_or(view.at.min(last)))
    }

    /// A key was pressed.
    pub fn press(&mut self, key: KeyEvent) -> Action {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Action::Quit;
        }
        match std::mem::replace(&mut self.mode, Mode::Browse) {
            Mode::Browse => return self.browse(key.code),
            Mode::Help => {}
            Mode::Filter => self.type_filter(key.code),
            Mode::Confirm(order) => match key.code {
                KeyCode::Char('y' | 'Y') => {
                    self.message = "asked; waiting for the switch".into();
                    return Action::Give(order);
                }
                _ => self.message = "nothing was changed".into(),
            },
        }
        Action::None
    }

    fn browse(&mut self, code: KeyCode) -> Action {
        self.message.clear();
        match code {
            KeyCode::Char('q') => return Action::Quit,
            KeyCode::Char('j') | KeyCode::Down => self.step(1),
            KeyCode::Char('k') | KeyCode::Up => self.step(-1),
            KeyCode::PageDown => self.step(10),
            KeyCode::PageUp => self.step(-10),
            KeyCode::Char('g') | KeyCode::Home => self.step(isize::MIN / 2),
            KeyCode::Char('G') | KeyCode::End => self.step(isize::MAX / 2),
            KeyCode::Tab | KeyCode::Right => self.turn(1),
            KeyCode::BackTab | KeyCode::Left => self.turn(Pane::ALL.len() - 1),
            KeyCode::Char(digit @ '1'..='5') => self.focus = Pane::ALL[digit as usize - '1' as usize],
            KeyCode::Char('s') => {
                let orders = self.focus.orders().len();
                let view = self.view_mut();
                view.order = (view.order + 1) % orders;
            }
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Esc => self.view_mut().filter.clear(),
            KeyCode::Char('?' | 'h') => self.mode = Mode::Help,
            KeyCode::Char('d') => self.ask(Change::Drain),
            KeyCode::Char('e') => self.ask(Change::Enable),
            KeyCode::Enter => self.open(),
            _ => {}
        }
        Action::None
    }

    fn type_filter(&mut self, code: KeyCode) {
        let filter = &mut self.view_mut().filter;
        match code {
            KeyCode::Enter => return,
            KeyCode::Esc => {
                filter.clear();
                return;
            }
            KeyCode::Backspace => drop(filter.pop()),
            KeyCode::Char(letter) => filter.push(letter),
            _ => {}
        }
        self.mode = Mode::Filter;
    }

    fn turn(&mut self, by: usize) {
        self.focus = Pane::ALL[(self.focus as usize + by) % Pane::ALL.len()];
    }

    fn step(&mut self, by: isize) {
        let lines = self.lines(self.focus);
        let Some(at) = self.chosen(self.focus, &lines) else { return };
        let at = at.saturating_add_signed(by).min(lines.len() - 1);
        let key = lines.get(at).map(|line| line.key.clone());
        let view = self.view_mut();
        (view.at, view.chosen) = (at, key);
    }

    fn chosen_key(&self) -> Option<Key> {
        let lines = self.lines(self.focus);
        let at = self.chosen(self.focus, &lines)?;
        lines.get(at).map(|line| line.key.clone())
    }

    /// From a service to its backends.
    fn open(&mut self) {
        if let Some(Key::Service(name)) = self.chosen_key() {
            self.focus = Pane::Backends;
            *self.view_mut() = View { filter: name, ..View::default() };
        }
    }

    /// Asks whether the chosen one is really meant.
    fn ask(&mut self, change: Change) {
        let (service, backend) = match self.chosen_key() {
            Some(Key::Service(name)) => (name, None),
            Some(Key::Backend(service, address)) => (service, Some(address)),
            _ => {
                self.message = "only services and backends can be drained and enabled".into();
                return;
            }
        };
        // Chosen from now on, wherever the next status puts it.
        let key = self.chosen_key();
        self.view_mut().chosen = key;
        self.mode = Mode::Confirm(Order { service, backend, change, save: false });
    }
}

/// An order as a question.
pub fn question(order: &Order) -> String {
    let what = match order.change {
        Change::Drain => "drain",
        _ => "enable",
    };
    match order.backend {
        Some(backend) => format!("{what} backend {backend} of service {}? y/n", order.service),
        None => format!("{what} service {} with all of its backends? y/n", order.service),
    }
}
