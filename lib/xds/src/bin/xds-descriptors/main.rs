//! Writes `lib/xds/descriptors.bin.gz`: `cargo run -p ironsail-xds --features generate --bin xds-descriptors`.

mod generate;

fn main() -> std::io::Result<()> {
    let path = generate::this_crate().join("descriptors.bin.gz");
    std::fs::write(path, generate::generate())
}
