//! Connecting to a host with several addresses: the next one is tried when one is slow or fails, and the first that
//! answers is taken. <https://www.rfc-editor.org/rfc/rfc8305#section-5>.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};

/// Between the starts of two attempts, as in Envoy.
const STAGGER: Duration = Duration::from_millis(300);

/// Connects to one of the addresses. Cancel safe if `connect` is.
///
/// # Errors
/// That of the last address that failed.
pub(super) async fn connect<T, F: Future<Output = io::Result<T>>>(
    first: SocketAddr,
    others: &[SocketAddr],
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<T> {
    let mut rest = in_turn(first, others).into_iter();
    let mut running = FuturesUnordered::from_iter([connect(first)]);
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    loop {
        let has_more = rest.len() > 0;
        let stagger = async {
            match has_more {
                true => tokio::time::sleep(STAGGER).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = running.next() => match ended {
                Some(Ok(connected)) => return Ok(connected),
                Some(Err(error)) => failure = error,
                None => return Err(failure),
            },
            () = stagger => {}
        }
        running.extend(rest.next().map(&connect));
    }
}

/// The others, beginning with the other family than the first one's, in turn.
fn in_turn(first: SocketAddr, others: &[SocketAddr]) -> Vec<SocketAddr> {
    let (same, other): (Vec<SocketAddr>, Vec<_>) = others
        .iter()
        .partition(|address| address.is_ipv4() == first.is_ipv4());
    let (mut same, mut other) = (same.into_iter(), other.into_iter());
    let mut ordered = Vec::with_capacity(others.len());
    while ordered.len() < others.len() {
        ordered.extend(other.next());
        ordered.extend(same.next());
    }
    ordered
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn address(text: &str) -> SocketAddr {
        format!("{text}:80").parse().expect("an address")
    }

    /// Who answers, when, and who was tried; times are in milliseconds, `None` fails.
    async fn check(all: &[(&str, Option<u64>)], expected: Option<(&str, u128)>) {
        let addresses: Vec<_> = all.iter().map(|(text, _)| address(text)).collect();
        let begun = Instant::now();
        let attempt = |tried: SocketAddr| async move {
            let found = all.iter().find(|(text, _)| address(text) == tried);
            match found.and_then(|(_, millis)| *millis) {
                Some(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
                None => return Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
            }
            Ok(tried)
        };
        let connected = connect(addresses[0], &addresses[1..], attempt).await;
        let seen = connected.map(|by| (by, begun.elapsed().as_millis()));
        let expected = expected.map(|(text, millis)| (address(text), millis));
        assert_eq!(seen.ok(), expected, "{all:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_that_answers_is_taken() {
        check(&[("10.0.0.1", Some(100))], Some(("10.0.0.1", 100))).await;
        check(
            &[("10.0.0.1", Some(100)), ("[::1]", Some(1))],
            Some(("10.0.0.1", 100)),
        )
        .await;
        check(
            &[("10.0.0.1", Some(5000)), ("[::1]", Some(10))],
            Some(("[::1]", 310)),
        )
        .await;
        check(
            &[("10.0.0.1", None), ("[::1]", Some(10))],
            Some(("[::1]", 10)),
        )
        .await;
        check(
            &[("10.0.0.1", Some(400)), ("[::1]", Some(200))],
            Some(("10.0.0.1", 400)),
        )
        .await;
        check(&[("10.0.0.1", None), ("[::1]", None)], None).await;
        check(&[("10.0.0.1", None)], None).await;
    }

    #[test]
    fn families_take_turns() {
        let others = ["10.0.0.2", "10.0.0.3", "[::1]", "[::2]", "[::3]"].map(address);
        let expected = ["[::1]", "10.0.0.2", "[::2]", "10.0.0.3", "[::3]"].map(address);
        assert_eq!(in_turn(address("10.0.0.1"), &others), expected);
    }
}
