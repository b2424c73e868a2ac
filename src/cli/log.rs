//! What is logged, and how it looks: on standard error, one line for each event.

use std::fmt;
use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use clap::ValueEnum;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt};

/// Options about the log.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct Options {
    /// How much is logged. Default: what XSWITCH_LOG says, else info.
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<Verbosity>,
    /// A line of text or a JSON object for each event. Default: what XSWITCH_LOG_FORMAT says, else text.
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<Format>,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "the usual names")]
pub enum Verbosity {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people; in colour on a terminal.
    #[default]
    Text,
    /// For machines: `timestamp`, `level`, `message` and the event's own fields.
    Json,
}

/// What lines of text look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Colour,
    /// For systemd's journal, which has the time itself and takes the level as `<N>` (sd-daemon(3)).
    Journal,
    Json,
}

impl Options {
    /// Starts logging. How events are written.
    pub fn start(&self) -> Format {
        let format = self.log_format.unwrap_or_else(|| {
            let named = std::env::var("XSWITCH_LOG_FORMAT").ok();
            named.and_then(|name| Format::from_str(&name, true).ok()).unwrap_or_default()
        });
        let style = match format {
            Format::Json => Style::Json,
            Format::Text if std::io::stderr().is_terminal() && !is_without_colour() => Style::Colour,
            Format::Text if writes_to_journal() => Style::Journal,
            Format::Text => Style::Plain,
        };
        let subscriber = subscriber(self.filter(), style, std::io::stderr);
        // Fails where there is one already: a program has one beginning.
        let _ = tracing::subscriber::set_global_default(subscriber);
        format
    }

    fn filter(&self) -> EnvFilter {
        match self.log_level {
            Some(level) => EnvFilter::new(level.name()),
            None => EnvFilter::try_from_env("XSWITCH_LOG").unwrap_or_else(|_| EnvFilter::new("info")),
        }
    }
}

impl Verbosity {
    const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

fn subscriber<W>(filter: EnvFilter, style: Style, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_target(false);
    let layer = match style {
        Style::Plain => layer.with_ansi(false).boxed(),
        Style::Colour => layer.with_ansi(true).boxed(),
        Style::Journal => layer.with_ansi(false).event_format(Journal).boxed(),
        Style::Json => {
            layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
    };
    Box::new(tracing_subscriber::registry().with(layer.with_filter(filter)))
}

/// Whether standard error leads to systemd's journal: `JOURNAL_STREAM` names its device and inode (systemd.exec(5)).
fn writes_to_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let own = std::io::stderr().as_fd().try_clone_to_owned().map(File::from).and_then(|file| file.metadata());
    own.is_ok_and(|own| stream == format!("{}:{}", own.dev(), own.ino()))
}

/// Whether somebody wants no colour anywhere (no-color.org).
fn is_without_colour() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// Level, message and fields, without the time.
struct Journal;

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            _ => 7,
        };
        write!(writer, "<{priority}>")?;
        context.format_fields(writer.by_ref(), event)?;
        writer.write_char('\n')
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// What two events look like.
    fn written(options: Options, style: Style) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let file = Arc::new(File::create(&path).unwrap());
        tracing::subscriber::with_default(subscriber(options.filter(), style, file), || {
            tracing::warn!(service = "web", cause = "timed out", "backend is down");
            tracing::debug!("only for those who ask");
        });
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn text_has_time_and_level_and_no_colour_where_none_is_wanted() {
        let options = Options { log_level: Some(Verbosity::Info), log_format: None };
        let text = written(options, Style::Plain);
        assert!(text.contains("WARN backend is down service=\"web\" cause=\"timed out\""), "{text}");
        assert!(text.starts_with("20") && !text.contains('\u{1b}') && text.lines().count() == 1, "{text}");
        assert!(written(options, Style::Colour).contains('\u{1b}'));
    }

    #[test]
    fn the_journal_gets_the_level_in_its_own_way_and_no_second_time() {
        let options = Options { log_level: Some(Verbosity::Debug), log_format: None };
        assert_eq!(
            written(options, Style::Journal),
            "<4>backend is down service=\"web\" cause=\"timed out\"\n<7>only for those who ask\n"
        );
    }

    #[test]
    fn json_is_an_object_a_line() {
        let text = written(Options { log_level: Some(Verbosity::Warn), log_format: None }, Style::Json);
        let event: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(event["message"], "backend is down");
        assert_eq!((&event["level"], &event["service"]), (&"WARN".into(), &"web".into()));
        assert!(event["timestamp"].as_str().unwrap().starts_with("20"));
        assert!(event.as_object().unwrap().len() == 5, "{event}");
    }
}
