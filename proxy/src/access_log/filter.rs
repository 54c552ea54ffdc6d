//! Which streams are logged: `AccessLogFilter`.

use ironsail_xds::accesslog as proto;
use proto::access_log_filter::FilterSpecifier;
use proto::comparison_filter::Op;

use super::flags::{Flag, ResponseFlags};
use super::operator::FormatContext;
use crate::resource::{At, CompileError};
use crate::route::matcher::{Fraction, HeaderMatcher};

/// A compiled filter.
#[derive(Debug)]
pub enum Filter {
    Status(Comparison),
    /// Milliseconds.
    Duration(Comparison),
    Runtime(Fraction),
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Header(HeaderMatcher),
    /// Any of these flags; any at all when empty.
    Flags(ResponseFlags),
    GrpcStatus {
        statuses: Vec<u32>,
        exclude: bool,
    },
    All,
}

#[derive(Clone, Copy, Debug)]
pub struct Comparison {
    op: Op,
    value: u32,
}

impl Comparison {
    fn compile(filter: Option<&proto::ComparisonFilter>) -> Result<Self, CompileError> {
        let filter = filter.ok_or_else(|| CompileError::new("is required").at("comparison"))?;
        let op = Op::try_from(filter.op)
            .map_err(|_| CompileError::new("unknown operation").at("comparison.op"))?;
        let value = filter.value.as_ref().map_or(0, |value| value.default_value);
        Ok(Self { op, value })
    }

    fn holds(self, value: u64) -> bool {
        let other = u64::from(self.value);
        match self.op {
            Op::Eq => value == other,
            Op::Ge => value >= other,
            Op::Le => value <= other,
            Op::Ne => value != other,
        }
    }
}

impl Filter {
    /// # Errors
    /// A filter this proxy does not have, or one that is incomplete.
    pub fn compile(filter: &proto::AccessLogFilter) -> Result<Self, CompileError> {
        let all = |filters: &[proto::AccessLogFilter]| -> Result<Vec<Filter>, CompileError> {
            let compile =
                |(index, filter)| Filter::compile(filter).at(format_args!("filters[{index}]"));
            filters.iter().enumerate().map(compile).collect()
        };
        Ok(match &filter.filter_specifier {
            Some(FilterSpecifier::StatusCodeFilter(f)) => {
                Filter::Status(Comparison::compile(f.comparison.as_ref()).at("status_code_filter")?)
            }
            Some(FilterSpecifier::DurationFilter(f)) => {
                Filter::Duration(Comparison::compile(f.comparison.as_ref()).at("duration_filter")?)
            }
            Some(FilterSpecifier::RuntimeFilter(f)) => {
                Filter::Runtime(Fraction::from_percent(f.percent_sampled.as_ref(), 0))
            }
            Some(FilterSpecifier::AndFilter(f)) => Filter::And(all(&f.filters).at("and_filter")?),
            Some(FilterSpecifier::OrFilter(f)) => Filter::Or(all(&f.filters).at("or_filter")?),
            Some(FilterSpecifier::HeaderFilter(f)) => {
                let header = f.header.clone().unwrap_or_default();
                Filter::Header(HeaderMatcher::compile(&header).at("header_filter.header")?)
            }
            Some(FilterSpecifier::ResponseFlagFilter(f)) => {
                Filter::Flags(flags(&f.flags).at("response_flag_filter.flags")?)
            }
            Some(FilterSpecifier::GrpcStatusFilter(f)) => Filter::GrpcStatus {
                statuses: f
                    .statuses
                    .iter()
                    .filter_map(|s| u32::try_from(*s).ok())
                    .collect(),
                exclude: f.exclude,
            },
            // No request carries the mark of a health check, as there is no such filter, and none is traced.
            Some(FilterSpecifier::NotHealthCheckFilter(_)) => Filter::All,
            Some(FilterSpecifier::TraceableFilter(_)) => Filter::All,
            Some(FilterSpecifier::ExtensionFilter(f)) => {
                return Err(CompileError::unknown_extension(
                    "access log filter",
                    &f.name,
                    "",
                ));
            }
            Some(FilterSpecifier::MetadataFilter(_)) => {
                return Err(CompileError::new("is not supported").at("metadata_filter"));
            }
            Some(FilterSpecifier::LogTypeFilter(_)) => {
                return Err(CompileError::new("is not supported").at("log_type_filter"));
            }
            None => return Err(CompileError::new("names no filter")),
        })
    }

    /// Whether a finished stream is to be logged.
    pub fn admits(&self, context: &FormatContext<'_>) -> bool {
        let info = context.info;
        match self {
            Filter::All => true,
            Filter::Status(comparison) => comparison.holds(info.response_code.into()),
            Filter::Duration(comparison) => {
                let duration = info.duration.unwrap_or_else(|| info.start.elapsed());
                comparison.holds(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
            }
            Filter::Runtime(fraction) => fraction.draw(),
            Filter::And(filters) => filters.iter().all(|filter| filter.admits(context)),
            Filter::Or(filters) => filters.iter().any(|filter| filter.admits(context)),
            Filter::Header(matcher) => context.request.is_some_and(|head| matcher.matches(head)),
            Filter::Flags(flags) if flags.is_empty() => !info.flags.is_empty(),
            Filter::Flags(flags) => info.flags.intersects(*flags),
            Filter::GrpcStatus { statuses, exclude } => {
                statuses.contains(&grpc_status(context)) != *exclude
            }
        }
    }
}

fn flags(names: &[String]) -> Result<ResponseFlags, CompileError> {
    names
        .iter()
        .map(|name| {
            Flag::from_short(name)
                .ok_or_else(|| CompileError::new(format!("unknown response flag {name:?}")))
        })
        .collect()
}

/// The status that was sent, or the one that an HTTP status stands for.
fn grpc_status(context: &FormatContext<'_>) -> u32 {
    let name = &b"grpc-status"[..];
    let sent = context
        .trailers
        .and_then(|trailers| trailers.get_named(name))
        .or_else(|| context.response.and_then(|r| r.headers.get_named(name)));
    let sent = sent
        .and_then(|value| std::str::from_utf8(value).ok())
        .and_then(|text| text.parse().ok());
    sent.unwrap_or_else(|| crate::http::grpc::status_from_http(context.info.response_code).into())
}
