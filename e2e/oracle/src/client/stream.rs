//! Bytes without HTTP.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::{Noted, end_of, with_id};
use crate::board::printable;
use crate::call::Stream;

/// How long more is waited for.
const LINGER: Duration = Duration::from_millis(300);

/// Sends the bytes, notes what comes back until nothing more comes.
pub async fn speak<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    said: &Stream,
    id: &str,
) -> Noted {
    let _ = stream.write_all(&with_id(&said.bytes, id)).await;
    let _ = stream.flush().await;
    if said.ends {
        let _ = stream.shutdown().await;
    }
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    let end = loop {
        match timeout(LINGER, stream.read(&mut buffer)).await {
            Err(_) => break "open",
            Ok(Ok(0)) => break "closed",
            Ok(Err(error)) => break end_of(&error),
            Ok(Ok(length)) => received.extend_from_slice(&buffer[..length]),
        }
    };
    noted(&received, end, id)
}

/// What came, and how the connection ended.
pub fn noted(received: &[u8], end: &str, id: &str) -> Noted {
    let text = printable(received).replace(id, "ID");
    Noted {
        statuses: vec![if received.is_empty() { end } else { "bytes" }.to_owned()],
        lines: vec![format!("[bytes] {text}"), format!("[end] {end}")],
    }
}
