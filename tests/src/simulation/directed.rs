//! Histories that exceed the bounds of the service's memory, one each.

use fastrand::Rng;

use super::generate::ROW_LIMIT;
use super::request::TOTAL;
use super::step::{Act, Batch, CALM, Circumstances, Condition, Fault, History, Step, Trouble};

/// How many kinds there are.
pub const KINDS: u64 = 15;

/// The n-th kind of history.
pub fn history(kind: u64, snapshot_every: u32, rng: &mut Rng) -> History {
    let mut steps = vec![Step::calm(Act::Create { order: 0 })];
    let (mut row_limit, mut trusts_caller) = (ROW_LIMIT, false);
    match kind % KINDS {
        0 => forget_rejection(&mut steps, rng),
        1 => forget_key(&mut steps, rng),
        2 => settle_again(&mut steps, rng),
        3 => reject_again(&mut steps, rng),
        4 => capture_often(&mut steps, rng, 102),
        5 => {
            row_limit = 4_000;
            capture_often(&mut steps, rng, 40);
        }
        6 => contend(&mut steps, rng),
        7 => lose_every_answer(&mut steps, rng),
        8 => {
            trusts_caller = true;
            trust_again(&mut steps, rng);
        }
        9 => overtake_row(&mut steps, rng),
        10 => steps.push(Step::Do(Act::Project(Batch::Next(9)), always(Fault::Conflict))),
        11 => {
            decline_others(&mut steps, rng, 30, true);
            steps.push(Step::Do(Act::Publish(Batch::Next(50)), always(Fault::Partial)));
        }
        12 => expire_in_flight(&mut steps, rng),
        13 => require_versions(&mut steps, rng),
        _ => maintain(&mut steps, rng),
    }
    History { snapshot_every, row_limit, trusts_caller, steps }
}

/// The provider declines a payment, and tells it by an event.
pub fn decline(steps: &mut Vec<Step>, rng: &mut Rng, payment: u16) {
    steps.push(Step::Decline { payment, order: 0 });
    steps.push(Step::calm(Act::DeclineArrives { payment, nth: rng.u8(..2) }));
}

/// A payment is deferred, and settled in one of several ways.
pub fn defer(steps: &mut Vec<Step>, rng: &mut Rng, payment: u16) {
    pay_while_down(steps, payment, rng.bool().then(|| rng.u16(..)));
    match rng.u8(..4) {
        0 => {
            // The schedule settles it, before the event arrives.
            steps.push(Step::Decline { payment, order: 0 });
            settle(steps);
            steps.push(Step::calm(Act::DeclineArrives { payment, nth: 0 }));
        }
        1 => decline(steps, rng, payment),
        2 => steps.push(Step::Capture { payment, order: 0, cents: 1_999, silent: true }),
        _ => {
            steps.push(Step::Capture { payment, order: 0, cents: 1_999, silent: false });
            steps.push(Step::calm(Act::CaptureArrives { payment, nth: 0 }));
        }
    }
    settle(steps);
}

/// The provider captures another amount than the total.
pub fn capture_wrong_amount(steps: &mut Vec<Step>, rng: &mut Rng, payment: u16) {
    steps.push(Step::Capture { payment, order: 0, cents: 1_999, silent: false });
    steps.push(Step::calm(Act::CaptureArrives { payment, nth: 0 }));
    if rng.bool() {
        steps.push(Step::calm(Act::Publish(Batch::Next(200))));
        steps.push(Step::Refund { payment });
        steps.push(Step::calm(Act::RefundArrives { payment }));
    }
}

fn pay_while_down(steps: &mut Vec<Step>, payment: u16, key: Option<u16>) {
    steps.push(Step::Provider(Condition::Down));
    steps.push(Step::calm(Act::Pay { order: 0, payment, cents: TOTAL, key }));
    steps.push(Step::Provider(Condition::Up));
}

fn settle(steps: &mut Vec<Step>) {
    // The breaker closes again.
    steps.push(Step::Wait(61));
    steps.push(Step::calm(Act::Project(Batch::Next(200))));
    steps.push(Step::calm(Act::Settle));
}

