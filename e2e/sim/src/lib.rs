//! Control plane to proxy in one process, no cluster.
