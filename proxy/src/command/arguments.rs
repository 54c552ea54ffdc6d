//! The command line.
//!
//! Flags that this program does not know are passed over with a warning, because injection templates of other versions
//! carry flags of their own.

use crate::admin::PRINT_COMMAND;
use crate::bootstrap::Flags;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Proxy {
        flags: Flags,
        log_output_level: String,
        log_as_json: bool,
        /// Flags that were passed over.
        unknown: Vec<String>,
    },
    Request {
        method: String,
        path: String,
        port: u16,
    },
    Wait {
        timeout_seconds: u64,
        period_ms: u64,
        url: String,
    },
    Version {
        short: bool,
        output: String,
    },
    /// The rest goes to `capture`.
    Iptables(Vec<String>),
    /// Child process of the admin API.
    PrintConfigDump,
    Help,
}

/// Why the command line means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Usage(String);

/// Ports that `request` may ask.
const REQUEST_PORTS: [u16; 4] = [15000, 15004, 15020, 15021];

pub const HELP: &str = "\
Ironsail proxy and its agent

usage: pilot-agent <command>

  proxy [sidecar|router]    run the proxy
  request METHOD PATH       ask the admin API (--debug-port 15000)
  wait                      until the proxy is ready (--timeoutSeconds 60, --periodMillis 500, --url)
  istio-iptables            set up redirection (--help)
  version                   print the version (--short, --output json)
";

/// Flags with a value, so that `--flag value` is not taken for a flag and an argument.
const WITH_VALUE: [&str; 22] = [
    "domain",
    "concurrency",
    "serviceCluster",
    "log_output_level",
    "proxyLogLevel",
    "proxyComponentLogLevel",
    "meshConfig",
    "stsPort",
    "tokenManagerPlugin",
    "templateFile",
    "outlierLogPath",
    "log_target",
    "log_caller",
    "log_stacktrace_level",
    "log_rotate",
    "debug-port",
    "timeoutSeconds",
    "periodMillis",
    "requestTimeoutMillis",
    "url",
    "output",
    "vklog",
];

/// Reads the command line, the program's name first.
///
/// # Errors
/// The command is unknown, or an argument is absent or malformed.
pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Command, Usage> {
    let mut arguments = arguments.into_iter();
    let program = arguments.next().unwrap_or_default();
    let program = program.rsplit('/').next().unwrap_or_default();
    match program {
        "istio-iptables" => return Ok(Command::Iptables(arguments.collect())),
        "istio-clean-iptables" => {
            let cleanup = std::iter::once("--cleanup-only".to_owned());
            return Ok(Command::Iptables(cleanup.chain(arguments).collect()));
        }
        _ => {}
    }
    let Some(command) = arguments.next() else {
        return Ok(Command::Help);
    };
    match command.as_str() {
        "istio-iptables" => Ok(Command::Iptables(arguments.collect())),
        "istio-clean-iptables" => {
            let cleanup = std::iter::once("--cleanup-only".to_owned());
            Ok(Command::Iptables(cleanup.chain(arguments).collect()))
        }
        PRINT_COMMAND => Ok(Command::PrintConfigDump),
        "help" | "--help" | "-h" => Ok(Command::Help),
        "proxy" => proxy(Parsed::of(arguments)),
        "request" => request(&Parsed::of(arguments)),
        "wait" => wait(&Parsed::of(arguments)),
        "version" => {
            let parsed = Parsed::of(arguments);
            Ok(Command::Version {
                short: parsed.has("short") || parsed.has("s"),
                output: parsed
                    .value("output")
                    .or(parsed.value("o"))
                    .unwrap_or_default(),
            })
        }
        other => Err(Usage(format!(
            "{other:?} is no command; see pilot-agent help"
        ))),
    }
}

/// Flags with their values, and the rest.
struct Parsed {
    flags: Vec<(String, Option<String>)>,
    positional: Vec<String>,
}

impl Parsed {
    fn of(arguments: impl Iterator<Item = String>) -> Self {
        let mut parsed = Self {
            flags: Vec::new(),
            positional: Vec::new(),
        };
        let mut arguments = arguments.peekable();
        while let Some(argument) = arguments.next() {
            let Some(flag) = argument.strip_prefix("--").or(argument.strip_prefix('-')) else {
                parsed.positional.push(argument);
                continue;
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None if WITH_VALUE.contains(&flag) || flag == "o" => (flag, arguments.next()),
                None => (flag, None),
            };
            parsed.flags.push((name.to_owned(), value));
        }
        parsed
    }

    fn has(&self, name: &str) -> bool {
        self.flags
            .iter()
            .any(|(own, value)| own == name && value.as_deref() != Some("false"))
    }

    fn value(&self, name: &str) -> Option<String> {
        self.flags
            .iter()
            .rev()
            .find(|(own, _)| own == name)
            .and_then(|(_, value)| value.clone())
    }

