//! The shortest history that still fails.

use super::step::{Act, CALM, Circumstances, History, Step};

/// Removes and simplifies steps for as long as the history fails.
pub fn shrink(mut history: History, fails: impl Fn(&History) -> bool) -> History {
    loop {
        let before = history.clone();
        remove_steps(&mut history, &fails);
        simplify_steps(&mut history, &fails);
        if history == before {
            return history;
        }
    }
}

/// Removes runs of steps, long ones first.
fn remove_steps(history: &mut History, fails: &impl Fn(&History) -> bool) {
    let mut length = history.steps.len().next_power_of_two();
    while length > 0 {
        let mut from = 0;
        while from < history.steps.len() {
            let mut shorter = history.clone();
            shorter.steps.drain(from..(from + length).min(history.steps.len()));
            if fails(&shorter) {
                *history = shorter;
            } else {
                from += length;
            }
        }
        length /= 2;
    }
}

fn simplify_steps(history: &mut History, fails: &impl Fn(&History) -> bool) {
    for place in 0..history.steps.len() {
        while let Some(simpler) = simpler(&history.steps[place]).into_iter().find_map(|step| {
            let mut simpler = history.clone();
            simpler.steps[place] = step;
            fails(&simpler).then_some(simpler)
        }) {
            *history = simpler;
        }
    }
}

/// Steps that are simpler than this one.
fn simpler(step: &Step) -> Vec<Step> {
    match step {
        Step::Do(act, circumstances) => {
            let mut calmer: Vec<_> = calmer(*circumstances).map(|calmer| Step::Do(*act, calmer)).collect();
            calmer.extend(without_key(*act).map(|act| Step::Do(act, *circumstances)));
            calmer
        }
        Step::Race(_, acts) if acts.len() == 1 => vec![Step::Do(acts[0].0, acts[0].1)],
        Step::Race(seed, acts) => {
            let without = (0..acts.len()).map(|place| {
                let mut fewer = acts.clone();
                fewer.remove(place);
                Step::Race(*seed, fewer)
            });
            let calmer = (0..acts.len()).flat_map(|place| {
                calmer(acts[place].1).map(move |circumstances| {
                    let mut acts = acts.clone();
                    acts[place].1 = circumstances;
                    Step::Race(*seed, acts)
                })
            });
            without.chain(calmer).collect()
        }
        Step::Wait(seconds) if *seconds > 1 => vec![Step::Wait(seconds / 2)],
        _ => Vec::new(),
    }
}

fn calmer(circumstances: Circumstances) -> impl Iterator<Item = Circumstances> {
    let Circumstances { trouble, clock, time, if_match } = circumstances;
    let fewer = trouble.filter(|trouble| trouble.calls > 1).map(|mut trouble| {
        trouble.calls /= 2;
        trouble
    });
    let calmer = [
        CALM,
        Circumstances { trouble: None, ..circumstances },
        Circumstances { clock: 0, ..circumstances },
        Circumstances { time: None, ..circumstances },
        Circumstances { if_match: None, ..circumstances },
        Circumstances { trouble: fewer.or(trouble), clock, time, if_match },
    ];
    calmer.into_iter().filter(move |calmer| *calmer != circumstances)
}

fn without_key(act: Act) -> Option<Act> {
    let unkeyed = match act {
        Act::Pay { order, payment, cents, .. } => Act::Pay { order, payment, cents, key: None },
        Act::Cancel { order, .. } => Act::Cancel { order, key: None },
        Act::Ship { order, .. } => Act::Ship { order, key: None },
        Act::Deliver { order, .. } => Act::Deliver { order, key: None },
        Act::Return { order, .. } => Act::Return { order, key: None },
        act => act,
    };
    Some(unkeyed).filter(|unkeyed| *unkeyed != act)
}

/// A history as a test.
pub fn as_test(history: &History) -> String {
    let text = history.to_string().replace('\n', "\n    ");
    format!(
        "use orders_tests::simulation::run;\n\
         use orders_tests::simulation::step::{{\n    \
         Act::*, Batch::*, CALM, Circumstances, Condition::*, Fault::*, History, Step, Step::*, Trouble,\n}};\n\n\
         #[test]\nfn a_history_that_failed() {{\n    let history = {text};\n    run(&history).unwrap();\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::generate;

    #[test]
    fn only_the_steps_that_fail_together_are_left() {
        let history = generate::history(1);
        let waits = |history: &History| history.steps.iter().filter(|step| matches!(step, Step::Wait(_))).count();
        let mut padded = history.clone();
        padded.steps.extend([Step::Wait(8), Step::calm(Act::Settle), Step::Wait(40)]);
        let shortest = shrink(padded, |history| waits(history) >= 2);
        assert_eq!(shortest.steps, [Step::Wait(1), Step::Wait(1)]);
    }
}
