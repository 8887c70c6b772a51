//! The provider's response, and its verdict on a claim. Pure.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Claim, Verdict, VerifyError};
use crate::domain::{OrderId, Reason};

/// The fields that are read. Others are ignored.
#[derive(Deserialize)]
struct Body {
    payment_id: String,
    order_id: OrderId,
    status: Status,
    amount: Option<Box<RawValue>>,
    currency: Option<Box<RawValue>>,
    reason: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Captured,
    Pending,
    Declined,
}

/// Reads the body of a 200.
///
/// # Errors
/// It does not have the expected form, or does not match the claim.
pub fn read(body: &[u8], claim: &Claim) -> Result<Verdict, VerifyError> {
    let unexpected = VerifyError::UnexpectedResponse;
    let body: Body = strict_json::from_slice(body).map_err(|error| unexpected(error.to_string()))?;
    if body.payment_id != claim.payment_id.as_str() {
        return Err(unexpected("it describes another payment".into()));
    }
    if body.order_id != claim.order_id {
        return Err(VerifyError::OtherOrder);
    }
    match body.status {
        Status::Pending => Ok(Verdict::Pending),
        Status::Declined => {
            let said = body.reason.as_deref().and_then(text).unwrap_or_default();
            Ok(Verdict::Declined(reason(&said)))
        }
        Status::Captured => {
            let (Some(amount), Some(currency)) = (body.amount, body.currency) else {
                return Err(unexpected("a capture without amount or currency".into()));
            };
            let currency = text(&currency).ok_or_else(|| unexpected("the currency is not a text".into()))?;
            if !claim.currency.is(&currency) {
                return Err(VerifyError::OtherCurrency);
            }
            let captured =
                claim.currency.parse(amount.get()).map_err(|error| unexpected(format!("amount: {error}")))?;
            if captured == claim.amount { Ok(Verdict::Captured) } else { Err(VerifyError::OtherAmount { captured }) }
        }
    }
}

/// A field that is a text, if it is one.
fn text(json: &RawValue) -> Option<String> {
    serde_json::from_str(json.get()).ok()
}

/// The provider's reason, cut and cleaned: it is shown to customers and stored forever.
fn reason(text: &str) -> Reason {
    Reason::from_external(text).unwrap_or_else(|| Reason::literal("the provider declined the payment"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::{ORDER, claim};
    use super::*;
    use crate::domain::Money;

    fn said(change: Value) -> Result<Verdict, VerifyError> {
        let mut body = json!({
            "payment_id": "p1", "order_id": ORDER, "status": "captured", "amount": 44.98, "currency": "EUR"
        });
        for (name, value) in change.as_object().unwrap() {
            if value.is_null() {
                body.as_object_mut().unwrap().remove(name);
            } else {
                body[name] = value.clone();
            }
        }
        read(body.to_string().as_bytes(), &claim("p1"))
    }

    fn unexpected(result: &Result<Verdict, VerifyError>) -> bool {
        matches!(result, Err(VerifyError::UnexpectedResponse(_)))
    }

    #[test]
    fn a_capture_of_the_claimed_amount_is_captured() {
        assert_eq!(said(json!({})).unwrap(), Verdict::Captured);
        assert_eq!(
            said(json!({"amount": 44.980, "currency": "eur", "more": [1], "reason": "ok"})).unwrap(),
            Verdict::Captured
        );
    }

    #[test]
    fn only_an_explicit_decline_is_declined() {
        let declined = said(json!({"status": "declined", "reason": "card expired"})).unwrap();
        assert_eq!(declined, Verdict::Declined(Reason::literal("card expired")));
        let bare = said(json!({"status": "declined", "amount": null, "currency": null})).unwrap();
        assert_eq!(bare, Verdict::Declined(Reason::literal("the provider declined the payment")));
        assert_eq!(said(json!({"status": "pending", "amount": null})).unwrap(), Verdict::Pending);
        // Fields that a decline does not need are not checked.
        for odd in [json!({"code": 51}), json!(7), json!(["card expired"])] {
            let declined = said(json!({"status": "declined", "reason": odd, "amount": "?", "currency": 978})).unwrap();
            assert_eq!(declined, Verdict::Declined(Reason::literal("the provider declined the payment")));
        }
        for status in [json!("refused"), json!("CAPTURED"), json!(1), json!(null)] {
            assert!(unexpected(&said(json!({"status": status}))), "{status}");
        }
    }

    #[test]
    fn a_response_about_another_payment_order_amount_or_currency_is_an_error() {
        assert!(unexpected(&said(json!({"payment_id": "p2"}))));
        let other = "00000000-0000-4000-8000-000000000000";
        for status in ["captured", "declined", "pending"] {
            let said = said(json!({"order_id": other, "status": status}));
            assert!(matches!(said, Err(VerifyError::OtherOrder)), "{status}");
        }
        let amount = said(json!({"amount": 44.97}));
        assert!(matches!(amount, Err(VerifyError::OtherAmount { captured: Money(4_497) })));
        assert!(matches!(said(json!({"currency": "USD"})), Err(VerifyError::OtherCurrency)));
    }

    #[test]
    fn a_response_that_cannot_be_read_is_unexpected() {
        for change in [
            json!({"payment_id": null}),
            json!({"order_id": null}),
            json!({"order_id": "17"}),
            json!({"amount": null}),
            json!({"amount": "44.98"}),
            json!({"amount": -44.98}),
            json!({"amount": 44.981}),
            json!({"currency": null}),
            json!({"currency": 978}),
        ] {
            assert!(unexpected(&said(change.clone())), "{change}");
        }
        for body in ["", "{", "null", "[]", "<html>", "\u{0}"] {
            assert!(unexpected(&read(body.as_bytes(), &claim("p1"))), "{body:?}");
        }
        assert!(unexpected(&read(b"{\"payment_id\":\"\xff\"}", &claim("p1"))));
    }

    #[test]
    fn a_list_of_the_fields_is_an_unexpected_response() {
        let list = json!(["p1", ORDER, "captured", 44.98, "EUR", null]);
        assert!(unexpected(&read(list.to_string().as_bytes(), &claim("p1"))));
    }

    #[test]
    fn a_reason_is_cut_and_cleaned() {
        let said = said(json!({"status": "declined", "reason": format!("  a\u{0}b\n{}", "ä".repeat(1_000))})).unwrap();
        let Verdict::Declined(reason) = said else { panic!("{said:?}") };
        assert!(reason.as_str().starts_with("ab ä"));
        assert_eq!(reason.as_str().chars().count(), 500);
    }

    #[test]
    fn marks_that_a_reason_must_not_have_are_dropped_and_the_rest_is_kept() {
        let said = |reason: &str| match said(json!({"status": "declined", "reason": reason})).unwrap() {
            Verdict::Declined(reason) => reason.as_str().to_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(said("Karte \u{2068}Visa 42\u{2069} abgelehnt"), "Karte Visa 42 abgelehnt");
        assert_eq!(said("\u{feff}\u{200b}"), "the provider declined the payment");
    }
}
