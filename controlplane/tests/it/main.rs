//! Tests of generation over its public functions: captured truth, golden files, properties, speed.

mod distribution;
mod golden;
mod property;
mod reference;
mod speed;
mod support;
