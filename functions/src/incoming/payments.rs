//! The payment provider's events.

use orders_core::domain::{ConfirmPayment, ConfirmRefund, Currency, Money, PaymentId, Reason, RefundId, RejectPayment};
use orders_core::publication::EventBus;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::event::{Detail, InvalidEvent, optional_text};
use super::run::{NotProcessed, Received, Runner};

/// The command of a payment event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaymentCommand {
    /// `PaymentCaptured`.
    Confirm(ConfirmPayment),
    /// `PaymentFailed`.
    Reject(RejectPayment),
    /// `RefundCompleted`.
    Refund(ConfirmRefund),
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Captured {
    payment_id: String,
    amount: Box<RawValue>,
    currency: Option<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Failed {
    payment_id: String,
    reason: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Refunded {
    payment_id: String,
    refund_id: String,
    amount: Box<RawValue>,
    currency: Option<String>,
}

/// Runs a payment event's command.
///
/// # Errors
/// [`NotProcessed`]. An event that is invalid, or that the rules reject, is not an error: its rejection is published.
pub async fn handle(
    runner: &Runner<impl EventBus>,
    currency: &Currency,
    received: &Received,
) -> Result<(), NotProcessed> {
    match received.detail().and_then(|detail| command(received.detail_type(), detail, currency)) {
        Ok(PaymentCommand::Confirm(command)) => runner.run(received, &command).await,
        Ok(PaymentCommand::Reject(command)) => runner.run(received, &command).await,
        Ok(PaymentCommand::Refund(command)) => runner.run(received, &command).await,
        Err(error) => runner.reject(received, error.code(), &error.to_string()).await,
    }
}

/// Reads a payment event's command.
///
/// # Errors
/// [`InvalidEvent`]; a retry does not help.
pub fn command(detail_type: &str, detail: &Detail, currency: &Currency) -> Result<PaymentCommand, InvalidEvent> {
    Ok(match detail_type {
        "PaymentCaptured" => {
            let Captured { payment_id: id, amount, currency: given } = detail.data()?;
            let (payment_id, amount) = (payment_id(&id)?, money(&amount, given, currency)?);
            PaymentCommand::Confirm(ConfirmPayment { payment_id, amount })
        }
        "PaymentFailed" => {
            let Failed { payment_id: id, reason } = detail.data()?;
            let reason = readable(optional_text("detail.data.reason", reason));
            PaymentCommand::Reject(RejectPayment { payment_id: payment_id(&id)?, reason })
        }
        "RefundCompleted" => {
            let Refunded { payment_id: id, refund_id, amount, currency: given } = detail.data()?;
            let refund_id: RefundId = refund_id.parse().map_err(|why| InvalidEvent::field("refund_id", why))?;
            let (payment_id, amount) = (payment_id(&id)?, money(&amount, given, currency)?);
            PaymentCommand::Refund(ConfirmRefund { payment_id, refund_id, amount })
        }
        _ => return Err(InvalidEvent::UnknownType),
    })
}

fn payment_id(text: &str) -> Result<PaymentId, InvalidEvent> {
    text.parse().map_err(|why| InvalidEvent::field("payment_id", why))
}

/// An amount. If the event names a currency, it must be the deployment's.
fn money(number: &RawValue, given: Option<String>, currency: &Currency) -> Result<Money, InvalidEvent> {
    if given.is_some_and(|given| !currency.is(&given)) {
        let why = format!("must be {}, the one currency of this deployment", currency.code());
        return Err(InvalidEvent::field("currency", why));
    }
    currency.parse(number.get()).map_err(|why| InvalidEvent::field("amount", why))
}

/// The failure matters more than its reason: what cannot be stored of the reason is omitted.
fn readable(reason: Option<String>) -> Reason {
    let given = reason.as_deref().and_then(Reason::from_external);
    #[expect(clippy::expect_used, reason = "a literal of printable ASCII")]
    given.unwrap_or_else(|| "the provider gave no reason".parse().expect("a reason"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::event::Event;
    use super::*;

    fn read(detail_type: &str, data: Value) -> Result<PaymentCommand, String> {
        let event =
            json!({ "id": "bus-1", "source": "payments", "detail-type": detail_type, "detail": { "data": data } });
        let (detail, readable) = serde_json::from_value::<Event>(event).unwrap().detail();
        readable.unwrap();
        command(detail_type, &detail, &"EUR".parse().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn each_event_has_its_command() {
        let payment_id: PaymentId = "p".parse().unwrap();
        assert_eq!(
            read("PaymentCaptured", json!({ "payment_id": "p", "amount": 19.99 })),
            Ok(PaymentCommand::Confirm(ConfirmPayment { payment_id: payment_id.clone(), amount: Money(1999) }))
        );
        assert_eq!(
            read("PaymentFailed", json!({ "payment_id": "p", "reason": "no funds" })),
            Ok(PaymentCommand::Reject(RejectPayment {
                payment_id: payment_id.clone(),
                reason: "no funds".parse().unwrap()
            }))
        );
        assert_eq!(
            read("RefundCompleted", json!({ "payment_id": "p", "refund_id": "r", "amount": 5 })),
            Ok(PaymentCommand::Refund(ConfirmRefund {
                payment_id,
                refund_id: "r".parse().unwrap(),
                amount: Money(500)
            }))
        );
    }

    #[test]
    fn a_failure_is_accepted_with_any_reason() {
        let reason = |data: Value| match read("PaymentFailed", data).unwrap() {
            PaymentCommand::Reject(RejectPayment { reason, .. }) => reason.as_str().to_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(json!({ "payment_id": "p" })), "the provider gave no reason");
        assert_eq!(reason(json!({ "payment_id": "p", "reason": "a\u{0}b\n" })), "ab");
        let isolated = "Karte \u{2068}Visa 42\u{2069} abgelehnt";
        assert_eq!(reason(json!({ "payment_id": "p", "reason": isolated })), "Karte Visa 42 abgelehnt");
        assert_eq!(reason(json!({ "payment_id": "p", "reason": "\u{200b}\u{202e}" })), "the provider gave no reason");
        assert_eq!(reason(json!({ "payment_id": "p", "reason": "x".repeat(1_000_000) })), "x".repeat(500));
        for odd in [json!(null), json!({ "code": 51 }), json!(["no funds"]), json!(51), json!(false)] {
            assert_eq!(reason(json!({ "payment_id": "p", "reason": odd })), "the provider gave no reason", "{odd}");
        }
    }

    #[test]
    fn money_in_another_currency_is_rejected() {
        let outcome = |currency: Value| {
            let data = json!({ "payment_id": "p", "refund_id": "r", "amount": 5, "currency": currency });
            let outcomes = ["PaymentCaptured", "RefundCompleted"].map(|name| read(name, data.clone()).map(drop));
            assert_eq!(outcomes[0], outcomes[1]);
            outcomes[0].clone()
        };
        for ours in [json!("EUR"), json!("eur"), json!(null)] {
            assert_eq!(outcome(ours.clone()), Ok(()), "{ours}");
        }
        let other = "detail.data.currency: must be EUR, the one currency of this deployment";
        for code in ["USD", "usd", "", "EUR ", "978", "€"] {
            assert_eq!(outcome(json!(code)), Err(other.into()), "{code}");
        }
        for odd in [json!(978), json!(["EUR"]), json!({ "code": "EUR" }), json!(true)] {
            let error = outcome(odd).unwrap_err();
            assert!(error.starts_with("detail.data.currency: invalid type: "), "{error}");
        }
    }

    #[test]
    fn invalid_fields_are_named() {
        let captured = |data| read("PaymentCaptured", data).unwrap_err();
        assert!(captured(json!({ "amount": 1 })).contains("missing field `payment_id`"));
        assert!(captured(json!({ "payment_id": "", "amount": 1 })).starts_with("detail.data.payment_id: "));
        assert!(
            captured(json!({ "payment_id": "x".repeat(1_000_000), "amount": 1 }))
                .starts_with("detail.data.payment_id: ")
        );
        for amount in [json!(-1), json!(19.999), json!(1e300), json!("1.00"), json!(null), json!({})] {
            assert!(
                captured(json!({ "payment_id": "p", "amount": amount })).starts_with("detail.data.amount: "),
                "{amount}"
            );
        }
        assert_eq!(read("PaymentPondered", json!({})), Err("unknown detail type".into()));
    }
}
