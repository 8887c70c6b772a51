//! What is ordered, within its limits.

use std::fmt;

use serde::Serialize;

use super::event::Item;
use super::ids::ProductId;
use super::money::{Currency, Money};

/// How many lines an order may have.
const MAX_ITEMS: usize = 100;
/// How many pieces a line may be of.
const MAX_QUANTITY: u32 = 10_000;

/// A line of an order as a client sent it.
#[derive(Clone, Copy, Debug)]
pub struct ItemDraft<'a> {
    /// What.
    pub product_id: ProductId,
    /// How many.
    pub quantity: i64,
    /// For how much apiece: the text of a JSON number.
    pub price: &'a str,
}

/// 1–100 lines, each of 1–10,000 pieces at 0–1,000,000.00, and their total.
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
            let quantity = u32::try_from(draft.quantity).ok().filter(|quantity| (1..=MAX_QUANTITY).contains(quantity));
            if quantity.is_none() {
                let detail = format!("must be 1-{MAX_QUANTITY}");
                invalid.push(InvalidField { path: format!("items[{index}].quantity"), detail });
            }
            let price = parse_price(draft.price, currency)
                .map_err(|detail| invalid.push(InvalidField { path: format!("items[{index}].price"), detail }));
            if let (Some(quantity), Ok(price)) = (quantity, price) {
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
                let detail = format!("must not cost more than {} together", currency.to_json(Money::MAX));
                Err(InvalidItems::one("items".to_owned(), detail))
            }
        }
    }

    /// The lines.
    pub fn as_slice(&self) -> &[Item] {
        &self.items
    }

    /// Σ price × quantity. May be zero: whether that is an order is a rule of [`super::create`].
    pub fn total(&self) -> Money {
        self.total
    }
}

fn parse_price(text: &str, currency: &Currency) -> Result<Money, String> {
    let price = currency.parse(text).map_err(|error| error.to_string())?;
    if price > currency.max_price() {
        return Err(format!("must not be above {}", currency.to_json(currency.max_price())));
    }
    Ok(price)
}

/// A field that breaks a limit. Both texts are fit for a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidField {
    /// Where it is in the request body: `items[3].quantity`.
    pub path: String,
    /// What it must be.
    pub detail: String,
}

/// Items that cannot be ordered; the client mends the fields named.
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
