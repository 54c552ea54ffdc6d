//! One target under libFuzzer: `FUZZ_TARGET` names it; `list` prints all names.
#![no_main]

use std::sync::OnceLock;

use ironsail_fuzz::{TARGETS, Target};

static CHOSEN: OnceLock<&Target> = OnceLock::new();

fn choose() -> &'static Target {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let target = TARGETS.iter().find(|target| target.name == name);
    target.unwrap_or_else(|| {
        for target in TARGETS {
            println!("{}", target.name);
        }
        std::process::exit(if name == "list" { 0 } else { 2 });
    })
}

libfuzzer_sys::fuzz_target!(
    init: {
        let target = choose();
        // Seeds where libFuzzer looks for them.
        if let Some(folder) = std::env::var_os("FUZZ_SEEDS").map(std::path::PathBuf::from) {
            for (number, seed) in (target.seeds)().iter().enumerate() {
                std::fs::write(folder.join(format!("seed-{number}")), seed).expect("a writable folder");
            }
        }
        let _ = CHOSEN.set(target);
    },
    |data: &[u8]| {
        if let Some(target) = CHOSEN.get() {
            (target.run)(data);
        }
    }
);
