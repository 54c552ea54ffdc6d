#!/bin/bash
# What cargo starts instead of rustc for crates of this repository ($1 is rustc): the same with coverage that guides
# libFuzzer, all of which is in the stable compiler. Crates of others stay as every other build has them, so that they
# are built once. libFuzzer looks symbols up, so its program is not static.
set -euo pipefail
exec "${@/target-feature=+crt-static/target-feature=-crt-static}" \
  -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
  -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1
