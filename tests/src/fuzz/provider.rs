//! Responses of the payment provider.

use orders_core::domain::Money;
use orders_core::payments::{Claim, Verdict, VerifyError, read_response};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::decimal::units;

const ORDER: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";

/// A response is a decline only if it is written as one, and a capture only of exactly what was claimed.
pub fn check(input: &[u8]) {
    #[derive(Deserialize)]
    struct Said {
        payment_id: String,
        order_id: String,
        status: String,
        amount: Option<Box<RawValue>>,
        currency: Option<Box<RawValue>>,
    }
    let claim = Claim {
        payment_id: "p1".parse().expect("an id"),
        order_id: ORDER.parse().expect("an id"),
        amount: Money(4_498),
        currency: "EUR".parse().expect("a currency"),
    };
    let verdict = read_response(input, &claim);
    // An array passes for a struct with serde, and not here.
    let object = input.trim_ascii_start().starts_with(b"{");
    let said = serde_json::from_slice::<Said>(input).ok().filter(|_| object);
    let Some(said) = said else {
        assert!(matches!(verdict, Err(VerifyError::UnexpectedResponse(_))), "{verdict:?}");
        return;
    };
    let is_claimed = said.amount.as_ref().and_then(|amount| units(amount.get(), 2)) == Some(4_498)
        && said.currency.as_ref().is_some_and(|currency| currency.get() == "\"EUR\"");
    let about_it = said.payment_id == "p1" && said.order_id.parse() == Ok(claim.order_id);
    if about_it && is_claimed && said.status == "captured" {
        assert!(matches!(verdict, Ok(Verdict::Captured)), "{verdict:?}");
    }
    match &verdict {
        Ok(Verdict::Declined(_)) => assert!(about_it && said.status == "declined", "{verdict:?}"),
        Ok(Verdict::Pending) => assert!(about_it && said.status == "pending", "{verdict:?}"),
        Ok(Verdict::Captured) => {
            let amount = said.amount.and_then(|amount| units(amount.get(), 2));
            let currency = said.currency.map(|currency| currency.get().to_ascii_uppercase());
            assert!(about_it && said.status == "captured", "{verdict:?}");
            assert_eq!(amount, Some(4_498));
            assert!(currency.is_some_and(|currency| currency.contains("EUR") || currency.contains('\\')));
        }
        Err(VerifyError::OtherAmount { captured }) => {
            assert_eq!(said.amount.and_then(|amount| units(amount.get(), 2)), Some(u128::from(captured.0)));
        }
        Err(_) => {}
    }
}
