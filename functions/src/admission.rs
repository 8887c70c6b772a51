//! Whether a request may have effects: what its limits tell its handler.

use tokio::sync::SetOnce;

/// Whether a request may have effects. By default it may.
#[derive(Debug, Default)]
pub(crate) struct Admission(Option<SetOnce<()>>);

impl Admission {
    /// Not before the limits have let it pass.
    pub(crate) fn pending() -> Self {
        Self(Some(SetOnce::new()))
    }

    /// Waits until it may. The handler of a request that never may is dropped at this place, or before it.
    pub(crate) async fn granted(&self) {
        if let Some(granted) = &self.0 {
            granted.wait().await;
        }
    }

    /// It may, from now on.
    pub(crate) fn grant(&self) {
        if let Some(granted) = &self.0 {
            // Granting twice is granting.
            drop(granted.set(()));
        }
    }
}
