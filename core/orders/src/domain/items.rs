//! The items of an order, within their limits.

use std::fmt;

use serde::Serialize;

use super::decimal::{Decimal, NoWholeUnits};
use super::event::Item;
use super::ids::ProductId;
use super::money::{Currency, Money, MoneyError};

/// How many lines an order may have.
const MAX_ITEMS: usize = 100;
/// The highest quantity of a line.
const MAX_QUANTITY: u32 = 10_000;

/// A line of an order as a client sent it.
#[derive(Clone, Copy, Debug)]
pub struct ItemDraft<'a> {
    /// What.
    pub product_id: ProductId,
    /// How many: the text of a JSON number.
    pub quantity: &'a str,
    /// The price of one: the text of a JSON number.
    pub price: &'a str,
}

/// 1–100 lines, each with a quantity of 1–10,000 and a price of at most [`Currency::max_price`], and their total.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Items {
    items: Vec<Item>,
    #[serde(skip)]
    total: Money,
}

impl Items {
    /// Reads the lines of an order.
    ///
    /// # Errors
    /// Every field that breaks a limit, with its path from the top of the request body.
    pub fn parse(drafts: &[ItemDraft<'_>], currency: &Currency) -> Result<Self, InvalidItems> {
        if !(1..=MAX_ITEMS).contains(&drafts.len()) {
            return Err(InvalidItems::one("items".to_owned(), format!("must be 1-{MAX_ITEMS} items")));
        }
        let mut invalid = Vec::new();
        let mut items = Vec::with_capacity(drafts.len());
        for (index, draft) in drafts.iter().enumerate() {
            let mut invalid_field = |name: &str, detail| {
                invalid.push(InvalidField { path: format!("items[{index}].{name}"), detail });
            };
            let quantity = parse_quantity(draft.quantity).map_err(|detail| invalid_field("quantity", detail));
            let price = parse_price(draft.price, currency).map_err(|detail| invalid_field("price", detail));
            if let (Ok(quantity), Ok(price)) = (quantity, price) {
                items.push(Item { product_id: draft.product_id, quantity, price });
            }
        }
        if !invalid.is_empty() {
            return Err(InvalidItems { fields: invalid });
        }
        let total = items.iter().try_fold(Money::ZERO, |sum, item| {
            item.price.checked_mul(item.quantity).and_then(|price| sum.checked_add(price))
        });
        match total {
            Some(total) => Ok(Self { items, total }),
            None => {
                let detail = format!("must not cost more than {} in total", currency.to_json(Money::MAX));
                Err(InvalidItems::one("items".to_owned(), detail))
            }
        }
    }

    /// The lines.
    pub fn as_slice(&self) -> &[Item] {
        &self.items
    }

    /// Σ price × quantity. May be zero: [`super::create`] decides whether that is an order.
    pub fn total(&self) -> Money {
        self.total
    }
}

/// The value counts, not the spelling: `2`, `2.0` and `2e0` are one number, as in JSON Schema.
fn parse_quantity(text: &str) -> Result<u32, String> {
    let number = Decimal::read(text).ok_or("must be a whole number")?;
    let pieces = match number.in_units(0) {
        Ok(pieces) if !number.negative => u32::try_from(pieces).ok(),
        Err(NoWholeUnits::TooFine) => return Err("must be a whole number".to_owned()),
        Ok(_) | Err(NoWholeUnits::TooLarge) => None,
    };
    let pieces = pieces.filter(|pieces| (1..=MAX_QUANTITY).contains(pieces));
    pieces.ok_or_else(|| format!("must be 1-{MAX_QUANTITY}"))
}

fn parse_price(text: &str, currency: &Currency) -> Result<Money, String> {
    let max_price = currency.max_price();
    let too_high = || format!("must not be above {}", currency.to_json(max_price));
    match currency.parse(text) {
        Ok(price) if price <= max_price => Ok(price),
        Ok(_) | Err(MoneyError::TooLarge(_)) => Err(too_high()),
        Err(error) => Err(error.to_string()),
    }
}

/// A field that breaks a limit. Both texts can be shown to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidField {
    /// Where it is in the request body: `items[3].quantity`.
    pub path: String,
    /// What it must be.
    pub detail: String,
}

/// Items that cannot be ordered: the client corrects these fields.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct InvalidItems {
    /// The fields, never empty.
    pub fields: Vec<InvalidField>,
}

impl InvalidItems {
    fn one(path: String, detail: String) -> Self {
        Self { fields: vec![InvalidField { path, detail }] }
    }
}

