//! Tests of the proxy that need more than memory.

mod capture;
