//! Network namespaces, and a bridge between them.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, bail};

/// Address of the bridge: where the control plane is.
pub const NODE: Ipv4Addr = Ipv4Addr::new(10, 244, 255, 254);
/// Bits of the network of all pods.
const PREFIX: u8 = 16;

/// Whether a namespace can be made; fails instead of saying no when `REQUIRE_NETNS=1`.
///
/// # Panics
/// As said.
pub fn is_permitted() -> bool {
    match Namespace::new() {
        Ok(_) => true,
        Err(error) => {
            let is_required = std::env::var("REQUIRE_NETNS").as_deref() == Ok("1");
            assert!(!is_required, "no network namespace: {error}");
            println!("skipped: no network namespace: {error}");
            false
        }
    }
}

/// A network namespace; gone with the last process and socket in it.
#[derive(Clone)]
pub struct Namespace(Arc<File>);

impl Namespace {
    /// A fresh one, with loopback.
    ///
    /// # Errors
    /// The right to make one is missing.
    pub fn new() -> io::Result<Self> {
        let made = std::thread::spawn(|| {
            // SAFETY: no pointers; only this thread changes its namespace, and it ends right here.
            match unsafe { libc::unshare(libc::CLONE_NEWNET) } {
                0 => File::open("/proc/thread-self/ns/net"),
                _ => Err(io::Error::last_os_error()),
            }
        });
        let file = made.join().map_err(|_| io::ErrorKind::Other)??;
        let namespace = Self(Arc::new(file));
        namespace
            .ip("link set lo up")
            .map_err(|error| io::Error::other(error.to_string()))?;
        Ok(namespace)
    }

    /// Runs `work` on a thread inside. Sockets and threads made there stay inside.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let file = Arc::clone(&self.0);
        let inside = move || {
            join(file.as_raw_fd()).expect("an open namespace can be joined");
            work()
        };
        std::thread::scope(|scope| {
            let thread = scope.spawn(inside);
            thread.join().expect("the thread inside does not panic")
        })
    }

    /// A command that runs inside.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        let file = Arc::clone(&self.0);
        // SAFETY: setns is a system call without pointers, and the file stays open.
        unsafe {
            command.pre_exec(move || join(file.as_raw_fd()));
        }
        command
    }

    fn ip(&self, arguments: &str) -> anyhow::Result<()> {
        let output = self
            .command("ip")
            .args(arguments.split(' '))
            .output()
            .context("iproute2 is installed")?;
        if !output.status.success() {
            bail!(
                "ip {arguments}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    }

    /// As `ip` takes it.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

fn join(file: i32) -> io::Result<()> {
    // SAFETY: no pointers.
    match unsafe { libc::setns(file, libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A node with a bridge, on which pods have addresses.
pub struct Network {
    pub node: Namespace,
}

impl Network {
    /// # Errors
    /// The right to make one is missing.
    pub fn new() -> anyhow::Result<Self> {
        let node = Namespace::new()?;
        // Its own address, or it would have that of some pod, another one with every pod that comes.
        node.ip("link add bridge address 02:00:00:00:00:01 type bridge")?;
        node.ip(&format!("address add {NODE}/{PREFIX} dev bridge"))?;
        node.ip("link set bridge up")?;
        Ok(Self { node })
    }

    /// A pod's namespace with its address.
    ///
    /// # Errors
    /// The address is taken.
    pub fn add(&self, address: Ipv4Addr) -> anyhow::Result<Namespace> {
        let pod = Namespace::new()?;
        let [_, _, high, low] = address.octets();
        let link = format!("pod-{high}-{low}");
        let path = pod.path();
        self.node.ip(&format!(
            "link add {link} type veth peer name eth0 netns {path}"
        ))?;
        self.node.ip(&format!("link set {link} master bridge up"))?;
        pod.ip(&format!("address add {address}/{PREFIX} dev eth0"))?;
        pod.ip("link set eth0 up")?;
        // Addresses of services have a way, on which they are captured.
        pod.ip(&format!("route add default via {NODE}"))?;
        Ok(pod)
    }
}