impl fmt::Display for InvalidItems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, field) in self.fields.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{} {}", field.path, field.detail)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::harness;

    fn draft<'a>(quantity: &'a str, price: &'a str) -> ItemDraft<'a> {
        ItemDraft { product_id: harness::items()[0].product_id, quantity, price }
    }

    fn parse(code: &str, drafts: &[ItemDraft<'_>]) -> Result<Items, InvalidItems> {
        Items::parse(drafts, &code.parse().unwrap())
    }

    /// The paths that are rejected.
    fn rejected(code: &str, drafts: &[ItemDraft<'_>]) -> Vec<String> {
        parse(code, drafts).unwrap_err().fields.into_iter().map(|field| field.path).collect()
    }

    #[test]
    fn the_total_is_the_exact_sum_of_price_times_quantity() {
        let items =
            parse("EUR", &[draft("1", "0.1"), draft("1", "0.2"), draft("3", "19.99"), draft("2", "0")]).unwrap();
        assert_eq!(items.total(), Money(10 + 20 + 3 * 1_999));
        assert_eq!(items.as_slice().len(), 4);
        assert_eq!(items.as_slice()[2].quantity, 3);
    }

    #[test]
    fn an_order_has_1_to_100_items() {
        assert_eq!(rejected("EUR", &[]), ["items"]);
        assert_eq!(rejected("EUR", &[draft("1", "1"); 101]), ["items"]);
        assert_eq!(parse("EUR", &[draft("1", "1"); 100]).unwrap().total(), Money(10_000));
    }

    #[test]
    fn a_quantity_is_1_to_10000() {
        for quantity in
            ["0", "-1", "-0", "10001", "1e4.", "1099511627776", "4294967297", "1.5", "1e400", "1e-400", "\"1\""]
        {
            assert_eq!(rejected("EUR", &[draft("1", "1"), draft(quantity, "1")]), ["items[1].quantity"], "{quantity}");
        }
        for quantity in ["10000", "10000.0", "1e4", "100000e-1"] {
            assert_eq!(parse("EUR", &[draft(quantity, "1")]).unwrap().as_slice()[0].quantity, 10_000, "{quantity}");
        }
        let told = |quantity| parse("EUR", &[draft(quantity, "1")]).unwrap_err().to_string();
        assert_eq!(told("1.5"), "items[0].quantity must be a whole number");
        assert_eq!(told("1e400"), "items[0].quantity must be 1-10000");
    }

    #[test]
    fn a_price_is_0_to_a_million_or_what_that_is_in_smaller_units() {
        for price in ["-1", "19.999", "1e300", "NaN", "1000000.01", "\"1\"", ""] {
            assert_eq!(rejected("EUR", &[draft("1", "1"), draft("1", price)]), ["items[1].price"], "{price}");
        }
        assert!(parse("EUR", &[draft("1", "1000000.00"), draft("1", "0")]).is_ok());
        assert!(parse("JPY", &[draft("1", "100000000")]).is_ok());
        assert!(parse("IDR", &[draft("1", "10000000000")]).is_ok());
        assert_eq!(rejected("JPY", &[draft("1", "100000001")]), ["items[0].price"]);
        assert_eq!(rejected("JPY", &[draft("1", "0.5")]), ["items[0].price"]);
    }

    #[test]
    fn a_price_that_is_too_high_is_told_the_limit_that_holds() {
        let euros: Currency = "EUR".parse().unwrap();
        for (currency, limit) in [
            (euros, "1000000"),
            ("IDR".parse().unwrap(), "10000000000"),
            (euros.with_max_price("99.50").unwrap(), "99.5"),
            (euros.with_max_price("1e13").unwrap(), "10000000000000"),
        ] {
            for price in ["1e14", "1e400", "10000000000000.01", "99999999999999999999"] {
                let told = Items::parse(&[draft("1", price)], &currency).unwrap_err().to_string();
                assert_eq!(told, format!("items[0].price must not be above {limit}"), "{price}");
            }
        }
    }

    #[test]
    fn every_field_that_breaks_a_limit_is_named() {
        let error = parse("EUR", &[draft("0", "1.005"), draft("1", "1"), draft("1", "2000000")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "items[0].quantity must be 1-10000; items[0].price must have at most 2 decimals, as EUR has; \
             items[2].price must not be above 1000000"
        );
    }

    #[test]
    fn the_largest_order_fits_and_a_sum_beyond_it_is_rejected() {
        let largest = [draft("10000", "1000000"); 100];
        assert_eq!(parse("EUR", &largest).unwrap().total(), Money(100_000_000_000_000));
        assert_eq!(parse("KWD", &largest).unwrap().total(), Money::MAX);
        assert!(parse("CLF", &largest[..10]).is_ok());
        assert_eq!(rejected("CLF", &largest[..11]), ["items"]);
    }
}
