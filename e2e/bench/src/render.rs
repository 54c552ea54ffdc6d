//! Time that the operator needs from an IstioOperator to all objects.

use std::time::Instant;

use anyhow::{Context as _, anyhow};
use ironsail_operator::render_object;
use serde_json::Value;

use crate::report::{Bound, Figure, Report};

const DEMO: &str = include_str!("../../../deploy/samples/iop-demo.yaml");
/// Renderings; the median of them counts.
const COUNT: usize = 201;

/// Renders the demo profile: parsing, validation and all objects as YAML, as the command line does.
pub fn demo_profile(report: &mut Report) -> anyhow::Result<()> {
    let context = ironsail_operator::Context::default();
    let mut millis = Vec::with_capacity(COUNT);
    let mut objects = 0;
    for _ in 0..COUNT {
        let start = Instant::now();
        let object: Value = serde_yaml_ng::from_str(DEMO).context("the sample")?;
        let rendered = render_object(&object, &context)
            .map_err(|findings| anyhow!("the sample does not render: {findings:?}"))?;
        for manifest in &rendered.objects {
            std::hint::black_box(serde_yaml_ng::to_string(&manifest.body())?);
        }
        millis.push(start.elapsed().as_secs_f64() * 1e3);
        objects = rendered.objects.len();
    }
    millis.sort_by(f64::total_cmp);
    let median = millis.get(COUNT / 2).copied().unwrap_or(f64::NAN);
    report.section("Rendering of the demo profile");
    report.line(format!("{objects} objects, median of {COUNT} renderings"));
    report.figure(Figure {
        name: "Rendering of the demo profile".to_owned(),
        value: median,
        unit: "ms",
        bound: Bound::AtMost(10.0),
    });
    Ok(())
}
