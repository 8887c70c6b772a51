//! A chaos run: the whole service as real processes, careful and careless clients, faults everywhere at once, and then a check
//! of all promises from outside.
//!
//! [`server`] is the process of the stack, [`stack`] starts and kills it. [`clients`], the payment [`provider`] and the carrier
//! ([`producers`]) and operators ([`operator`]) use it, while [`disruption`] injects faults and clocks differ ([`clock`]). After
//! the [`recovery`] the [`evidence`] is collected, and [`checker`] compares it.

pub mod answers;
pub mod checker;
pub mod client;
pub mod clients;
pub mod clock;
pub mod disruption;
pub mod evidence;
pub mod faults;
pub mod money;
pub mod operator;
pub mod processes;
pub mod producers;
pub mod provider;
pub mod recovery;
pub mod report;
pub mod server;
pub mod stack;
pub mod views;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use client::Client;
use producers::Producers;
use provider::Provider;
use report::Report;
use stack::Stack;

/// Clients at once.
const CLIENTS: u64 = 6;
/// How long a client may take to end, after the time is up.
const LAST_REQUESTS: Duration = Duration::from_secs(60);

/// How to run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program that serves the stack: the binary `chaos`.
    pub program: PathBuf,
    /// The directory of the function binaries.
    pub binaries: PathBuf,
    /// What all random choices derive from. Processes and networks are not determined by it.
    pub seed: u64,
    /// How long the disruption lasts.
    pub duration: Duration,
}

/// What all parts of a run need.
#[derive(Clone)]
pub struct Run {
    /// The stack.
    pub stack: Arc<Stack>,
    /// Records every exchange with the API.
    pub client: Arc<Client>,
    /// The payment provider and the carrier.
    pub producers: Arc<Producers>,
    /// When the disruption ends.
    pub ends: Instant,
}

impl Run {
    /// Whether the time is up.
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.ends
    }
}

/// Runs, and checks.
///
/// # Errors
/// The report, with everything that is wrong and where the traces are.
pub async fn run(settings: Settings) -> Result<Report, Report> {
    let mut rng = Rng::with_seed(settings.seed);
    let provider = Provider::default();
    let stack = Arc::new(Stack::start(&settings, provider.serve().await).await);
    let client = Arc::new(Client::new(stack.clone()));
    let run = Run {
        producers: Arc::new(Producers::new(client.clone(), provider)),
        client,
        ends: Instant::now() + settings.duration,
        stack: stack.clone(),
    };
    let mut tasks = JoinSet::new();
    for number in 0..CLIENTS {
        tasks.spawn(clients::shop(run.clone(), rng.fork(), number));
    }
    tasks.spawn(producers::refund(run.clone()));
    tasks.spawn(operator::operate(run.clone(), rng.fork()));
    tasks.spawn(disruption::disrupt(run.clone(), rng.fork()));
    sleep_until(run.ends).await;
    let ended = timeout(LAST_REQUESTS, async {
        while let Some(ended) = tasks.join_next().await {
            ended.expect("nobody panics");
        }
    });
    let phase = |name: &str| println!("{:>5.0?} after the end of the time: {name}", run.ends.elapsed());
    let mut broken = Vec::new();
    if ended.await.is_err() {
        tasks.shutdown().await;
        broken.push(format!("requests did not end within {LAST_REQUESTS:?}"));
    }
    phase("every client has ended");
    broken.extend(recovery::restore(&run).await);
    phase("nothing is under way");
    let evidence = evidence::collect(&run).await;
    phase("the evidence is collected");
    broken.extend(checker::check(&evidence));
    if checker::orders_of(&evidence.commits).is_ok_and(|orders| !clock::differ(&evidence.exchanges, &orders)) {
        broken.push("the clocks of the functions did not differ".to_owned());
    }
    let mut report = Report::new(settings.seed, &run, &evidence);
    broken.extend(stack.end().await);
    phase("the stack has ended");
    report.broken = broken;
    if !report.broken.is_empty() {
        return Err(report);
    }
    std::fs::remove_dir_all(&stack.data).expect("the data is removed");
    Ok(report)
}
