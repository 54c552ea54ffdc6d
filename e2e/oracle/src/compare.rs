//! Judging two outcomes of a call.

use similar::{Algorithm, DiffOp, capture_diff_slices};

use crate::call::Call;
use crate::outcome::Outcome;

/// What is to be said about a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Same,
    /// They differ as the call says.
    Explained,
    /// They differ, and are not meant to.
    Gap,
    /// They differ otherwise, or Envoy does not answer as the call says.
    Wrong(String),
}

/// Holds the outcomes against what the call expects.
pub fn judge(call: &Call, envoy: &Outcome, ours: &Outcome) -> Verdict {
    if !call.expects(&envoy.summary) {
        return Verdict::Wrong(format!(
            "Envoy answers {:?}, the call expects {:?}",
            envoy.summary, call.expected
        ));
    }
    let Some(differs) = &call.differs else {
        return match envoy == ours {
            true => Verdict::Same,
            false => Verdict::Wrong("the answers differ".to_owned()),
        };
    };
    if differs.is_gap {
        return match envoy == ours {
            true => Verdict::Same,
            false => Verdict::Gap,
        };
    }
    if envoy == ours {
        return Verdict::Wrong("the answers no longer differ".to_owned());
    }
    let as_decided = match &differs.summary {
        Some(summary) => ours.summary == *summary && ours.summary != envoy.summary,
        None => ours.summary == envoy.summary && difference(envoy, ours) == differs.lines,
    };
    match as_decided {
        true => Verdict::Explained,
        false => Verdict::Wrong("the answers differ otherwise than decided".to_owned()),
    }
}

/// Lines that only one has: `- ` Envoy's, `+ ` ours.
pub fn difference(envoy: &Outcome, ours: &Outcome) -> Vec<String> {
    let rows = rows(envoy, ours).into_iter();
    let lines = rows.filter(|(left, right)| left != right);
    let mut removed = Vec::new();
    let mut added = Vec::new();
    for (left, right) in lines {
        removed.extend(left.map(|line| format!("- {}", line.trim())));
        added.extend(right.map(|line| format!("+ {}", line.trim())));
    }
    removed.append(&mut added);
    removed
}

/// Both outcomes in two columns.
pub fn side_by_side(envoy: &Outcome, ours: &Outcome) -> String {
    const WIDTH: usize = 72;
    let cell = |line: Option<&str>| {
        let line: String = line.unwrap_or_default().chars().take(WIDTH).collect();
        format!("{line:WIDTH$}")
    };
    let mut text = format!(
        "    {} | {}\n",
        cell(Some(&format!("Envoy: {}", envoy.summary))),
        format_args!("ours: {}", ours.summary)
    );
    for (left, right) in rows(envoy, ours) {
        let mark = if left == right { ' ' } else { '*' };
        let row = format!("  {mark} {} | {}", cell(left), cell(right));
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

/// Lines of both, the same ones beside each other.
fn rows<'a>(envoy: &'a Outcome, ours: &'a Outcome) -> Vec<(Option<&'a str>, Option<&'a str>)> {
    let (left, right) = (&envoy.lines, &ours.lines);
    let mut rows = Vec::new();
    for op in capture_diff_slices(Algorithm::Myers, left, right) {
        let (old, new) = (op.old_range(), op.new_range());
        let length = match op {
            DiffOp::Equal { len, .. } => len,
            _ => old.len().max(new.len()),
        };
        for offset in 0..length {
            let pick = |lines: &'a [String], range: &std::ops::Range<usize>| {
                let index = range.start + offset;
                range.contains(&index).then(|| lines[index].as_str())
            };
            rows.push((pick(left, &old), pick(right, &new)));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(summary: &str, lines: &[&str]) -> Outcome {
        Outcome {
            summary: summary.to_owned(),
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        }
    }

    fn check(call: &str, lines: &[&str], envoy: &Outcome, ours: &Outcome) -> Verdict {
        let mut call = Call::parse(1, call).expect("valid");
        if let Some(differs) = &mut call.differs {
            differs.lines = lines.iter().map(|line| (*line).to_owned()).collect();
        }
        judge(&call, envoy, ours)
    }

    #[test]
    fn a_difference_is_wrong_unless_it_is_the_decided_one() {
        let (a, b) = (outcome("200 a", &["x", "y"]), outcome("200 a", &["x", "z"]));
        assert_eq!(check("GET a / => 200 a", &[], &a, &a), Verdict::Same);
        assert!(matches!(
            check("GET a / => 404", &[], &a, &a),
            Verdict::Wrong(_)
        ));
        assert!(matches!(
            check("GET a / => 200 a", &[], &a, &b),
            Verdict::Wrong(_)
        ));
        let decided = "GET a / => 200 a !why";
        assert_eq!(check(decided, &["- y", "+ z"], &a, &b), Verdict::Explained);
        assert!(matches!(
            check(decided, &["- y"], &a, &b),
            Verdict::Wrong(_)
        ));
        assert!(matches!(check(decided, &[], &a, &a), Verdict::Wrong(_)));
        assert_eq!(check("GET a / => 200 a ?gap", &[], &a, &b), Verdict::Gap);
        assert_eq!(check("GET a / => 200 a ?gap", &[], &a, &a), Verdict::Same);
        let c = outcome("400", &[]);
        let decided = "GET a / => 200 a !why 400";
        assert_eq!(check(decided, &[], &a, &c), Verdict::Explained);
        assert!(matches!(check(decided, &[], &a, &b), Verdict::Wrong(_)));
    }
}
