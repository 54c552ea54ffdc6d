//! Validation of objects: pure functions from a document to every finding.
//!
//! First the shape (types, required fields, enums, ranges; from the CRD's own schema), then what
//! a schema can't say. Warnings never refuse an object.

pub mod destination_rule;
pub mod gateway;
pub mod operator;
pub mod peer_authentication;
pub mod virtual_service;
