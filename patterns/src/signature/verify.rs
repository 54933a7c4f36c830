//! The verifier.

use sha2::{Digest, Sha256};
use subtle::Choice;
use trunkline_contract::limits;
use trunkline_contract::webhook::{EventId, Scheme, Signature, Webhook};

use super::challenge::{self, Challenge};
use super::content::{contents, parts, said};
use super::key::{Key, SecretError, to_hex, unwritten};
use super::refusal::Refusal;
use super::request::Request;
use super::rule::{Made, Rule, Table, Time, table};
use super::twilio;

/// Signatures of one request that are looked at; a request with more is refused.
const SIGNATURES_MAX: usize = 16;

/// Checks the requests of one webhook.
pub struct Verifier {
    scheme: Scheme,
    table: Table,
    /// The keys of each secret, one for each rule.
    keys: Vec<Vec<Key>>,
    id: Option<EventId>,
    verify_token: Option<String>,
    origins: Vec<String>,
}

/// Tells what a request that was taken is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// The provider asks; this is the answer.
    Challenge(Challenge),
    /// The request is the provider's, and is to be stored.
    Request(Verified),
}

/// Holds what is known of a request that is the provider's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The provider's own id of it; two requests with one id are the same.
    pub id: Option<String>,
    /// When it was signed, in Unix milliseconds, where the scheme says so.
    pub signed_at_ms: Option<u64>,
    /// The position of the secret that it was signed with.
    pub secret: usize,
}

impl Verifier {
    /// Builds a verifier for a scheme, with every secret that is active.
    ///
    /// # Errors
    /// A secret is empty or not written as the scheme writes secrets, or there are too many.
    pub fn new<S: AsRef<str>>(
        scheme: Scheme,
        signature: Option<&Signature>,
        secrets: &[S],
    ) -> Result<Self, SecretError> {
        let found = secrets.len();
        if found == 0 || found > limits::WEBHOOK_SECRETS_MAX {
            return Err(SecretError::Count { found });
        }
        let table = table(scheme, signature);
        if table.rules.is_empty() {
            return Err(SecretError::NoSignature);
        }
        let keys = secrets.iter().map(|secret| {
            let keys = table.rules.iter().map(|rule| {
                let algorithm = match rule.made {
                    Made::By(algorithm) => Some(algorithm),
                    Made::AsTwilioSays => None,
                };
                Key::read(secret.as_ref(), rule.secret, algorithm)
            });
            keys.collect()
        });
        let keys = keys.collect::<Result<_, _>>()?;
        Ok(Self {
            scheme,
            table,
            keys,
            id: None,
            verify_token: None,
            origins: Vec::new(),
        })
    }

    /// Builds the verifier of a declared webhook; `secrets` and `verify_token` are filled already.
    ///
    /// # Errors
    /// As [`Verifier::new`].
    pub fn of<S: AsRef<str>>(
        webhook: &Webhook,
        secrets: &[S],
        verify_token: Option<String>,
    ) -> Result<Self, SecretError> {
        let mut verifier = Self::new(webhook.verify, webhook.signature.as_ref(), secrets)?;
        if let Some(tolerance) = webhook.tolerance {
            verifier = verifier.tolerance_ms(tolerance.as_millis() as u64);
        }
        verifier.id.clone_from(&webhook.id);
        verifier.verify_token = verify_token;
        verifier.origins.clone_from(&webhook.origins);
        Ok(verifier)
    }

    /// Takes the id from elsewhere than where the scheme has it.
    pub fn id(mut self, id: EventId) -> Self {
        self.id = Some(id);
        self
    }

    /// Lets the time of signing be this far from now.
    pub fn tolerance_ms(mut self, tolerance_ms: u64) -> Self {
        self.table.tolerance_ms = tolerance_ms;
        self
    }

    /// Answers Meta's GET when it brings this word.
    pub fn verify_token(mut self, token: impl Into<String>) -> Self {
        self.verify_token = Some(token.into());
        self
    }

    /// Answers the handshake of CloudEvents' webhooks to these origins (`*`: to all).
    pub fn origins(mut self, origins: Vec<String>) -> Self {
        self.origins = origins;
        self
    }

