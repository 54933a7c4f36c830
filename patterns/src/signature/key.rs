//! Secrets, and what is made with them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::{Choice, ConstantTimeEq};
use trunkline_contract::webhook::{Algorithm, KeyForm};

use super::rule::{Secret, Written};

/// Tells why a secret is none. Its text does not hold the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretError {
    /// It has no bytes.
    Empty,
    /// It is not written as the scheme writes secrets.
    Malformed {
        /// What was expected.
        expected: &'static str,
    },
    /// There are none, or more than may be active at once.
    Count {
        /// How many there are.
        found: usize,
    },
    /// It only checks signatures.
    CannotSign,
    /// The declaration has no signature, and its scheme is generic.
    NoSignature,
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("expected a secret, found an empty text"),
            Self::Malformed { expected } => {
                write!(f, "expected {expected} as the secret, found something else")
            }
            Self::Count { found } => write!(
                f,
                "expected 1 to {} secrets, found {found}",
                trunkline_contract::limits::WEBHOOK_SECRETS_MAX
            ),
            Self::CannotSign => f.write_str("expected a private key, found a public one"),
            Self::NoSignature => f.write_str("expected a signature of the generic scheme"),
        }
    }
}

impl std::error::Error for SecretError {}

/// A secret, ready to check with.
#[derive(Clone)]
pub(super) enum Key {
    Shared(Vec<u8>),
    Public(Box<VerifyingKey>),
}

/// A secret, ready to sign with.
pub(super) enum PrivateKey {
    Shared(Vec<u8>),
    Pair(Box<SigningKey>),
}

impl Key {
    pub(super) fn read(
        text: &str,
        form: Secret,
        algorithm: Option<Algorithm>,
    ) -> Result<Self, SecretError> {
        if text.trim().is_empty() {
            return Err(SecretError::Empty);
        }
        if form == Secret::Standard {
            return Self::read_standard(text);
        }
        let Secret::Form(form) = form else {
            unreachable!("there are two kinds")
        };
        let bytes = bytes_of(text, form)?;
        match algorithm {
            Some(Algorithm::Ed25519) => public(&bytes),
            _ if bytes.is_empty() => Err(SecretError::Empty),
            _ => Ok(Self::Shared(bytes)),
        }
    }

    fn read_standard(text: &str) -> Result<Self, SecretError> {
        if let Some(rest) = text.strip_prefix("whpk_") {
            return public(&decode_base64(rest)?);
        }
        if text.starts_with("whsk_") {
            let PrivateKey::Pair(pair) = PrivateKey::read_standard(text)? else {
                unreachable!("whsk_ is a pair of keys")
            };
            return Ok(Self::Public(Box::new(pair.verifying_key())));
        }
        let PrivateKey::Shared(bytes) = PrivateKey::read_standard(text)? else {
            unreachable!("the other prefixes were looked at")
        };
        Ok(Self::Shared(bytes))
    }

    /// Says whether `signature` is of this key over `content`; its time tells nothing of where it differs.
    pub(super) fn made(&self, algorithm: Algorithm, content: &[u8], signature: &[u8]) -> Choice {
        match (self, algorithm) {
            (Self::Shared(key), Algorithm::Ed25519) => {
                debug_assert!(!key.is_empty());
                Choice::from(0)
            }
            (Self::Shared(key), _) => shared(key, algorithm, content).ct_eq(signature),
            (Self::Public(key), Algorithm::Ed25519) => {
                let checked = Signature::from_slice(signature)
                    .is_ok_and(|signature| key.verify_strict(content, &signature).is_ok());
                Choice::from(u8::from(checked))
            }
            (Self::Public(_), _) => Choice::from(0),
        }
    }
}

impl PrivateKey {
    pub(super) fn read(
        text: &str,
        form: Secret,
        algorithm: Option<Algorithm>,
    ) -> Result<Self, SecretError> {
        if text.trim().is_empty() {
            return Err(SecretError::Empty);
        }
        let form = match form {
            Secret::Standard => return Self::read_standard(text),
            Secret::Form(form) => form,
        };
        let bytes = bytes_of(text, form)?;
        if algorithm == Some(Algorithm::Ed25519) {
            return pair(&bytes);
        }
        Ok(Self::Shared(bytes))
    }

