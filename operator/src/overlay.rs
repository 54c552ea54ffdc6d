//! `k8s.overlays`: patches of any field of a component's objects, by path.

pub mod patch;
pub mod path;

use ironsail_crds::operator::K8sObjectOverlay;

use crate::component::Sink;
use path::Path;

/// Applies the overlays in order; `at` is where the list stands in the spec.
///
/// An overlay that matches no object, and a patch whose path leads nowhere, change nothing and are
/// reported as warnings: objects of older versions carry such overlays, which never had an effect.
pub fn apply(overlays: &[K8sObjectOverlay], at: &str, sink: &mut Sink) {
    for (index, overlay) in overlays.iter().enumerate() {
        let at = format!("{at}[{index}]");
        let wanted = |text: &Option<String>| text.clone().unwrap_or_default();
        let (kind, name) = (wanted(&overlay.kind), wanted(&overlay.name));
        let matches: Vec<usize> = sink
            .objects
            .iter()
            .enumerate()
            .filter(|(_, object)| object.kind().kind == kind && object.name() == name)
            .map(|(index, _)| index)
            .collect();
        if matches.is_empty() {
            sink.warning(
                &at,
                format!("no effect: the component has no {}", overlay.target()),
            );
            continue;
        }
        for (index, entry) in overlay.patches.iter().flatten().enumerate() {
            let at = format!("{at}.patches[{index}]");
            let text = entry.path.as_deref().unwrap_or_default();
            match Path::parse(text) {
                Ok(path) => one(&path, &entry.value, &matches, &at, sink),
                Err(error) => sink.error(format!("{at}.path"), error.to_string()),
            }
        }
    }
}

fn one(path: &Path, value: &serde_json::Value, matches: &[usize], at: &str, sink: &mut Sink) {
    for index in matches {
        let Some(object) = sink.objects.get_mut(*index) else {
            continue;
        };
        let mut body = object.body().into_owned();
        let outcome = patch::apply(&mut body, path, value).map_err(|error| error.to_string());
        match outcome {
            Err(error) => sink.warning(format!("{at}.path"), format!("no effect: {error}")),
            Ok(()) => match crate::object::Manifest::new(object.component, body) {
                Ok(patched) => *object = patched,
                Err(message) => sink.error(at, message),
            },
        }
    }
}

#[cfg(test)]
mod tests;
