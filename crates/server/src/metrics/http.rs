//! HTTP for metrics and probes: short GET requests, one per connection, a few at the same time.
//!
//! Owns the accepting thread and the bounds on what clients can make it do. Never looks at what is served.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Requests that are answered at the same time; further ones are told to come again.
const CONNECTIONS_MAX: usize = 16;
/// Longest head of a request.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Time for a request to come in, and again for its answer to leave.
const PATIENCE: Duration = Duration::from_secs(2);
/// After accepting failed (no descriptors left, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const STACK_BYTES: usize = 256 * 1024;

/// What is sent back.
pub(super) struct Response {
    status: u16,
    content_type: &'static str,
    body: String,
}

impl Response {
    /// Plain text.
    pub(super) fn text(status: u16, body: &str) -> Response {
        Response { status, content_type: "text/plain; charset=utf-8", body: body.into() }
    }

    /// Metrics.
    pub(super) fn page(status: u16, body: String) -> Response {
        Response { status, content_type: "text/plain; version=0.0.4; charset=utf-8", body }
    }
}

/// Answer requests for ever. `answer` is given the path.
pub(super) fn serve(listener: &TcpListener, answer: impl Fn(&str) -> Response + Send + Sync + 'static) {
    let answer = Arc::new(answer);
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "accepting a connection for metrics failed");
                thread::sleep(ACCEPT_PAUSE);
                continue;
            }
        };
        if open.fetch_add(1, Ordering::AcqRel) >= CONNECTIONS_MAX {
            open.fetch_sub(1, Ordering::AcqRel);
            let _ = stream.set_write_timeout(Some(PATIENCE));
            let _ = respond(&stream, &Response::text(503, "too many requests at the same time\n"), true);
            continue;
        }
        let (answer, at_end) = (Arc::clone(&answer), Arc::clone(&open));
        let handle = move || {
            // A client that went away needs no answer.
            let _ = handle(&stream, &*answer);
            at_end.fetch_sub(1, Ordering::AcqRel);
        };
        let spawned =
            thread::Builder::new().name("torc-metrics".into()).stack_size(STACK_BYTES).spawn(handle);
        if spawned.is_err() {
            open.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

fn handle(stream: &TcpStream, answer: &impl Fn(&str) -> Response) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let Some(head) = read_head(stream)? else { return Ok(()) };
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let path = target.split('?').next().unwrap_or("");
    match method {
        "GET" => respond(stream, &answer(path), true),
        "HEAD" => respond(stream, &answer(path), false),
        _ => respond(stream, &Response::text(405, "only GET and HEAD\n"), true),
    }
}

/// The first line of a request, when all of its head is there; `None` if the client says too little or too much.
fn read_head(mut stream: &TcpStream) -> io::Result<Option<String>> {
    let until = Instant::now() + PATIENCE;
    let mut head = Vec::new();
    let mut part = [0; 1024];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || head.len() > HEAD_BYTES_MAX {
            return Ok(None);
        }
        stream.set_read_timeout(Some(left))?;
        let count = stream.read(&mut part)?;
        if count == 0 {
            return Ok(None);
        }
        head.extend_from_slice(&part[..count]);
        if head.windows(4).any(|end| end == b"\r\n\r\n") {
            let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
            return Ok(Some(String::from_utf8_lossy(line).into_owned()));
        }
    }
}

fn respond(mut stream: &TcpStream, response: &Response, with_body: bool) -> io::Result<()> {
    let Response { status, content_type, body } = response;
    let reason = match status {
        200 => "OK",
        404 => "Not Found",
        405 => "Method Not Allowed",
        _ => "Service Unavailable",
    };
    let mut text = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    if with_body {
        text.push_str(body);
    }
    stream.write_all(text.as_bytes())?;
    stream.shutdown(Shutdown::Write)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(request: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let _ = handle(&stream, &|path: &str| Response::text(if path == "/x" { 200 } else { 404 }, path));
        drop(stream);
        let mut reply = String::new();
        let _ = client.read_to_string(&mut reply);
        reply
    }

    #[test]
    fn requests_are_answered() {
        let reply = ask("GET /x?y=z HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
        assert!(reply.contains("Content-Length: 2\r\n") && reply.ends_with("\r\n\r\n/x"), "{reply}");
        assert!(ask("HEAD /x HTTP/1.0\r\n\r\n").ends_with("Connection: close\r\n\r\n"));
        assert!(ask("GET /y HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
        assert!(ask("POST /x HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
    }

    #[test]
    fn what_is_no_request_gets_no_answer() {
        assert_eq!(ask("GET /x HTTP/1.1\r\n"), "");
        assert_eq!(ask(&format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(3 * HEAD_BYTES_MAX))), "");
    }
}
