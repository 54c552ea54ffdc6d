//! Seeds, small changes of them, and what was found before.

use std::path::PathBuf;

use ironsail_fuzz::{TARGETS, Target};

/// Changed seeds for each target.
const CHANGES: usize = 300;

fn all_regressions() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo names the crate"))
        .join("regressions")
}

fn regressions(target: &Target) -> Vec<Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(all_regressions().join(target.name)) else {
        return Vec::new();
    };
    entries
        .map(|entry| std::fs::read(entry.expect("readable").path()).expect("readable"))
        .collect()
}

/// The same changes in every run.
fn changed(seed: &[u8], number: usize) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    let at = number.wrapping_mul(2_654_435_761) % bytes.len().max(1);
    match number % 4 {
        0 => bytes.truncate(at),
        1 => bytes
            .get_mut(at..=at)
            .unwrap_or_default()
            .fill(number as u8),
        2 => bytes.insert(at, (number / 4) as u8),
        _ => {
            let tail = bytes.split_off(at);
            bytes.extend_from_slice(seed);
            bytes.extend(tail);
        }
    }
    bytes
}

#[test]
fn all_targets() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{}", target.name);
        for input in seeds.iter().chain(&regressions(target)) {
            (target.run)(input);
        }
        let mut inputs = (0..CHANGES).zip(seeds.iter().cycle());
        inputs
            .by_ref()
            .for_each(|(number, seed)| (target.run)(&changed(seed, number)));
    }
}

#[test]
fn regressions_are_of_targets() {
    let entries = std::fs::read_dir(all_regressions());
    for entry in entries.into_iter().flatten() {
        let name = entry.expect("readable").file_name();
        let known = TARGETS.iter().any(|target| name == target.name);
        assert!(known, "{name:?} is no target");
    }
}
