//! The registry is embedded: a file added or removed there must rebuild this crate.

fn main() {
    println!("cargo::rerun-if-changed=../../registry");
    println!("cargo::rerun-if-changed=build.rs");
}
