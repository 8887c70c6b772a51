//! Sending entries until the bus has accepted them.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use tokio::time::{Instant, sleep};

use super::batch::requests;
use super::bus::{EventBus, PutError};
use super::envelope::{Envelope, MAX_BYTES};

/// How often an entry is sent before it is reported as failed.
const MAX_ROUNDS: u32 = 4;
/// How many requests are under way at once.
const IN_FLIGHT: usize = 4;
/// The wait before another round is a random part of this, doubled each time.
const BACKOFF_BASE: Duration = Duration::from_millis(50);

/// Sends entries to a bus.
#[derive(Clone, Debug)]
pub struct Publisher<B> {
    bus: B,
}

/// Entries that the bus did not accept, by index. All others were accepted.
#[derive(Debug, Default)]
pub struct Unpublished(pub BTreeMap<usize, PutError>);

impl<B: EventBus> Publisher<B> {
    /// A publisher on `bus`.
    pub fn new(bus: B) -> Self {
        Self { bus }
    }

    /// Sends the entries, and those that failed inside an accepted request again. From `deadline` on nothing more is sent;
    /// a request under way is waited for.
    ///
    /// An entry may be accepted twice when a response is lost; its event id is the same both times.
    pub async fn publish(&self, entries: &[Envelope], deadline: Instant) -> Unpublished {
        let mut unpublished = BTreeMap::new();
        let mut waiting: Vec<usize> = (0..entries.len()).collect();
        for round in 1..=MAX_ROUNDS {
            let mut failed = self.send(entries, &waiting, deadline).await;
            unpublished.extend(failed.extract_if(.., |_, error| matches!(error, PutError::ForGood(_))));
            let pause = (BACKOFF_BASE * 2_u32.pow(round - 1)).mul_f64(fastrand::f64());
            if failed.is_empty() || round == MAX_ROUNDS || Instant::now() + pause >= deadline {
                unpublished.extend(failed);
                break;
            }
            waiting = failed.into_keys().collect();
            sleep(pause).await;
        }
        Unpublished(unpublished)
    }

    /// One round: each waiting entry is sent once. Returns those that were not accepted.
    async fn send(&self, entries: &[Envelope], waiting: &[usize], deadline: Instant) -> BTreeMap<usize, PutError> {
        let sizes: Vec<usize> = waiting.iter().map(|index| entries[*index].bytes()).collect();
        let requests = requests(&sizes, MAX_BYTES).into_iter().map(|range| &waiting[range]);
        let answers = futures::stream::iter(requests).map(|indices| self.put(entries, indices, deadline));
        answers.buffer_unordered(IN_FLIGHT).collect::<Vec<_>>().await.into_iter().flatten().collect()
    }

