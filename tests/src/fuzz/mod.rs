//! Fuzz targets: one for each kind of input that comes from outside, with what must hold for every such input.
//!
//! `tests/tests/fuzz.rs` tries each with its corpus and with some mutated inputs; `tests/fuzz/run` fuzzes one for as long as
//! wanted, guided by coverage. An input that failed once is in the corpus, `tests/fuzz/TARGET`.

pub mod decimal;
pub mod incoming;
pub mod mutate;
pub mod operator;
pub mod provider;
pub mod request;
pub mod service;
pub mod stored;
pub mod stream;
pub mod text;

use std::fs;
use std::path::{Path, PathBuf};

/// A fuzz target.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Whether the events in `events/` are inputs of it.
    pub events: bool,
    /// Panics if an input breaks a property. Bytes that are no input of the target are ignored.
    pub check: fn(&[u8]),
}

/// All of them.
pub static TARGETS: [Target; 9] = [
    Target { name: "request", events: true, check: request::check },
    Target { name: "incoming", events: true, check: incoming::check },
    Target { name: "stream", events: true, check: stream::check },
    Target { name: "operator", events: true, check: operator::check },
    Target { name: "stored", events: false, check: stored::check },
    Target { name: "provider", events: false, check: provider::check },
    Target { name: "policy", events: false, check: text::policy },
    Target { name: "money", events: false, check: text::money },
    Target { name: "header", events: false, check: text::header },
];

/// The target of this name.
pub fn target(name: &str) -> &'static Target {
    let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| panic!("FUZZ_TARGET must be one of {names:?}"))
}

impl Target {
    /// The committed inputs of the target, with their paths.
    pub fn corpus(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
        let own = tests.join("fuzz").join(self.name);
        let events = self.events.then(|| tests.join("../events"));
        let directories = [own].into_iter().chain(events).filter(|directory| directory.exists());
        let files = directories.flat_map(|directory| fs::read_dir(directory).expect("a directory"));
        let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
        paths.sort();
        paths.into_iter().map(|path| (path.clone(), fs::read(path).expect("a file"))).collect()
    }
}
