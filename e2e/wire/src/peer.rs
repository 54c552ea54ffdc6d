//! Proxies of others, with the same place in a chain as ours.

use std::path::Path;
use std::process::Command;

use ironsail_peer::{Envoy, Launch, Process, Program, find};

use crate::config::Hop;

/// Starts Envoy in the place of a hop of ours.
///
/// # Errors
/// It was not fetched, or does not start.
pub fn envoy(hop: &Hop<'_>, directory: &Path) -> anyhow::Result<Envoy> {
    let mut envoy = Envoy::start(Launch::new(directory)?, &hop.bootstrap())?;
    envoy.wait_until_live()?;
    Ok(envoy)
}

/// Starts nginx between two ports; it keeps connections to the server and logs as [`Hop`] does.
///
/// # Errors
/// It was not fetched, or does not start.
pub fn nginx(
    port: u16,
    server: u16,
    access_log: &Path,
    directory: &Path,
) -> anyhow::Result<Process> {
    let home = directory.join("nginx");
    std::fs::create_dir_all(&home)?;
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {}/{kind};\n", home.display()))
        .concat();
    let text = format!(
        "daemon off; master_process off; pid {home}/pid; error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
log_format line '$request_method $request_uri $status $upstream_addr';
access_log {log} line; {temporary}
upstream origin {{ server 127.0.0.1:{server}; keepalive 16; }}
server {{
  listen 127.0.0.1:{port};
  location / {{
    proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $http_host;
    proxy_read_timeout 3s; client_body_timeout 3s; client_max_body_size 0;
  }}
}} }}
",
        home = home.display(),
        log = access_log.display(),
    );
    let path = home.join("nginx.conf");
    std::fs::write(&path, text)?;
    let mut command = Command::new(find(Program::Nginx)?);
    command.args(["-e", "stderr", "-c"]).arg(path);
    let mut process = Process::start("nginx", command, directory)?;
    process.wait_for_port(port)?;
    Ok(process)
}

/// The same with HAProxy, whose log of requests is what it prints: `haproxy.log` in `directory`.
///
/// # Errors
/// It was not fetched, or does not start.
pub fn haproxy(port: u16, server: u16, directory: &Path) -> anyhow::Result<Process> {
    let text = format!(
        "global
  log stdout format raw daemon
  maxconn 512
defaults
  mode http
  log global
  log-format \"%HM %HU %ST %si:%sp\"
  timeout connect 3s
  timeout client 3s
  timeout server 3s
  http-reuse always
frontend in
  bind 127.0.0.1:{port}
  default_backend origin
backend origin
  server origin 127.0.0.1:{server}
"
    );
    let path = directory.join("haproxy.cfg");
    std::fs::write(&path, text)?;
    let program = find(Program::Haproxy)?;
    let mut command = Command::new(&program);
    let libraries = program.with_file_name("haproxy-lib");
    command
        .env("LD_LIBRARY_PATH", libraries)
        .arg("-db")
        .arg("-f")
        .arg(path);
    let mut process = Process::start("haproxy", command, directory)?;
    process.wait_for_port(port)?;
    Ok(process)
}
