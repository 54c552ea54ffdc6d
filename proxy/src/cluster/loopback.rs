//! Applications that listen on loopback only, which is why connections to them are refused.
//!
//! Inbound connections go to the address of the pod, as they do without a mesh
//! (<https://istio.io/latest/blog/2021/upcoming-networking-changes/>). An application on 127.0.0.1 is not there, and who
//! wonders why finds the reason in the log.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

/// Sockets of the pod, by family.
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];
/// How these tables write that a socket listens.
const LISTEN: &str = "0A";
/// Time between two looks at the tables, however many connections are refused.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two warnings about the same port.
const WARN_INTERVAL: Duration = Duration::from_secs(3600);

/// What was looked at and said. Locked only after a connection was refused.
static NOTES: LazyLock<Mutex<Notes>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Notes {
    looked: Option<Instant>,
    /// When, by port. Holds no more ports than listen on loopback.
    warned: HashMap<u16, Instant>,
}

/// Takes note of a refused connection. Where a listener on loopback explains it, says so once.
pub(super) fn refused(destination: SocketAddr) {
    let port = destination.port();
    if !notes().looks_again(port, Instant::now()) {
        return;
    }
    // The tables may be long: they are read on a thread that serves nobody.
    tokio::task::spawn_blocking(move || {
        let tables = TABLES.map(|path| fs::read_to_string(path).unwrap_or_default());
        let Some(address) = only_loopback(port, &tables) else {
            return;
        };
        notes().warned.insert(port, Instant::now());
        let address = SocketAddr::new(address, port);
        warn!(%address, %destination, "Application listens on loopback only and cannot be reached from other pods");
    });
}

fn notes() -> MutexGuard<'static, Notes> {
    // Each change leaves the notes complete.
    NOTES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Notes {
    fn looks_again(&mut self, port: u16, now: Instant) -> bool {
        let within = |then: &Instant, interval| now.saturating_duration_since(*then) < interval;
        let is_known = self
            .warned
            .get(&port)
            .is_some_and(|then| within(then, WARN_INTERVAL));
        let is_soon = self
            .looked
            .as_ref()
            .is_some_and(|then| within(then, LOOK_INTERVAL));
        if is_known || is_soon {
            return false;
        }
        self.looked = Some(now);
        true
    }
}

/// The loopback address on which a port is listened on; `None` if nobody listens, or somebody on another address.
fn only_loopback(port: u16, tables: &[String]) -> Option<IpAddr> {
    let listeners = tables
        .iter()
        .flat_map(|table| table.lines().filter_map(listener));
    let mut addresses = listeners
        .filter(|listener| listener.port() == port)
        .map(|listener| listener.ip().to_canonical());
    let first = addresses.next()?;
    (first.is_loopback() && addresses.all(|address| address.is_loopback())).then_some(first)
}

/// The address of a line, if its socket listens.
fn listener(line: &str) -> Option<SocketAddr> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (address, port) = fields.next()?.split_once(':')?;
    if fields.nth(1)? != LISTEN {
        return None;
    }
    Some(SocketAddr::new(
        address_of(address)?,
        u16::from_str_radix(port, 16).ok()?,
    ))
}

/// Words of 32 bits in the byte order of the machine, each as eight hexadecimal digits.
fn address_of(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = text.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (at, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at)?);
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

/// Whether there was a warning about a port.
#[cfg(test)]
pub(super) fn has_warned(port: u16) -> bool {
    notes().warned.contains_key(&port)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Lines as a machine of little-endian order writes them: 8080 on 127.0.0.1 and a connection to it, 9090 on all
    /// addresses, 7070 on 127.0.0.1 and 10.244.0.7.
    const V4: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1
   1: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000        0 2
   2: 00000000:2382 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 3
   3: 0100007F:1B9E 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4
   4: 0700F40A:1B9E 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 5
   5: 0700F40A:1388 00000000:0000 01 00000000:00000000 00:00000000 00000000  1000        0 6
";
    /// 6060 on ::1, 5050 on 127.0.0.1 as an IPv6 socket, 8081 on all addresses.
    const V6: &str = "\
  sl  local_address                         remote_address                        st
   0: 00000000000000000000000001000000:17AC 00000000000000000000000000000000:0000 0A
   1: 0000000000000000FFFF00000100007F:13BA 00000000000000000000000000000000:0000 0A
   2: 00000000000000000000000000000000:1F91 00000000000000000000000000000000:0000 0A
";

    #[test]
    #[cfg(target_endian = "little")]
    fn tables_are_read() {
        let tables = [V4.to_owned(), V6.to_owned()];
        for (port, expected) in [
            (8080, Some("127.0.0.1")),
            (6060, Some("::1")),
            (5050, Some("127.0.0.1")),
            (9090, None),
            (7070, None),
            (8081, None),
            (5000, None),
            (1, None),
        ] {
            let found = only_loopback(port, &tables).map(|address| address.to_string());
            assert_eq!(found.as_deref(), expected, "{port}");
        }
    }

    #[test]
    fn a_socket_of_ours_is_found() {
        for (address, expected) in [("127.0.0.1:0", true), ("0.0.0.0:0", false)] {
            let socket = TcpListener::bind(address).expect("a port");
            let port = socket.local_addr().expect("bound").port();
            let tables = TABLES.map(|path| fs::read_to_string(path).unwrap_or_default());
            assert_eq!(
                only_loopback(port, &tables).is_some(),
                expected,
                "{address}"
            );
        }
    }

    #[test]
    fn looks_and_warnings_have_their_distance() {
        let mut notes = Notes::default();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(notes.looks_again(80, start));
        assert!(!notes.looks_again(81, start), "too soon for any port");
        assert!(notes.looks_again(81, after(1)));
        notes.warned.insert(80, after(1));
        assert!(!notes.looks_again(80, after(60)));
        assert!(notes.looks_again(81, after(60)));
        assert!(notes.looks_again(80, after(3601)));
    }
}
