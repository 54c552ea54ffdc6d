//! Format strings, compiled to a list of operations.

use super::operator::{FormatContext, Operator};

/// Envoy's default text format, for logs that name none.
pub const ENVOY_TEXT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" \
    %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
    %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \
    \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n";

/// Istio's default text format.
pub const ISTIO_TEXT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" \
    %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \
    \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
    %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \
    \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% \
    %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% \
    %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";

/// A text with `%OPERATOR%`s, ready for evaluation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Format {
    operations: Vec<Operation>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operation {
    Literal(Box<str>),
    Operator {
        operator: Operator,
        /// Characters that are kept.
        length: Option<usize>,
    },
}

/// What stands for values that do not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// `-`, as in log lines.
    Dash,
    /// Nothing, as in header values and with `omit_empty_values`.
    Empty,
}

impl Format {
    /// # Errors
    /// Why the format cannot be used, with the operator at fault.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut operations = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            let (before, tail) = rest.split_at(at);
            literal.push_str(before);
            let tail = tail.get(1..).unwrap_or_default();
            if let Some(tail) = tail.strip_prefix('%') {
                literal.push('%');
                rest = tail;
                continue;
            }
            let (operation, tail) = parse_operation(tail)?;
            if !literal.is_empty() {
                operations.push(Operation::Literal(std::mem::take(&mut literal).into()));
            }
            operations.push(operation);
            rest = tail;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            operations.push(Operation::Literal(literal.into()));
        }
        Ok(Self { operations })
    }

    /// The text, when there are no operators in it.
    pub fn as_literal(&self) -> Option<&str> {
        match self.operations.as_slice() {
            [] => Some(""),
            [Operation::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// The operator, when there is nothing else and its values are not cut.
    pub fn as_operator(&self) -> Option<&Operator> {
        match self.operations.as_slice() {
            [
                Operation::Operator {
                    operator,
                    length: None,
                },
            ] => Some(operator),
            _ => None,
        }
    }

    pub fn write(&self, context: &FormatContext<'_>, absent: Absent, out: &mut Vec<u8>) {
        for operation in &self.operations {
            match operation {
                Operation::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Operation::Operator { operator, length } => {
                    let start = out.len();
                    if !operator.write(context, out) && absent == Absent::Dash {
                        out.push(b'-');
                    }
                    if let Some(length) = length {
                        out.truncate(out.len().min(start + length));
                    }
                }
            }
        }
    }
}

/// Reads `NAME(argument):length%`; the argument may contain `%` when it is a time pattern.
fn parse_operation(text: &str) -> Result<(Operation, &str), String> {
    let unfinished = || format!("%{text} lacks its closing %");
    let name_end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .ok_or_else(unfinished)?;
    let mut end = name_end;
    if text.get(end..).is_some_and(|rest| rest.starts_with('(')) {
        end += text
            .get(end..)
            .and_then(|rest| rest.find(')'))
            .ok_or_else(|| format!("%{text} lacks a closing parenthesis"))?
            + 1;
    }
    let operator = Operator::parse(text.get(..end).unwrap_or_default())?;
    let rest = text.get(end..).unwrap_or_default();
    let close = rest.find('%').ok_or_else(unfinished)?;
    let (length, tail) = rest.split_at(close);
    let length = match length.strip_prefix(':') {
        Some(digits) => Some(
            digits
                .parse()
                .map_err(|_| format!("length {digits:?} is not a number"))?,
        ),
        None if length.is_empty() => None,
        None => {
            return Err(format!(
                "%{text}: {length:?} is neither a length nor the end"
            ));
        }
    };
    Ok((
        Operation::Operator { operator, length },
        tail.get(1..).unwrap_or_default(),
    ))
}
