//! Whether a request may have effects: its rate limits decide that while it is processed.

use tokio::sync::SetOnce;

/// Whether a request may have effects. By default it may.
#[derive(Debug, Default)]
pub(crate) struct Admission(Option<SetOnce<()>>);

impl Admission {
    /// Not until its limits admit it.
    pub(crate) fn pending() -> Self {
        Self(Some(SetOnce::new()))
    }

    /// Waits for the limits. The handler of a request that they reject is dropped here, or earlier.
    pub(crate) async fn admitted(&self) {
        if let Some(admitted) = &self.0 {
            admitted.wait().await;
        }
    }

    /// Admits the request.
    pub(crate) fn admit(&self) {
        if let Some(admitted) = &self.0 {
            // Admitting twice has no effect.
            drop(admitted.set(()));
        }
    }
}
