//! API group `networking.istio.io`.

pub mod destination_rule;
pub mod gateway;
pub mod virtual_service;
