//! Access logs: which streams, in which format, to where.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage>.

mod filter;
mod flags;
mod format;
mod json;
mod operator;
mod sink;
mod stream_info;
#[cfg(test)]
mod tests;
mod time_format;

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use ironsail_xds::accesslog as proto;
use ironsail_xds::core;
use ironsail_xds::core::substitution_format_string::Format as FormatKind;
use ironsail_xds::ext::access_loggers::{file::v3 as file, stream::v3 as stream};
use ironsail_xds::{is_type, unpack};
use proto::access_log::ConfigType;

pub use filter::Filter;
pub use flags::{Flag, ResponseFlags};
pub use format::{Absent, ENVOY_TEXT, Format, ISTIO_TEXT};
pub use json::JsonFormat;
pub use operator::{FormatContext, percent_encode};
pub use sink::{Sink, flush_all};
pub use stream_info::{StreamInfo, Timing, UpstreamInfo};

use crate::network::TcpSession;
use crate::resource::{At, CompileError};
use crate::worker::Worker;

/// One compiled `AccessLog`.
#[derive(Debug)]
pub struct AccessLog {
    filter: Option<Filter>,
    line: Line,
    sink: Arc<Sink>,
}

/// The shape of a line.
#[derive(Debug)]
pub enum Line {
    Text { format: Format, absent: Absent },
    Json(JsonFormat),
}

impl AccessLog {
    pub fn new(filter: Option<Filter>, line: Line, sink: Arc<Sink>) -> Self {
        Self { filter, line, sink }
    }

    /// # Errors
    /// A logger, filter or format that cannot be used, or a file that cannot be opened.
    pub fn compile(log: &proto::AccessLog) -> Result<Self, CompileError> {
        let filter = match &log.filter {
            Some(filter) => Some(Filter::compile(filter).at("filter")?),
            None => None,
        };
        let Some(ConfigType::TypedConfig(config)) = &log.config_type else {
            return Err(CompileError::new("is required").at("typed_config"));
        };
        let (path, line) = if is_type::<file::FileAccessLog>(config) {
            let log: file::FileAccessLog = unpack(config).at("typed_config")?;
            let line = file_line(log.access_log_format).at("typed_config")?;
            (log.path, line)
        } else if is_type::<stream::StdoutAccessLog>(config) {
            let log: stream::StdoutAccessLog = unpack(config).at("typed_config")?;
            let format = log.access_log_format.map(|format| match format {
                stream::stdout_access_log::AccessLogFormat::LogFormat(format) => format,
            });
            (
                "/dev/stdout".to_owned(),
                line(format).at("typed_config.log_format")?,
            )
        } else if is_type::<stream::StderrAccessLog>(config) {
            let log: stream::StderrAccessLog = unpack(config).at("typed_config")?;
            let format = log.access_log_format.map(|format| match format {
                stream::stderr_access_log::AccessLogFormat::LogFormat(format) => format,
            });
            (
                "/dev/stderr".to_owned(),
                line(format).at("typed_config.log_format")?,
            )
        } else {
            return Err(CompileError::unknown_extension(
                "access logger",
                &log.name,
                &config.type_url,
            ));
        };
        let sink = Sink::open(Path::new(&path)).map_err(|error| {
            CompileError::new(format!("{path}: {error}")).at("typed_config.path")
        })?;
        Ok(Self::new(filter, line, sink))
    }

    /// Compiles a list, as listeners, connection managers and TCP proxies carry it.
    ///
    /// # Errors
    /// Those of [`AccessLog::compile`], with the index.
    pub fn compile_all(logs: &[proto::AccessLog]) -> Result<Vec<Self>, CompileError> {
        let compile =
            |(index, log)| AccessLog::compile(log).at(format_args!("access_log[{index}]"));
        logs.iter().enumerate().map(compile).collect()
    }

    /// Logs a TCP connection that has ended.
    pub fn log_tcp(&self, session: &TcpSession, _worker: &Worker) {
        let connection = &session.info;
        let mut info = StreamInfo::new(session.start, connection.start_time);
        info.finish();
        info.flags = ResponseFlags::from_short(session.flags);
        info.bytes_received = session.received.get();
        info.bytes_sent = session.sent.get();
        info.wire_received = info.bytes_received;
        info.wire_sent = info.bytes_sent;
        info.termination_details = session.termination.map(Into::into);
        info.downstream_peer = session.downstream_peer.as_deref().cloned().map(Arc::new);
        info.upstream_peer = session.upstream_peer.as_deref().cloned().map(Arc::new);
        let cluster = session.cluster.as_ref().map(|cluster| &cluster.config);
        info.upstream = UpstreamInfo {
            cluster: cluster.map(|cluster| Arc::clone(&cluster.name)),
            stat_name: cluster.map(|cluster| Arc::clone(&cluster.stat_name)),
            remote: session.host.as_ref().map(|host| host.address()),
            local: session.upstream_local,
            tls: session.upstream_tls.clone().map(Rc::new),
            failure: session.upstream_failure.clone().map(Into::into),
            wire_received: info.bytes_sent,
            wire_sent: info.bytes_received,
        };
        self.log(&FormatContext {
            info: &info,
            connection: Some(connection),
            request: None,
            response: None,
            trailers: None,
        });
    }

    /// Logs a finished stream, if the filter lets it.
    pub fn log(&self, context: &FormatContext<'_>) {
        if self
            .filter
            .as_ref()
            .is_none_or(|filter| filter.admits(context))
        {
            self.sink.append(|out| self.line.write(context, out));
        }
    }
}

impl Line {
    pub fn write(&self, context: &FormatContext<'_>, out: &mut Vec<u8>) {
        match self {
            Line::Text { format, absent } => format.write(context, *absent, out),
            Line::Json(format) => format.write(context, out),
        }
    }
}

fn file_line(format: Option<file::file_access_log::AccessLogFormat>) -> Result<Line, CompileError> {
    use file::file_access_log::AccessLogFormat as Kind;
    match format {
        None => line(None),
        Some(Kind::LogFormat(format)) => line(Some(format)).at("log_format"),
        #[allow(deprecated)]
        Some(Kind::Format(text)) => text_line(&text, Absent::Dash).at("format"),
        #[allow(deprecated)]
        Some(Kind::JsonFormat(format) | Kind::TypedJsonFormat(format)) => Ok(Line::Json(
            JsonFormat::compile(&format, false).at("json_format")?,
        )),
    }
}

fn text_line(text: &str, absent: Absent) -> Result<Line, CompileError> {
    let format = Format::parse(text).map_err(CompileError::new)?;
    Ok(Line::Text { format, absent })
}

fn line(format: Option<core::SubstitutionFormatString>) -> Result<Line, CompileError> {
    let Some(format) = format else {
        return text_line(ENVOY_TEXT, Absent::Dash);
    };
    let absent = if format.omit_empty_values {
        Absent::Empty
    } else {
        Absent::Dash
    };
    match &format.format {
        #[allow(deprecated)]
        Some(FormatKind::TextFormat(text)) => text_line(text, absent).at("text_format"),
        Some(FormatKind::JsonFormat(json)) => Ok(Line::Json(
            JsonFormat::compile(json, format.omit_empty_values).at("json_format")?,
        )),
        Some(FormatKind::TextFormatSource(source)) => match &source.specifier {
            Some(core::data_source::Specifier::InlineString(text)) => {
                text_line(text, absent).at("text_format_source.inline_string")
            }
            _ => Err(CompileError::new("only inline_string is supported").at("text_format_source")),
        },
        None => text_line(ENVOY_TEXT, absent),
    }
}
