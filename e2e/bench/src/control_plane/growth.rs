//! How costs grow with services and with clients.

use std::path::Path;

use anyhow::Context;

use super::client::Protocol;
use super::{CLIENTS, MIB, SETTLE, Subject, WORLD};
use crate::machine;
use crate::plot::{Plot, Series, svg};
use crate::report::Report;
use crate::world::World;

const SERVICES: [usize; 3] = [250, 1000, 4000];
const CLIENT_COUNTS: [usize; 3] = [10, 100, 1000];

/// Costs at one size.
#[derive(Clone, Copy, Debug)]
struct Point {
    size: usize,
    cpu_seconds: f64,
    resident_mib: f64,
}

/// Measures three sizes each way, and writes the plot.
pub fn growth(
    program: &Path,
    directory: &Path,
    plot: &Path,
    report: &mut Report,
) -> anyhow::Result<()> {
    report.section("Control plane, growth with services (100 clients)");
    let mut services = Vec::new();
    for size in SERVICES {
        let world = World {
            services: size,
            ..WORLD
        };
        services.push(point(program, directory, world, CLIENTS, size, report)?);
    }
    report.section("Control plane, growth with clients (1,000 services)");
    let mut clients = Vec::new();
    for size in CLIENT_COUNTS {
        clients.push(point(program, directory, WORLD, size, size, report)?);
    }
    let drawn = svg(&[
        drawing("100 clients", "services of 10 endpoints", &services),
        drawing("1,000 services of 10 endpoints", "clients", &clients),
    ]);
    std::fs::write(plot, drawn).with_context(|| plot.display().to_string())
}

fn drawing(title: &str, axis: &'static str, points: &[Point]) -> Plot {
    let series = |name, unit, value: fn(&Point) -> f64| Series {
        name,
        unit,
        points: points
            .iter()
            .map(|point| (point.size as f64, value(point)))
            .collect(),
    };
    Plot {
        title: title.to_owned(),
        axis,
        series: vec![
            series("CPU of first configs", "s", |point| point.cpu_seconds),
            series("resident memory", "MiB", |point| point.resident_mib),
        ],
    }
}

fn point(
    program: &Path,
    directory: &Path,
    world: World,
    clients: usize,
    size: usize,
    report: &mut Report,
) -> anyhow::Result<Point> {
    let subject = Subject::start(program, world, directory)?;
    let (_fleet, cost) = subject.connect(clients, Protocol::Delta)?;
    std::thread::sleep(SETTLE);
    let memory = machine::memory(subject.process.id())?;
    let point = Point {
        size,
        cpu_seconds: cost.cpu.as_secs_f64(),
        resident_mib: memory.resident as f64 / MIB,
    };
    report.line(format!(
        "{size:>5}: {:.2} s, {:.2} CPU-s, {:.1} MiB resident, {:.2} MB to each client",
        cost.wall.as_secs_f64(),
        point.cpu_seconds,
        point.resident_mib,
        cost.bytes as f64 / 1e6,
    ));
    Ok(point)
}
