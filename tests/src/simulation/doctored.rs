//! Doctored histories: each invariant of the checker finds its fault.

use serde_json::{Value, json};

use super::checker::Exchange;
use super::expression::Item;
use super::function::Settings;
use super::generate::ROW_LIMIT;
use super::network::Outside;
use super::request::TOTAL;
use super::step::{Act, Batch, CALM, Circumstances, Condition, Fault, History, Step, Trouble};
use super::tables::{ROWS, TOTALS};
use super::world::World;

const PAY: Act = Act::Pay { order: 0, payment: 1, cents: TOTAL, key: Some(7) };

/// What comes of a world after these steps.
fn after(trusts_caller: bool, steps: &[Step], then: impl AsyncFnOnce(&mut World) -> String) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let settings =
            Settings::of(&History { snapshot_every: 3, row_limit: ROW_LIMIT, trusts_caller, steps: Vec::new() });
        let mut world = World::new(settings).await;
        for step in steps {
            world.perform(step).await.unwrap();
        }
        then(&mut world).await
    })
}

/// The complaint about a world that is doctored and comes to rest.
fn complaint(steps: &[Step], doctor: impl FnOnce(&mut World)) -> String {
    after(false, steps, async |world: &mut World| {
        doctor(world);
        world.come_to_rest().await.expect_err("the fault is found")
    })
}

/// The same, doctored when it has come to rest.
fn complaint_at_rest(steps: &[Step], doctor: impl FnOnce(&mut Outside)) -> String {
    after(false, steps, async |world: &mut World| {
        world.come_to_rest().await.unwrap();
        doctor(&mut world.network.outside());
        world.check_rest().await.expect_err("the fault is found")
    })
}

/// An order that is paid.
fn paid() -> Vec<Step> {
    vec![
        Step::calm(Act::Create { order: 0 }),
        Step::Capture { payment: 1, order: 0, cents: TOTAL, silent: false },
        Step::calm(PAY),
    ]
}

/// Stores another commit after the last one, with an event of this type and these texts or numbers.
fn append(world: &mut World, name: &str, data: &Value, change: impl FnOnce(&mut Item)) {
    let commits = &mut world.network.outside().tables.commits;
    let mut commit = commits.last().unwrap().clone();
    let version: u64 = commit["version"]["N"].as_str().unwrap().parse().unwrap();
    let mut fields = json!({"order_id": commit["stream_id"]});
    fields.as_object_mut().unwrap().extend(data.as_object().unwrap().clone());
    commit["version"] = json!({"N": (version + 1).to_string()});
    let event = json!({"M": {"type": {"S": name}, "schema": {"N": "1"}, "data": {"M": fields}}});
    commit["events"] = json!({"L": [event]});
    commit["metadata"]["M"]["causation_id"] = json!({"S": "doctored"});
    commit["metadata"]["M"]["correlation_id"] = json!({"S": "doctored"});
    change(&mut commit);
    commits.push(commit);
}

fn shipped() -> Value {
    json!({"tracking_number": {"S": "T"}, "shipped_at": {"S": "2026-03-01T12:00:00.000Z"}})
}

#[track_caller]
fn assert_finds(complaint: &str, expected: &str) {
    assert!(complaint.contains(expected), "{complaint}");
}

#[test]
fn a_gap_in_a_stream_is_found() {
    let gap = |commit: &mut Item| commit["version"] = json!({"N": "9"});
    let found = complaint(&paid(), |world| append(world, "OrderShipped", &shipped(), gap));
    assert_finds(&found, "the commit does not follow version 2");
}

#[test]
fn a_time_that_goes_back_is_found() {
    let earlier = |commit: &mut Item| commit["recorded_at"] = json!({"S": "2026-02-28T12:00:00.000Z"});
    let found = complaint(&paid(), |world| append(world, "OrderShipped", &shipped(), earlier));
    assert_finds(&found, "it was recorded before the previous commit");
}

#[test]
fn an_event_that_is_not_valid_is_found() {
    let delivered = json!({"delivered_at": {"S": "2026-03-01T12:00:00.000Z"}});
    let found = complaint(&paid(), |world| append(world, "OrderDelivered", &delivered, |_| {}));
    assert_finds(&found, "only a shipped order is delivered");
}

