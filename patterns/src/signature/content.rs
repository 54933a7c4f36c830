//! What is signed.

use trunkline_contract::webhook::EventId;

use super::refusal::Refusal;
use super::request::Request;
use super::rule::{Content, Rule, Time};
use super::twilio;

/// What a request says beside its body.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) id: Option<String>,
    pub(super) timestamp: Option<String>,
}

/// Lists what may have been signed; one of them was, if any.
pub(super) fn contents(
    rule: &Rule,
    request: &Request<'_>,
    said: &Said,
) -> Result<Vec<Vec<u8>>, Refusal> {
    match &rule.content {
        Content::Twilio => twilio::contents(request),
        Content::Template(template) => Ok(vec![filled(template, request, said)]),
    }
}

fn filled(template: &str, request: &Request<'_>, said: &Said) -> Vec<u8> {
    let mut content = Vec::with_capacity(template.len() + request.body.len() + 64);
    let mut rest = template;
    while let Some(start) = rest.find('{') {
        let Some(length) = rest[start..].find('}') else {
            break;
        };
        content.extend_from_slice(&rest.as_bytes()[..start]);
        let value = match &rest[start + 1..start + length] {
            "body" => request.body,
            "id" => said.id.as_deref().unwrap_or_default().as_bytes(),
            "timestamp" => said.timestamp.as_deref().unwrap_or_default().as_bytes(),
            "method" => request.method.as_bytes(),
            "url" => request.url.as_bytes(),
            _ => &[],
        };
        content.extend_from_slice(value);
        rest = &rest[start + length + 1..];
    }
    content.extend_from_slice(rest.as_bytes());
    content
}

/// Says whether a rule's template names `{id}`.
pub(super) fn names_id(rule: &Rule) -> bool {
    matches!(&rule.content, Content::Template(template) if template.contains("{id}"))
}

/// Finds the id and the time that are signed with the body.
pub(super) fn said(rule: &Rule, id: &EventId, request: &Request<'_>) -> Result<Said, Refusal> {
    let mut said = Said::default();
    if let (true, EventId::Header(name)) = (names_id(rule), id) {
        let found = request.header(name)?.filter(|id| !id.is_empty());
        said.id = Some(found.ok_or_else(|| Refusal::missing(name))?.to_owned());
    }
    match &rule.time {
        Time::Header(name) => {
            let found = request.header(name)?;
            said.timestamp = Some(found.ok_or_else(|| Refusal::missing(name))?.to_owned());
        }
        Time::Part(prefix) => {
            let value = request.header(&rule.header)?.unwrap_or_default();
            let mut found = parts(rule, value).filter_map(|part| part.strip_prefix(&**prefix));
            let Some(timestamp) = found.next() else {
                return Err(Refusal::malformed(&rule.header, "a time"));
            };
            if found.next().is_some() {
                return Err(Refusal::malformed(&rule.header, "one time"));
            }
            said.timestamp = Some(timestamp.to_owned());
        }
        // What the body says counts only once its signature is found good.
        Time::Body(_) | Time::None => {}
    }
    Ok(said)
}

/// The parts of a header.
pub(super) fn parts<'a>(rule: &Rule, value: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
    let separator = rule.separator;
    let parts = value.split(move |char| Some(char) == separator);
    parts.map(str::trim).filter(|part| !part.is_empty())
}
