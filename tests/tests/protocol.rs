//! Bytes on the socket: requests cut anywhere, huge requests, pipelines, and what a broken request costs.
//!
//! The replies of a stream must not depend on how the network cuts it. The parser has its own property test; this one
//! goes through sockets, receive buffers and the event loop.

use std::time::{Duration, Instant};

use torc_resp::Value;
use torc_tests::raw::{bulk, ok, request, simple, words};
use torc_tests::{Client, PATIENCE, Server};

/// Requests of every form; each connection that sends them ends where it began.
fn fixed_requests() -> Vec<u8> {
    let mut stream = Vec::new();
    stream.extend(words("SET cut:a 1"));
    stream.extend(words("GET cut:a"));
    stream.extend(b"PING\r\n");
    stream.extend(request(&[b"ECHO".as_slice(), b"a\r\nb\x00"]));
    stream.extend(b"ECHO \"in line\"\n");
    stream.extend(words("MSET cut:b 2 cut:c 3 cut:d 4"));
    stream.extend(words("MGET cut:a cut:b cut:c cut:d"));
    stream.extend(b"*0\r\n\r\n*-1\r\n");
    stream.extend(words("MULTI"));
    stream.extend(words("INCR cut:a"));
    stream.extend(words("GET cut:d"));
    stream.extend(words("EXEC"));
    stream.extend(words("NOSUCHCOMMAND x"));
    stream.extend(words("DEL cut:a cut:b cut:c cut:d"));
    stream
}

fn fixed_replies() -> Vec<Value> {
    vec![
        ok(),
        bulk("1"),
        simple("PONG"),
        bulk("a\r\nb\x00"),
        bulk("in line"),
        ok(),
        Value::Array(vec![bulk("1"), bulk("2"), bulk("3"), bulk("4")]),
        ok(),
        simple("QUEUED"),
        simple("QUEUED"),
        Value::Array(vec![Value::Int(2), bulk("4")]),
        Value::Error("ERR unknown command 'NOSUCHCOMMAND', with args beginning with: 'x' ".into()),
        Value::Int(4),
    ]
}

fn receive(client: &mut Client, count: usize, what: &str) -> Vec<Value> {
    (0..count).map(|_| client.receive().unwrap_or_else(|error| panic!("{what}: {error}"))).collect()
}

#[test]
fn a_stream_may_be_cut_at_every_byte() {
    for shards in [1, 4] {
        let server = Server::torc(shards);
        let stream = fixed_requests();
        let expected = fixed_replies();
        let mut client = server.client();
        for cut in 0..=stream.len() {
            client.send_raw(&stream[..cut]).expect("the server reads");
            // Long enough for the server to meet the first part alone, most of the time.
            std::thread::sleep(Duration::from_micros(500));
            client.send_raw(&stream[cut..]).expect("the server reads");
            let what = format!("{shards} shards, cut at byte {cut}");
            assert_eq!(receive(&mut client, expected.len(), &what), expected, "{what}");
        }
        for piece in [1, 2, 3, 5, 7, 16] {
            for part in stream.chunks(piece) {
                client.send_raw(part).expect("the server reads");
            }
            let what = format!("{shards} shards, pieces of {piece}");
            assert_eq!(receive(&mut client, expected.len(), &what), expected, "{what}");
        }
    }
}

#[test]
fn a_deep_pipeline_is_answered_in_order() {
    const REQUESTS: i64 = 20_000;
    let server = Server::torc(4);
    let mut client = server.client();
    let mut reader = server.client();
    assert_eq!(reader.cmd("PING"), simple("PONG"));
    let mut stream = Vec::new();
    for number in 0..REQUESTS {
        let key = format!("key:{}", number % 100);
        stream.extend(request(&["SET", &key, &number.to_string()]));
        stream.extend(request(&["GET", &key]));
    }
    let started = Instant::now();
    // The replies fill the socket while requests are still being written: both sides must go on.
    std::thread::scope(|scope| {
        let mut writer = client.try_clone().expect("a socket can be shared");
        scope.spawn(move || writer.send_raw(&stream).expect("the server reads"));
        for number in 0..REQUESTS {
            assert_eq!(client.receive().expect("a reply"), ok(), "SET {number}");
            assert_eq!(client.receive().expect("a reply"), bulk(number.to_string()), "GET {number}");
        }
    });
    assert!(started.elapsed() < PATIENCE, "{REQUESTS} requests took {:?}", started.elapsed());
}

