//! Redirects, followed here and not by reqwest, which knows no services.

use std::str::from_utf8;

use ::http::{
    HeaderName,
    header::{
        AUTHORIZATION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION,
        CONTENT_TYPE, COOKIE, HOST, LOCATION, PROXY_AUTHORIZATION, TRANSFER_ENCODING,
    },
};
use ::reqwest::{Method, Request, Response, Url};

/// A request as the caller made it, which can be made anew where its answer points.
pub(super) struct Origin {
    request: Request,
    /// Whether it has the body that the caller gave it: a stream is sent but once.
    is_whole: bool,
}

/// What speaks of a body that is left out.
const OF_BODY: [HeaderName; 6] = [
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_LENGTH,
    CONTENT_LOCATION,
    CONTENT_TYPE,
    TRANSFER_ENCODING,
];

/// What is meant for one host and no other.
const OF_HOST: [HeaderName; 4] = [AUTHORIZATION, COOKIE, HOST, PROXY_AUTHORIZATION];

impl Origin {
    pub(super) fn of(request: &Request) -> Self {
        if let Some(request) = request.try_clone() {
            return Self {
                request,
                is_whole: true,
            };
        }
        let mut head = Request::new(request.method().clone(), request.url().clone());
        *head.headers_mut() = request.headers().clone();
        *head.version_mut() = request.version();
        *head.timeout_mut() = request.timeout().copied();
        Self {
            request: head,
            is_whole: false,
        }
    }

    /// The request that follows from an answer, by RFC 9110 section 15.4; none if that is no redirect, or
    /// one that can't be followed.
    pub(super) fn follow(self, answer: &Response) -> Option<Request> {
        let Self { mut request, .. } = self;
        let method = request.method();
        let without_body = match answer.status().as_u16() {
            301 | 302 => method == Method::POST,
            303 => true,
            307 | 308 => false,
            _ => return None,
        };
        let location = from_utf8(answer.headers().get(LOCATION)?.as_bytes()).ok()?;
        let url = request.url().join(location).ok()?;
        if !matches!(url.scheme(), "http" | "https") || !(self.is_whole || without_body) {
            return None;
        }
        if without_body {
            if method != Method::HEAD {
                *request.method_mut() = Method::GET;
            }
            *request.body_mut() = None;
            remove(&mut request, &OF_BODY);
        }
        if !is_same_host(request.url(), &url) {
            remove(&mut request, &OF_HOST);
        }
        *request.url_mut() = url;
        Some(request)
    }
}

fn remove(request: &mut Request, headers: &[HeaderName]) {
    for name in headers {
        request.headers_mut().remove(name);
    }
}

fn is_same_host(a: &Url, b: &Url) -> bool {
    let place = |url: &Url| url.port_or_known_default();
    a.scheme() == b.scheme() && a.host_str() == b.host_str() && place(a) == place(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    const THERE: &str = "http://go.vine.test/there";

    fn request(method: &str) -> Request {
        let method = method.parse().unwrap();
        let mut request = Request::new(method, "http://go.vine.test/a/b".parse().unwrap());
        *request.body_mut() = Some("body".into());
        for name in [CONTENT_TYPE, AUTHORIZATION, COOKIE, HOST] {
            request.headers_mut().insert(name, "x".parse().unwrap());
        }
        request
    }

    fn follow(request: &Request, status: u16, location: &str) -> Option<Request> {
        let answer = ::http::Response::builder().status(status);
        let answer = answer.header(LOCATION, location).body("").unwrap();
        Origin::of(request).follow(&answer.into())
    }

    #[test]
    fn the_status_says_with_which_method_and_whether_with_the_body() {
        for (method, status, expected) in [
            ("POST", 301, "GET"),
            ("POST", 302, "GET"),
            ("POST", 303, "GET"),
            ("PUT", 303, "GET"),
            ("HEAD", 303, "HEAD"),
            ("PUT", 301, "PUT with body"),
            ("DELETE", 302, "DELETE with body"),
            ("POST", 307, "POST with body"),
            ("POST", 308, "POST with body"),
        ] {
            let next = follow(&request(method), status, THERE).unwrap();
            let body = next.body().and_then(|body| body.as_bytes());
            let has_body = body == Some(b"body");
            assert_eq!(next.headers().contains_key(CONTENT_TYPE), has_body);
            let with = if has_body { " with body" } else { "" };
            let is = format!("{}{with}", next.method());
            assert_eq!(is, expected, "{method} {status}");
        }
        for status in [200, 300, 304, 305, 404, 500] {
            assert!(follow(&request("GET"), status, THERE).is_none());
        }
    }

    #[test]
    fn what_is_meant_for_a_host_goes_to_no_other() {
        for (location, url, is_same) in [
            (THERE, THERE, true),
            ("/there", THERE, true),
            ("//go.vine.test:80/there", THERE, true),
            ("c?d", "http://go.vine.test/a/c?d", true),
            ("http://go.vine.other/", "http://go.vine.other/", false),
            ("https://go.vine.test/", "https://go.vine.test/", false),
            ("//go.vine.test:81/", "http://go.vine.test:81/", false),
        ] {
            let next = follow(&request("GET"), 302, location).unwrap();
            assert_eq!(next.url().as_str(), url);
            for name in [AUTHORIZATION, COOKIE, HOST] {
                assert_eq!(next.headers().contains_key(&name), is_same, "{location}");
            }
        }
        for location in ["ftp://go.vine.test/", "http://", "http://[/"] {
            assert!(follow(&request("GET"), 302, location).is_none());
        }
    }

    #[test]
    fn a_body_that_is_a_stream_is_not_sent_again() {
        let mut stream = request("POST");
        let body = http_body_util::Full::new(bytes::Bytes::from_static(b"body"));
        *stream.body_mut() = Some(::reqwest::Body::wrap(body));
        assert!(follow(&stream, 307, THERE).is_none());
        let next = follow(&stream, 303, THERE).unwrap();
        assert_eq!(next.method(), Method::GET);
        assert!(next.headers().contains_key(COOKIE));
    }
}
