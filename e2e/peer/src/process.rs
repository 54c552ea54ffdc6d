//! Programs that run beside this one for as long as they are held.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// Time for a program to be ready.
const START: Duration = Duration::from_secs(20);
/// A program whose starter is gone ends after this many seconds.
const LIFETIME_SECS: u32 = 1800;

/// A running program; ended when dropped.
pub struct Process {
    child: Child,
    name: &'static str,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; what it prints goes to a file in `directory`.
    pub fn start(
        name: &'static str,
        mut command: Command,
        directory: &Path,
    ) -> anyhow::Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let output = File::create(&log)?;
        // SAFETY: alarm is async-signal-safe and takes no memory. It outlives exec.
        unsafe {
            command.pre_exec(|| {
                libc::alarm(LIFETIME_SECS);
                Ok(())
            });
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("{name} does not start"))?;
        Ok(Self { child, name, log })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the program accepts connections on a port of loopback.
    pub fn wait_for_port(&mut self, port: u16) -> anyhow::Result<()> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        self.wait_until(|| TcpStream::connect(address).is_ok())
    }

    /// Waits until the program is ready, as far as `is_ready` can tell.
    pub fn wait_until(&mut self, is_ready: impl Fn() -> bool) -> anyhow::Result<()> {
        let end = Instant::now() + START;
        while !is_ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}:\n{}", self.name, self.output());
            }
            if Instant::now() > end {
                bail!(
                    "{} is not ready in {START:?}:\n{}",
                    self.name,
                    self.output()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it has printed so far.
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port of loopback that nobody uses at the moment.
pub fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}
