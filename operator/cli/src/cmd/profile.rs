//! `profile`: built-in starting points of a spec.

use clap::{Args, Subcommand, ValueEnum};
use ironsail_operator::plan::fields::differences;
use ironsail_operator::value::sorted;
use ironsail_operator::values::effective::effective;
use ironsail_operator::{Context, profile};
use serde_json::{Value, json};

use crate::exit::{self, Code};
use crate::input::{self, SpecFlags};
use crate::output::style::Style;
use crate::output::{Format, changes};

#[derive(Subcommand)]
pub enum Command {
    /// Print the names of all profiles.
    List,
    /// Print a profile with every value that is in effect.
    Dump(DumpFlags),
    /// Compare two profiles, or an IstioOperator with a profile.
    Diff(DiffFlags),
}

#[derive(Args)]
pub struct DumpFlags {
    /// Name of the profile; default is the one that the files name.
    profile: Option<String>,
    #[command(flatten)]
    spec: SpecFlags,
    /// Only what is below this path of the spec, such as components.pilot.
    #[arg(short = 'p', long, value_name = "PATH")]
    config_path: Option<String>,
    /// Form of the output.
    #[arg(short, long, default_value = "yaml")]
    output: DumpFormat,
}

/// Forms of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DumpFormat {
    Json,
    Yaml,
    /// One `--set` argument per line.
    Flags,
}

#[derive(Args)]
pub struct DiffFlags {
    /// Name of a profile, or file with an IstioOperator.
    before: String,
    /// Name of a profile, or file with an IstioOperator.
    after: String,
}

impl Command {
    pub fn run(self) -> anyhow::Result<Code> {
        match self {
            Self::List => {
                println!("Ironsail configuration profiles:");
                let mut names = profile::names();
                names.sort_unstable();
                for name in names {
                    println!("    {name}");
                }
                Ok(Code::Ok)
            }
            Self::Dump(flags) => {
                print!("{}", flags.text()?);
                Ok(Code::Ok)
            }
            Self::Diff(flags) => flags.run(),
        }
    }
}

impl DumpFlags {
    fn text(&self) -> anyhow::Result<String> {
        if self.profile.is_some() && !self.spec.filename.is_empty() {
            return Err(exit::usage("give a profile or files, not both"));
        }
        let mut object = self.spec.object()?;
        if let Some(profile) = &self.profile {
            object["spec"]["profile"] = json!(profile);
        }
        let spec = full(&object)?;
        let document = match &self.config_path {
            Some(path) => below(&spec, path)?.clone(),
            None => {
                object["spec"] = spec;
                object
            }
        };
        match self.output {
            DumpFormat::Json => Format::Json.write(&document),
            DumpFormat::Yaml => Format::Yaml.write(&document),
            DumpFormat::Flags => Ok(settings(document.get("spec").unwrap_or(&document))),
        }
    }
}

/// The spec of an object with everything that is in effect.
fn full(object: &Value) -> anyhow::Result<Value> {
    let context = Context::default().of_object(object);
    let spec = context
        .map_err(|finding| vec![finding])
        .and_then(|context| effective(&object["spec"], &context));
    spec.map_err(|findings| input::refused(&findings))
}

/// What stands at a path of keys.
fn below<'a>(spec: &'a Value, path: &str) -> anyhow::Result<&'a Value> {
    let found = path.split('.').try_fold(spec, |at, key| match at {
        Value::Array(items) => key.parse::<usize>().ok().and_then(|index| items.get(index)),
        at => at.get(key),
    });
    found.ok_or_else(|| exit::usage(format!("there is no {path} in the profile")))
}

/// Every scalar as an argument of `--set`, in order.
fn settings(spec: &Value) -> String {
    let mut lines = Vec::new();
    collect("", spec, &mut lines);
    lines.concat()
}

fn collect(path: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let key = key.replace('.', "\\.");
                let path = if path.is_empty() {
                    key
                } else {
                    format!("{path}.{key}")
                };
                collect(&path, value, lines);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                collect(&format!("{path}[{index}]"), value, lines);
            }
        }
        Value::String(text) => lines.push(format!("{path}={}\n", text.replace(',', "\\,"))),
        scalar => lines.push(format!("{path}={scalar}\n")),
    }
}

impl DiffFlags {
    fn run(&self) -> anyhow::Result<Code> {
        let (before, after) = (spec_of(&self.before)?, spec_of(&self.after)?);
        let found = differences(&sorted(&before), &sorted(&after));
        if found.is_empty() {
            println!("Profiles are identical");
            return Ok(Code::Ok);
        }
        print!(
            "{}",
            changes::changed(
                &format!("{} -> {}", self.before, self.after),
                &found,
                Style::of_stdout()
            )
        );
        Ok(Code::Failure)
    }
}

/// The effective spec of a profile's name or of a file.
fn spec_of(text: &str) -> anyhow::Result<Value> {
    if profile::find(text).is_some() {
        return full(&json!({"spec": {"profile": text}}));
    }
    let flags = SpecFlags {
        filename: vec![text.into()],
        ..SpecFlags::default()
    };
    full(&flags.object()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(profile: &str, path: Option<&str>, output: DumpFormat) -> anyhow::Result<String> {
        let flags = DumpFlags {
            profile: Some(profile.to_owned()),
            spec: SpecFlags::default(),
            config_path: path.map(str::to_owned),
            output,
        };
        flags.text()
    }

    #[test]
    fn a_dump_can_be_cut_and_formed() {
        let text =
            dump("demo", Some("components.egressGateways"), DumpFormat::Yaml).expect("there");
        assert_eq!(text, "- enabled: true\n  name: istio-egressgateway\n");
        let json = dump("demo", None, DumpFormat::Json).expect("valid");
        let json: Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(json["spec"]["profile"], "demo");
        let error = dump("demo", Some("components.mixer"), DumpFormat::Yaml).expect_err("gone");
        assert_eq!(exit::code(&error), Code::Usage);
        assert!(dump("nonsense", None, DumpFormat::Yaml).is_err());
    }

    /// Arguments that are given back make the same spec, but for empty maps and lists.
    #[test]
    fn a_dump_as_flags_sets_the_same() {
        let text = dump("demo", None, DumpFormat::Flags).expect("valid");
        assert!(text.contains("values.pilot.traceSampling=100\n"), "{text}");
        let flags = SpecFlags {
            set: text.lines().map(str::to_owned).collect(),
            ..SpecFlags::default()
        };
        let spec = flags.object().expect("valid")["spec"].clone();
        let expected = full(&json!({"spec": {"profile": "demo"}})).expect("valid");
        let meaning = ironsail_operator::value::meaning;
        // A dump has text that looks like a number, which only YAML can tell from one.
        let plain = |value: &Value| meaning(value).to_string().replace('"', "");
        assert_eq!(plain(&sorted(&spec)), plain(&sorted(&expected)));
    }
}
