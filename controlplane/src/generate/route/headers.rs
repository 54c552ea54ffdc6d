//! Header operations of HTTP rules.

use std::collections::BTreeMap;

use ironsail_crds::networking::virtual_service::{HeaderOperations, Headers};
use ironsail_xds::core::header_value_option::HeaderAppendAction;
use ironsail_xds::core::{HeaderValue, HeaderValueOption};

use crate::generate::message;

/// Operations in the forms that routes and weighted clusters take.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Operations {
    pub request_add: Vec<HeaderValueOption>,
    pub request_remove: Vec<String>,
    pub response_add: Vec<HeaderValueOption>,
    pub response_remove: Vec<String>,
    /// Setting the Host header is no header operation but rewrites the authority.
    pub authority: Option<String>,
}

/// Translates the operations of a rule or destination.
pub fn translate(headers: Option<&Headers>) -> Operations {
    let mut operations = Operations::default();
    let Some(headers) = headers else {
        return operations;
    };
    if let Some(request) = &headers.request {
        operations.authority = request
            .set
            .iter()
            .chain(&request.add)
            .find(|(name, value)| is_authority(name) && message::is_header_value(value))
            .map(|(_, value)| value.clone());
        operations.request_add = additions(request);
        operations.request_remove = removals(request);
    }
    if let Some(response) = &headers.response {
        operations.response_add = additions(response);
        operations.response_remove = removals(response);
    }
    operations
}

fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case(":authority")
}

/// Pseudo-headers and Host cannot be changed this way. Proxies refuse the whole table for them, and
/// for what is no name.
fn is_plain(name: &str) -> bool {
    message::is_header_name(name) && !name.starts_with(':') && !name.eq_ignore_ascii_case("host")
}

/// Whether a proxy can make the value: `%` begins and ends the name of a command, or stands twice.
fn is_format(value: &str) -> bool {
    message::is_header_value(value) && value.matches('%').count().is_multiple_of(2)
}

fn additions(operations: &HeaderOperations) -> Vec<HeaderValueOption> {
    let options = |headers: &BTreeMap<String, String>, action: HeaderAppendAction| {
        headers
            .iter()
            .filter(|(name, value)| is_plain(name) && is_format(value))
            .map(|(name, value)| HeaderValueOption {
                header: Some(HeaderValue {
                    key: name.clone(),
                    value: value.clone(),
                    ..Default::default()
                }),
                append_action: action.into(),
                ..Default::default()
            })
            .collect::<Vec<_>>()
    };
    let mut all = options(&operations.set, HeaderAppendAction::OverwriteIfExistsOrAdd);
    all.extend(options(
        &operations.add,
        HeaderAppendAction::AppendIfExistsOrAdd,
    ));
    all
}

fn removals(operations: &HeaderOperations) -> Vec<String> {
    operations
        .remove
        .iter()
        .filter(|name| is_plain(name))
        .cloned()
        .collect()
}
