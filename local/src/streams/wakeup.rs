//! When a reader that found nothing reads again.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// The pause of a reader that is notified of writes: of all of them, but not of expired items.
const NOTIFIED: Duration = Duration::from_secs(60);
/// The first pause of a reader that is not notified; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(50);
/// The longest one.
const LONGEST: Duration = Duration::from_millis(500);

/// Wakes a reader. Each reader has its own.
#[derive(Clone, Debug)]
pub(crate) struct Wakeup {
    writes: Option<watch::Receiver<u64>>,
    pause: Duration,
}

impl Wakeup {
    /// With a value that changes with every write, or, where writes are not seen, polling.
    pub(crate) fn new(writes: Option<watch::Receiver<u64>>) -> Self {
        Self { writes, pause: FIRST }
    }

    /// The reader is about to read: it may miss what is written from now on.
    pub(super) fn before_read(&mut self) {
        if let Some(writes) = &mut self.writes {
            writes.mark_unchanged();
        }
    }

    /// The reader has found records.
    pub(super) fn reset(&mut self) {
        self.pause = FIRST;
    }

    /// Returns when it is time to read again.
    pub(super) async fn wait(&mut self) {
        match &mut self.writes {
            Some(writes) => match timeout(NOTIFIED, writes.changed()).await {
                Ok(Ok(())) | Err(_) => {}
                // The sender is gone.
                Ok(Err(_)) => self.writes = None,
            },
            None => {
                sleep(self.pause).await;
                self.pause = (self.pause * 2).min(LONGEST);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    async fn pause(wakeup: &mut Wakeup) -> u128 {
        let begun = Instant::now();
        wakeup.before_read();
        wakeup.wait().await;
        begun.elapsed().as_millis()
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_is_notified_reads_after_a_write_and_once_a_minute() {
        let (writes, seen) = watch::channel(0);
        let mut wakeup = Wakeup::new(Some(seen));
        assert_eq!(pause(&mut wakeup).await, 60_000);
        wakeup.before_read();
        writes.send_replace(1);
        let begun = Instant::now();
        wakeup.wait().await;
        assert_eq!(begun.elapsed().as_millis(), 0, "it was written after the read");
        assert_eq!(pause(&mut wakeup).await, 60_000, "it was written before the read");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_is_not_notified_polls_less_often_the_longer_nothing_comes() {
        let mut wakeup = Wakeup::new(None);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            pauses.push(pause(&mut wakeup).await);
        }
        assert_eq!(pauses, [50, 100, 200, 400, 500, 500]);
        wakeup.reset();
        assert_eq!(pause(&mut wakeup).await, 50);
    }
}
