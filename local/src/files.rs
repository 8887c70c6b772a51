//! Files that survive a crash whole.

use std::path::Path;

use serde::Serialize;

/// Writes the value as JSON, whole or not at all.
///
/// # Errors
/// When the directory or the file cannot be written.
pub fn write_atomically(file: &Path, value: &impl Serialize) -> std::io::Result<()> {
    if let Some(directory) = file.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let draft = file.with_extension("draft");
    std::fs::write(&draft, serde_json::to_vec(value)?)?;
    std::fs::rename(draft, file)
}
