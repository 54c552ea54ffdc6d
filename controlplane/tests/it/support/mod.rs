//! Inputs from YAML, and resources as trees that can be printed and compared.

pub mod chains;
pub mod input;
pub mod tree;
