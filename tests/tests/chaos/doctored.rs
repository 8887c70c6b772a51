//! Doctored evidence: the checker finds each fault.
#![allow(clippy::unwrap_used, reason = "tests fail by a panic")]

use std::time::Duration;

use serde_json::{Value, json};

use orders_tests::chaos::checker::check;
use orders_tests::chaos::client::{Act, Answer, Exchange, Read, Request};
use orders_tests::chaos::evidence::Evidence;
use orders_tests::chaos::producers::Sent;
use orders_tests::chaos::provider::Booked;
use orders_tests::ledger::Item;

const PAID: &str = "10000000-0000-4000-8000-000000000000";
const CANCELLED: &str = "20000000-0000-4000-8000-000000000000";

fn commit(order: &str, version: u64, correlation_id: &str, events: &[(&str, Value)]) -> Item {
    let event = |(name, data): &(&str, Value)| json!({"M": {"type": {"S": name}, "data": {"M": data}}});
    let commit = json!({
        "stream_id": {"S": order}, "version": {"N": version.to_string()},
        "recorded_at": {"S": format!("2026-03-01T12:00:0{version}.000Z")},
        "metadata": {"M": {"correlation_id": {"S": correlation_id}}},
        "events": {"L": events.iter().map(event).collect::<Vec<_>>()},
    });
    commit.as_object().unwrap().clone()
}

fn created(minute: u32) -> (&'static str, Value) {
    let created_at = format!("2026-03-01T11:0{minute}:00.000Z");
    ("OrderCreated", json!({"user_id": {"S": "ada"}, "total": {"N": "4498"}, "created_at": {"S": created_at}}))
}

fn about(name: &'static str, payment: &str) -> (&'static str, Value) {
    (name, json!({"payment_id": {"S": payment}, "amount": {"N": "4498"}}))
}

fn nothing(name: &'static str) -> (&'static str, Value) {
    (name, json!({}))
}

fn exchange(act: Act, order: Option<&str>, correlation_id: &str, seconds: u64, status: u16, body: Value) -> Exchange {
    let request = Request {
        act,
        caller: "customer",
        order: order.map(str::to_owned),
        key: Some(format!("{act:?}")),
        body: if act == Act::Pay { json!({"payment_id": "p1", "amount": 44.98}) } else { json!({}) },
    };
    let (sent, received) = (Duration::from_secs(seconds), Duration::from_millis(seconds * 1_000 + 200));
    let answer = Some(Answer { status, body, replayed: false });
    Exchange { request, correlation_id: correlation_id.to_owned(), sent, received, answer }
}

fn problem(name: &str) -> Value {
    json!({"type": format!("urn:orders:problem:{name}"), "detail": "Nothing was stored."})
}

fn on_the_bus(order: &str, version: u64, name: &str) -> Value {
    let metadata = json!({"event_id": format!("{order}-{version}"), "order_id": order, "version": version});
    let event = json!({"source": "orders", "detail-type": name, "detail": {"metadata": metadata, "data": {}}});
    json!({"kind": "event", "event": event})
}

/// A payment of 44.98 in the provider's books.
fn booked(payment: &str, order: &str, refunded: u64) -> (String, Booked) {
    (payment.to_owned(), Booked { order: order.to_owned(), amount: 4_498, silent: true, refunded })
}