#[test]
fn a_payment_that_is_forgotten_when_its_order_is_cancelled_is_found() {
    let found = complaint(&paid(), |world| append(world, "OrderCancelled", &cancelled(), |_| {}));
    assert_finds(&found, "captured money is neither kept nor due for refund");
}

#[test]
fn a_payment_without_a_capture_and_a_rejection_without_a_decline_are_found() {
    let (payment, at) = (json!({"S": "p1"}), json!({"S": "2026-03-01T12:00:00.000Z"}));
    for (name, data) in [
        ("OrderPaid", json!({"payment_id": payment, "amount": {"N": "4000"}, "paid_at": at})),
        ("OrderPaymentRejected", json!({"payment_id": payment, "reason": {"S": "r"}, "rejected_at": at})),
    ] {
        let found = complaint(&paid()[..1], |world| append(world, name, &data, |_| {}));
        assert_finds(&found, &format!("{name} has no reason at the provider"));
    }
}

#[test]
fn a_cause_that_is_recorded_twice_is_found() {
    let found = complaint(&paid(), |world| {
        append(world, "OrderShipped", &shipped(), |_| {});
        let delivered = json!({"delivered_at": {"S": "2026-03-01T12:00:00.000Z"}});
        append(world, "OrderDelivered", &delivered, |_| {});
    });
    assert_finds(&found, "doctored was recorded before, at version 3");
}

#[test]
fn a_request_that_is_stored_twice_is_found() {
    let twice = |commit: &mut Item| commit["metadata"]["M"]["correlation_id"] = json!({"S": "c2"});
    let found = complaint(&paid(), |world| append(world, "OrderShipped", &shipped(), twice));
    assert_finds(&found, "was stored before, at version 2");
}

#[test]
fn a_refused_request_that_is_stored_later_is_found() {
    let refused = Step::calm(Act::Deliver { order: 0, key: None });
    let later = |commit: &mut Item| commit["metadata"]["M"]["correlation_id"] = json!({"S": "c3"});
    let found = complaint(&[paid(), vec![refused]].concat(), |world| append(world, "OrderShipped", &shipped(), later));
    assert_finds(&found, "the request was refused");
}

#[test]
fn a_state_with_other_money_than_the_books_is_found() {
    let found = complaint(&paid(), |world| {
        let order = world.checker.orders.values_mut().next().unwrap();
        order.ledger.deferred = Some("p2".into());
        append(world, "OrderShipped", &shipped(), |_| {});
    });
    assert_finds(&found, "in the state, (4000, 0, 0");
}

/// The complaint about a response to a request after the steps of [`paid`].
fn complaint_about(act: Act, correlation_id: &str, status: u16, replayed: bool, body: Value) -> String {
    let mut found = String::new();
    complaint(&paid(), |world| {
        let stream = world.checker.orders.keys().next().cloned();
        let exchange = Exchange { act, correlation_id: correlation_id.into(), stream, status, replayed, body };
        world.checker.begin();
        found = world.checker.check_answers(vec![exchange]).unwrap_err();
        // So that the run ends with a complaint.
        append(world, "OrderDoctored", &json!({}), |_| {});
    });
    found
}

#[test]
fn a_response_that_is_not_true_is_found() {
    let problem = |name: &str| json!({"type": format!("urn:orders:problem:{name}"), "detail": "Nothing was stored."});
    let paid = json!({"version": 2, "status": "paid"});
    let other = Act::Pay { order: 0, payment: 2, cents: TOTAL, key: None };
    for (act, correlation_id, status, body, expected) in [
        (PAY, "c2", 409, problem("order-not-pending"), "the request was refused, but is stored at version 2"),
        (PAY, "c2", 503, problem("contended"), "the request was refused, but is stored at version 2"),
        (PAY, "c2", 500, json!({"type": "urn:orders:problem:internal"}), "the response is an internal error"),
        (PAY, "c2", 200, json!({"version": 3, "status": "paid"}), "the order is at version 2"),
        (PAY, "c2", 200, json!({"version": 1, "status": "paid"}), "the request was stored at version"),
        (PAY, "c9", 200, json!({"version": 1, "status": "paid"}), "the first response was"),
        (PAY, "c9", 422, problem("payment-declined"), "the first response was"),
        (Act::Cancel { order: 0, key: Some(7) }, "c9", 200, paid.clone(), "the key was used for Pay"),
        (other, "c9", 200, paid, "the payment is not recorded so"),
    ] {
        assert_finds(&complaint_about(act, correlation_id, status, false, body), expected);
    }
    let replayed = complaint_about(PAY, "c2", 200, true, json!({"version": 2, "status": "paid"}));
    assert_finds(&replayed, "the response is that of an earlier request");
}

