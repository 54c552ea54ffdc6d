//! Paths of fields and the list of findings.

use crate::diagnostic::Diagnostic;
pub(super) use crate::diagnostic::{child, item};

/// Findings in the order of the document.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Diagnostic>);

impl Findings {
    pub(super) fn error(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Diagnostic::error(path, message));
    }

    pub(super) fn warn(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Diagnostic::warning(path, message));
    }

    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    /// Adds an error if the text of one was found.
    pub(super) fn check(&mut self, path: impl Into<String>, result: Result<(), String>) {
        if let Err(message) = result {
            self.error(path, message);
        }
    }

    /// Whether there is something about this path already.
    pub(super) fn mentions(&self, path: &str) -> bool {
        self.0.iter().any(|diagnostic| diagnostic.path == path)
    }

    /// Number of errors so far.
    pub(super) fn errors(&self) -> usize {
        self.0.iter().filter(|d| d.is_error()).count()
    }

    pub(super) fn into_vec(self) -> Vec<Diagnostic> {
        self.0
    }
}

/// Items of a list with their paths.
pub(super) fn items<'a, T>(
    path: &str,
    name: &str,
    list: &'a [T],
) -> impl Iterator<Item = (String, &'a T)> {
    let path = child(path, name);
    list.iter()
        .enumerate()
        .map(move |(index, value)| (item(&path, index), value))
}