/// One order is paid; another was paid and cancelled, and its payment refunded.
fn true_evidence() -> Evidence {
    let commits = vec![
        commit(PAID, 1, "create-1", &[created(1)]),
        commit(PAID, 2, "pay-1", &[about("OrderPaid", "p1")]),
        commit(CANCELLED, 1, "create-2", &[created(2)]),
        commit(CANCELLED, 2, "pay-2", &[about("OrderPaid", "p2")]),
        commit(CANCELLED, 3, "cancel-2", &[nothing("OrderCancelled"), about("OrderRefundDue", "p2")]),
        commit(CANCELLED, 5, "refund-2", &[about("OrderRefunded", "p2")]),
    ];
    let names = |order, names: &[&str]| {
        (1..).zip(names).map(|(version, name)| on_the_bus(order, version, name)).collect::<Vec<_>>()
    };
    let row = |order: &str, version: u64, status: &str| {
        let row = json!({"order_id": {"S": order}, "version": {"N": version.to_string()}, "status": {"S": status}});
        row.as_object().unwrap().clone()
    };
    let entry =
        |order: &str, version: u64, status: &str| json!({"order_id": order, "version": version, "status": status});
    let sum = |count: u32| json!({"count": count, "amount": 44.98 * f64::from(count)});
    let response =
        |order: &str, version: u64, status: &str| json!({"order_id": order, "version": version, "status": status});
    let mut paid = exchange(Act::Pay, Some(CANCELLED), "pay-2", 4, 200, response(CANCELLED, 2, "paid"));
    paid.request.body["payment_id"] = json!("p2");
    Evidence {
        exchanges: vec![
            exchange(Act::Create, None, "create-1", 1, 201, response(PAID, 1, "pending")),
            exchange(Act::Pay, Some(PAID), "pay-1", 2, 200, response(PAID, 2, "paid")),
            exchange(Act::Deliver, Some(PAID), "deliver-1", 3, 409, problem("order-not-shipped")),
            paid,
            exchange(Act::Cancel, Some(CANCELLED), "cancel-2", 5, 200, response(CANCELLED, 4, "cancelled")),
        ],
        reads: vec![Read {
            order: CANCELLED.into(),
            at_least: 2,
            answer: Answer { status: 200, body: response(CANCELLED, 4, "cancelled"), replayed: false },
        }],
        sent: vec![Sent {
            name: "PaymentCaptured",
            event_id: "captured-p1-4498".into(),
            data: json!({"order_id": PAID, "payment_id": "p1", "amount": 44.98}),
            accepted: vec!["1".into()],
        }],
        books: [booked("p1", PAID, 0), booked("p2", CANCELLED, 4_498)].into(),
        commits,
        log: [
            names(PAID, &["OrderCreated", "OrderPaid"]),
            names(CANCELLED, &["OrderCreated", "OrderPaid", "OrderCancelled", "OrderRefundDue", "OrderRefunded"]),
            names(PAID, &["OrderCreated"]),
        ]
        .concat(),
        rows: vec![row(PAID, 2, "paid"), row(CANCELLED, 5, "cancelled")],
        lists: [("ada".to_owned(), vec![entry(CANCELLED, 5, "cancelled"), entry(PAID, 2, "paid")])].into(),
        queues: [
            ("pending".to_owned(), vec![]),
            ("paid".to_owned(), vec![entry(PAID, 2, "paid")]),
            ("shipped".to_owned(), vec![]),
        ]
        .into(),
        sales: json!({
            "orders": {"paid": sum(1), "cancelled": sum(1), "pending": sum(0)},
            "payments": sum(2), "refunds_due": sum(1), "refunds": sum(1),
        }),
        verified: ["orders", "sales"].map(|model| (model.to_owned(), json!({"done": true, "different": 0}))).into(),
        status: json!({"breakers": [{"state": "closed"}], "deferred_payments": {"waiting": 0}}),
        dead_letters: [("FailedEvents".to_owned(), json!([])), ("UnrecordedMoney".to_owned(), json!([{}]))].into(),
        expired_before: "2026-03-01T11:00:00.000Z".into(),
        files: Vec::new(),
    }
}

/// Asserts that the checker finds exactly this after the evidence was doctored.
#[track_caller]
fn assert_finds(expected: &str, doctor: impl FnOnce(&mut Evidence)) {
    let mut evidence = true_evidence();
    doctor(&mut evidence);
    let broken = check(&evidence);
    assert!(broken.iter().any(|what| what.contains(expected)), "{expected:?} is not in {broken:#?}");
}

#[test]
fn true_evidence_is_accepted() {
    assert_eq!(check(&true_evidence()), [""; 0]);
}

#[test]
fn a_stream_that_is_not_contiguous_legal_or_in_time_is_found() {
    let with = |commit: Item| move |evidence: &mut Evidence| evidence.commits.push(commit);
    assert_finds("does not follow version 5", with(commit(CANCELLED, 7, "x", &[nothing("OrderShipped")])));
    assert_finds("does not follow version 5", with(commit(CANCELLED, 5, "x", &[nothing("OrderShipped")])));
    assert_finds("only a paid order is shipped", with(commit(CANCELLED, 6, "x", &[nothing("OrderShipped")])));
    assert_finds("what is refunded was due", with(commit(CANCELLED, 6, "x", &[about("OrderRefunded", "p9")])));
    assert_finds("unknown event", with(commit(CANCELLED, 6, "x", &[nothing("OrderTeleported")])));
    assert_finds("recorded before the previous commit", |evidence| {
        evidence.commits[1]["recorded_at"] = json!({"S": "2026-03-01T11:00:00.000Z"});
    });
}

