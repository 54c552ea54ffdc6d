//! `pilot-agent request METHOD PATH`.

use std::io::{self, Write};

use http::Method;

use super::client;

/// Prints the answer's body; a status of 400 and above is an error.
///
/// # Errors
/// There is no answer, or it is an error.
pub async fn run(method: &str, path: &str, port: u16) -> io::Result<()> {
    let method = Method::from_bytes(method.as_bytes()).map_err(io::Error::other)?;
    let response = client::send(method, port, path).await?;
    let status = response.status();
    let body = client::body(response).await?;
    if status.as_u16() >= 400 {
        let text = String::from_utf8_lossy(&body);
        return Err(io::Error::other(format!("{status}: {}", text.trim_end())));
    }
    io::stdout().write_all(&body)
}
