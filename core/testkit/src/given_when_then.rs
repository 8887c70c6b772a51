//! Tests of an aggregate's decisions, without a store: given these events, when this is decided, then these events follow,
//! or it is refused.
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

/// The state after this history. Every event has to follow the one before, and to come back from its stored form as it
/// was; so has the state.
#[track_caller]
pub fn replay<A: Aggregate>(history: &[A::Event]) -> A {
    let mut state = A::default();
    live(&mut state, history);
    state
}

#[track_caller]
fn live<A: Aggregate>(state: &mut A, events: &[A::Event]) {
    for event in events {
        match A::decode(A::encode(event)) {
            Ok(read) => assert_eq!(read, *event, "an event does not survive the store"),
            Err(error) => panic!("{event:?} cannot be read once it is stored: {error}"),
        }
        if let Err(error) = state.apply(event) {
            panic!("{event:?} cannot follow: {error}");
        }
    }
    let snapshot = serde_dynamo::to_attribute_value::<_, serde_dynamo::AttributeValue>(&*state);
    match snapshot.and_then(serde_dynamo::from_attribute_value::<_, A>) {
        Ok(read) => assert_eq!(read, *state, "the state does not survive a snapshot"),
        Err(error) => panic!("{state:?} cannot be kept in a snapshot: {error}"),
    }
}

/// An aggregate, before something is decided.
#[must_use = "say what is decided"]
#[derive(Clone, Debug)]
pub struct Given<A>(A);

impl<A: Aggregate> Given<A> {
    /// This is decided.
    pub fn when<R>(self, decide: impl FnOnce(&A) -> Result<Vec<A::Event>, R>) -> When<A, R> {
        When { decided: decide(&self.0), state: self.0 }
    }
}

/// A decision.
#[must_use = "say what it comes to"]
#[derive(Debug)]
pub struct When<A: Aggregate, R> {
    state: A,
    decided: Result<Vec<A::Event>, R>,
}

impl<A: Aggregate, R: Debug + PartialEq> When<A, R> {
    /// It comes to these events, in this order, and they can follow.
    #[track_caller]
    pub fn then(mut self, expected: &[A::Event]) {
        match &self.decided {
            Ok(decided) => assert_eq!(decided, expected),
            Err(refusal) => panic!("refused: {refusal:?}, instead of {expected:?}"),
        }
        live(&mut self.state, expected);
    }

    /// It is so already: success, and no event.
    #[track_caller]
    pub fn then_no_events(self) {
        self.then(&[]);
    }

    /// The rules refuse it, for this reason.
    #[track_caller]
    pub fn then_rejected(self, expected: R) {
        match &self.decided {
            Ok(decided) => panic!("decided: {decided:?}, instead of refused: {expected:?}"),
            Err(refusal) => assert_eq!(*refusal, expected),
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
    fn a_decision_is_what_it_comes_to_and_nothing_else() {
        decided(Command::Add(1)).then(&[Added(1)]);
        decided(Command::RaiseTo(5)).then_no_events();
        decided(Command::Take(6)).then_rejected(TooLittle { total: 5 });

        assert!(fails(|| decided(Command::Add(1)).then(&[Added(2)])).contains("Added(2)"));
        assert!(fails(|| decided(Command::Add(1)).then_no_events()).contains("Added(1)"));
        assert!(fails(|| decided(Command::Take(6)).then_no_events()).starts_with("refused: TooLittle { total: 5 }"));
        let told = fails(|| decided(Command::Take(5)).then_rejected(TooLittle { total: 5 }));
        assert!(told.starts_with("decided: [Taken(5)]"), "{told}");
        assert!(fails(|| decided(Command::Take(6)).then_rejected(TooLittle { total: 4 })).contains("total: 4"));
    }

    #[test]
    fn events_that_cannot_follow_are_neither_a_history_nor_a_decision() {
        let told = fails(|| assert_eq!(replay::<Counter>(&[Added(1), Taken(2)]), Counter::default()));
        assert_eq!(told, "Taken(2) cannot follow: the total is 1");
        let broken = |_: &Counter| Ok::<_, Infallible>(vec![Labelled("a".into()), Taken(6)]);
        let told = fails(|| given(&[Added(5)]).when(broken).then(&[Labelled("a".into()), Taken(6)]));
        assert_eq!(told, "Taken(6) cannot follow: the total is 5");
    }

    /// A counter that forgets labels, and whose snapshots forget everything.
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
    fn what_would_not_come_back_from_the_store_is_told() {
        let told = fails(|| assert_eq!(replay::<Forgetful>(&[Labelled("a".into())]), Forgetful::default()));
        assert!(told.contains("an event does not survive the store"), "{told}");
        let told = fails(|| assert_eq!(replay::<Forgetful>(&[Added(1)]), Forgetful::default()));
        assert!(told.contains("the state does not survive a snapshot"), "{told}");
    }
}
