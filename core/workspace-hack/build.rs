//! Has no code: see `Cargo.toml`.

fn main() {}
