//! HTTP for metrics and probes: short GET requests, one per connection, a few at the same time.
//!
//! Owns the threads and the bounds on what clients can make them do. Never looks at what is served.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Requests that are answered at the same time; further ones wait to be accepted.
const HANDLERS_MAX: usize = 16;
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
    body: Body,
}

/// What follows the head.
pub(super) enum Body {
    Text(&'static str),
    Page(String),
}

impl Body {
    fn bytes(&self) -> &[u8] {
        match self {
            Body::Text(text) => text.as_bytes(),
            Body::Page(text) => text.as_bytes(),
        }
    }
}

impl Response {
    /// Plain text.
    pub(super) fn text(status: u16, body: &'static str) -> Response {
        Response { status, content_type: "text/plain; charset=utf-8", body: Body::Text(body) }
    }

    /// Metrics.
    pub(super) fn page(status: u16, body: String) -> Response {
        Response { status, content_type: "text/plain; version=0.0.4; charset=utf-8", body: Body::Page(body) }
    }
}

/// What answers requests.
pub(super) trait Answer: Send + Sync + 'static {
    fn answer(&self, path: &str) -> Response;

    /// The answer has been sent: its memory may be used again.
    fn sent(&self, _body: Body) {}
}

/// The threads of one listener. Each accepts, and handles what it has accepted; the last one that would still accept
/// starts another one first. So there are as many as were ever needed at the same time, and they stay: a request costs no
/// thread, whose memory coming and going would disturb all shards.
struct Handlers<A> {
    listener: TcpListener,
    answer: A,
    all: AtomicUsize,
    accepting: AtomicUsize,
}

/// Answers requests from threads of its own, for ever.
pub(super) fn serve(listener: TcpListener, answer: impl Answer) -> io::Result<()> {
    let (all, accepting) = (AtomicUsize::new(0), AtomicUsize::new(0));
    start_handler(&Arc::new(Handlers { listener, answer, all, accepting }), || {
        // Shards come first: nobody waits for a page of metrics as clients do for replies. Threads that this one
        // starts inherit it.
        if let Err(error) = torc_runtime::beside::give_way() {
            tracing::debug!(%error, "the threads of metrics keep their priority");
        }
    })
}

fn start_handler<A: Answer>(handlers: &Arc<Handlers<A>>, first: fn()) -> io::Result<()> {
    if handlers.all.fetch_add(1, Ordering::AcqRel) >= HANDLERS_MAX {
        handlers.all.fetch_sub(1, Ordering::AcqRel);
        return Ok(());
    }
    handlers.accepting.fetch_add(1, Ordering::AcqRel);
    let own = Arc::clone(handlers);
    let thread = thread::Builder::new().name("torc-metrics".into()).stack_size(STACK_BYTES);
    let started = thread.spawn(move || {
        first();
        accept_and_handle(&own);
    });
    if started.is_err() {
        handlers.accepting.fetch_sub(1, Ordering::AcqRel);
        handlers.all.fetch_sub(1, Ordering::AcqRel);
    }
    started.map(drop)
}

fn accept_and_handle<A: Answer>(handlers: &Arc<Handlers<A>>) {
    loop {
        match handlers.listener.accept() {
            Ok((stream, _)) => {
                if handlers.accepting.fetch_sub(1, Ordering::AcqRel) == 1 {
                    // Without another one the next request waits for this one.
                    let _ = start_handler(handlers, || {});
                }
                // A client that went away needs no answer.
                let _ = handle(&stream, &handlers.answer);
                handlers.accepting.fetch_add(1, Ordering::AcqRel);
            }
            Err(error) => {
                tracing::debug!(%error, "accepting a connection for metrics failed");
                thread::sleep(ACCEPT_PAUSE);
            }
        }
    }
}

fn handle(stream: &TcpStream, answer: &impl Answer) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let Some(head) = read_head(stream)? else { return Ok(()) };
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let path = target.split('?').next().unwrap_or("");
    let response = match method {
        "GET" | "HEAD" => answer.answer(path),
        _ => Response::text(405, "only GET and HEAD\n"),
    };
    let outcome = respond(stream, &response, method != "HEAD");
    answer.sent(response.body);
    outcome
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
    let body = body.bytes();
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    let mut parts = [IoSlice::new(head.as_bytes()), IoSlice::new(if with_body { body } else { b"" })];
    let mut left = &mut parts[..];
    while left.iter().any(|part| !part.is_empty()) {
        match stream.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(sent) => IoSlice::advance_slices(&mut left, sent),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    stream.shutdown(Shutdown::Write)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct OnlyX;

    impl Answer for OnlyX {
        fn answer(&self, path: &str) -> Response {
            if path == "/x" { Response::page(200, path.to_owned()) } else { Response::text(404, "no") }
        }
    }

    fn ask(request: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let _ = handle(&stream, &OnlyX);
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
