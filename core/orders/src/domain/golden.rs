//! Files that tests compare with: what was stored, published or decided when they were written.
//!
//! Tests that run with `UPDATE_GOLDEN=1` write the files that are missing. A file that has been written is the proof that
//! nothing has changed since: it is deleted or edited by hand. Only what is generated from the code for others to read
//! ([`generated`]) is overwritten.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

/// What a failed test says.
pub const UPDATE: &str = "UPDATE_GOLDEN=1 cargo test -p orders-core writes what is missing";

pub fn updating() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some_and(|set| set == "1")
}

/// Where a file is. Names are relative to this package.
fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file)
}

pub fn read_text(file: &str) -> Option<String> {
    fs::read_to_string(path(file)).ok()
}

/// `None` of a file that is missing or is not JSON.
pub fn read(file: &str) -> Option<Value> {
    serde_json::from_str(&read_text(file)?).ok()
}

pub fn write_text(file: &str, text: &str) {
    fs::create_dir_all(path(file).parent().unwrap()).unwrap();
    fs::write(path(file), text).unwrap();
}

/// The names of the files in a folder.
pub fn files(folder: &str) -> BTreeSet<String> {
    let names = fs::read_dir(path(folder)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.map(|name| format!("{folder}/{name}")).collect()
}

fn write(file: &str, value: &Value) {
    write_text(file, &(serde_json::to_string_pretty(value).unwrap() + "\n"));
}

/// A file must hold this value. `advice` is what to do when it does not.
#[track_caller]
pub fn check(file: &str, value: &Value, advice: &str) {
    if updating() && read_text(file).is_none() {
        write(file, value);
    }
    let written = read_text(file).unwrap_or_else(|| panic!("{file} is missing. {UPDATE}."));
    let same = serde_json::from_str::<Value>(&written).is_ok_and(|written| written == *value);
    assert!(same, "{file} differs: {advice}.\n{value:#}\ninstead of\n{written}");
}

/// A file that is generated for others to read must be current.
#[track_caller]
pub fn generated(file: &str, value: &Value) {
    if updating() && read(file).as_ref() != Some(value) {
        write(file, value);
    }
    assert_eq!(read(file).as_ref(), Some(value), "{file} is not current. {UPDATE}.");
}