#[test]
fn a_capture_that_is_never_recorded_is_found() {
    let found = complaint(&paid(), |world| {
        let outside = &mut *world.network.outside();
        let order = outside.provider.payments[&1].order;
        outside.provider.payment(2, order).captures.push(TOTAL);
    });
    assert_finds(&found, "p2 captured 4000, but None is recorded");
}

#[test]
fn a_refund_that_the_order_does_not_know_is_found() {
    let found = complaint(&paid(), |world| {
        world.network.outside().provider.payments.get_mut(&1).unwrap().refunded = Some(TOTAL.into());
    });
    assert_finds(&found, "keeps 4000, of 0 paid");
}

#[test]
fn a_payment_that_stays_deferred_is_found() {
    let steps = [
        Step::calm(Act::Create { order: 0 }),
        Step::Provider(Condition::Down),
        Step::calm(PAY),
        Step::Capture { payment: 1, order: 0, cents: TOTAL, silent: true },
        Step::calm(Act::Project(Batch::Next(9))),
    ];
    let found = complaint(&steps, |world| {
        let outside = &mut *world.network.outside();
        outside.tables.item_mut(ROWS).remove("deferred_shard");
    });
    assert_finds(&found, "stays deferred");
}

#[test]
fn an_event_that_is_never_processed_is_found() {
    let found = complaint(&paid(), |world| {
        world.unprocessed.insert("lost".into(), Act::RefundArrives { payment: 9 });
    });
    assert_finds(&found, "not everything ends");
}

#[test]
fn an_event_that_is_not_published_or_under_two_ids_is_found() {
    let found = complaint_at_rest(&paid(), |outside| drop(outside.bus.entries.pop()));
    assert_finds(&found, "event 2 of order");
    let found = complaint_at_rest(&paid(), |outside| {
        let mut again = outside.bus.entries[0].clone();
        again.detail["metadata"]["event_id"] = json!("another");
        outside.bus.entries.push(again);
    });
    assert_finds(&found, "event 1 of order");
    let found = complaint_at_rest(&paid(), |outside| {
        let mut more = outside.bus.entries[0].clone();
        more.detail["metadata"]["version"] = json!(3);
        outside.bus.entries.push(more);
    });
    assert_finds(&found, "published, but not stored");
}

#[test]
fn a_row_or_a_total_that_differs_from_the_events_is_found() {
    let found = complaint_at_rest(&paid(), |outside| {
        outside.tables.item_mut(ROWS).insert("status".into(), json!({"S": "shipped"}));
    });
    assert_finds(&found, "the row is");
    let found = complaint_at_rest(&paid(), |outside| {
        outside.tables.item_mut(TOTALS).insert("paid".into(), json!({"N": "7"}));
    });
    assert_finds(&found, "the sales are");
}

#[test]
fn money_is_checked_after_every_kind_of_step() {
    let steps = [
        Step::calm(Act::Settle),
        Step::calm(Act::Verify { sales: false }),
        Step::calm(Act::Publish(Batch::Lost(1))),
        Step::Do(Act::Project(Batch::Next(9)), Circumstances { trouble: Some(CRASH), ..CALM }),
        Step::Race(1, vec![(Act::Expire, CALM), (Act::CatchUp, CALM)]),
        Step::Wait(1),
        Step::Provider(Condition::Down),
        Step::Capture { payment: 2, order: 0, cents: 1, silent: true },
        Step::Decline { payment: 2, order: 0 },
        Step::Refund { payment: 2 },
    ];
    for step in steps {
        let found = after(false, &paid(), async |world: &mut World| {
            append(world, "OrderCancelled", &cancelled(), |_| {});
            world.perform(&step).await.expect_err("the fault is found")
        });
        assert_finds(&found, "captured money is neither kept nor due for refund");
    }
}

