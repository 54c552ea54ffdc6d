//! Responses into what an [`Update`](crate::xds::Update) holds.

use std::collections::BTreeSet;

use bytes::Bytes;
use ironsail_xds::discovery::Resource as Wrapped;
use ironsail_xds::{Any, is_type, type_name, unpack};
use prost::Message;

use super::Kind;
use crate::xds::{Rejected, Resource};

/// What all resource types have in common on the wire: the name is field 1.
#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

/// A response, read.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) added: Vec<Resource>,
    pub(super) removed: Vec<String>,
    pub(super) malformed: Vec<Rejected>,
    pub(super) full: bool,
    /// Names in `added`.
    seen: BTreeSet<String>,
    /// Whether there was something whose name or body is not known.
    unreadable: bool,
}

impl Content {
    /// Reads a delta response. Names that are not `covered`, because they were unsubscribed while the response was
    /// on its way, are passed over.
    pub(super) fn from_delta(
        kind: Kind,
        resources: Vec<Wrapped>,
        removed: Vec<String>,
        covered: impl Fn(&str) -> bool,
        known: impl Fn(&str) -> bool,
    ) -> Self {
        let mut content = Content::default();
        for Wrapped {
            name,
            version,
            resource,
            ..
        } in resources
        {
            match resource {
                _ if !covered(&name) => {}
                Some(any) => content.add(kind, name, version, any),
                // A heartbeat: name and version without body prolong what was sent before.
                None if known(&name) => {}
                None => content.reject(name, "resource has no body".to_owned()),
            }
        }
        content.removed = removed.into_iter().filter(|name| covered(name)).collect();
        content
    }

    /// Reads a response that holds the state of the world; `version` is that of every resource.
    pub(super) fn from_full(
        kind: Kind,
        resources: Vec<Any>,
        version: &str,
        covered: impl Fn(&str) -> bool,
    ) -> Self {
        let mut content = Content::default();
        for any in resources {
            match open(any) {
                Ok((name, _)) if !covered(&name) => {}
                Ok((name, any)) => content.add(kind, name, version.to_owned(), any),
                Err(error) => content.reject(String::new(), error),
            }
        }
        // What could not be read may be a new version of something: as long as that is so, nothing is taken for gone.
        content.full = kind.is_wildcard() && !content.unreadable;
        content
    }

    /// Name and version of everything added.
    pub(super) fn versions(&self) -> Vec<(String, String)> {
        self.added
            .iter()
            .map(|resource| (resource.name.clone(), resource.version.clone()))
            .collect()
    }

    fn add(&mut self, kind: Kind, name: String, version: String, any: Any) {
        let expected = kind.type_url();
        if type_name(&any.type_url) != type_name(expected) {
            let error = format!("type is {}, expected {expected}", any.type_url);
            self.reject(name, error);
        } else if name.is_empty() {
            self.reject(name, "resource has no name".to_owned());
        } else if self.seen.insert(name.clone()) {
            self.added.push(Resource {
                name,
                version,
                body: Bytes::from(any.value),
                type_url: any.type_url,
            });
        } else {
            let error = "name occurs more than once".to_owned();
            self.malformed.push(Rejected { name, error });
        }
    }

    fn reject(&mut self, name: String, error: String) {
        self.unreadable = true;
        self.malformed.push(Rejected { name, error });
    }
}

/// Name and body of a resource that may be wrapped, as it is when it has a time to live.
fn open(any: Any) -> Result<(String, Any), String> {
    if is_type::<Wrapped>(&any) {
        let wrapped = unpack::<Wrapped>(&any).map_err(|error| error.to_string())?;
        let inner = wrapped.resource.ok_or("resource has no body")?;
        return if wrapped.name.is_empty() {
            name_of(inner)
        } else {
            Ok((wrapped.name, inner))
        };
    }
    name_of(any)
}

fn name_of(any: Any) -> Result<(String, Any), String> {
    match Named::decode(any.value.as_slice()) {
        Ok(Named { name }) => Ok((name, any)),
        Err(error) => Err(format!("{} does not decode: {error}", any.type_url)),
    }
}
