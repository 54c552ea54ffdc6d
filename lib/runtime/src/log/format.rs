//! One line per event.
//!
//! Text: `time<TAB>level<TAB>scope<TAB>message<TAB>key=value …`. JSON: an object with `level`, `time`, `scope`, `msg` and the
//! fields. Fields of the spans around an event come before its own.

use std::fmt::{self, Write as _};
use std::io;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// Takes one whole line with its line feed.
pub(super) type Output = Box<dyn Fn(&[u8]) -> io::Result<()> + Send + Sync>;

pub(super) struct Layer {
    as_json: bool,
    output: Output,
}

impl Layer {
    pub(super) fn new(as_json: bool, output: Output) -> Self {
        Self { as_json, output }
    }
}

/// Fields in the order in which they were recorded, kept in a span's extensions.
#[derive(Clone, Debug, Default)]
struct Fields {
    message: String,
    entries: Vec<(&'static str, Value)>,
}

impl Fields {
    fn push(&mut self, field: &Field, value: Value) {
        match self
            .entries
            .iter_mut()
            .find(|(name, _)| *name == field.name())
        {
            Some((_, known)) => *known = value,
            None => self.entries.push((field.name(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.push(field, Value::String(text));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message = value.to_owned();
        } else {
            self.push(field, Value::from(value));
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, Value::from(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, Value::from(value));
    }
}

impl<S> tracing_subscriber::Layer<S> for Layer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else {
            return;
        };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else {
            return;
        };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context
            .event_scope(event)
            .into_iter()
            .flat_map(|scope| scope.from_root())
        {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.entries.extend(of_span.entries.iter().cloned());
            }
        }
        event.record(&mut fields);
        let mut time = String::new();
        // Writing to a string cannot fail.
        let _ = SystemTime.format_time(&mut Writer::new(&mut time));
        let level = level_text(*event.metadata().level());
        let scope = event.metadata().target();
        let line = if self.as_json {
            json_line(&time, level, scope, fields)
        } else {
            text_line(&time, level, scope, &fields)
        };
        // There is nobody to tell when the log cannot be written.
        let _ = (self.output)(line.as_bytes());
    }
}

fn level_text(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

fn json_line(time: &str, level: &str, scope: &str, fields: Fields) -> String {
    let mut object = Map::new();
    object.insert("level".to_owned(), Value::from(level));
    object.insert("time".to_owned(), Value::from(time));
    object.insert("scope".to_owned(), Value::from(scope));
    object.insert("msg".to_owned(), Value::from(fields.message));
    for (name, value) in fields.entries {
        object.entry(name).or_insert(value);
    }
    let mut line = Value::Object(object).to_string();
    line.push('\n');
    line
}

fn text_line(time: &str, level: &str, scope: &str, fields: &Fields) -> String {
    let mut line = format!("{time}\t{level}\t{scope}\t");
    push_escaped(&mut line, &fields.message);
    for (index, (name, value)) in fields.entries.iter().enumerate() {
        line.push(if index == 0 { '\t' } else { ' ' });
        line.push_str(name);
        line.push('=');
        match value {
            Value::String(text) if is_plain(text) => line.push_str(text),
            value => {
                // Writing to a string cannot fail.
                let _ = write!(line, "{value}");
            }
        }
    }
    line.push('\n');
    line
}

/// One event is one line: what came from outside must not begin another.
fn push_escaped(line: &mut String, text: &str) {
    for char in text.chars() {
        if char.is_control() && char != '\t' {
            line.extend(char.escape_default());
        } else {
            line.push(char);
        }
    }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|char| !char.is_whitespace() && !char.is_control() && char != '"' && char != '=')
}
