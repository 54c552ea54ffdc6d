//! How every program behaves as a pod.
