//! The breaker under random interleavings, and the cost of its calls.

#[cfg(test)]
mod calls;
#[cfg(test)]
mod case;
#[cfg(test)]
mod checks;
#[cfg(test)]
mod fleet;
#[cfg(test)]
mod overrides;
#[cfg(test)]
mod transitions;
#[cfg(test)]
mod world;

use dynamodb_circuit_breaker::{Change, Condition};
use fleet::{Fleet, LONGEST_ORDER};
use world::{Rules, SECOND, lock};

const SETTINGS: &str = "failures=3; calls=3; ratio=30%; window=5s; open=1s; open-max=4s; probes=2; successes=2; \
                        lease=2s; ramp=1s; cache=1s";

/// Runs one world until its recovery. The violation, if any; otherwise how often it opened, closed, reopened and was
/// overridden.
fn run(seed: u64, rules: Rules) -> Result<[u64; 4], String> {
    let containers = fastrand::Rng::with_seed(seed ^ 0x5eed).usize(2..=8);
    let mut fleet = Fleet::new(seed, rules, containers);
    for _ in 0..400 {
        fleet.step();
        if let Some(violation) = lock(&fleet.world).checks.violation.take() {
            return Err(violation);
        }
    }
    // Overrides without an end are reset, and the rest expires: the longest override, the longest open time, an
    // abandoned lease, the cache and the ramp.
    fleet.end_overrides();
    fleet.calm(LONGEST_ORDER + 4 * SECOND + 2 * SECOND + 6 * SECOND);
    fleet.rejected = 0;
    fleet.calm(2 * SECOND);
    lock(&fleet.world).checks.all_confirmed_were_notified();
    if let Some(violation) = lock(&fleet.world).checks.violation.take() {
        return Err(violation);
    }
    match fleet.rejected {
        0 => Ok(lock(&fleet.world).checks.seen),
        rejected => Err(format!("{rejected} calls rejected long after recovery: {:?}", lock(&fleet.world).current())),
    }
}

fn seed() -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    seed
}

#[test]
fn every_invariant_holds_in_any_interleaving() {
    let seed = seed();
    let mut seen = [0; 4];
    for n in 0..10_000 {
        match run(seed.wrapping_add(n), Rules::new(SETTINGS)) {
            Ok(run) => seen = [0, 1, 2, 3].map(|index| seen[index] + run[index]),
            Err(violation) => panic!("SEED={}: {violation}", seed.wrapping_add(n)),
        }
    }
    println!(
        "opened {} times, closed {} times, reopened {} times, overridden {} times",
        seen[0], seen[1], seen[2], seen[3]
    );
    assert!(seen.into_iter().all(|times| times > 1_000), "too little happened: {seen:?}");
}

/// The change with its condition rewritten, from the leaves up.
fn rewrite(change: Change, rule: fn(Condition) -> Option<Condition>) -> Change {
    fn walk(condition: Condition, rule: fn(Condition) -> Option<Condition>) -> Option<Condition> {
        let walk_all =
            |conditions: Vec<Condition>| conditions.into_iter().filter_map(|condition| walk(condition, rule)).collect();
        let condition = match condition {
            Condition::All(conditions) => Condition::All(walk_all(conditions)),
            Condition::Any(conditions) => Condition::Any(walk_all(conditions)),
            leaf => leaf,
        };
        rule(condition)
    }
    let condition = walk(change.condition, rule).unwrap_or(Condition::All(vec![]));
    Change { condition, ..change }
}

fn without_generation(condition: Condition) -> Option<Condition> {
    Some(condition)
        .filter(|condition| !matches!(condition, Condition::Is(name, _) | Condition::Absent(name) if name == "gen"))
}

fn without_fence(condition: Condition) -> Option<Condition> {
    Some(condition).filter(|condition| !matches!(condition, Condition::Is(name, _) if name.starts_with('p')))
}

fn without_expiry(condition: Condition) -> Option<Condition> {
    Some(condition).filter(|condition| !matches!(condition, Condition::Below(name, _) if name.starts_with('p')))
}

fn without_slots(condition: Condition) -> Option<Condition> {
    let about_slots = |condition: &Condition| matches!(condition, Condition::Absent(name) if name.starts_with('p'));
    match condition {
        Condition::Any(conditions) if conditions.iter().any(about_slots) => None,
        condition => Some(condition),
    }
}

fn is_override(change: &Change) -> bool {
    change.set.iter().any(|(name, _)| name == "manual")
}

#[test]
fn broken_breakers_are_caught() {
    let seed = seed();
    let sound = Rules::new(SETTINGS);
    let same_generation: fn(Change) -> Change = |mut change| {
        change.set.retain(|(name, _)| name != "gen");
        change
    };
    let unconditional: fn(Change) -> Change = |change| match is_override(&change) {
        true => Change { condition: Condition::All(vec![]), ..change },
        false => change,
    };
    let in_next_generation: fn(Change) -> Change = |mut change| {
        for (name, _) in &mut change.add {
            if let Some((letter, part)) = name.split_at_checked(1).filter(|(letter, _)| ["f", "k"].contains(letter)) {
                let (generation, part) = part.split_once('_').unwrap_or(("0", part));
                let next = generation.parse::<u64>().unwrap_or_default() + 1;
                *name = format!("{letter}{next}_{part}");
            }
        }
        change
    };
    let broken: [(&str, Rules); 8] = [
        ("generation not checked", Rules { mutation: |change| rewrite(change, without_generation), ..sound }),
        ("generation not raised", Rules { mutation: same_generation, ..sound }),
        ("fence not checked", Rules { mutation: |change| rewrite(change, without_fence), ..sound }),
        ("leases never end", Rules { mutation: |change| rewrite(change, without_expiry), ..sound }),
        ("slots not checked", Rules { mutation: |change| rewrite(change, without_slots), ..sound }),
        ("changes sent twice", Rules { resends: true, ..sound }),
        ("overrides not conditional", Rules { mutation: unconditional, ..sound }),
        ("counted in the next generation", Rules { mutation: in_next_generation, ..sound }),
    ];
    for (name, rules) in broken {
        let caught = (0..10_000).find_map(|n| run(seed.wrapping_add(n), rules).err().map(|violation| (n, violation)));
        let (runs, violation) = caught.unwrap_or_else(|| panic!("{name}: not caught"));
        println!("{name}: caught in run {}: {violation}", runs + 1);
    }
}
