//! TCP servers and a client of one exchange.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// First words of the server-first server.
pub const GREETING: &[u8] = b"220 ready\n";

pub async fn echo(listen: SocketAddr) -> anyhow::Result<()> {
    serve(listen, b"").await
}

pub async fn server_first(listen: SocketAddr) -> anyhow::Result<()> {
    serve(listen, GREETING).await
}

async fn serve(listen: SocketAddr, greeting: &'static [u8]) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        tokio::spawn(async move {
            let (mut read, mut write) = stream.into_split();
            if write.write_all(greeting).await.is_ok() {
                let _ = tokio::io::copy(&mut read, &mut write).await;
            }
        });
    }
}

/// Connects, reads the greeting unless the client speaks first, sends `text`, and returns all that came back.
pub async fn call(address: &str, text: &str, client_first: bool) -> anyhow::Result<String> {
    let (host, port) = address
        .rsplit_once(':')
        .ok_or_else(|| anyhow::anyhow!("{address:?} is not host:port"))?;
    let ip = crate::client::resolve(host).await?;
    let mut stream = TcpStream::connect((ip, port.parse::<u16>()?)).await?;
    let mut received = Vec::new();
    if !client_first {
        let mut greeting = [0; 256];
        let n = stream.read(&mut greeting).await?;
        received.extend_from_slice(greeting.get(..n).unwrap_or_default());
    }
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await?;
    stream.read_to_end(&mut received).await?;
    Ok(String::from_utf8_lossy(&received).into_owned())
}
