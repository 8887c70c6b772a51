//! Exact money: an integer of minor units inside, a JSON number with decimals on the wire, and no float in between.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::decimal::{Decimal, NoWholeUnits};
use super::max_price;

/// The largest amount that is read or totalled: 10¹⁵ minor units.
///
/// At up to 15 significant digits a decimal survives even a reader that keeps JSON numbers as doubles, so what is
/// written with [`Currency::to_json`] is exact for every client.
const MAX_MINOR_UNITS: u64 = 1_000_000_000_000_000;

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

/// The schema of the wire form.
#[cfg(test)]
impl schemars::JsonSchema for Money {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Money".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "number",
            "minimum": 0,
            "description": "In major units of the deployment's currency, with at most as many decimals as it has."
        })
    }
}

/// An amount that was rejected. The text can be shown to clients.
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

/// A code that is not the code of a currency with minor units.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the ISO 4217 code of a currency with minor units, such as EUR")]
pub struct UnknownCurrency(String);

/// A currency: reads and writes amounts with its number of decimals, and says how much one piece may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Currency {
    code: &'static str,
    exponent: u32,
    max_price: Money,
}

impl FromStr for Currency {
    type Err = UnknownCurrency;

    /// Reads an ISO 4217 code in capital letters. A code without minor units (gold, test codes) is rejected.
    fn from_str(code: &str) -> Result<Self, UnknownCurrency> {
        let unknown = || UnknownCurrency(code.chars().take(16).collect());
        let known = iso_currency::Currency::from_code(code).ok_or_else(unknown)?;
        let (code, exponent) = (known.code(), u32::from(known.exponent().ok_or_else(unknown)?));
        Ok(Self { code, exponent, max_price: Money(max_price::default(code, exponent)) })
    }
}

impl Currency {
    /// The ISO 4217 code.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// Whether this is its code, in either case: some providers write `eur`.
    pub fn is(&self, code: &str) -> bool {
        self.code.eq_ignore_ascii_case(code)
    }

    /// How many decimals an amount has: 2 for EUR, 0 for JPY, 3 for KWD.
    pub fn exponent(&self) -> u32 {
        self.exponent
    }

    /// The highest price of one piece.
    pub fn max_price(&self) -> Money {
        self.max_price
    }

    /// With another highest price than the currency's default: an amount of it; nothing, or 0, for the default.
    ///
    /// # Errors
    /// As [`Currency::parse`].
    pub fn with_max_price(self, setting: &str) -> Result<Self, MoneyError> {
        let set = if setting.is_empty() { Money::ZERO } else { self.parse(setting)? };
        let max_price = if set == Money::ZERO { Money(max_price::default(self.code, self.exponent)) } else { set };
        Ok(Self { max_price, ..self })
    }

