//! Whether a backend answers a request as it should, with or without TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::tcp::{Manner, connect};
use super::tls::{self, Trust};
use super::udp::contains;
use super::{Answer, Failed, Limit, Passed, failed};
use crate::config::valid::{Http, Tls};

/// Bytes of a body that are looked at, and of a head that are read.
const LONGEST_BODY: usize = 64 * 1024;

/// Asks in the clear.
pub async fn check(address: SocketAddr, http: &Http, limit: Limit) -> Answer {
    let asked = Instant::now();
    let stream = limit.within("", connect(address, Manner::Talking)).await?;
    let status = limit.within("connected, but ", exchange(stream, address, http)).await?;
    Ok(Passed { status: Some(status), ..Passed::since(asked) })
}

/// Asks through TLS.
pub async fn check_tls(address: SocketAddr, http: &Http, tls: &Tls, trust: &Trust, limit: Limit) -> Answer {
    let asked = Instant::now();
    let config = trust.config(tls)?;
    let name = tls::server_name(tls, http, address)?;
    let stream = limit.within("", connect(address, Manner::Talking)).await?;
    let handshake = async {
        let connector = TlsConnector::from(Arc::clone(&config));
        connector.connect(name, stream).await.map_err(|error| tls::spoken(&error))
    };
    let stream = limit.within("connected, but in the TLS handshake ", handshake).await?;
    let status = limit.within("connected through TLS, but ", exchange(stream, address, http)).await?;
    Ok(Passed { status: Some(status), ..Passed::since(asked) })
}

/// Sends the request; the status of an answer that will do.
async fn exchange<S>(stream: S, address: SocketAddr, http: &Http) -> Result<u16, Failed>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let request = request(address, http)?;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(LONGEST_BODY);
    let (mut sender, connection) =
        builder.handshake(TokioIo::new(stream)).await.map_err(|error| reason(&error))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| reason(&error))?;
        judge(response, http).await
    };
    tokio::pin!(answer);
    tokio::select! {
        judged = &mut answer => judged,
        // Where the connection ends first, what it brought is still to be read.
        _ = connection => answer.await,
    }
}

fn request(address: SocketAddr, http: &Http) -> Result<Request<Empty<Bytes>>, Failed> {
    let method = Method::from_bytes(http.method.as_bytes()).unwrap_or_default();
    let host = match &http.host {
        Some(host) => host.clone(),
        None => address.to_string(),
    };
    let request = Request::builder()
        .method(method)
        .uri(http.path.as_str())
        .header(header::HOST, host)
        .header(header::USER_AGENT, "xswitch-health")
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close");
    request.body(Empty::new()).map_err(|error| Failed::Ours(error.to_string()))
}

async fn judge(response: Response<Incoming>, http: &Http) -> Result<u16, Failed> {
    let status = response.status().as_u16();
    if !http.statuses.iter().any(|(first, last)| (*first..=*last).contains(&status)) {
        return Err(failed(format!("status {status}, wanted {}", wanted(&http.statuses))));
    }
    if !http.body.is_empty() {
        search(response.into_body(), &http.body).await?;
    }
    Ok(status)
}

/// Reads until the text is found.
async fn search(mut body: Incoming, text: &str) -> Result<(), Failed> {
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| reason(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        // What was searched before need not be searched again, but for what may be the text's beginning.
        let from = read.len().saturating_sub(text.len());
        let room = LONGEST_BODY - read.len();
        read.extend_from_slice(data.get(..room).unwrap_or(&data));
        if contains(read.get(from..).unwrap_or_default(), text.as_bytes()) {
            return Ok(());
        }
        if read.len() == LONGEST_BODY {
            return Err(failed(format!(
                "the first {} KiB of the body lack \"{}\"",
                LONGEST_BODY / 1024,
                escaped(text)
            )));
        }
    }
    Err(failed(format!("body lacks \"{}\"", escaped(text))))
}

fn escaped(text: &str) -> impl std::fmt::Display + '_ {
    text.escape_debug()
}

fn wanted(statuses: &[(u16, u16)]) -> String {
    let one = |(first, last): &(u16, u16)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    statuses.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// What went wrong with the exchange, as a person says it.
fn reason(error: &hyper::Error) -> Failed {
    let source = std::error::Error::source(error);
    if let Some(error) = source.and_then(|source| source.downcast_ref::<std::io::Error>()) {
        return tls::spoken(error);
    }
    // A request that was given up, because of this.
    if let Some(cause) = source.and_then(|source| source.downcast_ref::<hyper::Error>()) {
        return reason(cause);
    }
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        return failed("closed without a whole answer");
    }
    // Also of those that speak before they are asked.
    failed(format!("the answer is not HTTP: {error}"))
}
