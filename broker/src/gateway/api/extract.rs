//! The caller, queries, paths and bodies of requests; what does not fit is refused in one form.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::frame::scan;

use super::operation::JSON;
use crate::gateway::auth::{self, Token};
use crate::gateway::body;
use crate::gateway::error::{Failure, forbidden};
use crate::gateway::port::Port;
use crate::gateway::state::Gateway;

/// Who asks, with a port of their own.
#[derive(Debug)]
pub struct Caller {
    /// What handlers share.
    pub gateway: Arc<Gateway>,
    /// Their token.
    pub token: Token,
    /// Their client of the core.
    pub port: Port,
}

impl Caller {
    /// Asks the core and gives its answer as it came.
    ///
    /// # Errors
    /// What the core refuses it with.
    pub async fn call<P: Serialize + ?Sized>(
        &self,
        method: &str,
        params: &P,
    ) -> Result<RawJson, Failure> {
        let ports = &self.gateway.ports;
        let answer = ports.call(&self.token, method, params).await;
        answer.map(RawJson).map_err(|error| match error.code {
            // The token itself was good.
            Code::Unauthorized if !self.port.is_over() => forbidden(error.message),
            _ => error.into(),
        })
    }

    /// Refuses whoever has no scope `admin`.
    ///
    /// # Errors
    /// `unauthorized` as 403: the token is known.
    pub fn need_admin(&self) -> Result<(), Failure> {
        if self.port.scopes().is_admin() {
            return Ok(());
        }
        Err(forbidden(
            "expected a token with the scope admin, found one without",
        ))
    }
}

impl FromRequestParts<Arc<Gateway>> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(
        parts: &mut Parts,
        gateway: &Arc<Gateway>,
    ) -> Result<Self, Failure> {
        let token = auth::need(&parts.headers)?;
        let port = gateway.ports.of(&token).await?;
        Ok(Self {
            gateway: gateway.clone(),
            token,
            port,
        })
    }
}

fn invalid(message: String) -> Failure {
    Error::new(Code::InvalidArguments, message).into()
}

/// Parameters after the question mark.
#[derive(Debug)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Arc<Gateway>> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Gateway>) -> Result<Self, Failure> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(error) => Err(invalid(format!("the query string: {}", error.body_text()))),
        }
    }
}

/// Parameters in the path.
#[derive(Debug)]
pub struct PathOf<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<Gateway>> for PathOf<T> {
    type Rejection = Failure;

    async fn from_request_parts(
        parts: &mut Parts,
        gateway: &Arc<Gateway>,
    ) -> Result<Self, Failure> {
        match Path::from_request_parts(parts, gateway).await {
            Ok(Path(params)) => Ok(Self(params)),
            Err(error) => Err(invalid(format!("the path: {}", error.body_text()))),
        }
    }
}

/// A body of JSON.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<Gateway>> for JsonBody<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, gateway: &Arc<Gateway>) -> Result<Self, Failure> {
        body::need_type(request.headers(), &[JSON])?;
        let config = &gateway.config;
        let limit = (config.body_bytes_max, config.body_timeout);
        let bytes = body::read(request.into_body(), limit.0, limit.1).await?;
        Ok(Self(parse(&bytes)?))
    }
}

/// Reads JSON as strictly as a frame is read.
///
/// # Errors
/// `invalid_arguments` that says where and what.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    scan(bytes).map_err(|fault| invalid(format!("the body: {}", fault.to_error().message)))?;
    serde_json::from_slice(bytes).map_err(|error| invalid(format!("the body: {error}")))
}

/// JSON as the core wrote it.
#[derive(Debug)]
pub struct RawJson(pub Box<RawValue>);

impl IntoResponse for RawJson {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(Box::<str>::from(self.0).into_string()));
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        response
    }
}