    /// Lists the methods that the scheme's challenges come with.
    pub fn challenge_methods(&self) -> impl Iterator<Item = &'static str> {
        let get = (self.scheme == Scheme::Meta && self.verify_token.is_some()).then_some("GET");
        let options = (!self.origins.is_empty()).then_some("OPTIONS");
        get.into_iter().chain(options)
    }

    /// Says whether a header is what proves a request: it is not to be kept.
    pub fn is_proof(&self, header: &str) -> bool {
        let mut rules = self.table.rules.iter();
        rules.any(|rule| rule.header.eq_ignore_ascii_case(header))
    }

    /// Takes a request: answers a challenge, or says whose it is. `now_ms` is Unix time.
    ///
    /// # Errors
    /// The request proves nothing, or cannot be read; nothing of it may be used.
    pub fn receive(&self, request: &Request<'_>, now_ms: u64) -> Result<Received, Refusal> {
        let asked = (self.scheme == Scheme::Meta)
            .then(|| challenge::of_meta(request, self.verify_token.as_deref()))
            .flatten()
            .or_else(|| challenge::of_cloud_events(request, &self.origins));
        if let Some(answer) = asked {
            return answer.map(Received::Challenge);
        }
        let verified = self.verify(request, now_ms)?;
        Ok(match challenge::signed(self.scheme, request) {
            Some(challenge) => Received::Challenge(challenge),
            None => Received::Request(verified),
        })
    }

    /// Checks the signature and its time, and nothing else.
    ///
    /// # Errors
    /// As [`Verifier::receive`].
    pub fn verify(&self, request: &Request<'_>, now_ms: u64) -> Result<Verified, Refusal> {
        self.check(request, now_ms)
            .map_err(|refusal| match refusal {
                Refusal::Malformed { .. } if self.table.is_always_unauthorized => {
                    Refusal::BadSignature
                }
                other => other,
            })
    }

    fn check(&self, request: &Request<'_>, now_ms: u64) -> Result<Verified, Refusal> {
        let mut refused = None;
        for (at, rule) in self.table.rules.iter().enumerate() {
            let Some(value) = request.header(&rule.header)? else {
                continue;
            };
            match self.check_rule(at, rule, value, request, now_ms) {
                Ok(verified) => return Ok(verified),
                // What one rule cannot read may be meant for another.
                Err(Refusal::Malformed { .. }) if refused.is_some() => {}
                Err(refusal) => refused = Some(refusal),
            }
        }
        Err(refused.unwrap_or_else(|| Refusal::missing(&self.table.rules[0].header)))
    }

    fn check_rule(
        &self,
        at: usize,
        rule: &Rule,
        value: &str,
        request: &Request<'_>,
        now_ms: u64,
    ) -> Result<Verified, Refusal> {
        let signatures = signatures(rule, value)?;
        let own_id = self.id.as_ref().unwrap_or(&rule.id);
        let said = said(rule, own_id, request)?;
        let mut signed_at_ms = said
            .timestamp
            .as_deref()
            .map(|text| time(rule, text))
            .transpose()?;
        let algorithm = match rule.made {
            Made::By(algorithm) => algorithm,
            Made::AsTwilioSays => twilio::algorithm(request)?,
        };
        let contents = contents(rule, request, &said)?;
        let mut secret = None;
        // Every secret is tried: how long it takes does not tell which one is right.
        for (number, keys) in self.keys.iter().enumerate() {
            let mut made = Choice::from(0);
            for signature in &signatures {
                for content in &contents {
                    made |= keys[at].made(algorithm, content, signature);
                }
            }
            if bool::from(made) && secret.is_none() {
                secret = Some(number);
            }
        }
        let secret = secret.ok_or(Refusal::BadSignature)?;
        if let Time::Body(pointer) = &rule.time {
            let found = request.pointed(pointer);
            let text = found.ok_or_else(|| Refusal::malformed(pointer, "a time"))?;
            signed_at_ms = Some(time(rule, &text)?);
        }
        if let Some(signed_at_ms) = signed_at_ms {
            let (off_ms, tolerance_ms) = (now_ms.abs_diff(signed_at_ms), self.table.tolerance_ms);
            if off_ms > tolerance_ms {
                return Err(Refusal::Stale {
                    off_ms,
                    tolerance_ms,
                });
            }
        }
        Ok(Verified {
            id: self.id_of(rule, request),
            signed_at_ms,
            secret,
        })
    }

    fn id_of(&self, rule: &Rule, request: &Request<'_>) -> Option<String> {
        let places: &[EventId] = match &self.id {
            Some(id) => std::slice::from_ref(id),
            None => &[],
        };
        let own = self.id.is_none();
        let usual = own.then_some(&rule.id).into_iter();
        let more = self.table.ids.iter().filter(|_| own);
        places
            .iter()
            .chain(usual)
            .chain(more)
            .find_map(|place| match place {
                EventId::Header(name) => {
                    let found = request.header(name).ok().flatten();
                    found.filter(|id| !id.is_empty()).map(str::to_owned)
                }
                EventId::Pointer(pointer) => request.pointed(pointer),
                EventId::Content => Some(to_hex(&Sha256::digest(request.body))),
                EventId::None => None,
            })
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier")
            .field("scheme", &self.scheme)
            .field("secrets", &self.keys.len())
            .finish_non_exhaustive()
    }
}

/// The signatures of a header, decoded.
fn signatures(rule: &Rule, value: &str) -> Result<Vec<Vec<u8>>, Refusal> {
    let malformed = || Refusal::malformed(&rule.header, "a signature");
    let mut found = Vec::new();
    for part in parts(rule, value) {
        let Some(text) = part.strip_prefix(&*rule.prefix) else {
            continue;
        };
        if found.len() == SIGNATURES_MAX {
            return Err(Refusal::malformed(&rule.header, "at most 16 signatures"));
        }
        found.push(unwritten(text, rule.written).ok_or_else(malformed)?);
    }
    if found.is_empty() {
        return Err(malformed());
    }
    Ok(found)
}

/// The time of signing in Unix milliseconds: seconds or milliseconds in digits, or RFC 3339.
fn time(rule: &Rule, text: &str) -> Result<u64, Refusal> {
    let malformed = || {
        let place = match &rule.time {
            Time::Header(name) => name,
            Time::Part(_) | Time::None => &rule.header,
            Time::Body(pointer) => pointer,
        };
        Refusal::malformed(place, "a time")
    };
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number {
        let parsed = trunkline_contract::envelope::parse_rfc3339(text);
        return parsed
            .and_then(|ms| u64::try_from(ms).ok())
            .ok_or_else(malformed);
    }
    let number: u64 = text.parse().map_err(|_| malformed())?;
    // Seconds have ten digits until the year 2286.
    if number >= 100_000_000_000 {
        Ok(number)
    } else {
        Ok(number * 1000)
    }
}
