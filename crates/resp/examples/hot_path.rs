//! Nanoseconds of the crate's hot paths: `cargo run --release -p torc-resp --example hot_path`.
//!
//! Each figure is the best of several rounds, because other load on the machine only ever adds.

use std::hint::black_box;
use std::time::Instant;

use torc_resp::{
    Args, CommandError, Limits, LongDouble, OwnedArgs, Parsed, Proto, Reply, ReplyBuf, RequestParser,
    encode_command, number,
};

const ROUNDS: usize = 30;

fn main() {
    let value = [b'v'; 64];
    parse("parse GET, pipeline of 16", &[b"GET", b"key:000000000012"], 16);
    parse("parse SET of 64 bytes, single", &[b"SET", b"key:000000000012", &value], 1);
    parse("parse SET of 64 bytes, pipeline of 16", &[b"SET", b"key:000000000012", &value], 16);
    parse("parse MGET of 10", &[b"key:000000000012".as_slice(); 11], 4);

    reply("reply +OK", |reply| reply.ok());
    reply("reply bulk of 64 bytes", |reply| reply.bulk(black_box(&value)));
    reply("reply small integer", |reply| reply.int(black_box(17)));
    reply("reply large integer", |reply| reply.int(black_box(1_234_567_890)));
    reply("reply double", |reply| reply.double(black_box(3.25)));
    reply("reply error", |reply| reply.error(black_box(&CommandError::Syntax)));

    let set: OwnedArgs = [b"SET".as_slice(), b"key:000000000012", &value].into_iter().collect();
    let mut arena = OwnedArgs::new();
    measure("copy a SET into an arena", 64, || {
        arena.clear(16 * 1024);
        for _ in 0..64 {
            black_box(arena.append(black_box(&set.as_args())));
        }
    });

    let mut batch = ReplyBuf::new();
    let start = batch.mark();
    Reply::new(&mut batch, Proto::Resp2).bulk(&value);
    let end = batch.mark();
    let mut out = ReplyBuf::new();
    measure("copy a 64-byte reply from a batch", 64, || {
        out.clear();
        for _ in 0..64 {
            out.copy_range(black_box(&batch), start, end);
        }
    });

    measure("parse_i64 of 10 digits", 1, || {
        black_box(number::parse_i64(black_box(b"1234567890")));
    });
    let (current, step) = (LongDouble::parse(b"10.5"), LongDouble::parse(b"0.1"));
    measure("long double parse", 1, || {
        black_box(LongDouble::parse(black_box(b"1234.5678")));
    });
    let mut text = Vec::new();
    measure("long double add and print", 1, || {
        text.clear();
        let sum = current.zip(step).and_then(|(a, b)| black_box(a).checked_add(black_box(b)));
        sum.expect("finite").write_human(&mut text);
    });
}

fn parse(name: &str, args: &[&[u8]], pipeline: usize) {
    let mut stream = Vec::new();
    for _ in 0..pipeline {
        encode_command(args, &mut stream);
    }
    let mut parser = RequestParser::new(Limits::default());
    measure(name, pipeline, || {
        let mut rest = black_box(stream.as_slice());
        while let Ok(Parsed::Request { consumed }) = parser.parse(rest) {
            let args: Args = parser.args(rest);
            black_box((args.get(0), args.get(1)));
            rest = &rest[consumed..];
        }
    });
}

fn reply(name: &str, write: impl Fn(&mut Reply)) {
    const REPLIES: usize = 64;
    let mut buf = ReplyBuf::new();
    measure(name, REPLIES, || {
        buf.clear();
        for _ in 0..REPLIES {
            write(&mut Reply::new(black_box(&mut buf), Proto::Resp2));
        }
    });
}

fn measure(name: &str, operations: usize, mut run: impl FnMut()) {
    const OPERATIONS_PER_ROUND: usize = 200_000;
    let repeats = OPERATIONS_PER_ROUND / operations;
    let mut best_ns = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..repeats {
            run();
        }
        let ns = start.elapsed().as_nanos() as f64 / (repeats * operations) as f64;
        best_ns = best_ns.min(ns);
    }
    println!("{best_ns:8.1} ns  {name}");
}
