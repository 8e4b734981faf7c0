//! Bytes of requests and replies for tests that look below the client: request encoding and shorthand values.

use torc_resp::Value;

/// A request in multibulk form.
pub fn request<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let args: Vec<&[u8]> = args.iter().map(AsRef::as_ref).collect();
    let mut out = Vec::new();
    torc_resp::encode_command(&args, &mut out);
    out
}

/// A request from words parted by blanks.
pub fn words(line: &str) -> Vec<u8> {
    request(&line.split_whitespace().collect::<Vec<_>>())
}

pub fn ok() -> Value {
    Value::Simple("OK".into())
}

pub fn bulk(bytes: impl AsRef<[u8]>) -> Value {
    Value::Bulk(bytes.as_ref().to_vec())
}

pub fn simple(text: &str) -> Value {
    Value::Simple(text.into())
}