#[test]
fn captured_money_that_is_neither_kept_nor_owed_nor_refunded_is_found() {
    assert_finds("captured money is neither kept nor due for refund", |evidence| {
        evidence.commits.insert(2, commit(PAID, 3, "x", &[nothing("OrderCancelled")]));
    });
    assert_finds("is still due", |evidence| {
        evidence.commits.pop();
    });
    assert_finds("a capture is neither recorded nor reported", |evidence| {
        evidence.sent[0].data["payment_id"] = json!("p7");
    });
    assert_finds("a capture is neither recorded nor reported", |evidence| {
        evidence.sent[0].data["amount"] = json!(10);
    });
    assert_finds("is still deferred", |evidence| {
        evidence.commits.truncate(1);
        evidence.commits.push(commit(PAID, 2, "x", &[about("OrderPaymentDeferred", "p1")]));
    });
}

#[test]
fn a_capture_in_the_providers_books_that_is_not_kept_owed_or_refunded_is_found() {
    // No event and no exchange mentions it.
    assert_finds("the capture of p7 is not recorded", |evidence| {
        evidence.books.extend([booked("p7", PAID, 0)]);
    });
    assert_finds("the capture of p1 is not recorded", |evidence| {
        evidence.books.get_mut("p1").unwrap().amount = 1_000;
    });
    assert_finds("the provider captured 4498 for 1", |evidence| {
        evidence.books.get_mut("p1").unwrap().refunded = 4_498;
    });
    assert_finds("the provider captured 4498 for 2", |evidence| {
        evidence.books.get_mut("p2").unwrap().refunded = 0;
    });
    assert_finds("the provider has not captured p2", |evidence| drop(evidence.books.remove("p2")));
}

#[test]
fn of_captures_that_contradict_each_other_one_is_recorded_and_the_other_reported() {
    let mut evidence = true_evidence();
    evidence.books.get_mut("p1").unwrap().amount = 1_000;
    let data = json!({"unrecorded_money": true, "event_id": "captured-p1-1000"});
    let event = json!({"source": "orders", "detail-type": "OrderCommandRejected", "detail": {"data": data}});
    evidence.log.push(json!({"kind": "event", "event": event}));
    assert_eq!(check(&evidence), [""; 0]);
}

#[test]
fn a_request_that_is_stored_twice_is_found() {
    let again = |correlation_id: &'static str| {
        move |evidence: &mut Evidence| {
            evidence.commits.insert(2, commit(PAID, 3, correlation_id, &[nothing("OrderShipped")]));
        }
    };
    assert_finds("the request is stored more than once", again("pay-1"));
    assert_finds("\"Pay\") is stored more than once", |evidence| {
        again("pay-again")(evidence);
        evidence.exchanges.push(exchange(Act::Pay, Some(PAID), "pay-again", 8, 503, Value::Null));
    });
}

#[test]
fn a_response_that_is_not_true_is_found() {
    let answer = |status: u16, body: Value| {
        move |evidence: &mut Evidence| {
            evidence.exchanges[1].answer = Some(Answer { status, body, replayed: false });
        }
    };
    assert_finds("refused, but is stored", answer(409, problem("order-not-pending")));
    assert_finds("refused, but is stored", answer(503, problem("contended")));
    assert_finds("an internal error", answer(500, json!({"type": "urn:orders:problem:internal"})));
    assert_finds("the response is that of an earlier request", |evidence| {
        evidence.exchanges[1].answer.as_mut().unwrap().replayed = true;
    });
    assert_finds("the order does not exist", answer(200, json!({"order_id": "other", "version": 2})));
    assert_finds("no commit ends with that version", answer(200, json!({"order_id": PAID, "version": 3})));
    assert_finds("no commit ends with that version", |evidence| {
        evidence.exchanges[4].answer.as_mut().unwrap().body["version"] = json!(3);
    });
    assert_finds("the response reports a commit", answer(200, json!({"order_id": PAID, "version": 1})));
    assert_finds("the response reports a commit", |evidence| evidence.exchanges[4].correlation_id = "lost".into());
    assert_finds(
        "the payment is not recorded so",
        answer(200, json!({"order_id": PAID, "version": 2, "payment": "refunded"})),
    );
}

