//! The status page: one page for a browser, and what its script asks for. Who reaches it may look; who has the token may
//! drain and enable.
//!
//! | path | answers |
//! |---|---|
//! | `GET /` | the page: HTML, style and script in one |
//! | `GET /v1/status` | as the control socket does, shortened: [`Brief`] |
//! | `GET /v1/events` | the same every second, as server-sent events |
//! | `POST /v1/connections` | as the control socket does, of up to [`MOST_ROWS`] rows |
//! | `POST /v1/token` | 204 if the token is right |
//! | `POST /v1/orders` | with the token: what the control socket does, without `save` |

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::api::{Source, ask};
use super::connections::{Listing, Question, Walker};
use super::orders::{Change, Order};
use super::requests;
use super::status::{Status, drop_explanations};
use events::Feed;
use token::{Judgement, Token};

mod events;
mod guard;
pub mod token;

/// Connections that an answer shows.
pub const MOST_ROWS: usize = 200;
/// Services of a [`Brief`].
const MOST_SERVICES: usize = 200;
/// Backends of a [`Brief`].
const MOST_BACKENDS: usize = 1000;

const HTML: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// A status of bounded size. Of services and backends that are too many, those with something to say are shown first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Brief {
    /// The status; `services` and their `backends` may be shortened.
    #[serde(flatten)]
    pub status: Status,
    /// Services that it leaves out.
    pub services_left_out: usize,
    /// Backends that it leaves out of the services that it shows.
    pub backends_left_out: usize,
}

impl From<Status> for Brief {
    fn from(mut status: Status) -> Self {
        let services = status.services.len();
        status.services.truncate(MOST_SERVICES);
        let (mut room, mut backends_left_out) = (MOST_BACKENDS, 0);
        let fair = MOST_BACKENDS / status.services.len().max(1);
        for service in &mut status.services {
            // What others do not need, a service may have besides its part.
            let most = fair.max(room / 2);
            if service.backends.len() > most {
                service.backends.sort_by_key(|backend| (backend.up() != Some(false), !backend.takes_new));
                backends_left_out += service.backends.len() - most;
                service.backends.truncate(most);
            }
            room = room.saturating_sub(service.backends.len());
        }
        let services_left_out = services - status.services.len();
        Self { status, services_left_out, backends_left_out }
    }
}

/// What the page's answers are made from.
#[derive(Clone)]
struct Page {
    source: Source,
    feed: Feed,
    token: Arc<Token>,
}

/// Routes of the page. Within a Tokio runtime only.
pub fn routes(source: Source, token: Arc<Token>) -> Router {
    // Of its own, so that a browser keeps nobody at the control socket waiting.
    let source = Source { walker: Walker::default(), ..source };
    let page = Page { feed: Feed::default(), source, token };
    Router::new()
        .route("/", get(html))
        .route("/v1/status", get(status))
        .route("/v1/events", get(follow))
        .route("/v1/connections", post(connections))
        .route("/v1/token", post(unlock))
        .route("/v1/orders", post(order))
        .fallback(async || (StatusCode::NOT_FOUND, "no such path\n"))
        .layer(middleware::from_fn(guarded))
        .with_state(page)
}

/// Lets in who asks for this page, from this page; and tells browsers what they may do with the answer.
async fn guarded(request: Request, next: Next) -> Response {
    let mut response = match guard::judge(request.method(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    guard::add_headers(response.headers_mut());
    response
}

async fn html(State(page): State<Page>) -> Result<Response, (StatusCode, &'static str)> {
    let random = getrandom::u64().and_then(|high| Ok((high, getrandom::u64()?)));
    let (high, low) = random.map_err(|_| (StatusCode::SERVICE_UNAVAILABLE, "no random numbers\n"))?;
    let nonce = format!("{high:016x}{low:016x}");
    let reasons = serde_json::to_string(&drop_explanations()).unwrap_or_default().replace('<', "\\u003c");
    let text = HTML
        .replace("{{style}}", STYLE)
        .replace("{{script}}", SCRIPT)
        .replace("{{reasons}}", &reasons)
        .replace("{{orders}}", if page.token.is_set() { "yes" } else { "no" })
        .replace("{{nonce}}", &nonce);
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CONTENT_SECURITY_POLICY, policy),
    ];
    Ok((headers, text).into_response())
}

async fn status(State(page): State<Page>) -> Json<Brief> {
    Json(page.source.status().await.into())
}

async fn follow(State(page): State<Page>, request: Request) -> Response {
    match page.feed.follow(&page.source, request.extensions()) {
        Some(events) => events.into_response(),
        None => {
            let later = [(header::RETRY_AFTER, "10")];
            (StatusCode::SERVICE_UNAVAILABLE, later, "enough browsers follow already\n").into_response()
        }
    }
}

async fn connections(
    State(page): State<Page>,
    question: Result<Json<Question>, JsonRejection>,
) -> Result<Json<Listing>, (StatusCode, String)> {
    let question = question.map(|Json(asked)| Json(Question { limit: asked.limit.min(MOST_ROWS), ..asked }));
    ask::list(State(page.source), question).await
}

/// What somebody is told who may not give orders.
fn refusal(token: &Token, headers: &HeaderMap) -> Option<Response> {
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer realm=\"xswitch\"")];
    let wrong = |why: &'static str| Some((StatusCode::UNAUTHORIZED, challenge, why).into_response());
    match token.judge(headers) {
        Judgement::Right => None,
        Judgement::ReadOnly => {
            let why =
                "this page only shows: `status_token_file` in [switch] names no token that can be used\n";
            Some((StatusCode::FORBIDDEN, why).into_response())
        }
        Judgement::Missing => wrong("the token is missing\n"),
        Judgement::Wrong => wrong("the token is wrong\n"),
    }
}

async fn unlock(State(page): State<Page>, headers: HeaderMap) -> Response {
    refusal(&page.token, &headers).unwrap_or_else(|| StatusCode::NO_CONTENT.into_response())
}

async fn order(
    State(page): State<Page>,
    headers: HeaderMap,
    order: Result<Json<Order>, JsonRejection>,
) -> Response {
    if let Some(refusal) = refusal(&page.token, &headers) {
        return refusal;
    }
    if let Ok(Json(Order { service, backend, change, save })) = &order {
        if *save || matches!(change, Change::Weight(_) | Change::Disable) {
            let why = "the page drains and enables, and leaves the configuration file alone\n";
            return (StatusCode::FORBIDDEN, why).into_response();
        }
        let backend = backend.map(|backend| backend.to_string());
        tracing::info!(service, backend, ?change, "an order came from the page");
    }
    page.source.ask(order, requests::Request::Order).await.into_response()
}

#[cfg(test)]
mod tests;
