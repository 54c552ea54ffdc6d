//! JSON formats: a tree whose leaves are format strings.

use std::collections::BTreeMap;

use ironsail_xds::protobuf::value::Kind;
use ironsail_xds::protobuf::{Struct, Value};

use super::format::{Absent, Format};
use super::operator::FormatContext;
use crate::resource::{At, CompileError};

/// The fields of Istio's default JSON format, in their text form.
pub const DEFAULT_JSON: &[(&str, &str)] = &[
    ("authority", "%REQ(:AUTHORITY)%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    (
        "connection_termination_details",
        "%CONNECTION_TERMINATION_DETAILS%",
    ),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("duration", "%DURATION%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("route_name", "%ROUTE_NAME%"),
    ("start_time", "%START_TIME%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    (
        "upstream_service_time",
        "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    ),
    (
        "upstream_transport_failure_reason",
        "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    ),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
];

/// A compiled JSON format; objects are written with their keys in order.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonFormat {
    root: Vec<(Box<str>, Node)>,
    omit_empty: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Object(Vec<(Box<str>, Node)>),
    List(Vec<Node>),
    Text(Format),
    /// A value that is JSON already.
    Fixed(Box<str>),
}

impl JsonFormat {
    /// # Errors
    /// A format string that cannot be used, with its path.
    pub fn compile(format: &Struct, omit_empty: bool) -> Result<Self, CompileError> {
        Ok(Self {
            root: compile_object(format)?,
            omit_empty,
        })
    }

    /// Istio's default JSON format.
    pub fn istio_default() -> Self {
        let root = DEFAULT_JSON.iter().filter_map(|(key, format)| {
            let format = Format::parse(format).ok()?;
            Some(((*key).into(), Node::Text(format)))
        });
        Self {
            root: root.collect(),
            omit_empty: false,
        }
    }

    /// Appends one object and the end of the line.
    pub fn write(&self, context: &FormatContext<'_>, out: &mut Vec<u8>) {
        self.write_object(&self.root, context, out);
        out.push(b'\n');
    }

    fn write_object(
        &self,
        fields: &[(Box<str>, Node)],
        context: &FormatContext<'_>,
        out: &mut Vec<u8>,
    ) {
        out.push(b'{');
        let begin = out.len();
        for (key, node) in fields {
            let start = out.len();
            if start > begin {
                out.push(b',');
            }
            write_string(key.as_bytes(), out);
            out.push(b':');
            if !self.write_node(node, context, out) {
                out.truncate(start);
            }
        }
        out.push(b'}');
    }

    /// Whether the value is to stay.
    fn write_node(&self, node: &Node, context: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
        match node {
            Node::Object(fields) => self.write_object(fields, context, out),
            Node::Fixed(text) => out.extend_from_slice(text.as_bytes()),
            Node::List(items) => {
                out.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    if !self.write_node(item, context, out) {
                        out.extend_from_slice(b"null");
                    }
                }
                out.push(b']');
            }
            Node::Text(format) => return self.write_text(format, context, out),
        }
        true
    }

    fn write_text(&self, format: &Format, context: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
        let mut text = Vec::new();
        if let Some(operator) = format.as_operator() {
            if !operator.write(context, &mut text) {
                if !self.omit_empty {
                    out.extend_from_slice(b"null");
                }
                return !self.omit_empty;
            }
            if operator.is_number() {
                out.append(&mut text);
                return true;
            }
        } else {
            let absent = if self.omit_empty {
                Absent::Empty
            } else {
                Absent::Dash
            };
            format.write(context, absent, &mut text);
        }
        write_string(&text, out);
        true
    }
}

fn compile_object(format: &Struct) -> Result<Vec<(Box<str>, Node)>, CompileError> {
    let sorted: BTreeMap<_, _> = format.fields.iter().collect();
    sorted
        .into_iter()
        .map(|(key, value)| Ok((key.as_str().into(), compile_node(value).at(key)?)))
        .collect()
}

fn compile_node(value: &Value) -> Result<Node, CompileError> {
    Ok(match &value.kind {
        Some(Kind::StructValue(fields)) => Node::Object(compile_object(fields)?),
        Some(Kind::ListValue(list)) => {
            let items = list.values.iter().map(compile_node);
            Node::List(items.collect::<Result<_, _>>()?)
        }
        Some(Kind::StringValue(text)) => {
            Node::Text(Format::parse(text).map_err(CompileError::new)?)
        }
        Some(Kind::NumberValue(number)) => Node::Fixed(
            serde_json::Number::from_f64(*number)
                .map_or_else(|| "null".to_owned(), |number| number.to_string())
                .into(),
        ),
        Some(Kind::BoolValue(value)) => Node::Fixed(value.to_string().into()),
        Some(Kind::NullValue(_)) | None => Node::Fixed("null".into()),
    })
}

/// Appends a JSON string; bytes that are no UTF-8 become the replacement character.
fn write_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for character in String::from_utf8_lossy(text).chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            c if (c as u32) < 0x20 => {
                out.extend_from_slice(format!("\\u{:04x}", c as u32).as_bytes())
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}