#[test]
fn a_read_that_misses_a_change_or_shows_what_never_was_is_found() {
    let shown = |version: u64, status: &'static str| {
        move |evidence: &mut Evidence| {
            evidence.reads[0].answer.body = json!({"version": version, "status": status});
        }
    };
    assert_finds("the order was never like that", shown(1, "pending"));
    assert_finds("the order was never like that", shown(3, "paid"));
    assert_finds("the order was never like that", shown(6, "cancelled"));
    for status in [404, 409] {
        assert_finds("what was written is not read", |evidence| evidence.reads[0].answer.status = status);
    }
    assert_finds("a read ends with an internal error", |evidence| {
        let body = json!({"type": "urn:orders:problem:internal"});
        evidence.reads[0].answer = Answer { status: 500, body, replayed: false };
    });
}

#[test]
fn a_repeat_with_another_response_is_found() {
    let repeat = |change: fn(&mut Exchange)| {
        move |evidence: &mut Evidence| {
            let mut repeat = evidence.exchanges[1].clone();
            repeat.correlation_id = "pay-again".into();
            repeat.sent = Duration::from_secs(9);
            repeat.answer.as_mut().unwrap().replayed = true;
            change(&mut repeat);
            evidence.exchanges.push(repeat);
        }
    };
    assert_finds(
        "a key has two responses",
        repeat(|repeat| repeat.answer.as_mut().unwrap().body["version"] = json!(1)),
    );
    assert_finds("a key has two responses", repeat(|repeat| repeat.answer.as_mut().unwrap().status = 409));
    assert_finds("a key has two responses", repeat(|repeat| repeat.request.body["payment_id"] = json!("p2")));
}

#[test]
fn more_creations_than_the_limit_allows_are_found() {
    assert_finds("creations were admitted within", |evidence| {
        let created = evidence.exchanges[0].clone();
        evidence.exchanges.extend(std::iter::repeat_n(created, orders_tests::chaos::server::CREATIONS));
    });
}

#[test]
fn an_event_that_is_not_on_the_bus_under_one_id_is_found() {
    assert_finds("event 2 of order 1", |evidence| drop(evidence.log.remove(1)));
    assert_finds("event 1 of order 1", |evidence| {
        evidence.log[0]["event"]["detail"]["metadata"]["event_id"] = json!("another");
    });
    assert_finds("on the bus, but not stored", |evidence| evidence.log.push(on_the_bus(PAID, 9, "OrderPaid")));
}

#[test]
fn rows_lists_queues_and_sales_that_differ_from_the_events_are_found() {
    assert_finds("the row of 1", |evidence| evidence.rows[0]["version"] = json!({"N": "1"}));
    assert_finds("the row of 1", |evidence| drop(evidence.rows.remove(0)));
    assert_finds("the row of 1", |evidence| drop(evidence.rows[0].insert("parked".into(), json!({}))));
    assert_finds("a row has no order", |evidence| {
        let mut row = evidence.rows[0].clone();
        row["order_id"] = json!({"S": "3"});
        evidence.rows.push(row);
    });
    assert_finds("differences in sales", |evidence| {
        evidence.verified.get_mut("sales").unwrap()["different"] = json!(1)
    });
    assert_finds("the list of ada is not newest first", |evidence| evidence.lists.get_mut("ada").unwrap().reverse());
    assert_finds("the list of ada lacks", |evidence| drop(evidence.lists.get_mut("ada").unwrap().pop()));
    assert_finds("the work queue of paid", |evidence| evidence.queues.get_mut("paid").unwrap().clear());
    assert_finds("the sales are", |evidence| evidence.sales["refunds"]["count"] = json!(2));
}

#[test]
fn what_is_left_undone_is_found() {
    assert_finds("the circuit is \"open\"", |evidence| evidence.status["breakers"][0]["state"] = json!("open"));
    assert_finds("1 payments are shown as deferred", |evidence| {
        evidence.status["deferred_payments"]["waiting"] = json!(1);
    });
    assert_finds("has not expired", |evidence| {
        evidence.expired_before = "2026-03-01T12:00:00.000Z".into();
        evidence.commits.remove(1);
    });
    assert_finds("messages are left in FailedEvents", |evidence| {
        evidence.dead_letters.insert("FailedEvents".into(), json!([{}]));
    });
    assert_finds("a file is left behind", |evidence| evidence.files.push("failures/1".into()));
}
