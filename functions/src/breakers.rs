//! Circuit breakers as operators see them.

use std::time::Duration;

use dynamodb_circuit_breaker::{Action, AppliedOverride, Circuit, CircuitBreaker, State};
use serde_json::{Value, json};
use service_clock::Timestamp;

/// The timeout of an operator's calls. No payment waits for them, so it allows for the connection of a new container.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(1);

/// A breaker as operators see it.
pub(crate) fn show(breaker: &CircuitBreaker, circuit: &Circuit, now: Timestamp) -> Value {
    let settings = breaker.settings();
    let window = circuit.window(settings, micros(now));
    let mut shown = json!({
        "name": breaker.name(),
        "state": circuit.state.to_string(),
        "generation": circuit.generation,
        "since": time(circuit.since),
        "opened_in_a_row": circuit.trips,
        "window": {
            "seconds": settings.window.as_secs(), "failures": window.failures, "successes": window.successes,
        },
        "override": circuit.last_override.as_ref().map(|last| show_override(last, circuit.active_override(micros(now)).is_some())),
    });
    match circuit.state {
        State::Closed => {}
        State::Open => {
            let by_hand = circuit.last_override.as_ref().filter(|last| last.generation == circuit.generation);
            let until = by_hand.map_or(Some(circuit.open_until), |last| last.requested.action.until());
            shown["open_until"] = json!(until.and_then(time));
        }
        State::HalfOpen => {
            shown["probes"] = json!({"succeeded": circuit.probe_successes, "needed": settings.successes})
        }
    }
    shown
}

/// The last override, with who requested it, even after its end.
fn show_override(last: &AppliedOverride, in_force: bool) -> Value {
    json!({
        "state": match last.requested.action {
            Action::ForceOpen { .. } => "open",
            Action::ForceClosed { .. } => "closed",
            Action::Reset => "none",
        },
        "in_force": in_force,
        "by": last.requested.by,
        "reason": last.requested.why,
        "since": time(last.at),
        "until": last.requested.action.until().and_then(time),
    })
}

/// Microseconds since 1970, the unit of breakers; 0 for earlier times.
pub(crate) fn micros(time: Timestamp) -> u64 {
    u64::try_from(time.timestamp_micros()).unwrap_or_default()
}

/// `None` for 0, which means never.
fn time(micros: u64) -> Option<Timestamp> {
    let millis = i64::try_from(micros / 1_000).ok().filter(|millis| *millis > 0);
    millis.and_then(Timestamp::from_millis)
}
