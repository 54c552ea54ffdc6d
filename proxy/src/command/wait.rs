//! `pilot-agent wait`: until the proxy is ready.

use std::io;
use std::time::Duration;

use http::{Method, Uri};

use super::client;

/// Asks `url` every `period` until it answers 200.
///
/// # Errors
/// The timeout passes; the text tells the last answer.
pub async fn run(url: &str, timeout: Duration, period: Duration) -> io::Result<()> {
    let uri: Uri = url.parse().map_err(io::Error::other)?;
    let port = uri.port_u16().unwrap_or(80);
    let path = uri.path();
    let mut last = String::from("no answer");
    let ready = async {
        loop {
            match client::send(Method::GET, port, path).await {
                Ok(response) if response.status().is_success() => return,
                Ok(response) => last = response.status().to_string(),
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(period).await;
        }
    };
    match tokio::time::timeout(timeout, ready).await {
        Ok(()) => Ok(()),
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("the proxy is not ready within {timeout:?}: {last}"),
        )),
    }
}
