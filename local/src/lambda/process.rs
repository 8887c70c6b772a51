//! A child process that is always waited for: none stays behind as a zombie.

use std::process::ExitStatus;
use std::time::Duration;

use tokio::process::Child;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

/// How long a killed process may take to exit.
const GONE_LIMIT: Duration = Duration::from_secs(1);

/// A process. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    state: watch::Receiver<State>,
    kill: Option<oneshot::Sender<()>>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Runs,
    /// With its status, if it is known.
    Ended(Option<ExitStatus>),
}

impl Process {
    /// Owns the child.
    pub(crate) fn new(mut child: Child) -> Self {
        let (sender, state) = watch::channel(State::Runs);
        let (kill, killed) = oneshot::channel();
        tokio::spawn(async move {
            tokio::select! {
                _ = child.wait() => {}
                _ = killed => drop(child.start_kill()),
            }
            // A second call returns the same status.
            sender.send_replace(State::Ended(child.wait().await.ok()));
        });
        Self { state, kill: Some(kill) }
    }

    /// Whether it still runs.
    pub(crate) fn runs(&self) -> bool {
        matches!(*self.state.borrow(), State::Runs)
    }

    /// Returns when it has ended.
    pub(crate) async fn ended(&mut self) -> Option<ExitStatus> {
        match self.state.wait_for(|state| matches!(state, State::Ended(_))).await.as_deref() {
            Ok(State::Ended(status)) => *status,
            // The runtime has ended, and killed it.
            Ok(State::Runs) | Err(_) => None,
        }
    }

    /// Ends it if it still runs.
    pub(crate) async fn end(mut self) -> Option<ExitStatus> {
        drop(self.kill.take());
        timeout(GONE_LIMIT, self.ended()).await.ok().flatten()
    }
}