    fn read_standard(text: &str) -> Result<Self, SecretError> {
        if text.starts_with("whpk_") {
            return Err(SecretError::CannotSign);
        }
        if let Some(rest) = text.strip_prefix("whsk_") {
            return pair(&decode_base64(rest)?);
        }
        let bytes = decode_base64(text.strip_prefix("whsec_").unwrap_or(text))?;
        if bytes.is_empty() {
            return Err(SecretError::Empty);
        }
        Ok(Self::Shared(bytes))
    }

    pub(super) fn sign(&self, algorithm: Algorithm, content: &[u8]) -> Vec<u8> {
        match self {
            Self::Shared(key) => shared(key, algorithm, content),
            Self::Pair(pair) => pair.sign(content).to_bytes().to_vec(),
        }
    }

    pub(super) fn is_pair(&self) -> bool {
        matches!(self, Self::Pair(_))
    }
}

fn shared(key: &[u8], algorithm: Algorithm, content: &[u8]) -> Vec<u8> {
    fn mac<M: Mac + KeyInit>(key: &[u8], content: &[u8]) -> Vec<u8> {
        let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length");
        mac.update(content);
        mac.finalize().into_bytes().to_vec()
    }
    match algorithm {
        Algorithm::HmacSha1 => mac::<Hmac<Sha1>>(key, content),
        Algorithm::HmacSha512 => mac::<Hmac<Sha512>>(key, content),
        Algorithm::Token => key.to_vec(),
        Algorithm::HmacSha256 | Algorithm::Ed25519 => mac::<Hmac<Sha256>>(key, content),
    }
}

fn bytes_of(text: &str, form: KeyForm) -> Result<Vec<u8>, SecretError> {
    match form {
        KeyForm::Text => Ok(text.as_bytes().to_vec()),
        KeyForm::Base64 => decode_base64(text),
        KeyForm::Hex => hex(text.trim(), true).ok_or(SecretError::Malformed {
            expected: "hexadecimal digits",
        }),
    }
}

fn decode_base64(text: &str) -> Result<Vec<u8>, SecretError> {
    let text = text.trim().trim_end_matches('=');
    STANDARD_NO_PAD
        .decode(text)
        .map_err(|_| SecretError::Malformed { expected: "base64" })
}

fn public(bytes: &[u8]) -> Result<Key, SecretError> {
    let malformed = SecretError::Malformed {
        expected: "an Ed25519 public key of 32 bytes",
    };
    let bytes: &[u8; 32] = bytes.try_into().map_err(|_| malformed)?;
    let key = VerifyingKey::from_bytes(bytes).map_err(|_| malformed)?;
    // Signatures of a weak key prove nothing: anybody can make them.
    if key.is_weak() {
        return Err(malformed);
    }
    Ok(Key::Public(Box::new(key)))
}

fn pair(bytes: &[u8]) -> Result<PrivateKey, SecretError> {
    let malformed = SecretError::Malformed {
        expected: "an Ed25519 private key of 32 or 64 bytes",
    };
    let pair = match bytes.len() {
        32 => SigningKey::from_bytes(bytes.try_into().map_err(|_| malformed)?),
        64 => {
            let bytes = bytes.try_into().map_err(|_| malformed)?;
            SigningKey::from_keypair_bytes(bytes).map_err(|_| malformed)?
        }
        _ => return Err(malformed),
    };
    Ok(PrivateKey::Pair(Box::new(pair)))
}

/// Reads a signature as it is written.
pub(super) fn unwritten(text: &str, written: Written) -> Option<Vec<u8>> {
    match written {
        Written::Hex => hex(text, false),
        Written::AnyHex => hex(text, true),
        Written::Base64 => STANDARD.decode(text).ok(),
        Written::Raw => Some(text.as_bytes().to_vec()),
    }
}

/// Writes a signature.
pub(super) fn written(bytes: &[u8], written: Written) -> String {
    match written {
        Written::Hex | Written::AnyHex => to_hex(bytes),
        Written::Base64 => STANDARD.encode(bytes),
        Written::Raw => String::from_utf8_lossy(bytes).into_owned(),
    }
}

pub(super) fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .map(|digit| DIGITS[usize::from(digit)] as char)
        .collect()
}

fn hex(text: &str, any_size: bool) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' if any_size => Some(byte - b'A' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() || pairs.is_empty() {
        return None;
    }
    let bytes = pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    bytes.collect()
}
