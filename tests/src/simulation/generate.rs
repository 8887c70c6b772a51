//! Random histories.

use fastrand::Rng;

use super::directed;
use super::request::TOTAL;
use super::step::{Act, Batch, CALM, Circumstances, Condition, Fault, History, Step, Trouble};

/// DynamoDB's limit of an item.
pub const ROW_LIMIT: usize = 400 * 1024;

/// The history of a seed: most are short and mixed, some are of hundreds of steps on one order, and some exceed one bound.
pub fn history(seed: u64) -> History {
    let mut rng = Rng::with_seed(seed);
    let snapshot_every = rng.u32(1..=14);
    let trusts_caller = seed % 8 == 2;
    let steps = match seed % 80 {
        0 => long(&mut rng),
        1 => return directed::history(seed / 80, snapshot_every, &mut rng),
        _ => mixed(&mut rng, trusts_caller),
    };
    History { snapshot_every, row_limit: ROW_LIMIT, trusts_caller, steps }
}

/// What a history draws its steps from.
struct Cast {
    orders: u8,
    payments: u16,
    keys: u16,
    /// How many of a hundred acts meet trouble.
    trouble: u8,
    /// Whether somebody uses the payment of another order now and then.
    confuses: bool,
}

fn mixed(rng: &mut Rng, trusts_caller: bool) -> Vec<Step> {
    let cast = Cast {
        orders: rng.u8(1..=3),
        payments: rng.u16(1..=5),
        keys: rng.u16(1..=12),
        trouble: [0, 10, 30, 60][rng.usize(..4)],
        // The word of a trusted caller is true.
        confuses: !trusts_caller,
    };
    let mut steps: Vec<_> = (0..cast.orders).map(|order| Step::calm(Act::Create { order })).collect();
    for _ in 0..rng.usize(5..36) {
        steps.push(step(rng, &cast));
    }
    steps
}

/// Hundreds of payments of one order.
fn long(rng: &mut Rng) -> Vec<Step> {
    let cast = Cast { orders: 1, payments: 60, keys: 300, trouble: [0, 5, 20][rng.usize(..3)], confuses: true };
    let mut steps = vec![Step::calm(Act::Create { order: 0 })];
    let length = rng.usize(150..500);
    while steps.len() < length {
        let payment = rng.u16(..cast.payments);
        match rng.u8(..12) {
            0..=4 => directed::decline(&mut steps, rng, payment),
            5..=7 => directed::defer(&mut steps, rng, payment),
            8 | 9 => directed::capture_wrong_amount(&mut steps, rng, payment),
            _ => steps.push(step(rng, &Cast { orders: 1, ..cast }).unless_final()),
        }
        if rng.u8(..6) == 0 {
            steps.push(Step::Do(Act::Project(Batch::Next(30)), circumstances(rng, &cast)));
            steps.push(Step::Do(Act::Publish(Batch::Next(30)), circumstances(rng, &cast)));
        }
    }
    for _ in 0..20 {
        steps.push(step(rng, &cast));
    }
    steps
}

impl Step {
    /// The step, unless it would end a long life early.
    fn unless_final(self) -> Self {
        let is_final = |act: &Act| matches!(act, Act::Cancel { .. } | Act::Expire);
        match &self {
            Self::Do(act, _) if is_final(act) => Self::Wait(1),
            Self::Race(_, acts) if acts.iter().any(|(act, _)| is_final(act)) => Self::Wait(1),
            Self::Capture { cents: TOTAL, .. } => Self::Wait(1),
            Self::Wait(seconds) => Self::Wait(seconds % 60),
            _ => self,
        }
    }
}

fn step(rng: &mut Rng, cast: &Cast) -> Step {
    let order = rng.u8(..cast.orders);
    let payment = payment(rng, cast, order);
    match rng.u8(..100) {
        0..=60 => {
            let (act, circumstances) = act_in_trouble(rng, cast);
            Step::Do(act, circumstances)
        }
        61..=71 => {
            let acts = (0..rng.usize(2..6)).map(|_| act_in_trouble(rng, cast)).collect();
            Step::Race(rng.u64(..), acts)
        }
        72..=78 => Step::Wait([1, 30, 600, 6 * 3_600, 40 * 3_600][rng.usize(..5)]),
        79..=84 => Step::Provider(
            [Condition::Up, Condition::Up, Condition::Down, Condition::Slow, Condition::Declines, Condition::Pending]
                [rng.usize(..6)],
        ),
        85..=92 => Step::Capture { payment, order, cents: cents(rng), silent: rng.u8(..3) == 0 },
        93..=95 => Step::Decline { payment, order },
        _ => Step::Refund { payment },
    }
}

