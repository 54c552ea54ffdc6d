//! The committed descriptor set is what the generator makes.

#[path = "../../src/bin/xds-descriptors/generate.rs"]
mod generate;

#[test]
fn the_descriptor_set_is_current() {
    let committed = include_bytes!("../../descriptors.bin.gz");
    assert!(
        generate::generate() == committed,
        "run `cargo run -p ironsail-xds --features generate --bin xds-descriptors`"
    );
}
