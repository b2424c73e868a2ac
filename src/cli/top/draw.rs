//! The picture: a heading, panes, and a line for keys and messages.
//!
//! ```text
//!  xswitch 0.1.0  up 2 h 1 min  process 7                    every 2 s
//!  in 12k packets/s …
//!  1 Services  2 Backends  …                 ┐ a small terminal shows one pane at a time,
//!  ┌ Services by packets/s ────────────────┐ │ a large one several
//!  └───────────────────────────────────────┘ ┘
//!  keys, or a question, or what came of it
//! ```

use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line as Text, Span};
use ratatui::widgets::{Block, Borders, Cell, Clear, Paragraph, Row, Table, TableState};

use super::app::{App, Mode, question};
use super::rows::{Column, Line, Pane, TREND, Tone};
use super::sample::{Key, short};
use crate::cli::status::duration;
use crate::control::status::Status;

/// From this size of what is below the headings on, several panes are shown.
const LARGE: (u16, u16) = (110, 36);
/// Less is of no use.
const SMALLEST: (u16, u16) = (40, 8);
/// Lines of a pane besides its rows: borders and heading.
const AROUND: u16 = 3;

const HELP: &[&str] = &[
    "Tab, 1-5    another pane",
    "j k ↓ ↑     choose a line; PgUp PgDn g G further",
    "Enter       from a service to its backends",
    "d           drain the chosen backend or service: no new connections",
    "e           enable it again",
    "s           sort otherwise",
    "/           show only lines with this in them; Esc shows all",
    "q           quit",
    "",
    "Rates are of the time since the last look. TREND goes from left to right,",
    "to the height of its own highest value. REFUSED are frames of new connections,",
    "and packets beyond limits. LOST are frames that a ring had no room for.",
];

/// What is the same for every part of the picture.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// Whether there are colours.
    pub colours: bool,
    /// Where the switch is asked.
    pub socket: &'a str,
    /// How often, in seconds.
    pub interval_s: f64,
    /// The time.
    pub now: Instant,
}

impl Look<'_> {
    fn tone(&self, tone: Tone) -> Style {
        match (tone, self.colours) {
            (Tone::Plain, _) => Style::new(),
            (Tone::Noted, true) => Style::new().fg(Color::Yellow),
            (Tone::Noted, false) => Style::new().add_modifier(Modifier::BOLD),
            (Tone::Bad, true) => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
            (Tone::Bad, false) => Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED),
        }
    }
}

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, app: &App, look: Look<'_>) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let text =
            format!("{}×{} is too small: {}×{} at least", area.width, area.height, SMALLEST.0, SMALLEST.1);
        return frame.render_widget(Paragraph::new(text), area);
    }
    let [head, sums, tabs, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(area);
    heading(frame, head, app, look);
    frame.render_widget(
        Paragraph::new(app.series.status().map_or_else(String::new, |status| sum(app, status))),
        sums,
    );
    frame.render_widget(Paragraph::new(names(app)), tabs);
    panes(frame, body, app, look);
    frame.render_widget(footer(app, look), foot);
    if app.mode == Mode::Help {
        help(frame, area);
    }
}

fn heading(frame: &mut Frame<'_>, area: Rect, app: &App, look: Look<'_>) {
    let reversed = Style::new().add_modifier(Modifier::REVERSED);
    if !app.trouble.is_empty() {
        let age = app.series.at().map(|at| look.now.saturating_duration_since(at).as_secs());
        let since = age.map_or_else(String::new, |age| format!(", all below is {age} s old"));
        let text = format!(" no answer{since}; trying again: {} ", app.trouble);
        return frame.render_widget(Paragraph::new(text).style(look.tone(Tone::Bad).patch(reversed)), area);
    }
    let Some(status) = app.series.status() else {
        let text = format!(" asking {} …", look.socket);
        return frame.render_widget(Paragraph::new(text).style(reversed), area);
    };
    let left =
        format!(" xswitch {}  up {}  process {}", status.version, duration(status.uptime_s), status.pid);
    let old = match status.view_age_s {
        Some(0) => String::new(),
        Some(age) => format!("states are {age} s old  "),
        None => "states are not known  ".into(),
    };
    let right = format!("{old}every {} s ", look.interval_s);
    frame.render_widget(Paragraph::new(left).style(reversed), area);
    let [_, right_area] =
        Layout::horizontal([Constraint::Min(0), Constraint::Length(right.chars().count() as u16)])
            .areas(area);
    frame.render_widget(Paragraph::new(right).style(reversed), right_area);
}

