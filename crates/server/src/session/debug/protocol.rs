//! DEBUG commands that show how replies look on the wire: PROTOCOL and ERROR.

use torc_resp::{Args, CommandError, Proto};

use crate::connection::Connection;
use crate::session::Flow;
use crate::shard::Shard;

/// The double that Redis answers.
#[allow(clippy::approx_constant)]
const DOUBLE_SAMPLE: f64 = 3.141;

/// DEBUG PROTOCOL type. The values are those of Redis, because clients' test suites know them.
pub(super) fn protocol(
    _shard: &mut Shard,
    connection: &mut Connection,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    let kind = args.get(2).to_ascii_lowercase();
    let mut reply = connection.reply();
    match kind.as_slice() {
        b"string" => reply.bulk(b"Hello World"),
        b"integer" => reply.int(12345),
        b"double" => reply.double(DOUBLE_SAMPLE),
        b"null" => reply.null(),
        b"array" => {
            reply.array(3);
            (0..3).for_each(|number| reply.int(number));
        }
        b"set" => {
            reply.set(3);
            (0..3).for_each(|number| reply.int(number));
        }
        b"map" => {
            reply.map(3);
            for number in 0..3 {
                reply.int(number);
                reply.boolean(number == 1);
            }
        }
        b"attrib" => {
            if reply.attribute(1) {
                reply.bulk(b"key-popularity");
                reply.array(2);
                reply.bulk(b"key:123");
                reply.int(90);
            }
            // Attributes are optional: the reply itself follows, with them or without.
            reply.bulk(b"Some real reply following the attribute");
        }
        b"push" => {
            if reply.proto() == Proto::Resp2 {
                return Err(CommandError::Text("ERR RESP2 is not supported by this command"));
            }
            reply.bulk(b"Some real reply following the push reply");
            reply.push(2);
            reply.bulk(b"server-cpu-usage");
            reply.int(42);
        }
        b"verbatim" => reply.verbatim("txt", b"This is a verbatim\nstring"),
        b"true" => reply.boolean(true),
        b"false" => reply.boolean(false),
        b"bignum" => reply.big_number("1234567999999999999999999999999999999"),
        _ => {
            return Err(CommandError::Text(
                "ERR Wrong protocol type name. Please use one of the following: string|integer|double|bignum|null|\
                 array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(Flow::Done)
}

/// DEBUG ERROR text
pub(super) fn error(
    _shard: &mut Shard,
    _connection: &mut Connection,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    Err(CommandError::Owned(String::from_utf8_lossy(args.get(2)).into()))
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn every_type_in_both_protocols() {
        let mut bench = Bench::new("--enable-debug-command yes");
        let cases = [
            ("string", "$11 Hello World", "$11 Hello World"),
            ("integer", ":12345", ":12345"),
            ("double", "$5 3.141", ",3.141"),
            ("null", "$-1", "_"),
            ("array", "*3 :0 :1 :2", "*3 :0 :1 :2"),
            ("set", "*3 :0 :1 :2", "~3 :0 :1 :2"),
            ("map", "*6 :0 :0 :1 :1 :2 :0", "%3 :0 #f :1 #t :2 #f"),
            (
                "attrib",
                "$39 Some real reply following the attribute",
                "|1 $14 key-popularity *2 $7 key:123 :90 $39 Some real reply following the attribute",
            ),
            (
                "push",
                "-ERR RESP2 is not supported by this command",
                "$40 Some real reply following the push reply >2 $16 server-cpu-usage :42",
            ),
            ("verbatim", "$25 This is a verbatim string", "=29 txt:This is a verbatim string"),
            ("true", ":1", "#t"),
            ("false", ":0", "#f"),
            ("bignum", "$37 1234567999999999999999999999999999999", "(1234567999999999999999999999999999999"),
            (
                "foo",
                "-ERR Wrong protocol type name. Please use one of the following: \
                 string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
                "-ERR Wrong protocol type name. Please use one of the following: \
                 string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            ),
        ];
        for (kind, resp2, resp3) in cases {
            bench.run("HELLO 2");
            bench.check(&format!("DEBUG PROTOCOL {kind}"), resp2);
            bench.run("HELLO 3");
            bench.check(&format!("DEBUG PROTOCOL {kind}"), resp3);
        }
        bench.check("DEBUG ERROR \"FOO bar\"", "-FOO bar");
    }
}
