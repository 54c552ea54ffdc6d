//! Messages as trees with names: read from their `Debug` form, with every `Any` opened, defaults
//! left out and maps sorted.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};

use ironsail_xds::{Any, ext, istio};
use prost::Message;

/// A message or a part of one.
#[derive(Clone, Debug, PartialEq)]
pub enum Tree {
    Leaf(String),
    List(Vec<Tree>),
    /// A message, or a map.
    Fields(BTreeMap<String, Tree>),
}

impl Tree {
    pub fn of(message: &impl Debug) -> Self {
        let text = format!("{message:?}");
        let mut parser = Parser { rest: &text };
        let tree = parser.value().unwrap_or(Self::Fields(BTreeMap::new()));
        assert!(parser.rest.trim().is_empty(), "not read: {}", parser.rest);
        tree
    }

    pub fn decode<M: Message + Default + Debug>(bytes: &[u8]) -> Self {
        Self::of(&M::decode(bytes).expect("a message of this type"))
    }

    /// Where two trees differ, each with its path.
    pub fn diff(&self, other: &Self, path: &str, differences: &mut Vec<String>) {
        match (self, other) {
            (Self::Fields(ours), Self::Fields(theirs)) => {
                let keys: std::collections::BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
                for key in keys {
                    let path = format!("{path}.{key}");
                    match (ours.get(key), theirs.get(key)) {
                        (Some(a), Some(b)) => a.diff(b, &path, differences),
                        (Some(a), None) => differences.push(format!("{path}: only ours: {}", a.text())),
                        (None, Some(b)) => differences.push(format!("{path}: only theirs: {}", b.text())),
                        (None, None) => {}
                    }
                }
            }
            (Self::List(ours), Self::List(theirs)) if ours.len() == theirs.len() => {
                for (position, (a, b)) in ours.iter().zip(theirs).enumerate() {
                    a.diff(b, &format!("{path}[{position}]"), differences);
                }
            }
            (a, b) if a == b => {}
            (a, b) => differences.push(format!("{path}: {} != {}", a.text(), b.text())),
        }
    }

