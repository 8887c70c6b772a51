//! Given-when-then tests of an aggregate's decisions, without a store.
//!
//! ```
//! use dynamodb_testkit::counter_aggregate::{Command, Counter, CounterEvent, TooLittle};
//! use dynamodb_testkit::given_when_then::given;
//!
//! let take = |amount| move |counter: &Counter| Command::Take(amount).decide(counter);
//! given(&[CounterEvent::Added(5)]).when(take(3)).then(&[CounterEvent::Taken(3)]);
//! given(&[CounterEvent::Added(5)]).when(take(6)).then_rejected(TooLittle { total: 5 });
//! ```

use std::fmt::Debug;

use dynamodb_event_store::Aggregate;

/// An aggregate with this history.
#[track_caller]
pub fn given<A: Aggregate>(history: &[A::Event]) -> Given<A> {
    Given(replay(history))
}

/// The state after this history. Every event must be valid in its state and round-trip through its stored form, and so
/// must the state.
#[track_caller]
pub fn replay<A: Aggregate>(history: &[A::Event]) -> A {
    let mut state = A::default();
    apply_all(&mut state, history);
    state
}

#[track_caller]
fn apply_all<A: Aggregate>(state: &mut A, events: &[A::Event]) {
    for event in events {
        match A::decode(A::encode(event)) {
            Ok(read) => assert_eq!(read, *event, "an event does not survive the store"),
            Err(error) => panic!("{event:?} cannot be decoded after it was stored: {error}"),
        }
        if let Err(error) = state.apply(event) {
            panic!("{event:?} is not valid in this state: {error}");
        }
    }
    let snapshot = serde_dynamo::to_attribute_value::<_, serde_dynamo::AttributeValue>(&*state);
    match snapshot.and_then(serde_dynamo::from_attribute_value::<_, A>) {
        Ok(read) => assert_eq!(read, *state, "the state does not survive a snapshot"),
        Err(error) => panic!("{state:?} cannot be read from a snapshot: {error}"),
    }
}

/// An aggregate before a decision.
#[must_use = "call `when`"]
#[derive(Clone, Debug)]
pub struct Given<A>(A);

impl<A: Aggregate> Given<A> {
    /// Decides.
    pub fn when<R>(self, decide: impl FnOnce(&A) -> Result<Vec<A::Event>, R>) -> When<A, R> {
        When { decided: decide(&self.0), state: self.0 }
    }
}

/// A decision.
#[must_use = "call `then`, `then_no_events` or `then_rejected`"]
#[derive(Debug)]
pub struct When<A: Aggregate, R> {
    state: A,
    decided: Result<Vec<A::Event>, R>,
}

impl<A: Aggregate, R: Debug + PartialEq> When<A, R> {
    /// Expects these events, in this order and valid in their states.
    #[track_caller]
    pub fn then(mut self, expected: &[A::Event]) {
        match &self.decided {
            Ok(decided) => assert_eq!(decided, expected),
            Err(rejection) => panic!("rejected: {rejection:?}, expected {expected:?}"),
        }
        apply_all(&mut self.state, expected);
    }

    /// Expects success without events.
    #[track_caller]
    pub fn then_no_events(self) {
        self.then(&[]);
    }

    /// Expects this rejection.
    #[track_caller]
    pub fn then_rejected(self, expected: R) {
        match &self.decided {
            Ok(decided) => panic!("decided: {decided:?}, expected a rejection: {expected:?}"),
            Err(rejection) => assert_eq!(*rejection, expected),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::panic::catch_unwind;

    use super::*;
    use crate::counter_aggregate::CounterEvent::{Added, Labelled, Taken};
    use crate::counter_aggregate::{Command, Counter, CounterEvent, TooLittle};

    fn decided(command: Command) -> When<Counter, TooLittle> {
        given(&[Added(5)]).when(|counter: &Counter| command.decide(counter))
    }

    fn fails(test: impl FnOnce() + std::panic::UnwindSafe) -> String {
        *catch_unwind(test).unwrap_err().downcast::<String>().unwrap()
    }

    #[test]
    fn a_decision_must_match_exactly() {
        decided(Command::Add(1)).then(&[Added(1)]);
        decided(Command::RaiseTo(5)).then_no_events();
        decided(Command::Take(6)).then_rejected(TooLittle { total: 5 });

        assert!(fails(|| decided(Command::Add(1)).then(&[Added(2)])).contains("Added(2)"));
        assert!(fails(|| decided(Command::Add(1)).then_no_events()).contains("Added(1)"));
        assert!(fails(|| decided(Command::Take(6)).then_no_events()).starts_with("rejected: TooLittle { total: 5 }"));
        let message = fails(|| decided(Command::Take(5)).then_rejected(TooLittle { total: 5 }));
        assert!(message.starts_with("decided: [Taken(5)]"), "{message}");
        assert!(fails(|| decided(Command::Take(6)).then_rejected(TooLittle { total: 4 })).contains("total: 4"));
    }

    #[test]
    fn invalid_events_fail_in_a_history_and_in_a_decision() {
        let message = fails(|| assert_eq!(replay::<Counter>(&[Added(1), Taken(2)]), Counter::default()));
        assert_eq!(message, "Taken(2) is not valid in this state: the total is 1");
        let broken = |_: &Counter| Ok::<_, Infallible>(vec![Labelled("a".into()), Taken(6)]);
        let message = fails(|| given(&[Added(5)]).when(broken).then(&[Labelled("a".into()), Taken(6)]));
        assert_eq!(message, "Taken(6) is not valid in this state: the total is 5");
    }

    /// A counter that drops labels, and whose snapshots drop everything.
    #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Forgetful {
        #[serde(skip)]
        total: u64,
    }

    impl Aggregate for Forgetful {
        type Event = CounterEvent;
        type Outcome = ();
        type TransitionError = Infallible;
        type DecodeError = Infallible;
        const NAME: &'static str = "forgetful";
        const SNAPSHOT_SCHEMA: u32 = 1;

        fn apply(&mut self, _: &CounterEvent) -> Result<(), Infallible> {
            self.total += 1;
            Ok(())
        }

        fn outcome(&self, _: &[CounterEvent]) {}

        fn encode(event: &CounterEvent) -> dynamodb_event_store::StoredEvent {
            Counter::<1>::encode(event)
        }

        fn decode(stored: dynamodb_event_store::StoredEvent) -> Result<CounterEvent, Infallible> {
            Ok(if stored.event_type == "Labelled" { Labelled(String::new()) } else { Added(1) })
        }
    }

    #[test]
    fn events_and_states_that_do_not_round_trip_fail() {
        let message = fails(|| assert_eq!(replay::<Forgetful>(&[Labelled("a".into())]), Forgetful::default()));
        assert!(message.contains("an event does not survive the store"), "{message}");
        let message = fails(|| assert_eq!(replay::<Forgetful>(&[Added(1)]), Forgetful::default()));
        assert!(message.contains("the state does not survive a snapshot"), "{message}");
    }
}
