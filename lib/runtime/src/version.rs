//! What `version` commands print.

use ironsail_mesh::{ISTIO_VERSION, VERSION};
use serde_json::{Value, json};

/// Forms of the version text, chosen by the flags `--short` and `--output`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Text,
    /// Flag `--short`.
    Short,
    /// Flag `--output json`.
    Json,
    /// Flag `--output yaml`.
    Yaml,
}

impl Format {
    /// The form that the flags ask for.
    ///
    /// # Errors
    /// The output is neither empty, `json` nor `yaml`; the text says so.
    pub fn from_flags(short: bool, output: &str) -> Result<Self, String> {
        match (output, short) {
            ("json", _) => Ok(Format::Json),
            ("yaml", _) => Ok(Format::Yaml),
            ("", true) => Ok(Format::Short),
            ("", false) => Ok(Format::Text),
            (other, _) => Err(format!("--output must be 'yaml' or 'json', not {other:?}")),
        }
    }
}

/// `ironsail 1.32.0-ironsail.1 (istio 1.32.0)`.
pub fn line() -> String {
    format!("ironsail {VERSION} (istio {ISTIO_VERSION})")
}

/// Build information under the peer's keys.
pub fn build_info() -> Value {
    json!({
        "version": VERSION,
        "revision": option_env!("IRONSAIL_REVISION").unwrap_or("unknown"),
        "golang_version": "",
        "status": "Clean",
        "tag": ISTIO_VERSION,
    })
}

/// The version text of `program`, with a final line feed.
pub fn text(program: &str, format: Format) -> String {
    match format {
        Format::Text => format!("{} {program}\n", line()),
        Format::Short => format!("{VERSION}\n"),
        Format::Json => format!("{:#}\n", json!({"clientVersion": build_info()})),
        Format::Yaml => {
            let mut yaml = String::from("clientVersion:\n");
            if let Value::Object(fields) = build_info() {
                for (key, value) in fields {
                    // A JSON string is a YAML string.
                    yaml.push_str(&format!("  {key}: {value}\n"));
                }
            }
            yaml
        }
    }
}

/// Prints the version of `program` on standard output.
pub fn print(program: &str, format: Format) {
    print!("{}", text(program, format));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ironsail_comes_first() {
        assert!(text("pilot-agent", Format::Text).starts_with("ironsail 1."));
        assert_eq!(text("x", Format::Short), format!("{VERSION}\n"));
        let json: Value = serde_json::from_str(&text("x", Format::Json)).expect("valid JSON");
        assert_eq!(json["clientVersion"]["version"], VERSION);
        assert!(text("x", Format::Yaml).contains("  tag: \""));
        assert!(Format::from_flags(false, "xml").is_err());
        assert_eq!(Format::from_flags(true, ""), Ok(Format::Short));
    }
}
