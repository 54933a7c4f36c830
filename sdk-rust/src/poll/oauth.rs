//! Tokens by client credentials (RFC 6749 §4.4): asked for when there is none, kept while they hold.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use trunkline_contract::manifest::PollerOauth;
use trunkline_patterns::poller::{Answer, NetworkError};

use crate::context::Context;
use crate::http::answer_of;

/// How long a token is taken to hold whose server does not say.
const HOLDS: Duration = Duration::from_mins(5);
/// How much earlier than its end a token is renewed.
const MARGIN: Duration = Duration::from_secs(30);

/// The tokens of a poller, by instance.
#[derive(Default)]
pub(super) struct Tokens(Mutex<HashMap<String, (String, Instant)>>);

/// What came of asking for a token.
pub(super) enum Asked {
    Token(String),
    /// The server of tokens gave none; its answer stands for the one of the server that was to be asked.
    Refused(Answer),
    Unanswered(NetworkError),
}

#[derive(Deserialize)]
struct Given {
    access_token: String,
    expires_in: Option<u64>,
}

impl Tokens {
    /// Gives the token that holds, or asks for one.
    pub(super) async fn get(
        &self,
        ctx: &Context,
        oauth: &PollerOauth,
        is_guarded: bool,
        timeout: Duration,
    ) -> Asked {
        let instance = ctx.instance().to_owned();
        let mut tokens = self.0.lock().await;
        if let Some((token, until)) = tokens.get(&instance)
            && Instant::now() < *until
        {
            return Asked::Token(token.clone());
        }
        let mut at = ctx.http().at(oauth.token_url.as_str());
        at = at.basic(oauth.client_id.as_str(), oauth.client_secret.as_str());
        if is_guarded {
            at = at.guard();
        }
        // A scope that is not said is null, and left out.
        let form = serde_json::json!({ "grant_type": "client_credentials", "scope": oauth.scope });
        let request = at.post("").form(form).timeout(timeout);
        let answer = match answer_of(request).await {
            Ok(answer) => answer,
            Err((text, is_final)) => {
                let text = format!("expected a token, found none: {text}");
                return Asked::Unanswered(NetworkError { text, is_final });
            }
        };
        let refused = |status| Asked::Refused(super::tick::answer_from(&answer, status));
        if !(200..300).contains(&answer.status) {
            // Credentials that are wrong are so until somebody changes them, whatever the number.
            let is_wrong = matches!(answer.status, 400 | 401 | 403);
            return refused(if is_wrong { 401 } else { answer.status });
        }
        let Ok(given) = serde_json::from_slice::<Given>(&answer.body) else {
            let text =
                "expected JSON with access_token from the server of tokens, found something else";
            return Asked::Unanswered(NetworkError {
                text: text.to_owned(),
                is_final: false,
            });
        };
        let holds = given.expires_in.map_or(HOLDS, Duration::from_secs);
        let until = Instant::now() + holds.saturating_sub(MARGIN);
        tokens.insert(instance, (given.access_token.clone(), until));
        Asked::Token(given.access_token)
    }

    /// Forgets a token that was not taken.
    pub(super) async fn forget(&self, ctx: &Context) {
        self.0.lock().await.remove(ctx.instance());
    }
}
