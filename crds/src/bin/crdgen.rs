//! Writes the CRDs into a folder: `crdgen deploy/crds`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, fs};

use ironsail_crds::kind::KINDS;
use ironsail_crds::schema::definition;

fn main() -> ExitCode {
    let Some(folder) = env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: crdgen <folder>");
        return ExitCode::from(2);
    };
    for kind in KINDS {
        let path = folder.join(definition::file_name(kind));
        let written = definition::yaml(kind)
            .map_err(|error| error.to_string())
            .and_then(|text| fs::write(&path, text).map_err(|error| error.to_string()));
        if let Err(error) = written {
            eprintln!("cannot write {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
