//! Writes `lib/xds/descriptors.bin.gz`: `cargo run -p ironsail-xds --features generate --bin xds-descriptors`.

mod generate;

fn main() -> std::io::Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/descriptors.bin.gz");
    std::fs::write(path, generate::generate())
}
