//! Calls through a simulated mesh.

mod bookinfo;
mod changes;
mod gateway;
mod mutual_tls;
mod no_lost_request;
mod protocols;
mod proxy_protocol;
mod resilience;
mod routes;
mod samples;
mod support;
