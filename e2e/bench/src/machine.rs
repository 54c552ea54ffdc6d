//! What the kernel says about processes and cores.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::process::Command;
use std::time::Duration;

/// Core of the process that is measured; clients and servers are on [`OTHER_CORE`].
pub const PROXY_CORE: usize = 0;
/// Core of load generators, the backend and this program.
pub const OTHER_CORE: usize = 1;

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    pub resident: u64,
    /// The part that is not pages of files.
    pub anonymous: u64,
    /// The most that was resident at a time.
    pub peak: u64,
}

/// CPU time that all threads of a process have used, to the nanosecond.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let mut nanos = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the two looks; its time was little then.
        let schedstat = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        let first = schedstat.split(' ').next().unwrap_or_default();
        nanos += first.parse::<u64>().unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanos))
}

pub fn memory(pid: u32) -> io::Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let mut lines = status.lines();
        let value = lines.find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = value.split_whitespace().next()?.parse().ok()?;
        Some(kib * 1024)
    };
    Ok(Memory {
        resident: field("VmRSS:").unwrap_or(0),
        anonymous: field("RssAnon:").unwrap_or(0),
        peak: field("VmHWM:").unwrap_or(0),
    })
}

/// Processes that wanted a core in the last 1, 5 and 15 minutes, as the kernel prints it.
pub fn load() -> io::Result<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').take(3).collect::<Vec<_>>().join(" "))
}

/// A command bound to a core: `taskset` becomes the program, so that its process id is the program's.
pub fn on_core(core: usize, program: impl AsRef<OsStr>) -> Command {
    if core >= cores() {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.arg("--cpu-list").arg(core.to_string()).arg(program);
    command
}

pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