fn sum(app: &App, status: &Status) -> String {
    let rates = app.series.rates(&Key::Total);
    let backends = || status.services.iter().flat_map(|service| &service.backends);
    let up = backends().filter(|backend| backend.state == "up").count();
    format!(
        " {up}/{} backends up  {} pkt/s  {}bit/s  {} new/s  {} drops/s  {} connections, room for {}",
        backends().count(),
        short(rates.packets),
        short(rates.bits),
        short(rates.new),
        short(rates.dropped),
        short(status.connections.active as f64),
        short((status.connections.max + status.connections.max_ipv6) as f64),
    )
}

fn names(app: &App) -> Text<'static> {
    let name = |(number, pane): (usize, &Pane)| {
        let style = match *pane == app.focus {
            true => Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED),
            false => Style::new(),
        };
        [Span::raw(" "), Span::styled(format!(" {} {} ", number + 1, pane.name()), style)]
    };
    Text::from_iter(Pane::ALL.iter().enumerate().flat_map(name))
}

/// Which panes there is room for.
fn panes(frame: &mut Frame<'_>, area: Rect, app: &App, look: Look<'_>) {
    if area.width < LARGE.0 || area.height < LARGE.1 {
        return pane(frame, area, app.focus, app, look);
    }
    let rows =
        |pane: Pane, most: u16| Constraint::Length((app.lines(pane).len() as u16).clamp(1, most) + AROUND);
    let quarter = area.height / 4;
    let bottom = (app.lines(Pane::Workers).len() as u16).clamp(6, quarter) + AROUND;
    let [services, backends, rest] = Layout::vertical([
        rows(Pane::Services, quarter),
        Constraint::Min(AROUND + 1),
        Constraint::Length(bottom),
    ])
    .areas(area);
    let [workers, last] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(rest);
    let lasts = if app.focus == Pane::Clients { Pane::Clients } else { Pane::Drops };
    for (area, name) in
        [(services, Pane::Services), (backends, Pane::Backends), (workers, Pane::Workers), (last, lasts)]
    {
        pane(frame, area, name, app, look);
    }
}

fn pane(frame: &mut Frame<'_>, area: Rect, name: Pane, app: &App, look: Look<'_>) {
    let lines = app.lines(name);
    let is_focus = name == app.focus;
    let border = if is_focus {
        Style::new().add_modifier(Modifier::BOLD)
    } else {
        Style::new().add_modifier(Modifier::DIM)
    };
    let block =
        Block::new().borders(Borders::ALL).border_style(border).title(title(name, lines.len(), app, look));
    let chosen = app.chosen(name, &lines).filter(|_| is_focus);
    let block = block.title_bottom(chosen.map_or_else(String::new, |at| detail(name, &lines[at])));
    let inner = block.inner(area);
    let columns = fitting(name.columns(), inner.width);
    let widths = widths(&columns, &lines, inner.width);
    let header = Row::new(
        columns.iter().zip(&widths).map(|((_, column), width)| aligned(column.name, column, *width)),
    )
    .style(Style::new().add_modifier(Modifier::BOLD));
    let rows = lines.iter().map(|line| row(line, &columns, &widths, app, look));
    let constraints = widths.iter().map(|width| Constraint::Length(*width));
    let table = Table::new(rows, constraints)
        .header(header)
        .block(block)
        .column_spacing(1)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected(chosen);
    frame.render_stateful_widget(table, area, &mut state);
    if lines.is_empty() && inner.height > 1 {
        let below = Rect { y: inner.y + 1, height: 1, ..inner };
        frame.render_widget(Paragraph::new(nothing(name, app)), below);
    }
}

/// What a small terminal has no column for.
fn detail(name: Pane, line: &Line) -> String {
    match (name, line.cells.last()) {
        (Pane::Backends | Pane::Drops, Some(text)) if !text.is_empty() => format!(" {text} "),
        _ => String::new(),
    }
}

fn title(name: Pane, count: usize, app: &App, look: Look<'_>) -> String {
    let filter = &app.view(name).filter;
    let filter = if filter.is_empty() { String::new() } else { format!(" with {filter:?}") };
    let what = match (name, app.clients.at) {
        (Pane::Clients, Some(at)) => format!(
            ": the {} most recently active of {} connections, {} s ago",
            app.clients.connections.len(),
            app.clients.total,
            look.now.saturating_duration_since(at).as_secs()
        ),
        _ => format!(": {count}"),
    };
    if name == Pane::Clients && !app.clients.trouble.is_empty() {
        return format!(" {}: {} ", name.name(), app.clients.trouble);
    }
    format!(" {}{what}{filter}, by {} ", name.name(), app.order(name).name())
}

