//! Whether what should be installed is there and works.

use kube::Client;

use crate::health::Health;
use crate::judge::Judge;
use crate::object::{Manifest, ObjectKey};
use crate::observe::look::look_at;

/// What was found of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub object: ObjectKey,
    /// What is wrong with it, if something is.
    pub problem: Option<String>,
}

/// Looks at every object.
///
/// # Errors
/// The API server doesn't answer.
pub async fn verify(client: &Client, objects: &[Manifest]) -> Result<Vec<Verdict>, kube::Error> {
    let (seen, absent) = look_at(client, objects).await?;
    let judge = Judge {
        client,
        seen: &seen,
    };
    let mut verdicts = Vec::with_capacity(objects.len());
    for object in objects {
        let problem = match absent.contains(object.key()) {
            true => Some("not found".to_owned()),
            false => match judge.health(object).await {
                Health::Ready => None,
                Health::Waiting(text) | Health::Failed(text) => Some(text),
            },
        };
        verdicts.push(Verdict {
            object: object.key().clone(),
            problem,
        });
    }
    Ok(verdicts)
}
