//! Reconciles IstioOperator resources.
