//! Whole numbers of JSON: `5.0` is the number 5, as JSON Schema says.
//!
//! Languages with one kind of number write either. Not here: numbers of frames that only the broker and the
//! SDKs write; those are written as integers.
//!
//! ```
//! #[derive(serde::Deserialize)]
//! struct Wait {
//!     #[serde(deserialize_with = "trunkline_contract::whole::read")]
//!     ms: u64,
//! }
//! let wait: Wait = serde_json::from_str(r#"{"ms": 5.0}"#).unwrap();
//! assert_eq!(wait.ms, 5);
//! assert!(serde_json::from_str::<Wait>(r#"{"ms": 5.5}"#).is_err());
//! ```

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde_json::Number;

/// The largest number that every language writes and reads exactly.
pub const WHOLE_MAX: u64 = (1 << 53) - 1;

/// The first number after those of 64 bits.
const END: f64 = 18_446_744_073_709_551_616.0;

/// Reads a number of 64 bits.
///
/// # Errors
/// When it is negative, has a fraction, or is larger.
pub fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Ok(Whole::deserialize(deserializer)?.0)
}

/// Reads a number of 64 bits that may be `null`.
///
/// # Errors
/// As [`read`].
pub fn read_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let whole = Option::<Whole>::deserialize(deserializer)?;
    Ok(whole.map(|whole| whole.0))
}

/// Gives a number as one of 32 bits with a sign, if it is whole and fits.
pub fn of_i32(number: &Number) -> Option<i32> {
    if let Some(number) = number.as_i64() {
        return i32::try_from(number).ok();
    }
    let number = number.as_f64()?;
    let fits = (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number);
    (fits && number.fract() == 0.0).then_some(number as i32)
}

struct Whole(u64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WholeVisitor;
        impl Visitor<'_> for WholeVisitor {
            type Value = Whole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number of 64 bits, 0 or more")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Whole, E> {
                Ok(Whole(number))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Whole, E> {
                let whole = u64::try_from(number);
                whole
                    .map(Whole)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(number), &self))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Whole, E> {
                if (0.0..END).contains(&number) && number.fract() == 0.0 {
                    return Ok(Whole(number as u64));
                }
                Err(E::invalid_value(
                    serde::de::Unexpected::Float(number),
                    &self,
                ))
            }
        }
        deserializer.deserialize_u64(WholeVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<u64> {
        let whole = serde_json::from_str::<Whole>(text);
        whole.ok().map(|whole| whole.0)
    }

    #[test]
    fn a_number_without_a_fraction_is_whole_however_it_is_written() {
        for (text, number) in [
            ("0", 0),
            ("-0.0", 0),
            ("5.0", 5),
            ("1e3", 1000),
            ("18446744073709551615", u64::MAX),
            ("18446744073709549568.0", 18_446_744_073_709_549_568),
        ] {
            assert_eq!(read(text), Some(number), "{text}");
        }
        for text in [
            "-1",
            "-1.0",
            "0.5",
            "1e300",
            "18446744073709551616",
            "\"5\"",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_number_of_32_bits_is_whole_and_fits() {
        for (text, number) in [
            ("-2147483648", Some(i32::MIN)),
            ("2147483647.0", Some(i32::MAX)),
            ("-0.0", Some(0)),
            ("2147483648", None),
            ("2147483648.0", None),
            ("1.5", None),
        ] {
            let parsed: Number = serde_json::from_str(text).unwrap();
            assert_eq!(of_i32(&parsed), number, "{text}");
        }
    }
}