const CRASH: Trouble = Trouble { call: 0, calls: 1, fault: Fault::CrashBefore };

fn cancelled() -> Value {
    json!({"reason": {"S": "r"}, "cancelled_at": {"S": "2026-03-01T12:00:00.000Z"}})
}

#[test]
fn a_processed_capture_that_is_not_recorded_is_found_at_once() {
    let found = after(false, &paid(), async |world: &mut World| {
        let arrives = Act::CaptureArrives { payment: 1, nth: 0 };
        world.check_processed(&arrives).expect("it is recorded");
        world.checker.orders.values_mut().next().unwrap().ledger.captured.clear();
        world.check_processed(&arrives).expect_err("the fault is found")
    });
    assert_finds(&found, "p1 captured 4000, but None is recorded");
}

#[test]
fn a_commit_to_another_version_than_required_is_found() {
    let found = complaint(&paid(), |world| {
        world.checker.sent("c9", Act::Ship { order: 0, key: None }, Some((1, 2)));
        append(world, "OrderShipped", &shipped(), |commit| {
            commit["metadata"]["M"]["correlation_id"] = json!({"S": "c9"});
        });
    });
    assert_finds(&found, "the request required version 1");
}

#[test]
fn a_precondition_that_fails_without_a_reason_is_found() {
    let body = json!({"type": "urn:orders:problem:precondition-failed"});
    let ship = Act::Ship { order: 0, key: None };
    let found = complaint_about(ship, "c9", 412, false, body.clone());
    assert_finds(&found, "the request requires no version");
    for (required, status, expected) in
        [(2, 412, "the order is at the required version"), (1, 200, "the request required version 1")]
    {
        let body = if status == 412 { body.clone() } else { json!({"version": 2, "status": "paid"}) };
        let found = after(false, &paid(), async |world: &mut World| {
            world.checker.sent("c9", ship, Some((required, 2)));
            let (correlation_id, stream) = ("c9".to_owned(), world.checker.orders.keys().next().cloned());
            let exchange = Exchange { act: ship, correlation_id, stream, status, replayed: false, body };
            world.checker.check_answers(vec![exchange]).unwrap_err()
        });
        assert_finds(&found, expected);
    }
}

#[test]
fn the_word_of_a_caller_is_a_reason_only_where_it_is_trusted() {
    let pay = [Step::calm(Act::Create { order: 0 }), Step::calm(PAY)];
    let status = |trusts_caller| {
        after(trusts_caller, &pay, async |world: &mut World| {
            world.come_to_rest().await.unwrap();
            world.checker.orders.values().next().unwrap().ledger.status.to_owned()
        })
    };
    assert_eq!(status(true), "paid");
    assert_ne!(status(false), "paid");
}

#[test]
fn a_payment_that_no_trusted_caller_reported_is_found() {
    let data =
        json!({"payment_id": {"S": "p1"}, "amount": {"N": "4000"}, "paid_at": {"S": "2026-03-01T12:00:00.000Z"}});
    let found = after(true, &paid()[..1], async |world: &mut World| {
        world.checker.sent("c9", Act::Cancel { order: 0, key: None }, None);
        append(world, "OrderPaid", &data, |commit| {
            commit["metadata"]["M"]["correlation_id"] = json!({"S": "c9"});
        });
        world.come_to_rest().await.expect_err("the fault is found")
    });
    assert_finds(&found, "OrderPaid has no reason at the provider");
}

#[test]
fn a_difference_that_a_verification_finds_is_found() {
    let steps = [paid(), vec![Step::calm(Act::Verify { sales: true })]].concat();
    let found = after(false, &steps, async |world: &mut World| {
        world.come_to_rest().await.unwrap();
        world.network.outside().tables.item_mut("SalesOrders").insert("paid".into(), json!({"N": "7"}));
        world.check_rest().await.expect_err("the fault is found")
    });
    assert_finds(&found, "a verification of Sales finds");
}
