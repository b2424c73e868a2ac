//! Captures: an answer that goes on while frames come.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, State};
use axum::http::header;
use axum::response::IntoResponse;
use axum::{Json, response::Response};
use futures_util::stream;
use tokio::sync::mpsc::Receiver;

use super::Source;
use super::ask::{Answered, understood, unusable};
use crate::control::capture::Question;
use crate::control::serve::Stage;

/// While no frame comes, so often it is said that the capture goes on.
const PAUSE: Duration = Duration::from_secs(2);

pub(super) async fn capture(
    State(source): State<Source>,
    stage: Option<Extension<Stage>>,
    question: Result<Json<Question>, JsonRejection>,
) -> Result<Response, Answered> {
    let (question, snapshot) = (understood(question)?, source.newest());
    question.check().map_err(unusable)?;
    let wanted = question.wanted(&snapshot).map_err(unusable)?;
    let begun =
        source.captures.begin(question, wanted, Arc::clone(&source.dataplane), source.snapshot.clone());
    let pieces = begun.map_err(|busy| (axum::http::StatusCode::CONFLICT, format!("{busy}\n")))?;
    let stage = stage.map(|Extension(stage)| stage).unwrap_or_default();
    stage.stream();
    // Asked for the next piece only while the client takes what there was.
    let next = |(mut pieces, stage): (Receiver<_>, Stage)| async {
        loop {
            stage.send();
            if let Ok(piece) = tokio::time::timeout(PAUSE, pieces.recv()).await {
                return Some((Ok::<_, Infallible>(piece?), (pieces, stage)));
            }
        }
    };
    let body = Body::from_stream(stream::unfold((pieces, stage), next));
    Ok(([(header::CONTENT_TYPE, "application/x-pcapng")], body).into_response())
}
