//! `oracle [--write] [TOPIC…]`: runs topics and prints what is wrong. `--write` takes over Envoy's summaries into calls
//! that expect another one, and the differences of calls that name a decision.

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use ironsail_oracle::compare::{Verdict, difference, side_by_side};
use ironsail_oracle::run::{Judged, run};
use ironsail_oracle::topic::{Topic, files};

fn main() -> anyhow::Result<ExitCode> {
    ironsail_runtime::tls::install_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(work())
}

async fn work() -> anyhow::Result<ExitCode> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let writes = arguments.iter().any(|argument| argument == "--write");
    arguments.retain(|argument| argument != "--write");
    let mut wrong = 0;
    let here = std::env::var_os("CARGO_MANIFEST_DIR").context("run it with cargo")?;
    for path in files(&Path::new(&here).join("calls"))? {
        let topic = Topic::read(&path)?;
        if !arguments.is_empty() && !arguments.contains(&topic.name) {
            continue;
        }
        let directory = tempfile::tempdir()?;
        let begin = std::time::Instant::now();
        let judged = run(&topic, directory.path()).await?;
        if writes {
            write(&path, &judged)?;
            continue;
        }
        let failed = print(&topic, &judged);
        println!(
            "{}: {} calls, {failed} wrong, {:?}",
            topic.name,
            judged.len(),
            begin.elapsed()
        );
        wrong += failed;
    }
    Ok(match wrong {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

fn print(topic: &Topic, judged: &[Judged<'_>]) -> usize {
    let mut failed = 0;
    for judged in judged {
        let Verdict::Wrong(why) = &judged.verdict else {
            continue;
        };
        failed += 1;
        println!(
            "{}:{} {}\n  {why}",
            topic.name, judged.call.line, judged.call.text
        );
        print!("{}", side_by_side(&judged.envoy, &judged.ours));
        for line in difference(&judged.envoy, &judged.ours) {
            println!("      {line}");
        }
    }
    failed
}

fn write(path: &Path, judged: &[Judged<'_>]) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(path)?;
    let calls: HashMap<usize, &Judged<'_>> = judged
        .iter()
        .map(|judged| (judged.call.line, judged))
        .collect();
    let mut written = String::new();
    for (index, line) in text.lines().enumerate() {
        match calls.get(&(index + 1)) {
            Some(judged) => written.push_str(&rewritten(judged)),
            // Lines of differences are written anew with their call.
            None if line.starts_with("  ") && written.contains("\n---\n") => continue,
            None => written.push_str(line),
        }
        written.push('\n');
    }
    std::fs::write(path, written)?;
    Ok(())
}

/// A call as it would have to be written.
fn rewritten(judged: &Judged<'_>) -> String {
    let Judged {
        call, envoy, ours, ..
    } = judged;
    let expected = match call.expects(&envoy.summary) {
        true => &call.expected,
        false => &envoy.summary,
    };
    let mut text = format!("{} => {expected}", call.text);
    let Some(differs) = call.differs.as_ref().filter(|_| envoy != ours) else {
        return text;
    };
    if differs.is_gap {
        text.push_str(&format!(" ?{}", differs.decision));
        return text;
    }
    text.push_str(&format!(" !{}", differs.decision));
    if envoy.summary != ours.summary {
        text.push_str(&format!(" {}", ours.summary));
        return text;
    }
    for line in difference(envoy, ours) {
        text.push_str(&format!("\n  {line}"));
    }
    text
}
