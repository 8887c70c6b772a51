//! The breaker under every interleaving that dice can think of, and what its calls cost.

#[cfg(test)]
mod calls;
#[cfg(test)]
mod case;
#[cfg(test)]
mod checks;
#[cfg(test)]
mod fleet;
#[cfg(test)]
mod orders;
#[cfg(test)]
mod transitions;
#[cfg(test)]
mod world;

use dynamodb_circuit_breaker::{Change, Guard};
use fleet::{Fleet, LONGEST_ORDER};
use world::{Rules, SECOND, lock};

const SETTINGS: &str = "failures=3; calls=3; ratio=30%; window=5s; open=1s; open-max=4s; probes=2; successes=2; \
                        lease=2s; ramp=1s; cache=1s";

/// One world from its beginning to its recovery. What did not hold, if anything; how often it opened, closed, opened
/// again and did so by hand.
fn run(seed: u64, rules: Rules) -> Result<[u64; 4], String> {
    let containers = fastrand::Rng::with_seed(seed ^ 0x5eed).usize(2..=8);
    let mut fleet = Fleet::new(seed, rules, containers);
    for _ in 0..400 {
        fleet.step();
        if let Some(violation) = lock(&fleet.world).checks.violation.take() {
            return Err(violation);
        }
    }
    // What is held without an end is let go by hand, and the rest ends by itself: the longest time of an order, the longest
    // time open, a lease that nobody ends, what is believed from before, and the ramp.
    fleet.let_go();
    fleet.calm(LONGEST_ORDER + 4 * SECOND + 2 * SECOND + 6 * SECOND);
    fleet.rejected = 0;
    fleet.calm(2 * SECOND);
    lock(&fleet.world).checks.all_is_told();
    if let Some(violation) = lock(&fleet.world).checks.violation.take() {
        return Err(violation);
    }
    match fleet.rejected {
        0 => Ok(lock(&fleet.world).checks.seen),
        rejected => {
            Err(format!("{rejected} calls rejected long after all is well: {:?}", lock(&fleet.world).current()))
        }
    }
}

fn seed() -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    seed
}

#[test]
fn every_property_holds_in_any_order_of_events() {
    let seed = seed();
    let mut seen = [0; 4];
    for n in 0..10_000 {
        match run(seed.wrapping_add(n), Rules::new(SETTINGS)) {
            Ok(run) => seen = [0, 1, 2, 3].map(|index| seen[index] + run[index]),
            Err(violation) => panic!("SEED={}: {violation}", seed.wrapping_add(n)),
        }
    }
    println!(
        "opened {} times, closed {} times, opened again {} times, by hand {} times",
        seen[0], seen[1], seen[2], seen[3]
    );
    assert!(seen.into_iter().all(|times| times > 1_000), "the worlds were too peaceful: {seen:?}");
}

/// The change with its guard rewritten, from the leaves up.
fn rewrite(change: Change, rule: fn(Guard) -> Option<Guard>) -> Change {
    fn walk(guard: Guard, rule: fn(Guard) -> Option<Guard>) -> Option<Guard> {
        let walk_all = |guards: Vec<Guard>| guards.into_iter().filter_map(|guard| walk(guard, rule)).collect();
        let guard = match guard {
            Guard::All(guards) => Guard::All(walk_all(guards)),
            Guard::Any(guards) => Guard::Any(walk_all(guards)),
            leaf => leaf,
        };
        rule(guard)
    }
    let guard = walk(change.guard, rule).unwrap_or(Guard::All(vec![]));
    Change { guard, ..change }
}

fn without_generation(guard: Guard) -> Option<Guard> {
    Some(guard).filter(|guard| !matches!(guard, Guard::Is(name, _) | Guard::Absent(name) if name == "gen"))
}

fn without_fence(guard: Guard) -> Option<Guard> {
    Some(guard).filter(|guard| !matches!(guard, Guard::Is(name, _) if name.starts_with('p')))
}

fn without_expiry(guard: Guard) -> Option<Guard> {
    Some(guard).filter(|guard| !matches!(guard, Guard::Below(name, _) if name.starts_with('p')))
}

fn without_slots(guard: Guard) -> Option<Guard> {
    let about_slots = |guard: &Guard| matches!(guard, Guard::Absent(name) if name.starts_with('p'));
    match guard {
        Guard::Any(guards) if guards.iter().any(about_slots) => None,
        guard => Some(guard),
    }
}

fn by_hand(change: &Change) -> bool {
    change.set.iter().any(|(name, _)| name == "manual")
}

#[test]
fn broken_breakers_are_caught_by_the_same_runs() {
    let seed = seed();
    let sound = Rules::new(SETTINGS);
    let same_generation: fn(Change) -> Change = |mut change| {
        change.set.retain(|(name, _)| name != "gen");
        change
    };
    let unguarded: fn(Change) -> Change = |change| match by_hand(&change) {
        true => Change { guard: Guard::All(vec![]), ..change },
        false => change,
    };
    let in_the_next: fn(Change) -> Change = |mut change| {
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
        ("orders not guarded", Rules { mutation: unguarded, ..sound }),
        ("counted in the next generation", Rules { mutation: in_the_next, ..sound }),
    ];
    for (name, rules) in broken {
        let caught = (0..10_000).find_map(|n| run(seed.wrapping_add(n), rules).err().map(|violation| (n, violation)));
        let (runs, violation) = caught.unwrap_or_else(|| panic!("{name}: not caught"));
        println!("{name}: caught in run {}: {violation}", runs + 1);
    }
}
