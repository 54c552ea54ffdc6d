//! Clients of others under our control plane. Needs `make peer-tools` and the right to make network namespaces: tests
//! fail without it when `REQUIRE_NETNS=1`, and say that they were skipped otherwise.

mod acknowledged;
mod bootstrap;
mod grpc;
mod stock_envoy;
mod streams;