/// Rejections of other payments, by events or by requests without keys.
fn decline_others(steps: &mut Vec<Step>, rng: &mut Rng, count: u16, events: bool) {
    for payment in 100..100 + count {
        if events {
            steps.push(Step::Decline { payment, order: 0 });
            steps.push(Step::calm(Act::DeclineArrives { payment, nth: 0 }));
        } else {
            steps.push(Step::Decline { payment, order: 0 });
            steps.push(Step::calm(Act::Pay { order: 0, payment, cents: TOTAL, key: None }));
        }
        if rng.u8(..8) == 0 {
            steps.push(Step::calm(Act::Project(Batch::Next(50))));
        }
    }
}

fn forget_rejection(steps: &mut Vec<Step>, rng: &mut Rng) {
    steps.push(Step::Decline { payment: 1, order: 0 });
    steps.push(Step::calm(Act::DeclineArrives { payment: 1, nth: 0 }));
    let events = rng.bool();
    decline_others(steps, rng, 17, events);
    defer(steps, rng, 1);
}

fn forget_key(steps: &mut Vec<Step>, rng: &mut Rng) {
    let pay = Step::calm(Act::Pay { order: 0, payment: 1, cents: TOTAL, key: Some(1) });
    steps.push(Step::Decline { payment: 1, order: 0 });
    steps.push(pay.clone());
    let others = rng.u16(31..36);
    decline_others(steps, rng, others, true);
    steps.push(pay.clone());
    steps.push(Step::Capture { payment: 1, order: 0, cents: TOTAL, silent: false });
    steps.push(pay);
    steps.push(Step::calm(Act::Create { order: 0 }));
}

fn settle_again(steps: &mut Vec<Step>, rng: &mut Rng) {
    let events = rng.bool();
    pay_while_down(steps, 1, None);
    steps.push(Step::Decline { payment: 1, order: 0 });
    settle(steps);
    // Its event comes too late to settle it the next time.
    steps.push(Step::calm(Act::DeclineArrives { payment: 1, nth: 0 }));
    decline_others(steps, rng, 17, events);
    pay_while_down(steps, 1, None);
    settle(steps);
}

fn reject_again(steps: &mut Vec<Step>, rng: &mut Rng) {
    let again = Step::calm(Act::DeclineArrives { payment: 1, nth: 0 });
    steps.push(Step::Decline { payment: 1, order: 0 });
    steps.push(again.clone());
    decline_others(steps, rng, 34, true);
    pay_while_down(steps, 1, None);
    steps.push(again);
    steps.push(Step::Capture { payment: 1, order: 0, cents: TOTAL, silent: false });
    steps.push(Step::calm(Act::CaptureArrives { payment: 1, nth: 0 }));
}

fn capture_often(steps: &mut Vec<Step>, rng: &mut Rng, count: u16) {
    for payment in 0..count {
        capture_wrong_amount(steps, rng, payment);
        if payment % 16 == 0 {
            steps.push(Step::calm(Act::Project(Batch::Next(100))));
        }
    }
}

fn contend(steps: &mut Vec<Step>, rng: &mut Rng) {
    for round in 0..6 {
        let mut acts: Vec<_> = (0..8).map(|n| (Act::DeclineArrives { payment: round * 8 + n, nth: 0 }, CALM)).collect();
        steps.extend((0..8).map(|n| Step::Decline { payment: round * 8 + n, order: 0 }));
        let pressed = Circumstances { time: Some(rng.u16(560..760)), ..CALM };
        steps.push(Step::Decline { payment: 200 + round, order: 0 });
        acts.push((Act::Pay { order: 0, payment: 200 + round, cents: TOTAL, key: None }, pressed));
        steps.push(Step::Race(rng.u64(..), acts));
        steps.push(Step::calm(Act::DeclineArrives { payment: 200 + round, nth: 0 }));
    }
}

fn lose_every_answer(steps: &mut Vec<Step>, rng: &mut Rng) {
    for fault in [Fault::LoseResponse, Fault::LoseRequest, Fault::Late(200), Fault::HangAfter, Fault::Fail] {
        let key = rng.bool().then(|| rng.u16(..));
        let trouble = Some(Trouble { call: 1, calls: 255, fault });
        steps.push(Step::Do(Act::Cancel { order: 0, key }, Circumstances { trouble, ..CALM }));
        steps.push(Step::calm(Act::Cancel { order: 0, key }));
        steps.push(Step::Do(Act::Create { order: 1 }, always(fault)));
    }
}

