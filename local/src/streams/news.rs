//! When a reader that found nothing looks again.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// The pause of a reader that is told of writes. It is told of all of them, except that an item expires.
const TOLD: Duration = Duration::from_secs(60);
/// The first pause of a reader that is not told; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(50);
/// The longest one.
const LONGEST: Duration = Duration::from_millis(500);

/// A reader's news of its stream. Each reader has its own.
#[derive(Clone, Debug)]
pub(crate) struct News {
    writes: Option<watch::Receiver<u64>>,
    pause: Duration,
}

impl News {
    /// What changes with every write, where all writes are seen. Where they are not, a reader has to ask: soon after
    /// something was there, less often the longer nothing comes.
    pub(crate) fn new(writes: Option<watch::Receiver<u64>>) -> Self {
        Self { writes, pause: FIRST }
    }

    /// The reader is about to look: what is written from now on, it may miss.
    pub(super) fn look(&mut self) {
        if let Some(writes) = &mut self.writes {
            writes.mark_unchanged();
        }
    }

    /// The reader has found something.
    pub(super) fn found(&mut self) {
        self.pause = FIRST;
    }

    /// Returns when it is worth to look again.
    pub(super) async fn more(&mut self) {
        match &mut self.writes {
            Some(writes) => match timeout(TOLD, writes.changed()).await {
                Ok(Ok(())) | Err(_) => {}
                // Nobody tells any more.
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

    async fn pause(news: &mut News) -> u128 {
        let begun = Instant::now();
        news.look();
        news.more().await;
        begun.elapsed().as_millis()
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_told_of_writes_looks_when_something_was_written_and_once_a_minute() {
        let (writes, told) = watch::channel(0);
        let mut news = News::new(Some(told));
        assert_eq!(pause(&mut news).await, 60_000);
        news.look();
        writes.send_replace(1);
        let begun = Instant::now();
        news.more().await;
        assert_eq!(begun.elapsed().as_millis(), 0, "it was written after the look");
        assert_eq!(pause(&mut news).await, 60_000, "it was written before the look");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_not_told_asks_less_often_the_longer_nothing_comes() {
        let mut news = News::new(None);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            pauses.push(pause(&mut news).await);
        }
        assert_eq!(pauses, [50, 100, 200, 400, 500, 500]);
        news.found();
        assert_eq!(pause(&mut news).await, 50);
    }
}
