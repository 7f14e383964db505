//! Compiles `proto/playground.proto` in plain Rust: nobody has to install protoc.

use std::{env, error::Error, fs, path::Path};

use protox::prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto/playground.proto");
    let descriptors = protox::compile(["playground.proto"], ["proto"])?;
    // Server reflection answers from these bytes.
    let file = Path::new(&env::var("OUT_DIR")?).join("playground.bin");
    fs::write(file, descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}
