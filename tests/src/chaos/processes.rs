//! The processes of this machine, as far as `/proc` shows them.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use dynamodb_testkit::wait::until_within;

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its id.
    pub id: u32,
    /// When it started, in ticks since the machine did: with it an id is never used twice.
    started: u64,
    /// The name of its program, cut off.
    pub program: String,
    parent: u32,
    state: char,
}

fn all() -> Vec<Process> {
    let ids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    ids.filter_map(|entry| parse(&std::fs::read_to_string(entry.path().join("stat")).ok()?)).collect()
}

/// `17 (bash) S 1 …`: the program may contain anything.
fn parse(stat: &str) -> Option<Process> {
    let (id, rest) = stat.split_once(" (")?;
    let (program, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    Some(Process {
        id: id.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
        program: program.to_owned(),
        parent: fields.get(1)?.parse().ok()?,
        state: fields.first()?.chars().next()?,
    })
}

/// The processes that a process has started, dead ones included.
pub fn children(of: u32) -> Vec<Process> {
    all().into_iter().filter(|process| process.parent == of).collect()
}

/// Those of them that have ended, and for which nobody waits.
pub fn zombies(of: u32) -> Vec<Process> {
    children(of).into_iter().filter(|process| process.state == 'Z').collect()
}

/// Kills a process without any warning.
pub fn kill(id: u32) {
    Command::new("kill").args(["-9", &id.to_string()]).output().expect("the command kill");
}

/// Waits until these processes have ended; returns those that have not.
pub async fn survivors(of: &[Process], patience: Duration) -> Vec<Process> {
    let remaining = || {
        let known: BTreeSet<_> = of.iter().map(|process| (process.id, process.started)).collect();
        let alive = all().into_iter().filter(|process| process.state != 'Z');
        alive.filter(|process| known.contains(&(process.id, process.started))).collect::<Vec<_>>()
    };
    drop(tokio::time::timeout(patience, until_within(patience, "the end", async || remaining().is_empty())).await);
    remaining()
}
