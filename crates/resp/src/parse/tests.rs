//! The parser against single requests, errors and limits. Cuts and random input: `tests/` of this crate.

use super::*;

fn parse_all(limits: Limits, input: &[u8]) -> Result<Vec<Vec<Vec<u8>>>, ProtocolError> {
    let mut parser = RequestParser::new(limits);
    let mut rest = input;
    let mut requests = Vec::new();
    loop {
        match parser.parse(rest)? {
            Parsed::Request { consumed } => {
                requests.push(parser.args(rest).iter().map(<[u8]>::to_vec).collect());
                rest = &rest[consumed..];
            }
            Parsed::Empty { consumed } => {
                requests.push(Vec::new());
                rest = &rest[consumed..];
            }
            Parsed::NeedMore | Parsed::NeedBlob { .. } => return Ok(requests),
        }
    }
}

fn check(input: &[u8], expected: &[&[&[u8]]]) {
    let got = parse_all(Limits::default(), input);
    assert_eq!(got.as_ref().map(Vec::len), Ok(expected.len()), "{}", input.escape_ascii());
    for (request, expected) in got.unwrap().iter().zip(expected) {
        assert_eq!(request, expected, "{}", input.escape_ascii());
    }
}

#[test]
fn requests() {
    check(b"", &[]);
    check(b"*1\r\n$4\r\nPING\r\n", &[&[b"PING"]]);
    check(b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n*1\r\n$4\r\nPING\r\n", &[&[b"ECHO", b""], &[b"PING"]]);
    check(b"*0\r\nPING\r\n", &[&[], &[b"PING"]]);
    check(b"*-5\r\nPING\r\n", &[&[], &[b"PING"]]);
    check(b"\r\n\nPING a b\r\nPING\n", &[&[], &[], &[b"PING", b"a", b"b"], &[b"PING"]]);
    // Redis skips the byte behind `\r` and both bytes behind a bulk without looking.
    check(b"*1\rX$4\rXPINGab", &[&[b"PING"]]);
    check(b"*1\r\n$4\r\nPI", &[]);
}
