//! An embedded DynamoDB, its tables, and clients of it or of any other DynamoDB.

pub mod tables;

use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::pin::pin;
use std::thread;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::template::REGION;

/// Where the embedded database stores its items.
#[derive(Clone, Debug, Default)]
pub enum Storage {
    /// Lost with the process.
    #[default]
    Memory,
    /// In a file of this directory, which is created if necessary.
    Directory(PathBuf),
}

/// Why the embedded database did not start.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The directory or the file in it cannot be used.
    #[error("cannot store the database in {path}: {reason}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// Another process has the database open. Stop it, or use another directory.
    #[error("the database in {0} is in use by another stack")]
    InUse(PathBuf),
    /// There is no thread, port or memory for it.
    #[error("the embedded database did not start: {0}")]
    Start(String),
}

/// A running embedded database; it stops when dropped.
///
/// It has threads of its own, so that it does not depend on the caller's runtime, whose clock may be paused.
#[derive(Debug)]
pub struct Database {
    endpoint: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
    /// Held as long as the files are open.
    _lock: Option<File>,
}

/// How often expired items are removed.
const EXPIRY_SWEEP: Duration = Duration::from_secs(60);

impl Database {
    /// Starts one on a free port of the loopback interface.
    ///
    /// # Errors
    /// When the directory cannot be used or there is no port or thread.
    pub fn start(storage: &Storage) -> Result<Self, DatabaseError> {
        let lock = lock(storage)?;
        let engine = open(storage)?;
        let failed = |error: std::io::Error| DatabaseError::Start(error.to_string());
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let endpoint = format!("http://{}", listener.local_addr().map_err(failed)?);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(failed)?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("dynamodb".into())
            .spawn(move || {
                runtime.block_on(serve(listener, engine, stopped));
                runtime.shutdown_timeout(GRACE);
            })
            .map_err(failed)?;
        Ok(Self { endpoint, stop: Some(stop), thread: Some(thread), _lock: lock })
    }

    /// Its address, for `AWS_ENDPOINT_URL_DYNAMODB` or [`client`].
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        client(&self.endpoint)
    }
}

impl Drop for Database {
    /// Waits until the files are closed, at most about two seconds.
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// How long requests in progress may still take when the database stops.
const GRACE: Duration = Duration::from_secs(1);

async fn serve(listener: std::net::TcpListener, engine: dynoxide::Database, stopped: oneshot::Receiver<()>) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!("the embedded database did not start: {error}"),
    };
    let sweeper = tokio::spawn(sweep(engine.clone()));
    let (close, closed) = oneshot::channel::<()>();
    let server = dynoxide::server::serve_with_shutdown(listener, engine, async { drop(closed.await) });
    let mut server = pin!(server);
    tokio::select! {
        result = &mut server => tracing::error!("the embedded database stopped: {result:?}"),
        _ = stopped => {
            drop(close);
            drop(tokio::time::timeout(GRACE, server).await);
        }
    }
    sweeper.abort();
}

/// Two processes must not write to one file. The lock ends with the process, however it ends.
fn lock(storage: &Storage) -> Result<Option<File>, DatabaseError> {
    let Storage::Directory(path) = storage else { return Ok(None) };
    let unusable = |error: std::io::Error| DatabaseError::Directory { path: path.clone(), reason: error.to_string() };
    std::fs::create_dir_all(path).map_err(unusable)?;
    let file = File::create(path.join("lock")).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(DatabaseError::InUse(path.clone())),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

fn open(storage: &Storage) -> Result<dynoxide::Database, DatabaseError> {
    match storage {
        Storage::Memory => {
            let name = format!("file:{}?mode=memory&cache=shared", Uuid::new_v4());
            open_indexed(&name).map_err(DatabaseError::Start)
        }
        Storage::Directory(path) => {
            let unusable = |reason: String| DatabaseError::Directory { path: path.clone(), reason };
            let file = path.join("dynamodb.sqlite");
            let file = file.to_str().ok_or_else(|| unusable("its name is not Unicode".into()))?;
            open_indexed(file).map_err(unusable)
        }
    }
}

/// The engine scans all stream records for the last one, at every write, and for the next ones, at every read. An index
/// avoids that.
fn open_indexed(name: &str) -> Result<dynoxide::Database, String> {
    let engine = dynoxide::Database::new(name).map_err(|error| error.to_string())?;
    let index = "CREATE INDEX IF NOT EXISTS orders_stream_order \
        ON _stream_records (table_name, CAST(sequence_number AS INTEGER))";
    let beside = rusqlite::Connection::open(name).and_then(|beside| beside.execute_batch(index));
    beside.map_err(|error| error.to_string())?;
    Ok(engine)
}

/// Removes expired items, as DynamoDB does.
async fn sweep(engine: dynoxide::Database) {
    loop {
        tokio::time::sleep(EXPIRY_SWEEP).await;
        let engine = engine.clone();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || engine.sweep_ttl()).await {
            tracing::warn!("expired items were not removed: {error}");
        }
    }
}

/// A client of the DynamoDB at that endpoint, as an administrator.
pub fn client(endpoint: &str) -> Client {
    client_as(endpoint, "local")
}

/// A client of the DynamoDB at that endpoint, as an administrator with the role of that name.
pub fn client_as(endpoint: &str, role: &str) -> Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static(REGION))
        .credentials_provider(Credentials::new(role, "local", None, None, "local"))
        .endpoint_url(endpoint)
        .build();
    Client::from_conf(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_used_by_one_database_at_a_time() {
        let directory = std::env::temp_dir().join(format!("orders-local-{}", uuid::Uuid::new_v4()));
        let storage = Storage::Directory(directory.clone());
        let first = Database::start(&storage).unwrap();
        assert!(matches!(Database::start(&storage), Err(DatabaseError::InUse(path)) if path == directory));
        drop(first);
        drop(Database::start(&storage).unwrap());
        std::fs::remove_dir_all(directory).unwrap();
    }
}
