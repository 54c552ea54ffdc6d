//! What a program says about its own process, and how it ends.

use std::fs;

/// Lets the process end quietly when nobody reads what it prints (`command | head`), as command
/// lines do. Rust programs ignore the signal and fail in the next write instead.
pub fn end_with_reader() {
    // SAFETY: sets the default action, which runs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Resident memory in bytes; absent where `/proc` is.
pub fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    parse_resident(&status)
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// `process_resident_memory_bytes` in Prometheus text, under `prefix`.
pub fn metrics(prefix: &str) -> String {
    let bytes = resident_bytes().unwrap_or(0);
    let name = format!("{prefix}process_resident_memory_bytes");
    format!("# HELP {name} Resident memory size in bytes.\n# TYPE {name} gauge\n{name} {bytes}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_kibibytes_become_bytes() {
        assert_eq!(
            parse_resident("Name:\tx\nVmRSS:\t   2048 kB\n"),
            Some(2_097_152)
        );
        assert_eq!(parse_resident("Name:\tx\n"), None);
        assert!(metrics("istio_agent_").contains("istio_agent_process_resident_memory_bytes "));
    }
}
