//! Time that the operator needs from an IstioOperator to all objects.

use std::hint::black_box;

use anyhow::{Context as _, anyhow};
use ironsail_operator::{Context, Rendered, render_object};
use serde_json::Value;

use crate::machine;
use crate::report::{Bound, Figure, Report};

const DEMO: &str = include_str!("../../../deploy/samples/iop-demo.yaml");
/// Renderings, of which the mean counts.
const COUNT: u32 = 200;

/// Renders the demo profile: as each reconciliation does, and as the command line prints it.
pub fn demo_profile(report: &mut Report) -> anyhow::Result<()> {
    let rendered = render()?;
    let rendering = mean_millis(|| render().map(|rendered| drop(black_box(rendered))))?;
    let printing = mean_millis(|| print(&rendered))?;
    report.section("Rendering of the demo profile");
    report.line(format!(
        "{} objects in {rendering:.2} ms; reading the definitions and printing all as YAML takes {printing:.1} ms more",
        rendered.objects.len()
    ));
    report.figure(Figure {
        name: "Rendering of the demo profile".to_owned(),
        value: rendering,
        unit: "ms",
        bound: Bound::AtMost(10.0),
    });
    Ok(())
}

/// From text to objects. Definitions stay text, because what is applied already is not read.
fn render() -> anyhow::Result<Rendered> {
    let object: Value = serde_yaml_ng::from_str(DEMO).context("the sample")?;
    render_object(&object, &Context::default())
        .map_err(|findings| anyhow!("the sample does not render: {findings:?}"))
}

fn print(rendered: &Rendered) -> anyhow::Result<()> {
    for manifest in &rendered.objects {
        black_box(serde_yaml_ng::to_string(&manifest.body())?);
    }
    Ok(())
}

/// CPU time, so that other programs of this machine do not count.
fn mean_millis(mut work: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let used = || machine::cpu_time(std::process::id());
    let before = used()?;
    for _ in 0..COUNT {
        work()?;
    }
    let mean = used()?.saturating_sub(before) / COUNT;
    Ok(mean.as_secs_f64() * 1e3)
}
