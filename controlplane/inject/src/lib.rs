//! Pod and configuration to JSON patch; pure.
