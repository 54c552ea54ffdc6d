use super::*;
use std::sync::{Arc, Mutex};
use tracing::level_filters::LevelFilter;

#[test]
fn scopes_and_segments_decide() {
    let levels: Levels = "default:info,ads:debug,h2:trace,ironsail_proxy::xds:error"
        .parse()
        .expect("valid");
    for (target, expected) in [
        ("ironsail_proxy::agent", LevelFilter::INFO),
        ("ironsail_controlplane::xds::ads", LevelFilter::DEBUG),
        ("ironsail_proxy::xds", LevelFilter::ERROR),
        ("h2::codec", LevelFilter::TRACE),
        ("hyper::client", LevelFilter::WARN),
    ] {
        assert_eq!(levels.level(target), expected, "{target}");
    }
}

#[test]
fn texts_parse_and_print() {
    for (text, expected) in [
        ("", "default:info"),
        ("debug", "default:debug"),
        ("default:none, ca:fatal", "default:none,ca:error"),
        ("all:debug", "default:debug"),
    ] {
        let levels: Levels = text.parse().expect("valid");
        assert_eq!(levels.to_string(), expected, "{text:?}");
    }
    assert!("default:loud".parse::<Levels>().is_err());
    assert!(":info".parse::<Levels>().is_err());
    let all: Levels = "all:debug".parse().expect("valid");
    assert_eq!(all.level("h2::codec"), LevelFilter::DEBUG);
}

/// Lines that `emit` logs.
fn lines(as_json: bool, emit: impl FnOnce()) -> Vec<String> {
    let written = Arc::new(Mutex::new(Vec::new()));
    let sink = written.clone();
    let layer = format::Layer::new(
        as_json,
        Box::new(move |line| {
            let line = String::from_utf8_lossy(line).into_owned();
            sink.lock().expect("not poisoned").push(line);
            Ok(())
        }),
    );
    let levels = Levels::default();
    tracing::subscriber::with_default(Registry::default().with(layer.with_filter(levels)), emit);
    written.lock().expect("not poisoned").clone()
}

#[test]
fn text_is_one_line_with_fields() {
    let lines = lines(false, || {
        let _span = tracing::info_span!("stream", proxy = "a.b").entered();
        tracing::info!(count = 2, error = "line\nfeed", "Pushed\nall");
        tracing::debug!("not logged");
    });
    let [line] = &lines[..] else {
        panic!("one line expected: {lines:?}");
    };
    let parts: Vec<&str> = line.trim_end().split('\t').collect();
    assert_eq!(
        parts[1..],
        [
            "info",
            "ironsail_runtime::log::tests",
            "Pushed\\nall",
            "proxy=a.b count=2 error=\"line\\nfeed\"",
        ]
    );
}

#[test]
fn json_has_the_peers_keys() {
    let lines = lines(true, || tracing::warn!(nonce = "n", "Rejected"));
    let value: serde_json::Value = serde_json::from_str(&lines[0]).expect("one object");
    assert_eq!(value["level"], "warn");
    assert_eq!(value["msg"], "Rejected");
    assert_eq!(value["nonce"], "n");
    assert_eq!(value["scope"], "ironsail_runtime::log::tests");
    assert!(value["time"].is_string());
}
