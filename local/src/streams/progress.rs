//! How far a mapping has come, kept over restarts where the database is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The last processed record of each shard of one mapping.
#[derive(Debug)]
pub(super) struct Progress {
    file: Option<PathBuf>,
    state: State,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    stream: String,
    shards: BTreeMap<String, String>,
}

impl Progress {
    /// That of the mapping on this stream; nothing yet when it has read another stream before, or there is no directory.
    pub(super) fn load(directory: Option<&Path>, mapping: &str, stream: &str) -> Self {
        let file = directory.map(|path| path.join("streams").join(format!("{mapping}.json")));
        let state = file.as_ref().and_then(|file| serde_json::from_slice::<State>(&std::fs::read(file).ok()?).ok());
        let fresh = || State { stream: stream.to_owned(), shards: BTreeMap::new() };
        Self { file, state: state.filter(|state| state.stream == stream).unwrap_or_else(fresh) }
    }

    /// The sequence number of the shard's last processed record.
    pub(super) fn of(&self, shard: &str) -> Option<&str> {
        self.state.shards.get(shard).map(String::as_str)
    }

    /// Everything up to this record is processed. When that cannot be written down, records come again after a restart.
    pub(super) fn advance(&mut self, shard: &str, sequence: &str) {
        self.state.shards.insert(shard.to_owned(), sequence.to_owned());
        if let Some(file) = &self.file
            && let Err(error) = save(file, &self.state)
        {
            tracing::warn!("cannot write down the progress in {}: {error}", file.display());
        }
    }
}

/// Whole or not at all.
fn save(file: &Path, state: &State) -> std::io::Result<()> {
    if let Some(directory) = file.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let draft = file.with_extension("draft");
    std::fs::write(&draft, serde_json::to_vec(state)?)?;
    std::fs::rename(draft, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_outlives_a_restart_but_not_the_stream() {
        let directory = std::env::temp_dir().join(format!("orders-local-{}", uuid::Uuid::new_v4()));
        let load = |stream| Progress::load(Some(&directory), "Project-Stream", stream);
        let mut progress = load("arn:1");
        assert_eq!(progress.of("shard"), None);
        progress.advance("shard", "41");
        progress.advance("shard", "42");
        assert_eq!(load("arn:1").of("shard"), Some("42"));
        assert_eq!(load("arn:2").of("shard"), None);
        std::fs::remove_dir_all(directory).unwrap();
    }
}
