//! Programs of others: where they are, and how they run for as long as they are held.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// Time for a program to open its port.
pub(crate) const READY: Duration = Duration::from_secs(20);

/// A program of the cache by its path there, `bin/h2spec`.
///
/// `None`, with a word about it, when it is not there; `make wire-tools` brings it.
///
/// # Panics
/// It is not there, and `REQUIRE_TOOLS=1` says that it must.
pub fn find(name: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("CACHE").map(PathBuf::from);
    let cache = cache.or_else(|| {
        let home = std::env::var_os("HOME")?;
        Some(PathBuf::from(home).join(".cache/ironsail"))
    });
    let found = cache.map(|cache| cache.join(name));
    let found = found.filter(|path| path.exists());
    if found.is_none() {
        let required = std::env::var_os("REQUIRE_TOOLS").is_some_and(|text| text == "1");
        assert!(!required, "{name} is not in the cache");
        eprintln!("skipped: {name} is not in the cache, see make wire-tools");
    }
    found
}

/// A running program; ended when dropped.
pub struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts `command` and waits until it accepts connections on a port; what it prints goes to `log`.
    ///
    /// # Errors
    /// It does not start, or ends before that.
    pub fn start(mut command: Command, log: &Path, port: u16) -> anyhow::Result<Self> {
        let output = File::create(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("{command:?} does not start"))?;
        let mut program = Self {
            child,
            log: log.to_owned(),
        };
        program.wait_for_port(port)?;
        Ok(program)
    }

    fn wait_for_port(&mut self, port: u16) -> anyhow::Result<()> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let end = Instant::now() + READY;
        while TcpStream::connect(address).is_err() {
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > end {
                let output = std::fs::read_to_string(&self.log).unwrap_or_default();
                bail!("nobody accepts connections at {address}, {ended:?}: {output}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port of loopback that nobody uses at the moment.
///
/// # Errors
/// There is none.
pub fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}
