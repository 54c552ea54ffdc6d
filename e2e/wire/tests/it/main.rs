//! Our proxy among others, which `make peer-tools` fetches.

mod ambiguous;
mod h2spec;
mod renegotiation;
mod smuggling;
