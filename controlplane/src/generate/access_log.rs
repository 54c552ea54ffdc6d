//! Access logs of the mesh configuration.

use ironsail_mesh::mesh_config::MeshConfig;
use ironsail_xds::accesslog::{
    AccessLog, AccessLogFilter, ResponseFlagFilter, access_log, access_log_filter,
};
use ironsail_xds::core::{
    DataSource, SubstitutionFormatString, data_source, substitution_format_string,
};
use ironsail_xds::ext::access_loggers::file::v3::{FileAccessLog, file_access_log};
use ironsail_xds::{Any, ordered, pack};
use prost::{Message, Name};

/// What each line says when the mesh configuration names no format.
const DEFAULT_TEXT: &str = concat!(
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% ",
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% ",
    "\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ",
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" ",
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% ",
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% ",
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n",
);

/// Fields of the JSON form and what they hold.
const DEFAULT_JSON: [(&str, &str); 24] = [
    ("start_time", "%START_TIME%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    (
        "connection_termination_details",
        "%CONNECTION_TERMINATION_DETAILS%",
    ),
    (
        "upstream_transport_failure_reason",
        "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    ),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    (
        "upstream_service_time",
        "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    ),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("route_name", "%ROUTE_NAME%"),
];

/// Logs of connections and requests; empty when the mesh has none.
pub fn of_mesh(config: &MeshConfig) -> Vec<AccessLog> {
    file_log(config).map(|log| vec![log]).unwrap_or_default()
}

/// Logs of connections that no filter chain wants, for the listeners that take everything.
pub fn of_unmatched(config: &MeshConfig) -> Vec<AccessLog> {
    let filter = access_log_filter::FilterSpecifier::ResponseFlagFilter(ResponseFlagFilter {
        flags: vec!["NR".to_owned()],
    });
    let filter = AccessLogFilter {
        filter_specifier: Some(filter),
    };
    let log = file_log(config).map(|log| AccessLog {
        filter: Some(filter),
        ..log
    });
    log.into_iter().collect()
}

fn file_log(config: &MeshConfig) -> Option<AccessLog> {
    let path = config.access_log_file()?.to_owned();
    let is_json = config.access_log_encoding.as_deref() == Some("JSON");
    let format = config
        .access_log_format
        .as_deref()
        .filter(|format| !format.is_empty());
    let config = match is_json {
        true => json_config(path, format),
        false => text_config(path, format.unwrap_or(DEFAULT_TEXT)),
    };
    Some(AccessLog {
        name: "envoy.access_loggers.file".to_owned(),
        filter: None,
        config_type: Some(access_log::ConfigType::TypedConfig(config)),
    })
}

fn text_config(path: String, format: &str) -> Any {
    let mut line = format.to_owned();
    if !line.ends_with('\n') {
        line.push('\n');
    }
    let source = DataSource {
        specifier: Some(data_source::Specifier::InlineString(line)),
        ..Default::default()
    };
    let format = SubstitutionFormatString {
        format: Some(substitution_format_string::Format::TextFormatSource(source)),
        ..Default::default()
    };
    pack(&FileAccessLog {
        path,
        access_log_format: Some(file_access_log::AccessLogFormat::LogFormat(format)),
    })
}

/// A format that is no JSON object cannot be used and gives way to the default.
fn json_config(path: String, format: Option<&str>) -> Any {
    let own = format
        .and_then(|format| {
            serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(format).ok()
        })
        .map(|fields| to_struct(&fields));
    let fields = own.unwrap_or_else(|| DEFAULT_JSON.into_iter().collect());
    let log = ordered::JsonFileAccessLog {
        path,
        log_format: Some(ordered::JsonFormat {
            json_format: Some(fields),
        }),
    };
    Any {
        type_url: FileAccessLog::type_url(),
        value: log.encode_to_vec(),
    }
}

fn to_struct(fields: &serde_json::Map<String, serde_json::Value>) -> ordered::Struct {
    fields
        .iter()
        .map(|(key, value)| (key.clone(), to_value(value)))
        .collect()
}

fn to_value(value: &serde_json::Value) -> ordered::Value {
    use serde_json::Value;
    match value {
        Value::Null => ordered::Value {
            kind: Some(ordered::Kind::Null(0)),
        },
        Value::Bool(value) => (*value).into(),
        Value::Number(number) => ordered::Value {
            kind: Some(ordered::Kind::Number(number.as_f64().unwrap_or_default())),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(values) => values.iter().map(to_value).collect::<Vec<_>>().into(),
        Value::Object(fields) => to_struct(fields).into(),
    }
}