    /// One request. Returns those of its entries that were not accepted.
    async fn put(&self, entries: &[Envelope], indices: &[usize], deadline: Instant) -> Vec<(usize, PutError)> {
        // Whether any entry arrived is unknown; each needs its own error.
        let all = |reason: &str| indices.iter().map(|index| (*index, PutError::ForNow(reason.into()))).collect();
        if Instant::now() >= deadline {
            return all("no time left to send it");
        }
        let request: Vec<Envelope> = indices.iter().map(|index| entries[*index].clone()).collect();
        match self.bus.put(&request).await {
            Ok(results) => indices.iter().zip(results).filter_map(|(index, error)| Some((*index, error?))).collect(),
            Err(PutError::ForNow(error) | PutError::ForGood(error)) => all(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use super::*;
    use service_clock::Timestamp;

    /// A bus that answers by script, and takes everything once the script has ended.
    #[derive(Default)]
    struct Scripted {
        script: Mutex<VecDeque<Answer>>,
        requests: Mutex<Vec<Vec<String>>>,
        taken: Mutex<Vec<String>>,
    }

    enum Answer {
        Silence,
        /// The places in the request that are not taken.
        Throttled(Vec<usize>),
        Refused(Vec<usize>),
    }

    impl EventBus for &Scripted {
        async fn put(&self, entries: &[Envelope]) -> Result<Vec<Option<PutError>>, PutError> {
            let names: Vec<String> = entries.iter().map(|entry| entry.detail.clone()).collect();
            self.requests.lock().unwrap().push(names.clone());
            let (places, error): (Vec<usize>, fn() -> PutError) = match self.script.lock().unwrap().pop_front() {
                Some(Answer::Silence) => return Err(PutError::ForNow("no answer".into())),
                Some(Answer::Throttled(places)) => (places, || PutError::ForNow("throttled".into())),
                Some(Answer::Refused(places)) => (places, || PutError::ForGood("refused".into())),
                None => (vec![], || PutError::ForGood("never".into())),
            };
            let untaken = |place: &usize| places.contains(place).then(error);
            let results: Vec<_> = (0..entries.len()).map(|place| untaken(&place)).collect();
            let taken = names.into_iter().zip(&results).filter(|(_, error)| error.is_none());
            self.taken.lock().unwrap().extend(taken.map(|(name, _)| name));
            Ok(results)
        }
    }

    fn scripted(script: impl IntoIterator<Item = Answer>) -> Scripted {
        Scripted { script: Mutex::new(script.into_iter().collect()), ..Scripted::default() }
    }

    fn entries(count: usize) -> Vec<Envelope> {
        let entry = |n| Envelope {
            event_id: uuid::Uuid::nil(),
            detail_type: "Tested".into(),
            time: Timestamp::UNIX_EPOCH,
            detail: format!("{n}"),
        };
        (0..count).map(entry).collect()
    }

    async fn publish(bus: &Scripted, count: usize) -> Vec<usize> {
        let deadline = Instant::now() + Duration::from_secs(60);
        Publisher::new(bus).publish(&entries(count), deadline).await.0.into_keys().collect()
    }

    #[tokio::test(start_paused = true)]
    async fn all_entries_are_taken_in_order_when_nothing_fails() {
        let bus = scripted([]);
        assert!(publish(&bus, 23).await.is_empty());
        let taken = bus.taken.lock().unwrap();
        assert_eq!(*taken, (0..23).map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(bus.requests.lock().unwrap().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn entries_that_failed_inside_an_accepted_request_are_sent_again_and_only_those() {
        let bus = scripted([Answer::Throttled(vec![1, 3])]);
        assert!(publish(&bus, 5).await.is_empty());
        assert_eq!(bus.requests.lock().unwrap()[1], ["1", "3"]);
        assert_eq!(bus.taken.lock().unwrap().len(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_without_an_answer_is_sent_again_whole() {
        let bus = scripted([Answer::Silence]);
        assert!(publish(&bus, 3).await.is_empty());
        assert_eq!(bus.requests.lock().unwrap()[1], ["0", "1", "2"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_bus_rejects_for_good_is_not_sent_again() {
        let bus = scripted([Answer::Refused(vec![2])]);
        assert_eq!(publish(&bus, 4).await, [2]);
        assert_eq!(bus.requests.lock().unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_sent_once_the_time_is_over() {
        let bus = scripted((0..4).map(|_| Answer::Throttled(vec![0, 1])));
        let publisher = Publisher::new(&bus);
        let unpublished = publisher.publish(&entries(2), Instant::now()).await;
        assert_eq!(unpublished.0.into_keys().collect::<Vec<_>>(), [0, 1]);
        assert!(bus.requests.lock().unwrap().is_empty());
        let soon = Instant::now() + Duration::from_nanos(1);
        assert_eq!(publisher.publish(&entries(2), soon).await.0.len(), 2);
        assert_eq!(bus.requests.lock().unwrap().len(), 1, "another round would begin too late");
    }

    #[tokio::test(start_paused = true)]
    async fn what_still_fails_in_the_last_round_is_reported_and_nothing_else() {
        let bus =
            scripted((0..4).map(|round| if round == 0 { Answer::Throttled(vec![0, 2]) } else { Answer::Silence }));
        assert_eq!(publish(&bus, 3).await, [0, 2]);
        assert_eq!(bus.requests.lock().unwrap().len(), 4);
        assert_eq!(*bus.taken.lock().unwrap(), ["1"]);
    }
}
