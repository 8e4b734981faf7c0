//! DEBUG DIGEST and DIGEST-VALUE: the same data give the same digest, in whatever order and on however many shards they
//! are.

use torc_datatypes::digest::Digest;
use torc_keyspace::slot_of;
use torc_resp::{Args, CommandError};

use crate::connection::Connection;
use crate::session::Flow;
use crate::shard::Shard;

/// DEBUG DIGEST
pub(super) fn digest(
    shard: &mut Shard,
    connection: &mut Connection,
    _args: Args<'_>,
) -> Result<Flow, CommandError> {
    let digest_here = |shard: &mut Shard| -> Digest {
        let Shard { keyspace, changes, now, .. } = shard;
        let mut sum = Digest::default();
        for db in 0..keyspace.databases() {
            keyspace.for_each(db, now.unix_ms, changes, |entry| {
                let value = Digest::of_value(entry, now.unix_ms).bytes();
                sum = sum.combine(Digest::of(&[&db.to_le_bytes(), entry.key(), &value]));
            });
        }
        sum
    };
    let flow = shard.call_all(connection, digest_here, |_shard, connection, digests| {
        let all = digests.into_iter().fold(Digest::default(), Digest::combine);
        connection.reply().simple(&all.hex());
        Ok(())
    });
    Ok(flow)
}

/// DEBUG DIGEST-VALUE [key ...]
pub(super) fn digest_value(
    shard: &mut Shard,
    connection: &mut Connection,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    let keys: Vec<Vec<u8>> = args.iter().skip(2).map(<[u8]>::to_vec).collect();
    let db = connection.db;
    let digests_here = move |shard: &mut Shard| -> Vec<Digest> {
        let digest = |key: &Vec<u8>| {
            let is_here = shard.slots.owner(slot_of(key)) == shard.id;
            let entry =
                shard.keyspace.peek(db, &shard.keyspace.key(key), shard.now.unix_ms).filter(|_| is_here);
            entry.map_or_else(Digest::default, |entry| Digest::of_value(entry, shard.now.unix_ms))
        };
        keys.iter().map(digest).collect()
    };
    let flow = shard.call_all(connection, digests_here, |_shard, connection, lists| {
        let mut reply = connection.reply();
        let count = lists[0].len();
        reply.array(count);
        for index in 0..count {
            // Only the owner of a key has something to say.
            let digest = lists.iter().fold(Digest::default(), |sum, list| sum.combine(list[index]));
            reply.simple(&digest.hex());
        }
        Ok(())
    });
    Ok(flow)
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn digests_depend_on_the_data_alone() {
        let args = "--enable-debug-command yes";
        let nothing = format!("+{}", "0".repeat(40));
        let (mut one, mut three) = (Bench::new(args), Bench::with_shards(3, args));
        one.check("DEBUG DIGEST", &nothing);
        let lines = ["SET a 1", "SET b x", "SET c y EX 100", "SET d 12"];
        lines.iter().for_each(|line| one.check(line, "+OK"));
        lines.iter().rev().for_each(|line| three.check(line, "+OK"));
        let digest = one.run("DEBUG DIGEST");
        assert_eq!(digest.len(), 41);
        three.check("DEBUG DIGEST", &digest);
        let values = one.run("DEBUG DIGEST-VALUE a b c nokey");
        three.check("DEBUG DIGEST-VALUE a b c nokey", &values);
        assert!(values.ends_with(&nothing));
        three.check("PERSIST c", ":1");
        assert_ne!(three.run("DEBUG DIGEST"), digest);
    }

    #[test]
    fn the_order_of_elements_matters_and_their_nodes_do_not() {
        let mut bench = Bench::new("--enable-debug-command yes");
        bench.check("RPUSH a 1 x 2", ":3");
        bench.check("RPUSH c 2 x 1", ":3");
        bench.check("CONFIG SET list-max-listpack-size 1", "+OK");
        bench.check("RPUSH b 1 x 2", ":3");
        let digest = |bench: &mut Bench, key: &str| bench.run(&format!("DEBUG DIGEST-VALUE {key}"));
        let a = digest(&mut bench, "a");
        assert_eq!(a, digest(&mut bench, "b"));
        assert_ne!(a, digest(&mut bench, "c"));
    }

    #[test]
    fn the_order_of_members_does_not_matter() {
        let mut bench = Bench::new("--enable-debug-command yes");
        bench.check("SADD a 1 2 x", ":3");
        bench.check("SADD b x 2 1", ":3");
        bench.check("SADD c 1 2 y", ":3");
        let digest = |bench: &mut Bench, key: &str| bench.run(&format!("DEBUG DIGEST-VALUE {key}"));
        let a = digest(&mut bench, "a");
        assert_eq!(a, digest(&mut bench, "b"));
        assert_ne!(a, digest(&mut bench, "c"));
    }

    #[test]
    fn groups_belong_to_a_stream() {
        let mut bench = Bench::new("--enable-debug-command yes");
        let digest = |bench: &mut Bench, key: &str| bench.run(&format!("DEBUG DIGEST-VALUE {key}"));
        bench.check("XADD s 1 a 1", "$3 1-0");
        let plain = digest(&mut bench, "s");
        bench.check("XGROUP CREATE s g 0", "+OK");
        let with_group = digest(&mut bench, "s");
        assert_ne!(plain, with_group);
        bench.check("COPY s t", ":1");
        assert_eq!(with_group, digest(&mut bench, "t"));
        bench.run("XREADGROUP GROUP g c COUNT 1 STREAMS t >");
        assert_ne!(with_group, digest(&mut bench, "t"));
    }

    #[test]
    fn fields_count_with_their_expiry_in_whatever_form() {
        let mut bench = Bench::new("--enable-debug-command yes");
        bench.check("HSET a x 1 y 2", ":2");
        bench.check("HSETEX b PXAT 33177117420000 FIELDS 2 y 2 x 1", ":1");
        let digest = |bench: &mut Bench, key: &str| bench.run(&format!("DEBUG DIGEST-VALUE {key}"));
        let a = digest(&mut bench, "a");
        assert_ne!(a, digest(&mut bench, "b"));
        bench.check("HPERSIST b FIELDS 2 x y", "*2 :1 :1");
        assert_eq!(a, digest(&mut bench, "b"));
        bench.check("HSET b x 2 y 1", ":0");
        assert_ne!(a, digest(&mut bench, "b"));
    }

    #[test]
    fn scores_matter_and_encodings_do_not() {
        let mut bench = Bench::new("--enable-debug-command yes");
        let long = "x".repeat(65);
        bench.check("ZADD a 1 x -0 y", ":2");
        bench.check(&format!("ZADD b 0 y 1 x 1 {long}"), ":3");
        bench.check(&format!("ZREM b {long}"), ":1");
        bench.check("ZADD c 1 x 2 y", ":2");
        let digest = |bench: &mut Bench, key: &str| bench.run(&format!("DEBUG DIGEST-VALUE {key}"));
        let a = digest(&mut bench, "a");
        assert_eq!(a, digest(&mut bench, "b"));
        assert_ne!(a, digest(&mut bench, "c"));
    }
}
