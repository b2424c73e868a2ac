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

use super::Source;
use super::ask::{Answered, understood, unusable};
use crate::control::capture::Question;
use crate::control::serve::Deadline;

/// How long the end of an answer may take.
const END: Duration = Duration::from_secs(15);

pub(super) async fn capture(
    State(source): State<Source>,
    deadline: Option<Extension<Deadline>>,
    question: Result<Json<Question>, JsonRejection>,
) -> Result<Response, Answered> {
    let (question, snapshot) = (understood(question)?, source.newest());
    question.check().map_err(unusable)?;
    let wanted = question.wanted(&snapshot).map_err(unusable)?;
    let takes = Duration::from_secs(question.seconds.into());
    let begun =
        source.captures.begin(question, wanted, Arc::clone(&source.dataplane), source.snapshot.clone());
    let pieces = begun.map_err(|busy| (axum::http::StatusCode::CONFLICT, format!("{busy}\n")))?;
    if let Some(Extension(deadline)) = deadline {
        deadline.extend(takes + END);
    }
    let next = |mut pieces: tokio::sync::mpsc::Receiver<_>| async {
        let piece = pieces.recv().await?;
        Some((Ok::<_, Infallible>(piece), pieces))
    };
    let body = Body::from_stream(stream::unfold(pieces, next));
    Ok(([(header::CONTENT_TYPE, "application/x-pcapng")], body).into_response())
}
