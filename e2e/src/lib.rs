//! Tests against a real Kubernetes and what they need.