/// Every call of an act fails so.
fn always(fault: Fault) -> Circumstances {
    Circumstances { trouble: Some(Trouble { call: 0, calls: 255, fault }), ..CALM }
}

fn trust_again(steps: &mut Vec<Step>, rng: &mut Rng) {
    steps.push(Step::Decline { payment: 1, order: 0 });
    steps.push(Step::calm(Act::DeclineArrives { payment: 1, nth: 0 }));
    decline_others(steps, rng, 17, true);
    steps.push(Step::calm(Act::Pay { order: 0, payment: 1, cents: TOTAL, key: None }));
}

/// One projector after the other writes the next version, each between the read and the write of one that is slow.
fn overtake_row(steps: &mut Vec<Step>, rng: &mut Rng) {
    const VERSIONS: u16 = 32;
    steps.push(Step::calm(Act::Project(Batch::Next(1))));
    for payment in 0..VERSIONS {
        steps.push(Step::Decline { payment, order: 0 });
        steps.push(Step::calm(Act::DeclineArrives { payment, nth: 0 }));
    }
    let slow =
        |calls, millis| Circumstances { trouble: Some(Trouble { call: 0, calls, fault: Fault::Slow(millis) }), ..CALM };
    // Latencies are below 25 ms in each direction.
    let mut acts: Vec<_> = (1..=VERSIONS).map(|n| (Act::Project(Batch::Next(1)), slow(2, 30 * n))).collect();
    acts.push((Act::Project(Batch::Again(VERSIONS as u8)), slow(255, 60)));
    steps.push(Step::Race(rng.u64(..), acts));
}

/// A payment arrives while its order expires.
fn expire_in_flight(steps: &mut Vec<Step>, rng: &mut Rng) {
    steps.push(Step::calm(Act::Project(Batch::Next(9))));
    steps.push(Step::Wait(31 * 3_600));
    steps.push(Step::Capture { payment: 1, order: 0, cents: TOTAL, silent: rng.bool() });
    let pay = (Act::Pay { order: 0, payment: 1, cents: TOTAL, key: None }, CALM);
    steps.push(match rng.bool() {
        true => Step::Race(rng.u64(..), vec![(Act::Expire, CALM), pay]),
        false => Step::calm(Act::Expire),
    });
    steps.push(Step::Do(pay.0, pay.1));
}

/// Commands require a version before the newest one, the newest one, and one after it.
fn require_versions(steps: &mut Vec<Step>, rng: &mut Rng) {
    steps.push(Step::Capture { payment: 1, order: 0, cents: TOTAL, silent: false });
    let commands = [
        |key| Act::Pay { order: 0, payment: 1, cents: TOTAL, key },
        |key| Act::Ship { order: 0, key },
        |key| Act::Deliver { order: 0, key },
        |key| Act::Return { order: 0, key },
    ];
    for (number, command) in commands.into_iter().enumerate() {
        let key = rng.bool().then_some(number as u16);
        let trouble = Some(Trouble { call: rng.u8(..3), calls: 1, fault: Fault::Stale(1) }).filter(|_| rng.bool());
        for if_match in [-1, 1, 0, -1] {
            steps.push(Step::Do(command(key), Circumstances { if_match: Some(if_match), trouble, ..CALM }));
        }
    }
}

/// Rows are rebuilt, repaired and verified, and events published again, while orders change and batches are lost.
fn maintain(steps: &mut Vec<Step>, rng: &mut Rng) {
    for round in 0..4 {
        let mut acts: Vec<_> = (0..6).map(|n| (Act::DeclineArrives { payment: round * 8 + n, nth: 0 }, CALM)).collect();
        steps.extend((0..6).map(|n| Step::Decline { payment: round * 8 + n, order: 0 }));
        let maintenance = [
            Act::Rebuild { sales: rng.bool() },
            Act::Verify { sales: rng.bool() },
            Act::Repair { order: 0 },
            Act::Republish { order: 0 },
            Act::Project(Batch::Shuffled(6, rng.u64(..))),
            Act::Publish(Batch::Lost(3)),
        ];
        acts.extend(maintenance.map(|act| (act, CALM)));
        steps.push(Step::Race(rng.u64(..), acts));
        steps.push(Step::calm(Act::Project(Batch::Lost(2))));
    }
}
