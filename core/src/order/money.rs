//! Exact money: an integer of minor units inside, a JSON number with decimals on the wire, and no float in between.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The largest amount that is read or totalled: 10¹⁵ minor units.
///
/// At up to 15 significant digits a decimal survives even a reader that keeps JSON numbers as doubles, so what is
/// written with [`Currency::to_json`] is exact for every client.
const MAX_MINOR_UNITS: u64 = 1_000_000_000_000_000;

/// The highest price of one piece, in major units.
const MAX_PRICE_MAJOR_UNITS: u64 = 1_000_000;

/// An exact amount in minor units (cents, yen, …) of the deployment's currency. Never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Money(pub u64);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount that a sum or a product may reach.
    pub const MAX: Self = Self(MAX_MINOR_UNITS);

    /// The sum, or `None` above [`Money::MAX`].
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self).filter(|sum| *sum <= Self::MAX)
    }

    /// So many times this amount, or `None` above [`Money::MAX`].
    #[must_use]
    pub fn checked_mul(self, times: u32) -> Option<Self> {
        self.0.checked_mul(u64::from(times)).map(Self).filter(|product| *product <= Self::MAX)
    }
}

/// An amount that was refused. The text is fit for a client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not a JSON number: a text, `NaN`, `+1`, `.5`, ….
    #[error("must be a JSON number")]
    NotANumber,
    /// Below zero, or written with a minus sign.
    #[error("must not be negative")]
    Negative,
    /// Finer than the currency's minor unit.
    #[error("must have at most {exponent} decimals, as {code} has")]
    TooFine {
        /// The currency.
        code: &'static str,
        /// Its decimals.
        exponent: u32,
    },
    /// Above what the service handles.
    #[error("must not be above {0}")]
    TooLarge(serde_json::Number),
}

/// A code that names no currency with minor units.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the ISO 4217 code of a currency in use, such as EUR")]
pub struct UnknownCurrency(String);

/// A currency: reads and writes amounts with its number of decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Currency {
    code: &'static str,
    exponent: u32,
}

impl FromStr for Currency {
    type Err = UnknownCurrency;

    /// Reads an ISO 4217 code in capital letters. A code without minor units (gold, test codes) is refused.
    fn from_str(code: &str) -> Result<Self, UnknownCurrency> {
        iso_currency::Currency::from_code(code)
            .and_then(|known| Some(Self { code: known.code(), exponent: u32::from(known.exponent()?) }))
            .ok_or_else(|| UnknownCurrency(code.chars().take(16).collect()))
    }
}

impl Currency {
    /// The ISO 4217 code.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// How many decimals an amount has: 2 for EUR, 0 for JPY, 3 for KWD.
    pub fn exponent(&self) -> u32 {
        self.exponent
    }

    /// The highest price of one piece: 1,000,000 major units.
    pub fn max_price(&self) -> Money {
        Money(MAX_PRICE_MAJOR_UNITS * self.minor_units())
    }

    /// Reads an amount of money from the text of a JSON number, exactly.
    ///
    /// What counts is the value and not the spelling: `20`, `20.00`, `20.000` and `2e1` are the same amount, `19.999`
    /// is none in a currency of two decimals. A minus sign is refused, even before a zero.
    ///
    /// # Errors
    /// [`MoneyError`], whose text says what the amount must be; the caller adds the field's path.
    pub fn parse(&self, text: &str) -> Result<Money, MoneyError> {
        let number = Decimal::read(text).ok_or(MoneyError::NotANumber)?;
        if number.negative {
            return Err(MoneyError::Negative);
        }
        if number.digits.is_empty() {
            return Ok(Money::ZERO);
        }
        let too_large = || MoneyError::TooLarge(self.to_json(Money::MAX));
        let power = number.power.saturating_add(i64::from(self.exponent));
        if power < 0 {
            return Err(MoneyError::TooFine { code: self.code, exponent: self.exponent });
        }
        let scale = u32::try_from(power).ok().and_then(|power| 10_u64.checked_pow(power)).ok_or_else(too_large)?;
        let amount = number.digits.parse::<u64>().ok().and_then(|digits| digits.checked_mul(scale));
        amount.map(Money).filter(|amount| *amount <= Money::MAX).ok_or_else(too_large)
    }

    /// Writes an amount as a JSON number: an integer where there is no fraction, else a decimal.
    ///
    /// Exact up to [`Money::MAX`]: a number of at most 15 digits is printed as it was read.
    pub fn to_json(&self, amount: Money) -> serde_json::Number {
        let (whole, fraction) = (amount.0 / self.minor_units(), amount.0 % self.minor_units());
        if fraction == 0 {
            return whole.into();
        }
        let text = format!("{whole}.{fraction:0width$}", width = self.exponent as usize);
        #[expect(clippy::expect_used, reason = "digits, a point and digits are a JSON number")]
        text.parse().expect("a decimal is a number")
    }

    fn minor_units(&self) -> u64 {
        10_u64.pow(self.exponent)
    }
}

/// A JSON number taken apart: (−) digits × 10^power, the digits without zeros at either end.
struct Decimal {
    negative: bool,
    digits: String,
    power: i64,
}

impl Decimal {
    /// Reads RFC 8259's `number`, and nothing else.
    fn read(text: &str) -> Option<Self> {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, read_exponent(exponent)?),
            None => (text, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((whole, fraction)) if all_digits(fraction) => (whole, fraction),
            Some(_) => return None,
            None => (mantissa, ""),
        };
        if !all_digits(whole) || (whole.len() > 1 && whole.starts_with('0')) {
            return None;
        }
        let all = format!("{whole}{fraction}");
        let digits = all.trim_end_matches('0');
        let power = exponent.saturating_add(length(&all) - length(digits) - length(fraction));
        Some(Self { negative, digits: digits.trim_start_matches('0').to_owned(), power })
    }
}

/// Reads what follows the `e`. One that does not fit is far outside every amount and saturates.
fn read_exponent(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if !all_digits(digits) {
        return None;
    }
    let size = digits.parse().unwrap_or(i64::MAX);
    Some(if negative { -size } else { size })
}

fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn length(text: &str) -> i64 {
    i64::try_from(text.len()).unwrap_or(i64::MAX)
}
