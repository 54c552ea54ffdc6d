//! Every sample of the project works.

use std::fs;

use ironsail_sim::Mesh;

use crate::support::{apply, demo, injected, run, sample, samples};

#[test]
fn every_sample_is_taken() {
    run(async {
        let mut names: Vec<String> = fs::read_dir(samples())
            .expect("the folder")
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .into_string()
                    .expect("text")
            })
            .filter(|name| name.ends_with(".yaml"))
            .collect();
        names.sort();
        let (operators, others): (Vec<_>, Vec<_>) = names
            .into_iter()
            .partition(|name| sample(name).contains("kind: IstioOperator"));
        assert!(
            operators.len() >= 2 && others.len() >= 3,
            "{operators:?} {others:?}"
        );
        for name in operators {
            if let Err(error) = Mesh::install(&sample(&name)) {
                panic!("{name}: {error:?}");
            }
        }
        let mut mesh = demo();
        apply(&mut mesh, "samples", &injected("samples"));
        for name in others {
            apply(&mut mesh, "samples", &sample(&name));
        }
        assert_eq!(mesh.findings(), Vec::<String>::new());
    });
}
