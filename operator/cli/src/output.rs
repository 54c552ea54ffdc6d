//! What commands print: tables, documents, colour where somebody looks.

pub mod ask;
pub mod changes;
pub mod progress;
pub mod style;
pub mod table;

use anyhow::Context as _;
use clap::ValueEnum;
use ironsail_operator::yaml;
use serde::Serialize;

/// Forms for programs, flag `--output`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Json,
    Yaml,
}

impl Format {
    /// The document with a final line feed.
    ///
    /// # Errors
    /// The value can't be written in this form.
    pub fn write<T: Serialize>(self, value: &T) -> anyhow::Result<String> {
        match self {
            Self::Json => serde_json::to_string_pretty(value)
                .map(|text| text + "\n")
                .context("JSON"),
            Self::Yaml => serde_json::to_value(value)
                .map(|document| yaml::to_string(&document))
                .context("YAML"),
        }
    }
}

/// Objects as one YAML stream.
///
/// # Errors
/// An object can't be written as YAML.
pub fn stream<'a>(
    objects: impl IntoIterator<Item = &'a serde_json::Value>,
) -> anyhow::Result<String> {
    let mut text = String::new();
    for object in objects {
        text.push_str("---\n");
        text.push_str(&Format::Yaml.write(object)?);
    }
    Ok(text)
}
