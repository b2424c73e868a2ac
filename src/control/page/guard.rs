//! Who may ask: somebody who means this page, from this page. A script of another page, in the browser of somebody who
//! reaches this one, may not; neither under its own name, nor under one that its owner lets point here (DNS rebinding).

use std::net::IpAddr;

use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, StatusCode, Uri};

/// An answer that is a refusal.
type Refusal = (StatusCode, &'static str);

const NO_HOST: Refusal = (StatusCode::BAD_REQUEST, "one `Host` belongs to a request\n");
const ANOTHER_HOST: Refusal = (
    StatusCode::MISDIRECTED_REQUEST,
    "the page answers to addresses and to `localhost`, not to this name: ssh -L 9501:127.0.0.1:9501 HOST, then \
     http://localhost:9501/\n",
);
const ANOTHER_PAGE: Refusal = (StatusCode::FORBIDDEN, "this is not for scripts of other pages\n");

/// Whether to go on with a request.
pub(super) fn judge(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next().and_then(|host| host.to_str().ok()), hosts.next()) else {
        return Err(NO_HOST);
    };
    if uri.authority().is_some_and(|authority| authority.as_str() != host) || !is_ours(host) {
        return Err(ANOTHER_HOST);
    }
    let own = |origin: &HeaderValue| {
        origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://")) == Some(host)
    };
    if !headers.get_all(header::ORIGIN).iter().all(own) {
        return Err(ANOTHER_PAGE);
    }
    // A link to the page is no harm, whoever has it.
    let is_link = *method == Method::GET && uri.path() == "/";
    match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) if is_link => Ok(()),
        Some(_) => Err(ANOTHER_PAGE),
    }
}

/// Whether this is a name that nobody else can let point here.
fn is_ours(host: &str) -> bool {
    let is_port = |port: &str| port.parse::<u16>().is_ok();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) && !name.ends_with(':') => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    match bare {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.eq_ignore_ascii_case("localhost") || matches!(name.parse(), Ok(IpAddr::V4(_))),
    }
}

/// What browsers may do with an answer: show it, and nothing else.
pub(super) fn add_headers(headers: &mut HeaderMap) {
    for (name, value) in [
        ("cache-control", "no-store"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let nothing = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(nothing);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(method: Method, uri: &str, headers: &[(&'static str, &'static str)]) -> u16 {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        judge(&method, &uri.parse().unwrap(), &headers).map_or_else(|refusal| refusal.0.as_u16(), |()| 200)
    }

    #[test]
    fn names_that_others_can_let_point_here_are_refused() {
        for host in ["localhost", "localhost:9501", "LOCALHOST", "127.0.0.1:9501", "[::1]:9501", "[::1]"] {
            assert!(is_ours(host), "{host}");
        }
        let others =
            ["", ":9501", "evil.example", "127.0.0.1.evil.example", "localhost.evil", "::1", "[::1", "[x]:1"];
        for host in others {
            assert!(!is_ours(host), "{host}");
        }
        assert_eq!(judged(Method::GET, "/", &[]), 400);
        assert_eq!(judged(Method::GET, "/", &[("host", "evil.example:9501")]), 421);
        assert_eq!(judged(Method::GET, "http://evil.example/", &[("host", "127.0.0.1")]), 421);
    }

    #[test]
    fn scripts_of_other_pages_are_refused() {
        let host = ("host", "127.0.0.1:9501");
        let post = |more| judged(Method::POST, "/v1/orders", &[host, more]);
        assert_eq!(post(("origin", "http://127.0.0.1:9501")), 200);
        for origin in ["http://evil.example", "null", "https://127.0.0.1:9501", "http://127.0.0.1:9502"] {
            assert_eq!(post(("origin", origin)), 403, "{origin}");
        }
        assert_eq!(post(("sec-fetch-site", "same-origin")), 200);
        assert_eq!(post(("sec-fetch-site", "same-site")), 403);
        assert_eq!(judged(Method::GET, "/v1/status", &[host, ("sec-fetch-site", "cross-site")]), 403);
        assert_eq!(judged(Method::GET, "/", &[host, ("sec-fetch-site", "cross-site")]), 200, "a link");
    }
}
