//! The control plane under many clients: the real program, a stand-in for the API server, and clients that read nothing.
//!
//! The program has one core; clients and API server have the other one. Times begin when the API server answers.

mod api_server;
mod client;
mod growth;
mod scanner;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use ironsail_peer::{Process, free_port};
use ironsail_xds::type_url;

use crate::machine::{self, Memory, OTHER_CORE, PROXY_CORE, on_core};
use crate::report::{Bound, Figure, Report, median};
use crate::world::{self, World};
use api_server::ApiServer;
use client::{Fleet, Protocol, Step};

pub use growth::growth;

/// The size that figures are for.
const WORLD: World = World {
    services: 1000,
    endpoints: 10,
    is_one_port: false,
};
const CLIENTS: usize = 100;
const MANY_CLIENTS: usize = 1000;
/// Changes of endpoints that are measured one by one.
const CHANGES: usize = 21;
/// Pause between changes; after it a change stands alone.
const PAUSE: Duration = Duration::from_millis(400);
/// Time for memory to settle.
const SETTLE: Duration = Duration::from_secs(2);
const MIB: f64 = 1024.0 * 1024.0;

/// A control plane with the mesh it sees.
struct Subject {
    world: World,
    api: ApiServer,
    process: Process,
    port: u16,
    /// From the start of the program until it serves.
    start: Duration,
}

/// What clients cost that connect at once.
#[derive(Clone, Copy)]
struct Cost {
    wall: Duration,
    cpu: Duration,
    memory: Memory,
    /// To one client.
    bytes: usize,
}

impl Subject {
    fn start(program: &Path, world: World, directory: &Path) -> anyhow::Result<Self> {
        let api = ApiServer::start(&world)?;
        let config = api.kubeconfig(directory)?;
        let begin = Instant::now();
        let (process, port) = start_program(program, &config, directory)?;
        Fleet::probe(port, &world)?;
        let start = begin.elapsed();
        Ok(Self {
            world,
            api,
            process,
            port,
            start,
        })
    }

    /// Connects clients and waits until each has had everything once.
    fn connect(&self, clients: usize, protocol: Protocol) -> anyhow::Result<(Fleet, Cost)> {
        let cpu = machine::cpu_time(self.process.id())?;
        let begin = Instant::now();
        let fleet = Fleet::start(self.port, clients, &self.world, protocol)?;
        let step = fleet.wait_for_all()?;
        let cost = Cost {
            wall: since(begin, &step),
            cpu: machine::cpu_time(self.process.id())?.saturating_sub(cpu),
            memory: machine::memory(self.process.id())?,
            bytes: step.bytes / clients,
        };
        Ok((fleet, cost))
    }
}

fn since(begin: Instant, step: &Step) -> Duration {
    step.end.unwrap_or(begin).saturating_duration_since(begin)
}

fn start_program(
    program: &Path,
    config: &Path,
    directory: &Path,
) -> anyhow::Result<(Process, u16)> {
    let port = free_port()?;
    let mut command = on_core(PROXY_CORE, program);
    command
        .args(["discovery", "--log_output_level", "default:warn"])
        .arg(format!("--grpcAddr=127.0.0.1:{port}"))
        .env("KUBECONFIG", config)
        .env("POD_NAMESPACE", "istio-system")
        .env("ENABLE_NATIVE_SIDECARS", "true");
    for flag in ["monitoringAddr", "httpAddr", "httpsAddr", "secureGRPCAddr"] {
        command.arg(format!("--{flag}=127.0.0.1:{}", free_port()?));
    }
    let mut process = Process::start("pilot-discovery", command, directory)?;
    process.wait_for_port(port)?;
    Ok((process, port))
}

/// Moves this program off the core of what is measured; threads started later inherit it.
pub fn step_aside() -> anyhow::Result<()> {
    if OTHER_CORE >= machine::cores() {
        return Ok(());
    }
    let pid = std::process::id().to_string();
    let status = Command::new("taskset")
        .args([
            "--all-tasks",
            "--cpu-list",
            "--pid",
            &OTHER_CORE.to_string(),
            &pid,
        ])
        .stdout(std::process::Stdio::null())
        .status()
        .context("taskset does not start")?;
    anyhow::ensure!(status.success(), "taskset ended with {status}");
    Ok(())
}

