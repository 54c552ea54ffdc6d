//! What the connection manager does to response heads on their way to the client.

use std::time::SystemTime;

use super::config::{HttpConnectionManager, ServerHeader};
use super::date::with_date;
use super::upgrade;
use crate::http::header_name::Known;
use crate::http::message::{RequestHead, ResponseHead};

/// Brings a response into the form in which clients get it.
pub fn finalize(
    response: &mut ResponseHead,
    request: &RequestHead,
    hcm: &HttpConnectionManager,
    now: SystemTime,
) {
    let headers = &mut response.headers;
    for name in [
        Known::KeepAlive,
        Known::ProxyConnection,
        Known::TransferEncoding,
    ] {
        headers.remove(name);
    }
    if response.status == 204 {
        // RFC 9110 section 8.6: there is no length to tell.
        headers.remove(Known::ContentLength);
    }
    upgrade::settle(headers, response.status == 101);
    if !headers.contains(Known::Date) {
        with_date(now, |date| headers.append(Known::Date, date));
    }
    match hcm.server_header {
        ServerHeader::Overwrite => headers.set(Known::Server, hcm.server_name.as_bytes()),
        ServerHeader::AppendIfAbsent if !headers.contains(Known::Server) => {
            headers.append(Known::Server, hcm.server_name.as_bytes());
        }
        ServerHeader::AppendIfAbsent | ServerHeader::PassThrough => {}
    }
    let traced = request.headers.contains(Known::EnvoyForceTrace);
    if (hcm.request_id.set_in_response || traced)
        && let Some(id) = request.headers.get(Known::RequestId)
    {
        headers.set(Known::RequestId, id);
    }
    if let Some(via) = &hcm.via {
        headers.append_to_list(Known::Via, via.as_bytes());
    }
}
