//! One row of the table: what can be asked, with what, and who answers.

use std::sync::Arc;

use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use trunkline_contract::error::Code;

use crate::gateway::Gateway;

/// Gives a type's schema.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// Media type of most bodies.
pub(super) const JSON: &str = "application/json";

/// Tells where a parameter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the path.
    Path,
    /// After the question mark.
    Query,
    /// In a header.
    Header,
}

impl Place {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
        }
    }
}

/// A body in one media type.
#[derive(Debug, Clone)]
pub(super) struct BodyOf {
    pub(super) media: &'static str,
    pub(super) schema: SchemaOf,
}

/// An answer that is no refusal.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) text: &'static str,
    pub(super) bodies: Vec<BodyOf>,
}

/// One thing that can be asked.
#[derive(Debug, Clone)]
pub struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) id: &'static str,
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    pub(super) scope: Option<&'static str>,
    pub(super) is_open: bool,
    pub(super) params: Vec<(Place, SchemaOf)>,
    pub(super) request: Vec<BodyOf>,
    pub(super) answers: Vec<Answer>,
    pub(super) errors: Vec<Code>,
    pub(super) refusals: Vec<(u16, &'static str)>,
    pub(super) handler: MethodRouter<Arc<Gateway>>,
}

impl Operation {
    /// Begins a row: method, path, who answers.
    ///
    /// # Panics
    /// If the method is none of GET, POST, PUT and DELETE.
    pub fn new<H, T>(method: &'static str, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Gateway>>,
        T: 'static,
    {
        let filter = match method {
            "GET" => MethodFilter::GET,
            "POST" => MethodFilter::POST,
            "PUT" => MethodFilter::PUT,
            "DELETE" => MethodFilter::DELETE,
            other => panic!("the table has no method {other}"),
        };
        Self {
            method,
            path,
            id: "",
            tag: "",
            summary: "",
            scope: None,
            is_open: false,
            params: Vec::new(),
            request: Vec::new(),
            answers: Vec::new(),
            errors: Vec::new(),
            refusals: Vec::new(),
            handler: on(filter, handler),
        }
    }

    /// Names it, for programs, for a table of contents, and in a sentence.
    pub fn named(mut self, tag: &'static str, id: &'static str, summary: &'static str) -> Self {
        (self.tag, self.id, self.summary) = (tag, id, summary);
        self
    }

    /// Says which scope the token needs.
    pub fn scope(mut self, scope: &'static str) -> Self {
        self.scope = Some(scope);
        self
    }

    /// Says that it needs no token.
    pub fn open(mut self) -> Self {
        self.is_open = true;
        self
    }

    /// Takes the members of `T` as parameters.
    pub fn params<T: JsonSchema>(mut self, place: Place) -> Self {
        self.params.push((place, |schemas| T::json_schema(schemas)));
        self
    }

    /// Takes a body of `T`.
    pub fn body<T: JsonSchema>(self) -> Self {
        self.body_as::<T>(JSON)
    }

    /// Takes a body of `T` in another media type.
    pub fn body_as<T: JsonSchema>(mut self, media: &'static str) -> Self {
        let schema: SchemaOf = |schemas| schemas.subschema_for::<T>();
        self.request.push(BodyOf { media, schema });
        self
    }

    /// Answers 200 with a `T`.
    pub fn answer<T: JsonSchema>(self, text: &'static str) -> Self {
        self.answer_as::<T>(200, JSON, text)
    }

    /// Answers with a `T` under another status or media type.
    pub fn answer_as<T: JsonSchema>(
        mut self,
        status: u16,
        media: &'static str,
        text: &'static str,
    ) -> Self {
        let schema: SchemaOf = |schemas| schemas.subschema_for::<T>();
        let body = BodyOf { media, schema };
        match self
            .answers
            .iter_mut()
            .find(|answer| answer.status == status)
        {
            Some(answer) => answer.bodies.push(body),
            None => self.answers.push(Answer {
                status,
                text,
                bodies: vec![body],
            }),
        }
        self
    }

    /// Answers without a body.
    pub fn answer_empty(mut self, status: u16, text: &'static str) -> Self {
        self.answers.push(Answer {
            status,
            text,
            bodies: Vec::new(),
        });
        self
    }

    /// Lists the codes it is refused with, beside those that any request may be.
    pub fn errors(mut self, errors: &[Code]) -> Self {
        self.errors.extend_from_slice(errors);
        self
    }

    /// Adds a refusal whose status is not that of a code.
    pub fn refusal(mut self, status: u16, text: &'static str) -> Self {
        self.refusals.push((status, text));
        self
    }

    /// Gives the method and the path.
    pub fn line(&self) -> (&'static str, &'static str) {
        (self.method, self.path)
    }

    /// Gives the path and who answers there.
    pub fn route(self) -> (&'static str, MethodRouter<Arc<Gateway>>) {
        (self.path, self.handler)
    }
}
