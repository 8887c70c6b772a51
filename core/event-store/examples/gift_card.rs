//! Gift cards: issued once, redeemed concurrently, and never below zero.
//! `cargo run -p dynamodb-event-store --example gift_card`.

use std::num::NonZeroU32;

use dynamodb_event_store::{
    Aggregate, CommitKey, Consistency, EventStore, ExecuteError, IdempotencyKey, Request, RequestHash, StoredEvent,
    StreamId,
};
use dynamodb_testkit::simulation::Simulation;
use futures::future::join_all;
use serde::{Deserialize, Serialize};

/// The events of a card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
enum CardEvent {
    Issued { cents: u64 },
    Redeemed { cents: u64 },
}

/// A card with its remaining amount.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Card {
    cents: u64,
}

/// The card has less than the amount to redeem.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("only {left} cents are left")]
struct TooLittle {
    left: u64,
}

impl Aggregate for Card {
    type Event = CardEvent;
    type Outcome = u64;
    type TransitionError = TooLittle;
    type DecodeError = serde_json::Error;
    const NAME: &'static str = "gift-card";
    const SNAPSHOT_SCHEMA: u32 = 1;

    fn apply(&mut self, event: &CardEvent) -> Result<(), TooLittle> {
        match event {
            CardEvent::Issued { cents } => self.cents += cents,
            CardEvent::Redeemed { cents } => {
                self.cents = self.cents.checked_sub(*cents).ok_or(TooLittle { left: self.cents })?;
            }
        }
        Ok(())
    }

    fn outcome(&self, _: &[CardEvent]) -> u64 {
        self.cents
    }

    fn encode(event: &CardEvent) -> StoredEvent {
        StoredEvent::tagged(event)
    }

    fn decode(stored: StoredEvent) -> Result<CardEvent, serde_json::Error> {
        stored.into_tagged()
    }
}

fn redeem(card: &Card, cents: u64) -> Result<Vec<CardEvent>, TooLittle> {
    if card.cents < cents { Err(TooLittle { left: card.cents }) } else { Ok(vec![CardEvent::Redeemed { cents }]) }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let database = Simulation::start();
    // A snapshot in every third commit: cards are small.
    let every = NonZeroU32::new(3).ok_or("not zero")?;
    let store = EventStore::<Card>::new(database.client(), Simulation::TABLE, every);
    let id = StreamId::new("card-1");

    let issue = |_: &Card, _| Ok::<_, TooLittle>(vec![CardEvent::Issued { cents: 600 }]);
    let issued = store.run(&id, &Request::unkeyed(), issue).await?;
    println!("issued: {} cents at version {}", issued.outcome, issued.version);

    // The same request twice, as from a client whose response was lost.
    let key = IdempotencyKey::parse("till-7-receipt-42")?;
    let hash = RequestHash::of("redeem", &100)?;
    for _ in 0..2 {
        let request = Request::new(CommitKey::keyed(&id, "till-7", &key, hash));
        let redeemed = store.run(&id, &request, |card, _| redeem(card, 100)).await?;
        println!("redeemed 100: {} left at version {} ({:?})", redeemed.outcome, redeemed.version, redeemed.resolution);
    }

    // Twenty tills at once, with money for five of them.
    let tills =
        join_all((0..20).map(|_| async { store.run(&id, &Request::unkeyed(), |card, _| redeem(card, 100)).await }))
            .await;
    let redeemed = tills.iter().filter(|till| till.is_ok()).count();
    let rejected = tills.iter().filter(|till| matches!(till, Err(ExecuteError::Rejected(_)))).count();
    println!("twenty at once: {redeemed} redeemed, {rejected} rejected");
    if let Some(Err(rejection)) = tills.iter().find(|till| till.is_err()) {
        println!("rejected because {rejection}");
    }

    let card = store.load(&id, Consistency::Strong).await?;
    println!("finally: {} cents at version {}", card.stream().state().cents, card.stream().version());
    assert_eq!((redeemed, rejected, card.stream().state().cents), (5, 15, 0));
    Ok(())
}

#[cfg(test)]
mod tests {
    use dynamodb_testkit::given_when_then::given;

    use super::*;

    #[test]
    fn a_card_is_never_redeemed_below_zero() {
        let history = [CardEvent::Issued { cents: 600 }, CardEvent::Redeemed { cents: 400 }];
        given(&history[..1]).when(|card| redeem(card, 400)).then(&history[1..]);
        given(&history).when(|card| redeem(card, 200)).then(&[CardEvent::Redeemed { cents: 200 }]);
        given(&history).when(|card| redeem(card, 201)).then_rejected(TooLittle { left: 200 });
    }
}
