//! The highest price of one item: a guard against typing errors, in the deployment's currency.

/// The default highest price, in major units of a currency whose unit is worth a tenth of a euro or
/// more.
const DEFAULT_MAJOR_UNITS: u64 = 1_000_000;

/// By how many more powers of ten it is higher where a unit is worth less, by the order of magnitude that it had in
/// 2026: at 0.01–0.1 euros by one, at 0.001–0.01 by two, and so on. A deployment may set another.
const SMALL_UNITS: [(u32, &[&str]); 5] = [
    (
        1,
        &[
            "AFN", "BTN", "BWP", "CZK", "DOP", "EGP", "ERN", "GMD", "HNL", "INR", "KGS", "LSL", "MDL", "MKD", "MRU",
            "MUR", "MVR", "MXN", "MZN", "NAD", "NIO", "NOK", "PHP", "RUB", "SCR", "SEK", "SLE", "SRD", "STN", "SZL",
            "THB", "TJS", "TRY", "TWD", "UAH", "UYU", "ZAR", "ZMW",
        ],
    ),
    (
        2,
        &[
            "ALL", "AMD", "BDT", "CRC", "CVE", "DJF", "DZD", "ETB", "GYD", "HTG", "HUF", "ISK", "JMD", "JPY", "KES",
            "KMF", "KZT", "LKR", "LRD", "NPR", "PKR", "RSD", "SDG", "SOS", "VES", "VUV", "XAF", "XOF", "XPF", "YER",
        ],
    ),
    (
        3,
        &[
            "AOA", "ARS", "BIF", "CDF", "CLP", "COP", "IQD", "KHR", "KRW", "MGA", "MMK", "MNT", "MWK", "NGN", "PYG",
            "RWF", "SSP", "TZS", "UGX",
        ],
    ),
    (4, &["GNF", "IDR", "LAK", "SYP", "UZS", "VND"]),
    (5, &["IRR", "LBP"]),
];

/// The default highest price in minor units: 1,000,000 major units, and more where a unit is worth less.
pub(super) fn default(code: &str, exponent: u32) -> u64 {
    let small = SMALL_UNITS.iter().find(|(_, codes)| codes.contains(&code));
    DEFAULT_MAJOR_UNITS * 10_u64.pow(small.map_or(0, |(power, _)| *power)) * 10_u64.pow(exponent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Currency, Money};

    fn currency(code: &str) -> Currency {
        code.parse().unwrap()
    }

    fn default_of(code: &str) -> String {
        currency(code).to_json(currency(code).max_price()).to_string()
    }

    #[test]
    fn the_less_a_unit_is_worth_the_higher_a_price_may_be() {
        for (code, major) in [
            ("EUR", "1000000"),
            ("USD", "1000000"),
            ("KWD", "1000000"),
            ("CLF", "1000000"),
            ("INR", "10000000"),
            ("JPY", "100000000"),
            ("KRW", "1000000000"),
            ("VND", "10000000000"),
            ("IDR", "10000000000"),
            ("IRR", "100000000000"),
        ] {
            assert_eq!(default_of(code), major, "{code}");
        }
    }

    #[test]
    fn every_code_of_the_table_is_a_currency_and_there_once_and_its_price_is_an_amount() {
        let mut codes: Vec<_> = SMALL_UNITS.iter().flat_map(|(_, codes)| *codes).collect();
        for code in &codes {
            assert!(currency(code).max_price() <= Money::MAX, "{code}");
        }
        let all = codes.len();
        codes.sort();
        codes.dedup();
        assert_eq!(codes.len(), all);
    }

    #[test]
    fn a_deployment_may_set_another_in_major_units() {
        let set = |code: &str, setting: &str| {
            let capped = currency(code).with_max_price(setting);
            capped.map(|currency| currency.max_price()).map_err(|error| error.to_string())
        };
        assert_eq!(set("EUR", "99.50"), Ok(Money(9_950)));
        assert_eq!(set("IDR", "2e12"), Ok(Money(200_000_000_000_000)));
        for default in ["", "0", "0.00"] {
            assert_eq!(set("JPY", default), Ok(Money(100_000_000)));
        }
        assert_eq!(set("EUR", "-1"), Err("must not be negative".into()));
        assert_eq!(set("JPY", "0.5"), Err("must have at most 0 decimals, as JPY has".into()));
        assert_eq!(set("EUR", "10000000000000.01"), Err("must not be above 10000000000000".into()));
        for wrong in ["1,000", "a lot", " 1", "1 EUR"] {
            assert_eq!(set("EUR", wrong), Err("must be a JSON number".into()), "{wrong}");
        }
    }
}