#[test]
fn huge_values_arrive_whole() {
    let server = Server::torc(4);
    let mut client = server.client();
    for (key, len) in [("a", 16 * 1024 - 1), ("b", 16 * 1024), ("c", 1 << 20), ("d", 64 << 20)] {
        let value: Vec<u8> = (0..len).map(|index: usize| ((index * 31) >> 3) as u8).collect();
        assert_eq!(client.call(&[b"SET".as_slice(), key.as_bytes(), &value]), ok(), "{len} bytes");
        assert_eq!(client.int(&format!("STRLEN {key}")), len as i64);
        let reply = client.call(&["GET", key]);
        assert!(reply.as_bytes() == Some(value.as_slice()), "{len} bytes came back changed");
        // And in one pipeline with small ones before and behind.
        let mut stream = words("PING");
        stream.extend(words(&format!("GET {key}")));
        stream.extend(words("PING"));
        client.send_raw(&stream).expect("the server reads");
        assert_eq!(client.receive().expect("a reply"), simple("PONG"));
        assert!(client.receive().expect("a reply").as_bytes() == Some(value.as_slice()));
        assert_eq!(client.receive().expect("a reply"), simple("PONG"));
    }
    // Values of several shards in one reply.
    let reply = client.cmd("MGET a b c missing");
    let lens: Vec<Option<usize>> =
        reply.elements().expect("an array").iter().map(|value| value.as_bytes().map(<[u8]>::len)).collect();
    assert_eq!(lens, [Some(16 * 1024 - 1), Some(16 * 1024), Some(1 << 20), None]);
}

#[test]
fn a_huge_value_may_come_in_pieces() {
    let server = Server::torc(4);
    let mut client = server.client();
    let value = vec![b'x'; 100_000];
    let stream = request(&[b"SET".as_slice(), b"k", &value]);
    for cut in [1, 20, 30, 40, 16 * 1024, 50_000, stream.len() - 3, stream.len() - 1] {
        client.send_raw(&stream[..cut]).expect("the server reads");
        std::thread::sleep(Duration::from_millis(2));
        client.send_raw(&stream[cut..]).expect("the server reads");
        assert_eq!(client.receive().expect("a reply"), ok(), "cut at byte {cut}");
        assert_eq!(client.int("STRLEN k"), 100_000, "cut at byte {cut}");
    }
}

#[test]
fn a_broken_request_ends_only_its_connection() {
    let server = Server::torc(4);
    let mut other = server.client();
    other.cmd("SET k v");
    let broken: [&[u8]; 5] =
        [b"*1\r\n$x\r\n", b"*1\r\nPING\r\n", b"*99999999999\r\n", b"SET \"k\r\n", b"*1\r\n$-5\r\n"];
    for bytes in broken {
        let mut client = server.client();
        // What came before is still answered, what comes behind is not looked at.
        let mut stream = words("GET k");
        stream.extend_from_slice(bytes);
        stream.extend(words("DEL k"));
        client.send_raw(&stream).expect("the server reads");
        assert_eq!(client.receive().expect("a reply"), bulk("v"));
        let error = client.receive().expect("an error");
        assert!(matches!(&error, Value::Error(text) if text.starts_with("ERR Protocol error: ")), "{error}");
        assert!(client.closed_within(PATIENCE));
        assert_eq!(other.cmd("GET k"), bulk("v"), "behind {:?}", bytes.escape_ascii().to_string());
    }
}

#[test]
fn half_closed_connections_get_their_replies() {
    let server = Server::torc(4);
    let mut client = server.client();
    let mut stream = Vec::new();
    for number in 0..1000 {
        stream.extend(words(&format!("SET half:{number} {number}")));
    }
    client.send_raw(&stream).expect("the server reads");
    client.finish_sending().expect("an open socket");
    for number in 0..1000 {
        assert_eq!(client.receive().expect("a reply"), ok(), "request {number}");
    }
    assert!(client.closed_within(PATIENCE));
    assert_eq!(server.client().int("DBSIZE"), 1000);
}
