//! Validation and analyzers over the mesh kinds; pure.