/// Everything that has a bound, `rounds` times where a fresh program is needed.
pub fn measure(
    program: &Path,
    rounds: usize,
    directory: &Path,
    report: &mut Report,
) -> anyhow::Result<()> {
    report.section("Control plane, 1,000 services of 10 endpoints");
    report.line(format!("load of this machine: {}", machine::load()?.trim()));
    let full = first_configurations(program, rounds, directory, report)?;
    changes(program, directory, full, report)?;
    one_port(program, directory, report)?;
    many(program, directory, report)
}

/// A hundred clients connect at once; bytes to each of them.
fn first_configurations(
    program: &Path,
    rounds: usize,
    directory: &Path,
    report: &mut Report,
) -> anyhow::Result<f64> {
    let mut first = Vec::new();
    for round in 0..rounds {
        let subject = Subject::start(program, WORLD, directory)?;
        if round == 0 {
            let memory = machine::memory(subject.process.id())?;
            report.line(format!(
                "from the start until it serves: {:.2} s, {:.2} CPU-s, {:.1} MiB resident",
                subject.start.as_secs_f64(),
                machine::cpu_time(subject.process.id())?.as_secs_f64(),
                memory.resident as f64 / MIB,
            ));
        }
        first.push(subject.connect(CLIENTS, Protocol::Delta)?.1);
    }
    let of = |value: fn(&Cost) -> f64| median(first.iter().map(value));
    let wall = of(|one| one.wall.as_secs_f64());
    let cpu = of(|one| one.cpu.as_secs_f64());
    let resident = of(|one| one.memory.resident as f64 / MIB);
    let bytes = of(|one| one.bytes as f64);
    report.line(format!(
        "{CLIENTS} clients at once: {wall:.2} s, {cpu:.2} CPU-s, {resident:.1} MiB resident (at most {:.1}), {:.2} MB to each",
        of(|one| one.memory.peak as f64 / MIB),
        bytes / 1e6,
    ));
    figure(
        report,
        "100 clients have their first configuration",
        wall,
        "s",
        0.7,
    );
    figure(report, "the same, CPU time", cpu, "s", 1.0);
    figure(report, "the same, resident", resident, "MiB", 60.0);
    let subject = Subject::start(program, WORLD, directory)?;
    let (_, whole) = subject.connect(CLIENTS, Protocol::StateOfTheWorld)?;
    report.line(format!(
        "the same in state of the world: {:.2} s, {:.2} CPU-s, {:.1} MiB resident",
        whole.wall.as_secs_f64(),
        whole.cpu.as_secs_f64(),
        whole.memory.resident as f64 / MIB,
    ));
    Ok(bytes)
}

fn figure(report: &mut Report, name: &str, value: f64, unit: &'static str, bound: f64) {
    report.figure(Figure {
        name: format!("control plane: {name}"),
        value,
        unit,
        bound: Bound::AtMost(bound),
    });
}

/// Lone changes, seen by the last of a hundred clients.
fn changes(program: &Path, directory: &Path, full: f64, report: &mut Report) -> anyhow::Result<()> {
    let subject = Subject::start(program, WORLD, directory)?;
    let (fleet, _) = subject.connect(CLIENTS, Protocol::Delta)?;
    fleet.drain(PAUSE);
    let mut endpoint = Vec::new();
    for number in 0..CHANGES {
        std::thread::sleep(PAUSE);
        let unready = [number % subject.world.endpoints];
        let cpu = machine::cpu_time(subject.process.id())?;
        let begin = subject
            .api
            .modify(world::SLICES, subject.world.slice(7, &unready));
        let step = fleet.wait_for(type_url::ENDPOINT)?;
        let cpu = machine::cpu_time(subject.process.id())?.saturating_sub(cpu);
        endpoint.push((
            since(begin, &step).as_secs_f64() * 1e3,
            cpu.as_secs_f64() * 1e3,
            step.bytes / CLIENTS,
        ));
    }
    let last = median(endpoint.iter().map(|one| one.0));
    report.line(format!(
        "an endpoint changes: the last of {CLIENTS} clients has it after {last:.1} ms; {:.1} ms CPU, {:.0} bytes to each",
        median(endpoint.iter().map(|one| one.1)),
        median(endpoint.iter().map(|one| one.2 as f64)),
    ));
    figure(
        report,
        "an endpoint at the last of 100 clients",
        last,
        "ms",
        15.0,
    );
    let bytes = rule_bytes(&subject, &fleet)?;
    report.line(format!(
        "a VirtualService of one host changes: {:.1} kB to each, of {:.0} kB",
        bytes / 1e3,
        full / 1e3
    ));
    figure(
        report,
        "a rule for one host, bytes / full push",
        100.0 * bytes / full,
        "%",
        2.0,
    );
    Ok(())
}

