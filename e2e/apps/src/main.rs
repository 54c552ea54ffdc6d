//! Small programs that tests and samples run in pods.
//!
//! One static binary: `apps echo`, `apps bookinfo reviews`, `apps tcp-echo`, `apps server-first`, `apps load`, …

mod admission;
mod bookinfo;
mod client;
mod echo;
mod hold;
mod load;
mod server;
mod tcp;

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "apps", about = "Programs for tests and samples")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// HTTP/1.1, h2c and gRPC health server that tells what it received.
    Echo(echo::Options),
    /// A mutating admission webhook as clusters have them: other registry, limits on containers.
    Admission(admission::Options),
    /// One service of our Bookinfo.
    Bookinfo(bookinfo::Options),
    /// Sends back what it receives over TCP.
    TcpEcho {
        #[arg(long, default_value = "0.0.0.0:9000")]
        listen: SocketAddr,
    },
    /// Speaks first over TCP, as databases and mail servers do, then echoes.
    ServerFirst {
        #[arg(long, default_value = "0.0.0.0:9001")]
        listen: SocketAddr,
    },
    /// One TCP exchange: prints what the server says first and what it answers.
    TcpCall {
        /// `host:port`.
        address: String,
        /// Sent after the server's first words, or at once with `--client-first`.
        #[arg(long, default_value = "ping")]
        text: String,
        #[arg(long)]
        client_first: bool,
        #[arg(long, default_value = "5")]
        timeout_seconds: u64,
    },
    /// One HTTP request: prints status, headers and body.
    Get(client::Options),
    /// Requests at a fixed rate; prints one JSON summary.
    Load(load::Options),
    /// Keeps a gRPC stream and a TCP connection in use; prints one JSON summary.
    Hold(hold::Options),
    /// Waits until killed.
    Sleep,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(run(cli.command))
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Echo(options) => server::until_signal(echo::run(options)).await,
        Command::Admission(options) => server::until_signal(admission::run(options)).await,
        Command::Bookinfo(options) => server::until_signal(bookinfo::run(options)).await,
        Command::TcpEcho { listen } => server::until_signal(tcp::echo(listen)).await,
        Command::ServerFirst { listen } => server::until_signal(tcp::server_first(listen)).await,
        Command::TcpCall {
            address,
            text,
            client_first,
            timeout_seconds,
        } => {
            let call = tcp::call(&address, &text, client_first);
            println!(
                "{}",
                tokio::time::timeout(Duration::from_secs(timeout_seconds), call).await??
            );
            Ok(())
        }
        Command::Get(options) => client::run(options).await,
        Command::Hold(options) => hold::run(options).await,
        Command::Load(options) => load::run(options).await,
        Command::Sleep => server::until_signal(std::future::pending()).await,
    }
}
