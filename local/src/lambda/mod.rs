//! Functions, run as Lambda runs them: a process per container, behind a Runtime API.

pub mod asynchronous;
pub mod binaries;
mod containers;
mod logs;
mod process;
mod runtime_api;

use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Bytes;

pub use containers::Containers;
pub use logs::Logs;

/// Why an invocation has no response.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    /// The function failed, timed out or exited; the JSON is Lambda's response.
    #[error("the function failed: {}", String::from_utf8_lossy(.0))]
    Function(Bytes),
    /// The event has more than 6 MB.
    #[error("the event is larger than 6 MB")]
    TooLarge,
    /// The process could not be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The binary.
        program: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The stack is stopping.
    #[error("the stack is stopping")]
    Stopping,
}

/// Something that takes an event and responds, as a function does.
pub(crate) trait Invoke: Send + Sync {
    fn invoke(&self, event: Bytes) -> impl Future<Output = Result<Bytes, InvokeError>> + Send;
}

impl Invoke for Arc<Containers> {
    async fn invoke(&self, event: Bytes) -> Result<Bytes, InvokeError> {
        Containers::invoke(self, event).await
    }
}
