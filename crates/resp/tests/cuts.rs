//! A stream of requests means the same however it is cut into pieces.
//!
//! Goal: the parser's places to stop and go on are right, for all kinds of requests and errors. Method: known streams
//! cut at every byte (streams with blobs: at every byte near a boundary, and byte by byte), and streams made from a
//! seed with random cuts.

mod support;

use support::{check_cut, drive};
use torc_resp::{BIG_BYTES, Limits, ProtocolError, encode_command};

type Request<'a> = &'a [&'a [u8]];

fn unauthenticated() -> Limits {
    Limits { authenticated: false, ..Limits::default() }
}

fn command(args: &[&[u8]]) -> Vec<u8> {
    let mut wire = Vec::new();
    encode_command(args, &mut wire);
    wire
}

/// The whole stream, each single cut, and all cuts at once.
fn check_every_cut(limits: Limits, stream: &[u8], requests: &[Request], error: Option<ProtocolError>) {
    let whole = drive(limits, stream, []);
    assert_eq!(whole.error, error, "{}", stream.escape_ascii());
    assert_eq!(whole.requests, requests, "{}", stream.escape_ascii());
    for cut in 0..stream.len() {
        check_cut(limits, stream, &whole, &[cut]);
    }
    let all: Vec<usize> = (0..stream.len()).collect();
    check_cut(limits, stream, &whole, &all);
}

#[test]
fn small_requests() {
    let cases: &[(&[u8], &[Request])] = &[
        (b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nv\r\nal\r\n", &[&[b"SET", b"key", b"v\r\nal"]]),
        (b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n*1\r\n$4\r\nPING\r\n", &[&[b"ECHO", b""], &[b"PING"]]),
        (
            b"PING\r\n\r\n\nGET \"a b\"\n*0\r\n*-1\r\n*1\r\n$1\r\nx\r\n",
            &[&[b"PING"], &[], &[], &[b"GET", b"a b"], &[], &[], &[b"x"]],
        ),
        (b"*1\r!$4\r!PING!!PING \r\r\n", &[&[b"PING"], &[b"PING"]]),
        // Behind a NUL no line ends.
        (b"\r\r\n \n\0abc\n", &[&[], &[]]),
        (b"*2\r\n$10\r\n0123456789\r\n$11\r\n0123456789a\r\nx", &[&[b"0123456789", b"0123456789a"]]),
    ];
    for (stream, requests) in cases {
        check_every_cut(Limits::default(), stream, requests, None);
    }
}

/// Texts and conditions as seen on redis-server 7.0.15 and valkey-server 8.1.
#[test]
fn errors() {
    use ProtocolError::*;
    let cases: &[(&[u8], ProtocolError)] = &[
        (b"*\r\n", InvalidMultibulkLength),
        (b"*-\r\n", InvalidMultibulkLength),
        (b"*-0\r\n", InvalidMultibulkLength),
        (b"*+1\r\n", InvalidMultibulkLength),
        (b"*01\r\n", InvalidMultibulkLength),
        (b"* 1\r\n", InvalidMultibulkLength),
        (b"*1 \r\n", InvalidMultibulkLength),
        (b"*1a\r\n", InvalidMultibulkLength),
        (b"*2147483648\r\n", InvalidMultibulkLength),
        (b"*99999999999999999999\r\n", InvalidMultibulkLength),
        (b"*1\r\nfoo\r\n", ExpectedBulk(b'f')),
        (b"*1\r\n\n$\r\n", ExpectedBulk(b'\n')),
        (b"*1\r\n:1\r\n", ExpectedBulk(b':')),
        (b"*1\r\n$\r\n", InvalidBulkLength),
        (b"*1\r\n$-1\r\n", InvalidBulkLength),
        (b"*1\r\n$ 4\r\n", InvalidBulkLength),
        (b"*1\r\n$04\r\n", InvalidBulkLength),
        (b"*1\r\n$4a\r\n", InvalidBulkLength),
        (b"*1\r\n$536870913\r\n", InvalidBulkLength),
        (b"*1\r\n$9223372036854775807\r\n", InvalidBulkLength),
        (b"*1\r\n$99999999999999999999\r\n", InvalidBulkLength),
        (b"SET \"a\"b c\r\n", UnbalancedQuotes),
        (b"SET 'a\r\n", UnbalancedQuotes),
    ];
    for (stream, error) in cases {
        check_every_cut(Limits::default(), stream, &[], Some(*error));
        let after_ping = [b"*1\r\n$4\r\nPING\r\n", *stream].concat();
        check_every_cut(Limits::default(), &after_ping, &[&[b"PING"]], Some(*error));
    }
}

#[test]
fn limits_before_authentication() {
    let ten = command(&[b"x".as_slice(); 10]);
    check_every_cut(unauthenticated(), &ten, &[&[b"x".as_slice(); 10]], None);
    check_every_cut(unauthenticated(), b"*11\r\n", &[], Some(ProtocolError::UnauthenticatedMultibulkLength));
    check_every_cut(
        unauthenticated(),
        b"*1\r\n$16385\r\n",
        &[],
        Some(ProtocolError::UnauthenticatedBulkLength),
    );
    let largest = vec![b'x'; 16384];
    let outcome = drive(unauthenticated(), &command(&[&largest]), []);
    assert_eq!((outcome.error, outcome.requests), (None, vec![vec![largest]]));
}

#[test]
fn configured_limits() {
    let limits = Limits { max_bulk_bytes: 20, max_multibulk: 3, ..Limits::default() };
    let good = command(&[b"12345678901234567890".as_slice(); 3]);
    check_every_cut(limits, &good, &[&[b"12345678901234567890".as_slice(); 3]], None);
    check_every_cut(limits, b"*4\r\n", &[], Some(ProtocolError::InvalidMultibulkLength));
    check_every_cut(limits, b"*1\r\n$21\r\n", &[], Some(ProtocolError::InvalidBulkLength));
}

#[test]
fn lines_without_an_end() {
    let line_max = Limits::default().max_inline_bytes;
    let cases = [
        (b"P".as_slice(), ProtocolError::BigInlineRequest),
        (b"\0", ProtocolError::BigInlineRequest),
        (b"*", ProtocolError::BigMultibulkCount),
        (b"*\0", ProtocolError::BigMultibulkCount),
        (b"*1\r\n$", ProtocolError::BigBulkCount),
        (b"*1\r\nx", ProtocolError::BigBulkCount),
    ];
    for (head, error) in cases {
        let header = head.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let mut stream = [head, &vec![b'1'; line_max]].concat();
        stream.truncate(header + line_max);
        assert_eq!(drive(Limits::default(), &stream, [head.len()]).error, None, "the longest line waits");
        stream.push(b'1');
        for ending in [b"".as_slice(), b"\r\n", b"11111\r\n"] {
            let stream = [&stream, ending].concat();
            let whole = drive(Limits::default(), &stream, []);
            assert_eq!(whole.error, Some(error), "{}", head.escape_ascii());
            for cut in [head.len(), 100, stream.len() / 2, line_max, line_max + 1] {
                check_cut(Limits::default(), &stream, &whole, &[cut]);
            }
        }
    }
}

#[test]
fn blobs() {
    let sizes = [BIG_BYTES - 1, BIG_BYTES, BIG_BYTES + 1, 3 * BIG_BYTES];
    let values: Vec<Vec<u8>> =
        sizes.iter().map(|size| (0..*size).map(|at| (at % 251) as u8).collect()).collect();
    let requests: Vec<Vec<&[u8]>> = vec![
        vec![b"SET", b"k", &values[1]],
        vec![b"MSET", b"a", &values[0], b"b", &values[1], b"c", &values[2], b"d", b"small"],
        vec![b"PING"],
        vec![&values[3], &values[3]],
    ];
    let (mut stream, mut boundaries) = (Vec::new(), Vec::new());
    for request in &requests {
        boundaries.push(stream.len());
        encode_command(request, &mut stream);
        // The last argument ends two bytes before the end; from there on backwards to the others.
        let mut end = stream.len() - 2;
        for arg in request.iter().rev() {
            boundaries.extend([end - arg.len(), end]);
            end -= arg.len() + format!("${}\r\n\r\n", arg.len()).len();
        }
    }
    let whole = drive(Limits::default(), &stream, []);
    assert_eq!(whole.requests, requests);
    let all: Vec<usize> = (0..stream.len()).collect();
    check_cut(Limits::default(), &stream, &whole, &all);
    for boundary in boundaries {
        for cut in boundary.saturating_sub(12)..(boundary + 12).min(stream.len()) {
            check_cut(Limits::default(), &stream, &whole, &[cut]);
            check_cut(Limits::default(), &stream, &whole, &[cut, (cut + 1000).min(stream.len())]);
        }
    }
    for step in [2, 3, 1000, 4096, 16 * 1024, 16 * 1024 + 7] {
        check_cut(Limits::default(), &stream, &whole, &(0..stream.len()).step_by(step).collect::<Vec<_>>());
    }
}

/// A value beyond what is reserved ahead arrives whole, and its buffer ends exactly sized.
#[test]
fn a_blob_larger_than_its_first_reservation() {
    let value = vec![7; 5 << 20];
    let stream = command(&[b"SET", b"k", &value]);
    let outcome = drive(Limits::default(), &stream, (0..stream.len()).step_by(10_000));
    assert_eq!(outcome.requests, [[b"SET".to_vec(), b"k".to_vec(), value]]);
}

/// The bound on memory is checked in `drive` after each piece.
#[test]
fn announcements_alone_reserve_little() {
    for stream in [
        b"*1\r\n$536870912\r\nfew bytes".as_slice(),
        b"*2147483647\r\n",
        b"*2147483647\r\n$4\r\nMSET\r\n$536870912\r\nabc",
    ] {
        for cut in 0..stream.len() {
            assert_eq!(drive(Limits::default(), stream, [cut]).error, None);
        }
    }
}
