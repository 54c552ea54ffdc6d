//! Application protocols of ports and how a Service declares them.
//!
//! <https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/>

/// What a port speaks. `Unsupported` is undeclared: the proxy looks at the first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    Http,
    HttpProxy,
    Http2,
    Grpc,
    GrpcWeb,
    Https,
    Tls,
    Tcp,
    Mongo,
    Redis,
    Mysql,
    Udp,
    Unsupported,
}

impl Protocol {
    /// Protocol of a Service port, by `appProtocol`, then the name's part before `-`, then well-known numbers.
    ///
    /// `transport` is the Kubernetes field: `TCP`, `UDP` or `SCTP`.
    pub fn select(
        port: u16,
        name: Option<&str>,
        app_protocol: Option<&str>,
        transport: Option<&str>,
    ) -> Self {
        if transport.is_some_and(|t| t.eq_ignore_ascii_case("udp")) {
            return Protocol::Udp;
        }
        if let Some(declared) = app_protocol.filter(|p| !p.is_empty()) {
            let protocol = match declared {
                "kubernetes.io/h2c" => Protocol::Http2,
                "kubernetes.io/ws" => Protocol::Http,
                "kubernetes.io/wss" => Protocol::Https,
                other => Self::parse(other),
            };
            if protocol != Protocol::Unsupported {
                return protocol;
            }
        } else if let Some(name) = name.filter(|n| !n.is_empty()) {
            let is_grpc_web = name
                .get(..8)
                .is_some_and(|prefix| prefix.eq_ignore_ascii_case("grpc-web"));
            let protocol = match is_grpc_web {
                true => Protocol::GrpcWeb,
                false => Self::parse(name.split('-').next().unwrap_or_default()),
            };
            if protocol != Protocol::Unsupported {
                return protocol;
            }
        }
        match port {
            // Server-first protocols: waiting for the client's first bytes would hang.
            25 | 53 | 3306 | 27017 => Protocol::Tcp,
            _ => Protocol::Unsupported,
        }
    }

    /// Parses the names used in `appProtocol`, port names and `Gateway` servers, without case.
    pub fn parse(text: &str) -> Self {
        match text.to_ascii_lowercase().as_str() {
            "http" => Protocol::Http,
            "http_proxy" => Protocol::HttpProxy,
            "http2" => Protocol::Http2,
            "grpc" => Protocol::Grpc,
            "grpc-web" => Protocol::GrpcWeb,
            "https" => Protocol::Https,
            "tls" => Protocol::Tls,
            "tcp" => Protocol::Tcp,
            "mongo" => Protocol::Mongo,
            "redis" => Protocol::Redis,
            "mysql" => Protocol::Mysql,
            "udp" => Protocol::Udp,
            _ => Protocol::Unsupported,
        }
    }

    /// Declared as HTTP in any of its versions.
    pub fn is_http(self) -> bool {
        matches!(
            self,
            Protocol::Http
                | Protocol::HttpProxy
                | Protocol::Http2
                | Protocol::Grpc
                | Protocol::GrpcWeb
        )
    }

    /// Declared to be HTTP/2 on the wire.
    pub fn is_http2(self) -> bool {
        matches!(self, Protocol::Http2 | Protocol::Grpc | Protocol::GrpcWeb)
    }

    /// Opaque bytes: TCP and what travels inside TLS that the proxy does not end.
    pub fn is_tcp(self) -> bool {
        matches!(
            self,
            Protocol::Tcp
                | Protocol::Https
                | Protocol::Tls
                | Protocol::Mongo
                | Protocol::Redis
                | Protocol::Mysql
        )
    }

    /// Undeclared: decided per connection.
    pub fn is_unsupported(self) -> bool {
        self == Protocol::Unsupported
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(port: u16, name: &str, app: Option<&str>, expected: Protocol) {
        assert_eq!(
            Protocol::select(port, Some(name), app, Some("TCP")),
            expected
        );
    }

    #[test]
    fn names_and_app_protocol_declare() {
        check(80, "http", None, Protocol::Http);
        check(80, "HTTP2-web", None, Protocol::Http2);
        check(80, "grpc-web-x", None, Protocol::GrpcWeb);
        check(80, "web", None, Protocol::Unsupported);
        check(80, "tcp", Some("kubernetes.io/h2c"), Protocol::Http2);
        check(3306, "db", None, Protocol::Tcp);
        check(80, "httpbin", None, Protocol::Unsupported);
        assert_eq!(
            Protocol::select(53, Some("dns"), None, Some("UDP")),
            Protocol::Udp
        );
    }
}
