//! The seam between the ADS client and those who use resources.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

/// Resources of one type that one response brought.
#[derive(Clone, Debug, Default)]
pub struct Update {
    pub type_url: String,
    pub added: Vec<Resource>,
    pub removed: Vec<String>,
    /// State of the world: what is not in `added` is gone.
    pub full: bool,
}

/// A resource as it came.
#[derive(Clone, Debug)]
pub struct Resource {
    pub name: String,
    pub version: String,
    pub body: Bytes,
    pub type_url: String,
}

/// A resource that cannot be used; its last good version stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    pub name: String,
    pub error: String,
}

/// Names to subscribe to; those of listeners and clusters are always all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub endpoints: BTreeSet<Arc<str>>,
    pub routes: BTreeSet<Arc<str>>,
    pub secrets: BTreeSet<Arc<str>>,
}

/// Who uses resources.
pub trait Sink {
    /// Takes over an update and tells which of its resources are rejected.
    fn apply(&mut self, update: Update) -> Vec<Rejected>;

    /// What the applied resources refer to.
    fn wanted(&self) -> Wanted;
}

impl<S: Sink + ?Sized> Sink for Box<S> {
    fn apply(&mut self, update: Update) -> Vec<Rejected> {
        (**self).apply(update)
    }

    fn wanted(&self) -> Wanted {
        (**self).wanted()
    }
}

/// For a sink that others look at between two updates.
impl<S: Sink + ?Sized> Sink for Rc<RefCell<S>> {
    fn apply(&mut self, update: Update) -> Vec<Rejected> {
        self.borrow_mut().apply(update)
    }

    fn wanted(&self) -> Wanted {
        self.borrow().wanted()
    }
}