fn act_in_trouble(rng: &mut Rng, cast: &Cast) -> (Act, Circumstances) {
    let (act, mut circumstances) = (act(rng, cast), circumstances(rng, cast));
    if rng.u8(..8) == 0 {
        circumstances.if_match = Some(rng.i8(-1..=1));
    }
    // A publisher has few calls, and a fault of its own.
    if let (Act::Publish(_), Some(trouble)) = (act, &mut circumstances.trouble) {
        trouble.call = 0;
        trouble.fault = if rng.bool() { Fault::Partial } else { trouble.fault };
    }
    (act, circumstances)
}

fn act(rng: &mut Rng, cast: &Cast) -> Act {
    let order = rng.u8(..cast.orders);
    let payment = payment(rng, cast, order);
    let key = rng.bool().then(|| rng.u16(..cast.keys));
    match rng.u8(..100) {
        0..=1 => Act::Create { order },
        2..=24 => Act::Pay { order, payment, cents: cents(rng), key },
        25..=27 => Act::Cancel { order, key },
        28..=33 => Act::Ship { order, key },
        34..=38 => Act::Deliver { order, key },
        39..=41 => Act::Return { order, key },
        42..=50 => Act::CaptureArrives { payment, nth: rng.u8(..2) },
        51..=54 => Act::DeclineArrives { payment, nth: rng.u8(..2) },
        55..=60 => Act::RefundArrives { payment },
        61..=65 => Act::ParcelArrives { order, delivered: rng.bool() },
        66..=72 => Act::Settle,
        73..=74 => Act::Expire,
        75..=88 => Act::Project(batch(rng)),
        89..=90 => Act::CatchUp,
        91..=97 => Act::Publish(batch(rng)),
        98 => {
            let sales = rng.bool();
            [Act::Rebuild { sales }, Act::Verify { sales }, Act::Repair { order }][rng.usize(..3)]
        }
        _ => Act::Republish { order },
    }
}

fn payment(rng: &mut Rng, cast: &Cast, order: u8) -> u16 {
    let order = if cast.confuses && rng.u8(..20) == 0 { rng.u8(..cast.orders) } else { order };
    u16::from(order) * 1_000 + rng.u16(..cast.payments)
}

fn cents(rng: &mut Rng) -> u32 {
    [TOTAL, TOTAL, TOTAL, TOTAL, TOTAL, TOTAL, 1_999, 0][rng.usize(..8)]
}

fn batch(rng: &mut Rng) -> Batch {
    let count = rng.u8(1..20);
    match rng.u8(..10) {
        0..=3 => Batch::Next(count),
        4 | 5 => Batch::Again(count),
        6 | 7 => Batch::Shuffled(count, rng.u64(..)),
        8 => Batch::Lost(count),
        _ => Batch::Redriven(count),
    }
}

fn circumstances(rng: &mut Rng, cast: &Cast) -> Circumstances {
    if rng.u8(..100) >= cast.trouble {
        return CALM;
    }
    let fault = match rng.u8(..28) {
        0..=2 => Fault::LoseResponse,
        3 | 4 => Fault::LoseRequest,
        5 | 6 => Fault::Late(rng.u16(1..4_000)),
        7 => Fault::HangAfter,
        8 => Fault::Hang,
        9 | 10 => Fault::Throttle,
        11 => Fault::Fail,
        12 => Fault::FailAfter,
        13..=16 => Fault::Stale(rng.u8(1..5)),
        17 => Fault::Conflict,
        18 => Fault::Partial,
        19..=21 => Fault::CrashBefore,
        22 | 23 => Fault::Slow(rng.u16(1..1_500)),
        _ => Fault::CrashAfter,
    };
    let calls = match rng.u8(..10) {
        0..=5 => 1,
        6..=8 => rng.u8(2..5),
        _ => 255,
    };
    Circumstances {
        trouble: (rng.u8(..4) > 0).then(|| Trouble { call: rng.u8(..7), calls, fault }),
        clock: if rng.u8(..3) == 0 { [-600_000, -3_000, -7, 40, 5_000, 600_000][rng.usize(..6)] } else { 0 },
        time: (rng.u8(..12) == 0).then(|| rng.u16(500..4_000)),
        if_match: None,
    }
}
