//! A stand-in for a service, on a port of its own.

use std::io;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A running endpoint. It is closed when this is dropped.
#[derive(Debug)]
pub struct Served {
    /// Its address.
    pub url: String,
    task: JoinHandle<()>,
}

impl Served {
    /// Serves the routes on a free port of the loopback interface. `name` is for the log.
    ///
    /// # Errors
    /// There is no free port.
    pub(crate) async fn start(name: &'static str, router: Router) -> io::Result<Self> {
        Self::on(TcpListener::bind(("127.0.0.1", 0)).await?, name, router)
    }

    /// Serves the routes on a port that is open already.
    ///
    /// # Errors
    /// The listener has no address.
    pub(crate) fn on(listener: TcpListener, name: &'static str, router: Router) -> io::Result<Self> {
        let url = format!("http://{}", listener.local_addr()?);
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!("{name} stopped: {error}");
            }
        });
        Ok(Self { url, task })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}
