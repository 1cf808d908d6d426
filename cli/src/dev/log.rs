//! What `dev` writes to stderr while it runs: the functions' lines under their names, and warnings
//! of the platform itself. `RUST_LOG` asks for more.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::terminal::Terminal;

/// Where the gateway tells of a function's line.
const FUNCTION_OUTPUT: &str = "turlough_gateway::process::log";

pub(super) fn install(terminal: Terminal) {
    let of_functions = if terminal.quiet { "warn" } else { "info" };
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("warn,{FUNCTION_OUTPUT}={of_functions}")));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .event_format(Lines);
    // There is another log only where a test has installed one.
    drop(log.try_init());
}

/// `classify | a line of its`, or `WARN message field=value`.
#[derive(Debug)]
struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        match (&fields.function, &fields.line) {
            (Some(function), Some(line)) => writeln!(writer, "{function} | {line}"),
            (function, _) => {
                let level = event.metadata().level();
                write!(writer, "{level} {}", fields.message)?;
                if let Some(function) = function {
                    write!(writer, " function={function}")?;
                }
                writeln!(writer, "{}", fields.others)
            }
        }
    }
}

#[derive(Debug, Default)]
struct Fields {
    message: String,
    function: Option<String>,
    line: Option<String>,
    others: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, format!("{value:?}"));
    }
}

impl Fields {
    fn take(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            "function" => self.function = Some(value),
            "line" => self.line = Some(value),
            // Writing to a string cannot fail.
            name => drop(write!(self.others, " {name}={value}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_of_functions_stand_under_their_names() {
        let written = Written::default();
        let to = written.clone();
        let log = tracing_subscriber::fmt()
            .with_writer(move || to.clone())
            .event_format(Lines)
            .finish();
        tracing::subscriber::with_default(log, || {
            let (function, line) = ("fizz", "a line");
            tracing::info!(function = %function, %line, "function output");
            tracing::warn!(function = %function, status = 7, "function process ended");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert_eq!(
            text,
            "fizz | a line\nWARN function process ended function=fizz status=7\n"
        );
    }
}
