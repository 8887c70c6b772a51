//! What a stack does while nobody asks it anything: hardly anything.

use std::time::Duration;

use crate::program::Serving;
use crate::support::Scratch;

/// Hundredths of a second of the processor that a process has had.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name before it may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    [fields[11], fields[12]].map(|ticks| ticks.parse::<u64>().unwrap()).iter().sum()
}

#[tokio::test]
async fn an_idle_stack_leaves_the_processor_to_others() {
    let scratch = Scratch::new();
    let mut serving = Serving::start(&["--port", "0"], &scratch.0).await;
    serving.get("/health").await;
    let (pid, span) = (serving.pid(), Duration::from_secs(3));
    // Starting may still end in the first of them; that nothing happens shows only in time.
    let mut least = u64::MAX;
    for _ in 0..3 {
        let before = ticks(pid);
        tokio::time::sleep(span).await;
        least = least.min(ticks(pid) - before);
    }
    assert!(least <= 6, "{least} hundredths of a second in {span:?}");
    serving.signal("TERM").await;
}
