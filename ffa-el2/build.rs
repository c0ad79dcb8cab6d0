//! Hands each image its linker scripts: `image.ld` of `aarch64-rt` for the sections, ours for the place in memory.

fn main() {
    let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/linker");
    println!("cargo::rerun-if-changed={scripts}");
    for image in ["firmware", "hypervisor", "payload"] {
        println!("cargo::rustc-link-arg-bin={image}=-Timage.ld");
        println!("cargo::rustc-link-arg-bin={image}=-T{scripts}/{image}.ld");
    }
    // Every CPU enters the firmware, so it starts before the single-CPU entry point of `aarch64-rt`.
    println!("cargo::rustc-link-arg-bin=firmware=--entry=reset");
}
