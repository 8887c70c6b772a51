//! The domain knows nothing of its surroundings.

use std::fs;
use std::path::Path;

/// The dependencies of this package that the domain and its tests may use. They do no I/O.
const ALLOWED: [&str; 14] = [
    "chrono",
    "dynamodb-testkit",
    "fastrand",
    "icu_properties",
    "iso_currency",
    "proptest",
    "schemars",
    "serde",
    "serde_dynamo",
    "serde_json",
    "service-clock",
    "thiserror",
    "unicode-segmentation",
    "uuid",
];

#[test]
fn the_domain_uses_no_other_module_and_no_other_crate() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(package.join("Cargo.toml")).unwrap();
    let names = manifest.lines().filter_map(|line| line.split_once(['.', ' ']).map(|(name, _)| name));
    let others = names.filter(|name| !ALLOWED.contains(name));
    let others: Vec<String> = others.map(|name| name.replace('-', "_") + "::").collect();
    for crate_name in ["dynamodb_event_store", "aws_sdk_dynamodb", "reqwest", "tokio"] {
        assert!(others.contains(&format!("{crate_name}::")), "{crate_name}");
    }
    for file in fs::read_dir(package.join("src/domain")).unwrap().map(|entry| entry.unwrap().path()) {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim_start().starts_with("//")) {
            let outside = line.matches(concat!("crate", "::")).count() != line.matches("crate::domain").count();
            let other = others.iter().find(|name| line.contains(*name));
            assert!(!outside && other.is_none(), "{}:{number}: {line}", file.display());
        }
    }
}
