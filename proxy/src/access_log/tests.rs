use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ironsail_xds::accesslog as proto;
use ironsail_xds::pack;

use super::{
    Absent, AccessLog, Filter, Flag, Format, FormatContext, ISTIO_TEXT, JsonFormat, StreamInfo,
};
use crate::conn::ConnectionInfo;
use crate::http::header_name::Known;
use crate::http::message::{Method, RequestHead, ResponseHead, Version};
use crate::http::testing::{connection, mutual_tls};
use crate::resource::listener::TrafficDirection;

struct Stream {
    info: StreamInfo,
    connection: ConnectionInfo,
    request: RequestHead,
    response: ResponseHead,
}

impl Stream {
    fn finished(connection: ConnectionInfo) -> Self {
        let address = |text: &str| text.parse::<SocketAddr>().ok();
        let mut info = StreamInfo::new(connection.start, connection.start_time);
        info.protocol = Some(Version::Http11);
        info.response_code = 200;
        info.details = Some("via_upstream".into());
        info.bytes_received = 3;
        info.bytes_sent = 178;
        info.duration = Some(Duration::from_millis(12));
        info.route_name = Some("default".into());
        info.upstream.cluster = Some("inbound|9080||".into());
        info.upstream.remote = address("10.0.0.1:9080");
        info.upstream.local = address("127.0.0.6:41000");
        info.timing.upstream_first_received = Some(Duration::from_millis(10));
        let mut request = RequestHead::new(Method::Post, "reviews:9080", "/reviews/0?x=1");
        request.headers.append(Known::UserAgent, b"curl/8");
        request.headers.append(Known::RequestId, b"b9c1-id");
        let mut response = ResponseHead::new(200);
        response
            .headers
            .append(Known::EnvoyUpstreamServiceTime, b"11");
        Self {
            info,
            connection,
            request,
            response,
        }
    }

    fn context(&self) -> FormatContext<'_> {
        FormatContext {
            info: &self.info,
            connection: Some(&self.connection),
            request: Some(&self.request),
            response: Some(&self.response),
            trailers: None,
        }
    }

    fn text(&self, format: &str) -> String {
        let mut out = Vec::new();
        Format::parse(format)
            .expect("valid")
            .write(&self.context(), Absent::Dash, &mut out);
        String::from_utf8(out).expect("text")
    }
}

fn plain() -> Stream {
    Stream::finished(connection(TrafficDirection::Inbound))
}

fn secured() -> Stream {
    Stream::finished(mutual_tls(
        TrafficDirection::Inbound,
        "spiffe://cluster.local/ns/front/sa/productpage",
        "spiffe://cluster.local/ns/shop/sa/reviews",
    ))
}

#[test]
fn istios_text_format() {
    assert_eq!(
        secured().text(ISTIO_TEXT),
        "[2024-05-07T07:08:09.012Z] \"POST /reviews/0?x=1 HTTP/1.1\" 200 - via_upstream - \"-\" 3 178 12 11 \"-\" \
         \"curl/8\" \"b9c1-id\" \"reviews:9080\" \"10.0.0.1:9080\" inbound|9080|| 127.0.0.6:41000 10.0.0.1:9080 \
         10.0.0.9:4000 outbound_.9080_._.web.shop.svc.cluster.local default\n"
    );
    let mut failed = plain();
    failed.info = StreamInfo::new(failed.connection.start, failed.connection.start_time);
    failed.info.response_code = 503;
    failed.info.set_flag(Flag::UpstreamConnectionFailure);
    failed.info.set_flag(Flag::UpstreamRetryLimitExceeded);
    failed.info.duration = Some(Duration::ZERO);
    failed.info.upstream.failure = Some("delayed connect error: Connection refused".into());
    failed.response = ResponseHead::new(503);
    assert_eq!(
        failed.text(ISTIO_TEXT),
        "[2024-05-07T07:08:09.012Z] \"POST /reviews/0?x=1 -\" 503 UF,URX - - \"delayed connect error: Connection \
         refused\" 0 0 0 - \"-\" \"curl/8\" \"b9c1-id\" \"reviews:9080\" \"-\" - - 10.0.0.1:9080 10.0.0.9:4000 - -\n"
    );
}

#[test]
fn istios_json_format() {
    let mut out = Vec::new();
    JsonFormat::istio_default().write(&secured().context(), &mut out);
    let line = String::from_utf8(out).expect("text");
    assert!(
        line.ends_with("}\n")
            && line.starts_with("{\"authority\":\"reviews:9080\",\"bytes_received\":3,")
    );
    let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(value["response_code"], 200);
    assert_eq!(value["duration"], 12);
    assert_eq!(value["x_forwarded_for"], serde_json::Value::Null);
    assert_eq!(value.as_object().map(|fields| fields.len()), Some(24));
}

