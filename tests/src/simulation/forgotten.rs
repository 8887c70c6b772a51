//! The simulation finds a payment that is forgotten, and shrinks the history in which it is.
//!
//! The settlement here has the fault that the service's own had: its idempotency key does not contain the order's version. So a
//! payment that is deferred again is taken for the one that was settled before.

use chrono::TimeDelta;
use dynamodb_event_store::{CommitKey, Consistency, IdempotencyKey, Metadata, Request, RequestHash, StreamId};
use futures::future::BoxFuture;
use lambda_http::Context;
use orders_core::domain::{ConfirmPayment, Decide, OrderId, RejectPayment};
use orders_core::payments::{Claim, PaymentProvider as _, Verdict};
use orders_core::read_model::DeferredPlace;
use serde::Serialize;
use service_clock::Timestamp;

use super::function::{Container, Settings};
use super::step::{Act, History, Step};
use super::{directed, run, run_in_world, shrink};

/// Runs a history with the faulty settlement.
fn run_forgetful(history: &History) -> Result<(), String> {
    let change = &mut |settings: &mut Settings| (settings.settle, settings.settlements) = (settle, 2);
    run_in_world(history, change, &mut |_| ()).map(drop)
}

fn settle<'a>(container: &'a Container, context: &'a Context) -> BoxFuture<'a, bool> {
    Box::pin(async {
        for beginning in DeferredPlace::beginnings() {
            let Ok(page) = container.settlement.rows.deferred(beginning, 100).await else { return false };
            for entry in page.entries {
                settle_order(container, entry.order_id, context).await;
            }
        }
        true
    })
}

async fn settle_order(container: &Container, order_id: OrderId, context: &Context) -> Option<()> {
    let loaded = container.settlement.store.load(&order_id.into(), Consistency::Strong).await.ok()?;
    let order = loaded.stream().state().placed()?;
    let (payment_id, amount) = (order.deferred.as_ref()?.payment_id.clone(), order.total);
    let currency = container.settlement.currency;
    let claim = Claim { payment_id: payment_id.clone(), order_id, amount, currency };
    let unknown_for_long = Timestamp::now() - order.deferred.as_ref()?.deferred_at >= TimeDelta::hours(24);
    let reason = match container.network.verify(&claim).await {
        Ok(Verdict::Captured) => {
            return run_command(container, &claim, &ConfirmPayment { payment_id, amount }, context).await;
        }
        Ok(Verdict::Declined(reason)) => reason,
        Ok(Verdict::Pending) => return None,
        Err(error) => error.not_of_this_order().filter(|_| unknown_for_long)?,
    };
    run_command(container, &claim, &RejectPayment { payment_id, reason }, context).await
}

async fn run_command<C: Decide + Serialize>(
    container: &Container,
    claim: &Claim,
    command: &C,
    context: &Context,
) -> Option<()> {
    let (stream, hash) = (StreamId::from(claim.order_id), RequestHash::of(C::NAME, command).ok()?);
    // The order's version is missing.
    let key = IdempotencyKey::of_event(&format!("{}/{}", claim.payment_id, String::from(hash)));
    let metadata = Metadata {
        actor: "schedule|settle-payments".into(),
        correlation_id: context.request_id.clone(),
        causation_id: format!("{}/{}", context.request_id, claim.order_id),
        ..Metadata::default()
    };
    let request = Request::new(CommitKey::keyed(&stream, "settle", &key, hash)).with_metadata(metadata);
    let store = &container.settlement.store;
    store.run(&stream, &request, |order, now| command.decide(order, now)).await.ok().map(drop)
}

#[test]
fn a_payment_that_is_forgotten_is_found_and_the_history_shrinks_to_its_cause() {
    let history = directed::history(2, 14, &mut fastrand::Rng::with_seed(2));
    let failure = run_forgetful(&history).expect_err("the payment is forgotten");
    assert!(failure.contains("stays deferred"), "{failure}");
    let shortest = shrink::shrink(history.clone(), |history| run_forgetful(history).is_err());
    assert!(shortest.steps.len() < history.steps.len());
    let count =
        |is: fn(&Act) -> bool| shortest.steps.iter().filter(|step| matches!(step, Step::Do(act, _) if is(act))).count();
    // It is deferred, settled, forgotten by the order after 16 other rejections, and deferred again.
    let pays = count(|act| matches!(act, Act::Pay { payment: 1, .. }));
    let rejections =
        count(|act| matches!(act, Act::DeclineArrives { payment: 100.., .. } | Act::Pay { payment: 100.., .. }));
    assert_eq!((pays, rejections), (2, 16), "{}", shrink::as_test(&shortest));
    run(&shortest).expect("the service's own settlement does not forget it");
}
