//! Answers that go on for a while, piece by piece.

use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Bytes;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use super::{ANSWER_BYTES, ClientError, ORDER_LIMIT, begin, refused};

/// Why no more comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streamed {
    /// The switch ended it.
    Whole,
    /// Whoever gets the pieces wants no more.
    Enough,
    /// A signal came: SIGINT or SIGTERM.
    Interrupted,
    /// The switch went away.
    Broken,
}

/// Has the switch at `socket` do what `body` says, and hands on what it answers as it comes, until `take` wants no more.
pub fn stream(
    socket: &Path,
    path: &str,
    body: &impl Serialize,
    take: impl FnMut(&[u8]) -> bool,
) -> Result<Streamed, ClientError> {
    let body = serde_json::to_vec(body).map_err(|error| ClientError::Garbage(error.to_string()))?;
    let other = |error: std::io::Error| ClientError::Other(socket.to_owned(), error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(other)?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(other)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(other)?;
        tokio::select! {
            streamed = follow(socket, path, body.into(), take) => streamed,
            _ = interrupt.recv() => Ok(Streamed::Interrupted),
            _ = terminate.recv() => Ok(Streamed::Interrupted),
        }
    })
}

async fn follow(
    socket: &Path,
    path: &str,
    body: Bytes,
    mut take: impl FnMut(&[u8]) -> bool,
) -> Result<Streamed, ClientError> {
    let request = hyper::Request::post(path).header(hyper::header::CONTENT_TYPE, "application/json");
    let silence = |_| ClientError::Silence(socket.to_owned(), ORDER_LIMIT.as_secs());
    let answer = tokio::time::timeout(ORDER_LIMIT, begin(socket, request, body)).await;
    let answer = answer.map_err(silence)??;
    let status = answer.status().as_u16();
    let mut body = answer.into_body();
    if status != 200 {
        let text = Limited::new(body, ANSWER_BYTES).collect();
        let text = tokio::time::timeout(Duration::from_secs(1), text).await.ok().and_then(Result::ok);
        return Err(refused(path, status, &text.map(|text| text.to_bytes()).unwrap_or_default()));
    }
    loop {
        match body.frame().await {
            None => return Ok(Streamed::Whole),
            Some(Err(_)) => return Ok(Streamed::Broken),
            Some(Ok(frame)) => {
                if frame.data_ref().is_some_and(|piece| !take(piece)) {
                    return Ok(Streamed::Enough);
                }
            }
        }
    }
}