    fn number<T: std::str::FromStr>(&self, name: &str, default: T) -> Result<T, Usage> {
        match self.value(name) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .map_err(|_| Usage(format!("--{name}: {text:?} is no number"))),
        }
    }
}

fn proxy(parsed: Parsed) -> Result<Command, Usage> {
    const KNOWN: [&str; 14] = [
        "domain",
        "concurrency",
        "serviceCluster",
        "log_output_level",
        "log_as_json",
        "proxyLogLevel",
        "proxyComponentLogLevel",
        "meshConfig",
        "stsPort",
        "tokenManagerPlugin",
        "templateFile",
        "outlierLogPath",
        "profiling",
        "vklog",
    ];
    let unknown = parsed
        .flags
        .iter()
        .map(|(name, _)| name.clone())
        .filter(|name| !KNOWN.contains(&name.as_str()))
        .collect();
    let concurrency = match parsed.value("concurrency") {
        Some(_) => Some(parsed.number("concurrency", 0)?),
        None => None,
    };
    Ok(Command::Proxy {
        flags: Flags {
            role: parsed.positional.first().cloned(),
            domain: parsed.value("domain").map(|domain| expand(&domain)),
            concurrency,
            service_cluster: parsed.value("serviceCluster"),
        },
        log_output_level: parsed.value("log_output_level").unwrap_or_default(),
        log_as_json: parsed.has("log_as_json"),
        unknown,
    })
}

/// The kubelet expands `$(POD_NAMESPACE)`; by hand it may be left.
fn expand(domain: &str) -> String {
    match std::env::var("POD_NAMESPACE") {
        Ok(namespace) => domain.replace("$(POD_NAMESPACE)", &namespace),
        Err(_) => domain.to_owned(),
    }
}

fn request(parsed: &Parsed) -> Result<Command, Usage> {
    let [method, path] = parsed.positional.as_slice() else {
        return Err(Usage("usage: pilot-agent request METHOD PATH".to_owned()));
    };
    let port = parsed.number("debug-port", 15000)?;
    if !REQUEST_PORTS.contains(&port) {
        return Err(Usage(format!(
            "--debug-port: {port} is none of {REQUEST_PORTS:?}"
        )));
    }
    Ok(Command::Request {
        method: method.to_uppercase(),
        path: path.clone(),
        port,
    })
}

fn wait(parsed: &Parsed) -> Result<Command, Usage> {
    Ok(Command::Wait {
        timeout_seconds: parsed.number("timeoutSeconds", 60)?,
        period_ms: parsed.number("periodMillis", 500)?,
        url: parsed
            .value("url")
            .unwrap_or_else(|| "http://localhost:15021/healthz/ready".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Command, Usage> {
        parse(line.split(' ').map(str::to_owned))
    }

    #[test]
    fn the_injectors_command_line() {
        let command = of(
            "/usr/local/bin/pilot-agent proxy sidecar --domain a.svc.cluster.local --proxyLogLevel=warning --proxyComponentLogLevel=misc:error --log_output_level=default:info --future=1",
        );
        let Ok(Command::Proxy {
            flags,
            log_output_level,
            unknown,
            ..
        }) = command
        else {
            panic!("{command:?}");
        };
        assert_eq!(flags.role.as_deref(), Some("sidecar"));
        assert_eq!(flags.domain.as_deref(), Some("a.svc.cluster.local"));
        assert_eq!(log_output_level, "default:info");
        assert_eq!(unknown, ["future"]);
    }

    #[test]
    fn names_of_the_binary_are_commands() {
        let rest = |line| match of(line) {
            Ok(Command::Iptables(rest)) => rest,
            other => panic!("{other:?}"),
        };
        assert_eq!(rest("istio-iptables -p 15001"), ["-p", "15001"]);
        assert_eq!(rest("/bin/istio-clean-iptables"), ["--cleanup-only"]);
        assert_eq!(rest("pilot-agent istio-iptables -n"), ["-n"]);
    }

    #[test]
    fn requests_go_to_known_ports_only() {
        assert_eq!(
            of("pilot-agent request GET stats/prometheus"),
            Ok(Command::Request {
                method: "GET".to_owned(),
                path: "stats/prometheus".to_owned(),
                port: 15000
            })
        );
        assert!(of("pilot-agent request GET x --debug-port 80").is_err());
        assert!(of("pilot-agent request GET").is_err());
        assert!(of("pilot-agent nonsense").is_err());
    }

    #[test]
    fn waiting_has_the_peers_defaults() {
        let Ok(Command::Wait {
            timeout_seconds,
            period_ms,
            ..
        }) = of("pilot-agent wait")
        else {
            panic!("no wait");
        };
        assert_eq!((timeout_seconds, period_ms), (60, 500));
    }
}
