//! A stock Envoy with a bootstrap of the caller.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use ironsail_xds::bootstrap::{Admin as AdminConfig, Bootstrap};
use ironsail_xds::core::{Address, SocketAddress, address, socket_address};
use prost::Message;
use serde_json::Value;

use crate::http;
use crate::process::Process;
use crate::program::{Program, find};

/// How an Envoy is started.
pub struct Launch<'a> {
    /// The program, or what runs it (`taskset … envoy`); arguments are added.
    pub command: Command,
    /// Name of the process in errors and of its log.
    pub name: &'static str,
    /// Where bootstrap, log and the address of the admin endpoint are written.
    pub directory: &'a Path,
    /// Level of its log.
    pub log_level: &'static str,
}

impl<'a> Launch<'a> {
    /// The Envoy of the cache.
    ///
    /// # Errors
    /// It was not fetched.
    pub fn new(directory: &'a Path) -> anyhow::Result<Self> {
        Ok(Self {
            command: Command::new(find(Program::Envoy)?),
            name: "envoy",
            directory,
            log_level: "warning",
        })
    }
}

/// An Envoy that runs with one worker; ended when dropped.
pub struct Envoy {
    pub process: Process,
    pub admin: Admin,
}

impl Envoy {
    /// Starts it and waits until it answers on its admin endpoint, which gets a port of loopback that is free.
    ///
    /// Listeners and discovery may still be on their way: [`Admin::is_live`] tells.
    ///
    /// # Errors
    /// It does not start, or refuses the bootstrap; the error holds its log.
    pub fn start(launch: Launch<'_>, bootstrap: &Bootstrap) -> anyhow::Result<Self> {
        Self::start_with(launch, "pb", &with_admin(bootstrap).encode_to_vec())
    }

    /// As [`Envoy::start`] with a bootstrap in YAML, which must have an admin endpoint on loopback.
    ///
    /// # Errors
    /// As [`Envoy::start`].
    pub fn start_yaml(launch: Launch<'_>, bootstrap: &str) -> anyhow::Result<Self> {
        Self::start_with(launch, "yaml", bootstrap.as_bytes())
    }

    fn start_with(launch: Launch<'_>, suffix: &str, bootstrap: &[u8]) -> anyhow::Result<Self> {
        let Launch {
            mut command,
            name,
            directory,
            log_level,
        } = launch;
        let directory = directory.canonicalize()?;
        let file = |suffix: &str| directory.join(format!("{name}.{suffix}"));
        fs::write(file(suffix), bootstrap)?;
        let admin = file("admin");
        command
            .args(["--concurrency", "1", "--disable-hot-restart"])
            .args(["--log-level", log_level, "--admin-address-path"])
            .arg(&admin)
            .arg("-c")
            .arg(file(suffix));
        let mut process = Process::start(name, command, &directory)?;
        process.wait_until(|| admin_port(&admin).is_some_and(|port| Admin { port }.answers()))?;
        let port = admin_port(&admin).context("the admin endpoint has an address")?;
        Ok(Self {
            process,
            admin: Admin { port },
        })
    }

    /// Waits until all that the bootstrap and first discovery name is in use.
    ///
    /// # Errors
    /// It ended, or is not live in time; the error holds its log.
    pub fn wait_until_live(&mut self) -> anyhow::Result<()> {
        let admin = self.admin;
        self.process.wait_until(|| admin.is_live())
    }
}

fn with_admin(bootstrap: &Bootstrap) -> Bootstrap {
    let address = address::Address::SocketAddress(SocketAddress {
        address: "127.0.0.1".to_owned(),
        port_specifier: Some(socket_address::PortSpecifier::PortValue(0)),
        ..Default::default()
    });
    Bootstrap {
        admin: Some(AdminConfig {
            address: Some(Address {
                address: Some(address),
            }),
            ..Default::default()
        }),
        ..bootstrap.clone()
    }
}

fn admin_port(path: &PathBuf) -> Option<u16> {
    let address = fs::read_to_string(path).ok()?;
    address.rsplit(':').next()?.trim().parse().ok()
}

/// The admin endpoint of an Envoy.
#[derive(Clone, Copy, Debug)]
pub struct Admin {
    pub port: u16,
}

impl Admin {
    /// Text of a page, such as `/config_dump`.
    ///
    /// # Errors
    /// Anything but an answer with status 200.
    pub fn get(self, path: &str) -> anyhow::Result<String> {
        http::get(self.port, "admin", path)
    }

    /// As [`Admin::get`] for what changes something, such as `/drain_listeners`.
    ///
    /// # Errors
    /// As for [`Admin::get`].
    pub fn post(self, path: &str) -> anyhow::Result<String> {
        http::post(self.port, "admin", path)
    }

    /// A page in JSON.
    ///
    /// # Errors
    /// As for [`Admin::get`], or the page is no JSON.
    pub fn json(self, path: &str) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.get(path)?)?)
    }

    /// Whether the server has left its initialization.
    pub fn is_live(self) -> bool {
        self.get("/ready")
            .is_ok_and(|text| text.starts_with("LIVE"))
    }

    /// A counter or gauge; absent ones are zero, as Envoy makes many at first use.
    ///
    /// # Errors
    /// As for [`Admin::json`].
    pub fn stat(self, name: &str) -> anyhow::Result<u64> {
        let stats = self.json("/stats?format=json")?;
        let mut all = stats["stats"].as_array().into_iter().flatten();
        let stat = all.find(|stat| stat["name"] == name);
        Ok(stat.and_then(|stat| stat["value"].as_u64()).unwrap_or(0))
    }

    /// Port of loopback that a listener got, by the listener's name.
    ///
    /// # Errors
    /// There is no such listener (yet).
    pub fn listener_port(self, name: &str) -> anyhow::Result<u16> {
        let listeners = self.json("/listeners?format=json")?;
        let mut all = listeners["listener_statuses"]
            .as_array()
            .into_iter()
            .flatten();
        all.find(|listener| listener["name"] == name)
            .and_then(|listener| listener["local_address"]["socket_address"]["port_value"].as_u64())
            .and_then(|port| u16::try_from(port).ok())
            .with_context(|| format!("envoy has no listener {name}"))
    }

    fn answers(self) -> bool {
        self.get("/server_info").is_ok()
    }
}