/// The same with all services on one port, whose route table is sent whole.
fn one_port(program: &Path, directory: &Path, report: &mut Report) -> anyhow::Result<()> {
    let world = World {
        is_one_port: true,
        ..WORLD
    };
    let subject = Subject::start(program, world, directory)?;
    let (fleet, first) = subject.connect(CLIENTS, Protocol::Delta)?;
    fleet.drain(PAUSE);
    let bytes = rule_bytes(&subject, &fleet)?;
    report.line(format!(
        "the same where all services have one port: {:.1} kB, {:.1} % of a full push",
        bytes / 1e3,
        100.0 * bytes / first.bytes as f64,
    ));
    Ok(())
}

/// Bytes to each client when a rule for one host changes.
fn rule_bytes(subject: &Subject, fleet: &Fleet) -> anyhow::Result<f64> {
    let mut all = Vec::new();
    for timeout in 2..5 {
        std::thread::sleep(PAUSE);
        subject.api.modify(
            world::VIRTUAL_SERVICES,
            subject.world.virtual_service(0, timeout),
        );
        all.push(
            (fleet.wait_for(type_url::ROUTE)?.bytes + fleet.drain(PAUSE)) as f64 / CLIENTS as f64,
        );
    }
    Ok(median(all.into_iter()))
}

/// A thousand clients, and all of them at once again after a restart.
fn many(program: &Path, directory: &Path, report: &mut Report) -> anyhow::Result<()> {
    let subject = Subject::start(program, WORLD, directory)?;
    let (warm, _) = subject.connect(1, Protocol::Delta)?;
    std::thread::sleep(SETTLE);
    let before = machine::memory(subject.process.id())?;
    let (fleet, first) = subject.connect(MANY_CLIENTS, Protocol::Delta)?;
    std::thread::sleep(SETTLE);
    let after = machine::memory(subject.process.id())?;
    drop((warm, fleet));
    let each = after.resident.saturating_sub(before.resident) as f64 / MANY_CLIENTS as f64 / 1e3;
    report.line(format!(
        "{MANY_CLIENTS} clients: {:.1} MiB resident, {each:.1} kB for each; first configurations took {:.2} s, {:.2} CPU-s, {:.1} MiB at most",
        after.resident as f64 / MIB,
        first.wall.as_secs_f64(),
        first.cpu.as_secs_f64(),
        after.peak as f64 / MIB,
    ));
    figure(report, "memory of one client of 1,000", each, "kB", 150.0);
    drop(subject);
    let subject = Subject::start(program, WORLD, directory)?;
    let (_, storm) = subject.connect(MANY_CLIENTS, Protocol::Delta)?;
    report.line(format!(
        "after a restart all {MANY_CLIENTS} clients connect at once, knowing nothing: {:.2} s, {:.2} CPU-s",
        storm.wall.as_secs_f64(),
        storm.cpu.as_secs_f64(),
    ));
    figure(
        report,
        "1,000 clients after a restart",
        storm.wall.as_secs_f64(),
        "s",
        10.0,
    );
    Ok(())
}

/// Where `pilot-discovery` is: beside this program unless named.
pub fn program(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    match named {
        Some(path) => path.canonicalize().context("--discovery"),
        None => Ok(std::env::current_exe()?.with_file_name("pilot-discovery")),
    }
}