fn nothing(name: Pane, app: &App) -> &'static str {
    match name {
        _ if app.series.status().is_none() => "",
        _ if !app.view(name).filter.is_empty() => "nothing has that in it: Esc shows all",
        Pane::Drops => "no frame was dropped",
        Pane::Clients if app.clients.at.is_none() => "looking through the connections …",
        _ => "none",
    }
}

/// The columns that fit, each with its position; those of the highest rank go first.
fn fitting(columns: &'static [Column], width: u16) -> Vec<(usize, &'static Column)> {
    let mut shown: Vec<_> = columns.iter().enumerate().collect();
    while needed(&shown) > width
        && let Some(rank) = shown.iter().map(|(_, column)| column.rank).max().filter(|rank| *rank > 0)
        && let Some(last) = shown.iter().rposition(|(_, column)| column.rank == rank)
    {
        shown.remove(last);
    }
    shown
}

fn needed(shown: &[(usize, &Column)]) -> u16 {
    shown.iter().map(|(_, column)| column.width + 1).sum::<u16>().saturating_sub(1)
}

/// What is left goes to cells that need it, and then to the last column; a trend that is not the last one gets half of that.
fn widths(shown: &[(usize, &Column)], lines: &[Line], width: u16) -> Vec<u16> {
    let mut widths: Vec<u16> = shown.iter().map(|(_, column)| column.width).collect();
    let mut left = width.saturating_sub(needed(shown));
    for ((at, column), width) in shown.iter().zip(&mut widths).take(shown.len().saturating_sub(1)) {
        let longest = lines.iter().filter_map(|line| line.cells.get(*at)).map(|cell| cell.chars().count());
        let more = (longest.max().unwrap_or(0) as u16).saturating_sub(column.width).min(left);
        *width += more;
        left -= more;
    }
    let trend = shown.iter().position(|(_, column)| column.name == TREND);
    if let Some(at) = trend.filter(|at| at + 1 < shown.len()) {
        let more = (left / 2).min(24);
        widths[at] += more;
        left -= more;
    }
    if let Some(width) = widths.last_mut() {
        *width += left;
    }
    widths
}

fn aligned<'a>(text: &str, column: &Column, width: u16) -> Cell<'a> {
    let alignment = if column.right { Alignment::Right } else { Alignment::Left };
    Cell::new(Text::from(cut(text, width.into())).alignment(alignment))
}

/// As much of it as fits.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

fn row<'a>(
    line: &Line,
    columns: &[(usize, &'static Column)],
    widths: &[u16],
    app: &App,
    look: Look<'_>,
) -> Row<'a> {
    let cells = columns.iter().zip(widths).map(|((at, column), width)| {
        if column.name == TREND {
            return Cell::new(app.series.trend(&line.key, usize::from((*width).min(64))));
        }
        aligned(line.cells.get(*at).map_or("", String::as_str), column, *width)
    });
    Row::new(cells).style(look.tone(line.tone))
}

fn footer(app: &App, look: Look<'_>) -> Paragraph<'static> {
    match &app.mode {
        Mode::Filter => Paragraph::new(format!(
            " show only lines with: {}▏  Enter keeps it, Esc shows all",
            app.view(app.focus).filter
        )),
        Mode::Confirm(order) => {
            let style = look.tone(Tone::Noted).add_modifier(Modifier::REVERSED);
            Paragraph::new(format!(" {} ", question(order))).style(style)
        }
        _ if !app.message.is_empty() => {
            Paragraph::new(format!(" {}", app.message)).style(look.tone(Tone::Noted))
        }
        _ => {
            Paragraph::new("Tab pane  jk move  Enter open  d drain  e enable  s sort  / find  ? help  q quit")
        }
    }
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let width = HELP.iter().map(|line| line.chars().count() as u16).max().unwrap_or(0) + 4;
    let (width, height) = (width.min(area.width), (HELP.len() as u16 + 2).min(area.height));
    let area = Rect { x: (area.width - width) / 2, y: (area.height - height) / 2, width, height };
    frame.render_widget(Clear, area);
    let lines: Vec<Text<'_>> = HELP.iter().map(|line| Text::from(format!(" {line}"))).collect();
    let block = Block::new().borders(Borders::ALL).title(" Keys; any key ends this ");
    frame.render_widget(Paragraph::new(lines).block(block), area);
}
