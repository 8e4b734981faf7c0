//! Goal: all commands of a type together do what they do on a plain model, whatever the encoding.
//! Method: seeded random commands, each reply compared; limits at which encodings change are drawn per run. The bench
//! checks besides that the effects of these commands, replayed, lead to the same data.

mod hash;
mod list;
mod set;
mod stream;
mod zset;

use torc_keyspace::Rng;

use crate::testing::Bench;

const NIL: &str = "$-1";
const NIL_ARRAY: &str = "*-1";
const OK: &str = "+OK";

fn int(number: usize) -> String {
    format!(":{number}")
}

fn bulk(text: &str) -> String {
    format!("${}\n{text}", text.len())
}

fn bulk_or_nil(text: Option<&str>) -> String {
    text.map_or(NIL.to_owned(), bulk)
}

fn array(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<String> = items.into_iter().collect();
    let lines: String = items.iter().map(|item| format!("\n{item}")).collect();
    format!("*{}{lines}", items.len())
}

fn bulks<'a>(texts: impl IntoIterator<Item = &'a String>) -> String {
    array(texts.into_iter().map(|text| bulk(text)))
}

/// A word of a line, which may be empty.
fn word(text: &str) -> String {
    if text.is_empty() { "\"\"".to_owned() } else { text.to_owned() }
}

fn words<'a>(texts: impl IntoIterator<Item = &'a String>) -> String {
    texts.into_iter().map(|text| format!(" {}", word(text))).collect()
}

/// The texts in a reply that is an array of bulks, none of which is null.
fn texts(reply: &str) -> Vec<String> {
    let lines: Vec<&str> = reply.split('\n').collect();
    lines[1..].chunks(2).map(|bulk| bulk[1].to_owned()).collect()
}

/// The RESP2 reply to a line; the RESP3 side runs it too.
#[track_caller]
fn run(bench: &mut Bench, line: &str) -> String {
    let [reply, _] = bench.run(line);
    assert!(!reply.starts_with('-'), "{line}: {reply}");
    reply
}

#[track_caller]
fn check(bench: &mut Bench, line: &str, expected: &str) {
    let [reply, _] = bench.run(line);
    assert_eq!(reply, expected, "{line}");
}

/// All elements that a scan shows until its cursor is 0, `width` texts each.
fn scan(bench: &mut Bench, command: &str, options: &str, width: usize) -> Vec<Vec<String>> {
    let (mut cursor, mut all) = ("0".to_owned(), Vec::new());
    loop {
        let reply = run(bench, &format!("{command} {cursor} {options}"));
        let mut lines = reply.splitn(4, '\n').skip(2);
        cursor = lines.next().expect("a cursor").to_owned();
        let elements = texts(lines.next().expect("elements"));
        all.extend(elements.chunks(width).map(<[String]>::to_vec));
        if cursor == "0" {
            return all;
        }
    }
}

/// Where a range of indices lies that may be counted from the end, as LRANGE and its like mean it.
fn range_of(len: usize, start: i64, end: i64) -> std::ops::Range<usize> {
    let from_front = |index: i64| if index < 0 { index + len as i64 } else { index };
    let (start, end) = (from_front(start).max(0) as usize, from_front(end).min(len as i64 - 1));
    if end < start as i64 { 0..0 } else { start..end as usize + 1 }
}

/// An index in and around a collection of this length, from either end.
fn some_index(random: &mut Rng, len: usize) -> i64 {
    random.index(2 * len + 6) as i64 - len as i64 - 3
}