#[test]
fn operators() {
    let mut stream = secured();
    stream.info.set_flag(Flag::UpstreamRequestTimeout);
    for (format, expected) in [
        ("%REQ(X-NONE?:METHOD)%", "POST"),
        ("%REQ(:PATH):4%|", "/rev|"),
        ("%REQ(X-NONE):4%|", "-|"),
        ("%REQ_WITHOUT_QUERY(:PATH)%", "/reviews/0"),
        ("%RESP(:STATUS)% 100%%", "200 100%"),
        ("%RESPONSE_FLAGS_LONG%", "UpstreamRequestTimeout"),
        ("%START_TIME(%s.%3f)%", "1715065689.012"),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "10.0.0.9"),
        ("%DOWNSTREAM_LOCAL_PORT%", "9080"),
        (
            "%DOWNSTREAM_PEER_URI_SAN%",
            "spiffe://cluster.local/ns/front/sa/productpage",
        ),
        ("%DOWNSTREAM_PEER_SUBJECT%", "CN=client"),
        ("%DOWNSTREAM_TLS_VERSION%", "TLSv1.3"),
        ("%RESPONSE_DURATION% %RESPONSE_TX_DURATION%", "10 2"),
        ("%UPSTREAM_CLUSTER%", "-"),
        ("%TRAILER(x)%", "-"),
    ] {
        assert_eq!(stream.text(format), expected, "{format}");
    }
}

#[test]
fn odd_formats_are_refused() {
    for format in [
        "%",
        "%REQ(",
        "%REQ(x)",
        "%REQ()%",
        "%NONSENSE%",
        "%REQ(x):y%",
        "%REQ(x)y%",
        "%START_TIME(%Q)%",
        "%FILTER_STATE(other)%",
        "%CEL(request.path)%",
    ] {
        assert!(Format::parse(format).is_err(), "{format}");
    }
}

#[test]
fn server_names_cannot_forge_lines() {
    let mut stream = secured();
    stream.connection.server_name = Some("a\nb\"c d".into());
    assert_eq!(stream.text("%REQUESTED_SERVER_NAME%"), "invalid:a_b_c_d");
    stream.connection.server_name = Some("a_b-c.d".into());
    assert_eq!(stream.text("%REQUESTED_SERVER_NAME%"), "a_b-c.d");
}

#[test]
fn omitted_values_leave_no_trace() {
    let format = |omit| {
        let field = |text: &str| ironsail_xds::protobuf::Value {
            kind: Some(ironsail_xds::protobuf::value::Kind::StringValue(
                text.to_owned(),
            )),
        };
        let fields = [
            ("a", field("%REQ(x-none)%")),
            ("b", field("%RESPONSE_CODE%")),
            ("c", field("x=%REQ(x-none)%")),
        ];
        let format = ironsail_xds::protobuf::Struct {
            fields: fields.map(|(k, v)| (k.to_owned(), v)).into(),
        };
        let mut out = Vec::new();
        JsonFormat::compile(&format, omit)
            .expect("valid")
            .write(&plain().context(), &mut out);
        String::from_utf8(out).expect("text")
    };
    assert_eq!(format(false), "{\"a\":null,\"b\":200,\"c\":\"x=-\"}\n");
    assert_eq!(format(true), "{\"b\":200,\"c\":\"x=\"}\n");
}

#[test]
fn filters() {
    use proto::access_log_filter::FilterSpecifier;
    let admits = |specifier, stream: &Stream| {
        Filter::compile(&proto::AccessLogFilter {
            filter_specifier: Some(specifier),
        })
        .expect("valid")
        .admits(&stream.context())
    };
    let status = |value| {
        FilterSpecifier::StatusCodeFilter(proto::StatusCodeFilter {
            comparison: Some(proto::ComparisonFilter {
                op: proto::comparison_filter::Op::Ge.into(),
                value: Some(ironsail_xds::core::RuntimeUInt32 {
                    default_value: value,
                    runtime_key: String::new(),
                }),
            }),
        })
    };
    let flags = |names: &[&str]| {
        FilterSpecifier::ResponseFlagFilter(proto::ResponseFlagFilter {
            flags: names.iter().map(|name| (*name).to_owned()).collect(),
        })
    };
    let mut stream = plain();
    assert!(admits(status(200), &stream) && !admits(status(400), &stream));
    assert!(!admits(flags(&[]), &stream));
    stream.info.set_flag(Flag::NoRouteFound);
    assert!(admits(flags(&["NR", "UH"]), &stream) && !admits(flags(&["UH"]), &stream));
    assert!(admits(flags(&[]), &stream));
    let unknown = proto::AccessLogFilter {
        filter_specifier: Some(flags(&["XX"])),
    };
    assert!(Filter::compile(&unknown).is_err());
}

#[test]
fn lines_reach_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("log");
    let config = ironsail_xds::ext::access_loggers::file::v3::FileAccessLog {
        path: path.to_string_lossy().into_owned(),
        ..Default::default()
    };
    let log = AccessLog::compile(&proto::AccessLog {
        config_type: Some(proto::access_log::ConfigType::TypedConfig(pack(&config))),
        ..Default::default()
    })
    .expect("valid");
    let again = super::Sink::open(&path).expect("open already");
    assert!(Arc::ptr_eq(&again, &log.sink));
    log.log(&plain().context());
    log.log(&secured().context());
    drop((log, again));
    let text = std::fs::read_to_string(&path).expect("written");
    assert_eq!(text.lines().count(), 2);
    assert!(text.contains("\"POST /reviews/0?x=1 HTTP/1.1\" 200 - 3 178 12 11"));
}
