//! Upstream without HTTP: notes what comes and sends it back.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Place;
use super::answer::Kind;
use crate::board::printable;

/// The first line carries the number of the call; the answer is the server's name, then all that came.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, place: Place) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while !bytes.contains(&b'\n') {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(length) => bytes.extend_from_slice(&buffer[..length]),
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    let id = text.split_whitespace().next().unwrap_or_default();
    let (entry, answer) = place.board.arrive(id, &place.name, vec![printable(&bytes)]);
    tokio::time::sleep(answer.delay).await;
    if matches!(answer.kind, Kind::Close) {
        return;
    }
    let greeting = format!("{}:", place.name);
    let _ = stream.write_all(greeting.as_bytes()).await;
    let _ = stream.write_all(&bytes).await;
    if answer.closes {
        let _ = stream.shutdown().await;
    }
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) => break place.board.add(&entry, "  [end] closed".to_owned()),
            Err(_) => break place.board.add(&entry, "  [end] reset".to_owned()),
            Ok(length) => {
                let _ = stream.write_all(&buffer[..length]).await;
            }
        }
    }
    // The answer to the other side's end is sent after it: both halves count.
    let _ = stream.write_all(b"bye").await;
    let _ = stream.shutdown().await;
}