    /// Reads an amount of money from the text of a JSON number, exactly.
    ///
    /// The value counts, not the spelling: `20`, `20.00`, `20.000` and `2e1` are the same amount; `19.999` is rejected in
    /// a currency of two decimals. A minus sign is rejected, even before a zero.
    ///
    /// # Errors
    /// [`MoneyError`], whose text says what the amount must be; the caller adds the field's path.
    pub fn parse(&self, text: &str) -> Result<Money, MoneyError> {
        let number = Decimal::read(text).ok_or(MoneyError::NotANumber)?;
        if number.negative {
            return Err(MoneyError::Negative);
        }
        let too_large = || MoneyError::TooLarge(self.to_json(Money::MAX));
        let amount = number.in_units(self.exponent).map_err(|why| match why {
            NoWholeUnits::TooFine => MoneyError::TooFine { code: self.code, exponent: self.exponent },
            NoWholeUnits::TooLarge => too_large(),
        })?;
        Some(Money(amount)).filter(|amount| *amount <= Money::MAX).ok_or_else(too_large)
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

    /// Writes a sum of amounts, which may be of any size and below zero, as text with all decimals that the currency has:
    /// `20.00`, `-0.50`; of a currency without them `20`.
    pub fn to_decimal(&self, minor_units: i128) -> String {
        let (sign, amount) = (if minor_units < 0 { "-" } else { "" }, minor_units.unsigned_abs());
        let (whole, fraction) = (amount / u128::from(self.minor_units()), amount % u128::from(self.minor_units()));
        match self.exponent as usize {
            0 => format!("{sign}{whole}"),
            width => format!("{sign}{whole}.{fraction:0width$}"),
        }
    }

    fn minor_units(&self) -> u64 {
        10_u64.pow(self.exponent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::harness::properties;
    use proptest::prelude::*;

    fn currency(code: &str) -> Currency {
        code.parse().unwrap()
    }

    fn euros(text: &str) -> Result<u64, MoneyError> {
        currency("EUR").parse(text).map(|amount| amount.0)
    }

    #[test]
    fn an_amount_is_read_by_its_value_and_not_its_spelling() {
        for text in ["20", "20.0", "20.00", "20.000000", "2e1", "2E+1", "200e-1", "0.2e2", "2000.000e-2"] {
            assert_eq!(euros(text), Ok(2_000), "{text}");
        }
        for text in ["0", "0.0", "0.000", "0e9", "0.0e-9", "0e99999999999999999999", "0e-99999999999999999999"] {
            assert_eq!(euros(text), Ok(0), "{text}");
        }
        assert_eq!(euros("19.99"), Ok(1_999));
        assert_eq!(euros("0.07"), Ok(7));
        assert_eq!(euros("7e-2"), Ok(7));
    }

    #[test]
    fn a_tenth_and_two_tenths_make_three_tenths() {
        let sum = currency("EUR").parse("0.1").unwrap().checked_add(currency("EUR").parse("0.2").unwrap()).unwrap();
        assert_eq!(sum, Money(30));
        assert_eq!(currency("EUR").to_json(sum).to_string(), "0.3");
    }

    #[test]
    fn a_currency_is_known_by_its_code_in_capitals_or_not() {
        for (code, is) in [("EUR", true), ("eur", true), ("Eur", true), ("USD", false), ("", false), ("EUR ", false)] {
            assert_eq!(currency("EUR").is(code), is, "{code:?}");
        }
    }

    #[test]
    fn the_currency_says_how_many_decimals_there_are() {
        let too_fine = |code, exponent| Err(MoneyError::TooFine { code, exponent });
        assert_eq!(currency("JPY").parse("500"), Ok(Money(500)));
        assert_eq!(currency("JPY").parse("500.0"), Ok(Money(500)));
        assert_eq!(currency("JPY").parse("500.5"), too_fine("JPY", 0));
        assert_eq!(currency("KWD").parse("1.234"), Ok(Money(1_234)));
        assert_eq!(currency("KWD").parse("1.2345"), too_fine("KWD", 3));
        for text in ["19.999", "1e-3", "1e-400", "0.001", "1e-99999999999999999999"] {
            assert_eq!(currency("EUR").parse(text), too_fine("EUR", 2), "{text}");
        }
        assert_eq!(
            currency("EUR").parse("19.999").unwrap_err().to_string(),
            "must have at most 2 decimals, as EUR has"
        );
    }

    #[test]
    fn a_negative_amount_is_rejected() {
        for text in ["-1", "-0.01", "-1e300", "-0", "-0.0"] {
            assert_eq!(euros(text), Err(MoneyError::Negative), "{text}");
        }
    }

    #[test]
    fn an_amount_beyond_what_is_exact_everywhere_is_rejected() {
        assert_eq!(euros("10000000000000"), Ok(Money::MAX.0));
        let nines = "9".repeat(60_000);
        for text in ["10000000000000.01", "1e14", "1e300", "1e99999999999999999999", "99999999999999999999", &nines] {
            assert!(matches!(euros(text), Err(MoneyError::TooLarge(_))), "{text}");
        }
        assert_eq!(euros("1e300").unwrap_err().to_string(), "must not be above 10000000000000");
    }

    #[test]
    fn what_is_no_json_number_is_rejected() {
        for text in [
            "",
            " ",
            " 1",
            "1 ",
            "+1",
            ".5",
            "5.",
            "01",
            "00",
            "1.e2",
            "1e",
            "1e+",
            "e2",
            "1e2e3",
            "1.2.3",
            "--1",
            "-",
            "NaN",
            "Infinity",
            "null",
            "\"19.99\"",
            "0x10",
            "1_000",
            "1,5",
            "١",
            "1e1.5",
            "1.+5",
            "1.-5",
            "true",
            "[1]",
        ] {
            assert_eq!(euros(text), Err(MoneyError::NotANumber), "{text:?}");
        }
    }

    #[test]
    fn an_amount_is_written_without_needless_decimals() {
        for (code, amount, text) in [
            ("EUR", 0, "0"),
            ("EUR", 1, "0.01"),
            ("EUR", 10, "0.1"),
            ("EUR", 2_000, "20"),
            ("EUR", 1_999, "19.99"),
            ("EUR", 99_999_999_999_999, "999999999999.99"),
            ("JPY", 500, "500"),
            ("KWD", 1, "0.001"),
            ("KWD", 999_999_999_999_999, "999999999999.999"),
            ("CLF", 1, "0.0001"),
        ] {
            assert_eq!(currency(code).to_json(Money(amount)).to_string(), text);
        }
    }

    #[test]
    fn a_sum_is_written_with_all_decimals_whatever_its_size_and_sign() {
        for (code, sum, text) in [
            ("EUR", 0, "0.00"),
            ("EUR", 2_000, "20.00"),
            ("EUR", -50, "-0.50"),
            ("EUR", -1, "-0.01"),
            ("JPY", -500, "-500"),
            ("KWD", 1, "0.001"),
            ("CLF", 10_001, "1.0001"),
            ("EUR", i128::MAX, "1701411834604692317316873037158841057.27"),
            ("EUR", i128::MIN, "-1701411834604692317316873037158841057.28"),
        ] {
            assert_eq!(currency(code).to_decimal(sum), text);
        }
    }

    #[test]
    fn every_amount_is_read_as_it_was_written() {
        let amounts = prop_oneof![0..=Money::MAX.0, 0..100_000_u64, (Money::MAX.0 - 100_000)..=Money::MAX.0];
        let codes = prop::sample::select(vec!["JPY", "EUR", "KWD", "CLF"]);
        properties(2_000, &(codes, amounts), |(code, amount)| {
            let currency = currency(code);
            let text = serde_json::to_string(&currency.to_json(Money(amount))).unwrap();
            prop_assert_eq!(currency.parse(&text), Ok(Money(amount)), "{}", text);
            // By another way: digits, with a point where the currency has it.
            let digits = format!("{amount:0width$}", width = currency.exponent() as usize + 1);
            let (whole, fraction) = digits.split_at(digits.len() - currency.exponent() as usize);
            let plain = format!("{whole}.{fraction}");
            prop_assert_eq!(text, plain.trim_end_matches('0').trim_end_matches('.'));
            Ok(())
        });
    }

    #[test]
    fn no_text_breaks_the_reader() {
        properties(2_000, &"[-+0-9.eE \"a٣]{0,24}", |text| {
            let is_number = serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|value| value.is_number());
            // A number too large for a double is an error of the other reader's, not of the grammar.
            let read = currency("EUR").parse(&text);
            if is_number && text.trim() == text {
                prop_assert_ne!(read, Err(MoneyError::NotANumber));
            } else if read.is_ok() {
                prop_assert!(text.contains(['e', 'E']), "{:?} is no JSON number", text);
            }
            Ok(())
        });
    }

    #[test]
    fn sums_and_products_stop_at_the_largest_amount() {
        assert_eq!(Money::MAX.checked_add(Money(1)), None);
        assert_eq!(Money(u64::MAX).checked_add(Money(1)), None);
        assert_eq!(Money(Money::MAX.0 - 1).checked_add(Money(1)), Some(Money::MAX));
        assert_eq!(Money(u64::MAX / 2).checked_mul(3), None);
        assert_eq!(Money(Money::MAX.0 / 2 + 1).checked_mul(2), None);
        assert_eq!(Money(100_000_000).checked_mul(10_000), Some(Money(1_000_000_000_000)));
    }

    #[test]
    fn only_the_code_of_a_currency_with_minor_units_is_a_currency() {
        for code in ["", "eur", "EURO", "XXX", "XAU", "XTS", "ZZZ", "€", " EUR", &"E".repeat(1_000)] {
            let error = code.parse::<Currency>().unwrap_err();
            assert!(error.to_string().len() < 100, "{error}");
        }
        assert_eq!((currency("EUR").code(), currency("EUR").exponent()), ("EUR", 2));
    }
}
