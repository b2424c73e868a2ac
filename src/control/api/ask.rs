//! Questions about connections and packets, which take a while and a thread of their own.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::{Extension, Json};

use super::Source;
use crate::control::connections::{self, FilterError, Kill, Killed, Listing};
use crate::control::serve::Peer;
use crate::control::trace::{Question as Packet, Trace};

/// What is asked for, or 400; 422 is for what cannot be meant.
pub(super) fn understood<T>(body: Result<Json<T>, JsonRejection>) -> Result<T, Answered> {
    body.map(|Json(body)| body).map_err(|error| (StatusCode::BAD_REQUEST, error.body_text() + "\n"))
}

/// An answer that is an error.
pub(in crate::control) type Answered = (StatusCode, String);

fn cannot_be(text: String) -> Answered {
    (StatusCode::UNPROCESSABLE_ENTITY, text + "\n")
}

pub(super) fn unusable(error: FilterError) -> Answered {
    match error {
        FilterError::Malformed(text) => cannot_be(text),
        FilterError::Unknown(text) => (StatusCode::CONFLICT, text + "\n"),
    }
}

fn busy(busy: connections::Busy) -> Answered {
    (StatusCode::CONFLICT, format!("{busy}\n"))
}

pub(in crate::control) async fn list(
    State(source): State<Source>,
    question: Result<Json<connections::Question>, JsonRejection>,
) -> Result<Json<Listing>, Answered> {
    let (question, snapshot) = (understood(question)?, source.newest());
    let wanted = question.filter.wanted(&snapshot).map_err(unusable)?;
    let dataplane = Arc::clone(&source.dataplane);
    let walk = move |pace: &_| connections::list(&question, &wanted, &snapshot, &*dataplane, pace);
    source.walker.walk(walk).await.map(Json).map_err(busy)
}

pub(super) async fn kill(
    State(source): State<Source>,
    Extension(peer): Extension<Peer>,
    kill: Result<Json<Kill>, JsonRejection>,
) -> Result<Json<Killed>, Answered> {
    let (Kill { filter, all }, snapshot) = (understood(kill)?, source.newest());
    if filter.is_empty() && !all {
        return Err(cannot_be(
            "no condition says which connections are to end; all of them: \"all\": true".into(),
        ));
    }
    let wanted = filter.wanted(&snapshot).map_err(unusable)?;
    let dataplane = Arc::clone(&source.dataplane);
    let walk = move |pace: &_| connections::kill(&wanted, &snapshot, &*dataplane, pace);
    let killed = source.walker.walk(walk).await.map_err(busy)?;
    let Killed { found, killed: ended, complete } = killed;
    tracing::info!(%peer, ?filter, found, killed = ended, complete, "connections were ended by an order");
    Ok(Json(killed))
}

pub(super) async fn trace(
    State(source): State<Source>,
    question: Result<Json<Packet>, JsonRejection>,
) -> Result<Json<Trace>, Answered> {
    let (question, snapshot) = (understood(question)?, source.newest());
    let dataplane = Arc::clone(&source.dataplane);
    let traced = source.walker.trace(move || dataplane.trace(&question, &snapshot)).await.map_err(busy)?;
    let mut traced = traced.map_err(cannot_be)?;
    if traced.service.is_some() {
        traced.add_states(&source.status().await);
    }
    Ok(Json(traced))
}
