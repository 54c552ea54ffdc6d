//! Both ends of a bulk transfer: a source that writes for a while, and a sink that reads and tells how much it got.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::load::{generator, output};

/// Subcommand of the sink.
pub const SINK: &str = "sink";
/// Subcommand of the source.
pub const SOURCE: &str = "source";
/// Bytes written or read at once.
const PIECE: usize = 256 * 1024;
/// Silence after which a transfer has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// What arrived.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transfer {
    pub bytes: u64,
    /// From the first connection to the last byte.
    pub duration: Duration,
}

/// Reads from every connection to a port of loopback; at its end, sends back how many bytes came.
pub fn serve_sink(port: u16) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || {
            if let Err(error) = swallow(stream) {
                eprintln!("sink: {error}");
            }
        });
    }
    Ok(())
}

fn swallow(mut stream: TcpStream) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut total = 0_u64;
    loop {
        match stream.read(&mut piece)? {
            0 => return stream.write_all(&total.to_be_bytes()),
            read => total += read as u64,
        }
    }
}

/// Writes to a port of loopback and prints what arrived at the sink behind it.
pub fn run_source(port: u16, connections: usize, duration: Duration) -> anyhow::Result<()> {
    let begin = Instant::now();
    let threads: Vec<_> = (0..connections)
        .map(|_| thread::spawn(move || pour(port, begin + duration)))
        .collect();
    let mut bytes = 0;
    for thread in threads {
        let poured = thread.join();
        bytes += poured.map_err(|_| anyhow::anyhow!("a connection panicked"))??;
    }
    println!("{bytes} {}", begin.elapsed().as_secs_f64());
    Ok(())
}

fn pour(port: u16, end: Instant) -> io::Result<u64> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let piece = vec![b'x'; PIECE];
    while Instant::now() < end {
        stream.write_all(&piece)?;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut total = [0; 8];
    stream.read_exact(&mut total)?;
    Ok(u64::from_be_bytes(total))
}

/// Runs this program as the source, on the core of load generators.
pub fn transfer(port: u16, connections: usize, duration: Duration) -> anyhow::Result<Transfer> {
    let program = std::env::current_exe()?;
    let program = program.to_str().context("the path of this program")?;
    let mut command = generator(program, duration);
    command
        .args([SOURCE, "--port", &port.to_string()])
        .args(["--connections", &connections.to_string()])
        .args(["--seconds", &duration.as_secs().to_string()]);
    parse(&output(SOURCE, command)?)
}

/// `<bytes> <seconds>`.
fn parse(text: &str) -> anyhow::Result<Transfer> {
    let (bytes, seconds) = text.trim().split_once(' ').context("bytes and seconds")?;
    Ok(Transfer {
        bytes: bytes.parse()?,
        duration: Duration::try_from_secs_f64(seconds.parse()?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read() {
        let transfer = parse("1024 0.5\n").expect("two numbers");
        assert_eq!(transfer.bytes, 1024);
        assert_eq!(transfer.duration, Duration::from_millis(500));
        assert!(parse("1024\n").is_err());
    }
}
