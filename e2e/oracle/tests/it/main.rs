//! All topics through both proxies, and the page that is written from them.

use std::io::Write;
use std::path::PathBuf;

use ironsail_oracle::compare::{Verdict, side_by_side};
use ironsail_oracle::document;
use ironsail_oracle::run::run;
use ironsail_oracle::topic::{Topic, decisions, files};

/// Fewer are not worth the name.
const LEAST_CALLS: usize = 400;

fn root() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo names the crate"))
}

fn topics() -> Vec<Topic> {
    let files = files(&root().join("calls")).expect("the directory of calls");
    let read = |path: &PathBuf| Topic::read(path).unwrap_or_else(|error| panic!("{error:#}"));
    files.iter().map(read).collect()
}

/// What came of a topic: calls, explained differences, and what is wrong.
struct Report {
    calls: usize,
    explained: usize,
    gaps: usize,
    wrong: Vec<String>,
}

async fn report(topic: &Topic) -> Report {
    let directory = tempfile::tempdir().expect("a directory");
    let judged = match run(topic, directory.path()).await {
        Ok(judged) => judged,
        Err(error) => panic!("{}: {error:#}", topic.name),
    };
    let mut report = Report {
        calls: judged.len(),
        explained: 0,
        gaps: 0,
        wrong: Vec::new(),
    };
    for judged in &judged {
        match &judged.verdict {
            Verdict::Same => {}
            Verdict::Explained => report.explained += 1,
            Verdict::Gap => report.gaps += 1,
            Verdict::Wrong(why) => report.wrong.push(format!(
                "{}:{} {}\n  {why}\n{}",
                topic.name,
                judged.call.line,
                judged.call.text,
                side_by_side(&judged.envoy, &judged.ours)
            )),
        }
    }
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn both_proxies_answer_alike() {
    ironsail_runtime::tls::install_provider();
    let topics = topics();
    let mut reports = Vec::new();
    // One after the other: calls are about times, too.
    for topic in &topics {
        reports.push(report(topic).await);
    }
    let calls: usize = reports.iter().map(|report| report.calls).sum();
    let explained: usize = reports.iter().map(|report| report.explained).sum();
    let gaps: usize = reports.iter().map(|report| report.gaps).sum();
    let wrong: Vec<&str> = reports
        .iter()
        .flat_map(|report| report.wrong.iter().map(String::as_str))
        .collect();
    let differences = explained + gaps + wrong.len();
    // Past the capture of the test's output, so that it is seen of a test that passes too.
    let _ = writeln!(
        std::io::stderr(),
        "oracle: {calls} calls, {differences} differences, {explained} explained, {gaps} known gaps"
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(calls >= LEAST_CALLS, "{calls} calls");
}

#[test]
fn the_page_of_differences_is_current() {
    let path = root().join("../../docs/differences.md");
    let reasons = decisions(&root().join("calls")).expect("reasons of all decisions");
    let page = document::render(&topics(), &reasons);
    let page = page.unwrap_or_else(|error| panic!("{error:#}"));
    if std::env::var_os("ORACLE_WRITE").is_some() {
        std::fs::write(&path, &page).expect("the page is written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, page, "ORACLE_WRITE=1 writes it anew");
}