    /// The tree as YAML.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text, 0);
        text
    }

    fn write(&self, text: &mut String, depth: usize) {
        let indent = "  ".repeat(depth);
        match self {
            Self::Leaf(leaf) => text.push_str(leaf),
            Self::List(items) if items.is_empty() => text.push_str("[]"),
            Self::Fields(fields) if fields.is_empty() => text.push_str("{}"),
            Self::List(items) if items.iter().all(|item| matches!(item, Self::Leaf(_))) => {
                let items: Vec<_> = items.iter().map(Self::text).collect();
                let _ = write!(text, "[{}]", items.join(", "));
            }
            Self::List(items) => {
                for item in items {
                    let _ = write!(text, "\n{indent}- ");
                    let mut own = String::new();
                    item.write(&mut own, depth + 1);
                    text.push_str(own.trim_start());
                }
            }
            Self::Fields(fields) => {
                for (key, value) in fields {
                    let _ = write!(text, "\n{indent}{key}:");
                    let mut own = String::new();
                    value.write(&mut own, depth + 1);
                    if !own.starts_with('\n') {
                        text.push(' ');
                    }
                    text.push_str(&own);
                }
            }
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn skip(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) {
        assert!(self.skip(token), "expected {token:?} at {:.80}", self.rest);
    }

    /// One value; `None` for what a message has by default.
    fn value(&mut self) -> Option<Tree> {
        self.rest = self.rest.trim_start();
        match self.rest.chars().next().expect("a value") {
            '"' => {
                let text = self.string();
                (!text.is_empty()).then(|| Tree::Leaf(format!("{text:?}")))
            }
            '[' => self.list(),
            '{' => self.map(),
            _ => self.named(),
        }
    }

    fn string(&mut self) -> String {
        self.expect("\"");
        let mut text = String::new();
        let mut chars = self.rest.char_indices();
        while let Some((position, char)) = chars.next() {
            match char {
                '"' => {
                    self.rest = &self.rest[position + 1..];
                    return text;
                }
                '\\' => match chars.next().expect("an escape").1 {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    '0' => text.push('\0'),
                    other => text.push(other),
                },
                other => text.push(other),
            }
        }
        panic!("a text without an end");
    }

    fn list(&mut self) -> Option<Tree> {
        self.expect("[");
        let mut items = Vec::new();
        while !self.skip("]") {
            // Default items count in a list.
            items.push(self.value().unwrap_or(Tree::Fields(BTreeMap::new())));
            self.skip(",");
        }
        (!items.is_empty()).then_some(Tree::List(items))
    }

    fn map(&mut self) -> Option<Tree> {
        self.expect("{");
        let mut fields = BTreeMap::new();
        while !self.skip("}") {
            let key = self.string();
            self.expect(":");
            fields.insert(key, self.value().unwrap_or(Tree::Fields(BTreeMap::new())));
            self.skip(",");
        }
        (!fields.is_empty()).then_some(Tree::Fields(fields))
    }

    /// `Name { field: value }`, `Name(value)`, or a bare word or number.
    fn named(&mut self) -> Option<Tree> {
        let end = self
            .rest
            .find(|c: char| !(c.is_alphanumeric() || "_-.+".contains(c)))
            .unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        let name = name.to_owned();
        self.rest = rest;
        if self.rest.starts_with(" {") {
            self.expect("{");
            let fields = self.fields();
            return Some(match name.as_str() {
                "Any" => open(&fields),
                "BoolValue" | "UInt32Value" | "UInt64Value" | "StringValue" => fields
                    .get("value")
                    .cloned()
                    .unwrap_or_else(|| Tree::Leaf(if name == "BoolValue" { "false" } else { "0" }.to_owned())),
                _ => Tree::Fields(fields),
            });
        }
        if self.skip("(") {
            let value = self.value();
            self.expect(")");
            return match name.as_str() {
                "Some" => Some(value.unwrap_or(Tree::Fields(BTreeMap::new()))),
                _ => {
                    let value = value.unwrap_or_else(|| Tree::Leaf("default".to_owned()));
                    Some(Tree::Fields([(name, value)].into()))
                }
            };
        }
        // An empty message is something; an empty field is nothing.
        match name.as_str() {
            "None" | "false" | "0" | "0.0" => None,
            name if name.chars().next().is_some_and(|c| c.is_ascii_uppercase()) && is_message(name) => {
                Some(Tree::Fields(BTreeMap::new()))
            }
            _ => Some(Tree::Leaf(name)),
        }
    }

    fn fields(&mut self) -> BTreeMap<String, Tree> {
        let mut fields = BTreeMap::new();
        while !self.skip("}") {
            self.rest = self.rest.trim_start();
            let (name, rest) = self.rest.split_once(':').expect("a field");
            let name = name.to_owned();
            self.rest = rest;
            if let Some(value) = self.value() {
                fields.insert(name, value);
            }
            self.skip(",");
        }
        fields
    }
}

/// Messages without fields print as bare names, as the values of enumerations do.
fn is_message(name: &str) -> bool {
    matches!(
        name,
        "AggregatedConfigSource" | "RawBuffer" | "Cors" | "PreviousHostsPredicate" | "Request" | "OriginalDst" | "SourceIp" | "LocalityWeightedLbConfig"
    )
}

macro_rules! opened {
    ($any:expr, $($message:ty),* $(,)?) => {
        match ironsail_xds::type_name(&$any.type_url) {
            $(name if name == <$message as prost::Name>::full_name() => Tree::decode::<$message>(&$any.value),)*
            other => panic!("{other} is not known to the tests"),
        }
    };
}

/// The message inside an `Any`, with its type.
fn open(fields: &BTreeMap<String, Tree>) -> Tree {
    let Some(Tree::Leaf(type_url)) = fields.get("type_url") else {
        return Tree::Fields(BTreeMap::new());
    };
    let value = match fields.get("value") {
        Some(Tree::List(bytes)) => bytes.iter().map(byte).collect(),
        _ => Vec::new(),
    };
    let any = Any {
        type_url: type_url.trim_matches('"').to_owned(),
        value,
    };
    let mut tree = opened!(
        any,
        ext::access_loggers::file::v3::FileAccessLog,
        ext::filters::http::cors::v3::Cors,
        ext::filters::http::cors::v3::CorsPolicy,
        ext::filters::http::fault::v3::HttpFault,
        ext::filters::http::grpc_stats::v3::FilterConfig,
        ext::filters::http::grpc_web::v3::GrpcWeb,
        ext::filters::http::router::v3::Router,
        ext::filters::listener::http_inspector::v3::HttpInspector,
        ext::filters::listener::original_dst::v3::OriginalDst,
        ext::filters::listener::original_src::v3::OriginalSrc,
        ext::filters::listener::tls_inspector::v3::TlsInspector,
        ext::filters::network::http_connection_manager::v3::HttpConnectionManager,
        ext::filters::network::tcp_proxy::v3::TcpProxy,
        ext::request_id::uuid::v3::UuidRequestIdConfig,
        ext::retry::host::previous_hosts::v3::PreviousHostsPredicate,
        ext::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig,
        ext::transport_sockets::raw_buffer::v3::RawBuffer,
        ext::transport_sockets::tls::v3::DownstreamTlsContext,
        ext::transport_sockets::tls::v3::UpstreamTlsContext,
        ext::upstreams::http::v3::HttpProtocolOptions,
        istio::AlpnFilterConfig,
        istio::PluginConfig,
        istio::TypedStruct,
    );
    if let Tree::Fields(fields) = &mut tree {
        let name = ironsail_xds::type_name(&any.type_url);
        fields.insert("@type".to_owned(), Tree::Leaf(name.to_owned()));
    }
    tree
}

fn byte(tree: &Tree) -> u8 {
    match tree {
        Tree::Leaf(text) => text.parse().expect("a byte"),
        // Zero is the default of a number.
        _ => 0,
    }
}
