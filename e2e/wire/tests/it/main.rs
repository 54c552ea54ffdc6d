//! Our proxy among others. Tests that need a program which the machine lacks say so and pass, unless
//! `REQUIRE_TOOLS=1`; `make wire-tools` brings all of them.

mod ambiguous;
mod h2spec;
mod smuggling;
