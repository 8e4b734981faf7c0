//! Members and their places: GEOADD, GEOPOS, GEODIST and GEOHASH.

use smallvec::SmallVec;
use torc_datatypes::geo::Place;
use torc_resp::{Args, CommandError, Reply};

use super::{parse_place, parse_unit, write_distance, write_place};
use crate::families::zset::{Rule, insert_all, zset_at};
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec};

pub(super) const GEOADD: Command = Command {
    spec: Spec {
        name: "geoadd",
        arity: Arity::at_least(5),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::at(1, Access::RW_UPDATE)],
        docs: &Docs {
            syntax: "GEOADD key [NX | XX] [CH] longitude:double latitude:double member [longitude:double \
                     latitude:double member ...]",
            summary: "Gives members of a sorted set their places, adding those that are not there; a missing key counts \
                      as empty. Replies how many were new.",
            since: "3.2.0",
            complexity: "O(log(N)) for each member where N is the number of members in the sorted set",
            group: Group::Geo,
            history: &[("6.2.0", "`CH`, `NX` and `XX`.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(geoadd),
    subcommands: &[],
};

fn geoadd(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let mut rule = Rule::default();
    let mut index = 2;
    while index < args.len() {
        match args.get(index) {
            word if word.eq_ignore_ascii_case(b"NX") => rule.nx = true,
            word if word.eq_ignore_ascii_case(b"XX") => rule.xx = true,
            word if word.eq_ignore_ascii_case(b"CH") => rule.count_updates = true,
            _ => break,
        }
        index += 1;
    }
    let triples = args.from(index);
    if triples.is_empty() || !triples.len().is_multiple_of(3) || rule.nx && rule.xx {
        return Err(CommandError::Syntax);
    }
    let mut members: SmallVec<[(f64, &[u8]); 4]> = SmallVec::with_capacity(triples.len() / 3);
    for index in (0..triples.len()).step_by(3) {
        members.push((parse_place(triples, index)?.score(), triples.get(index + 2)));
    }
    let outcome = insert_all(cx, args.get(1), rule, &members)?;
    let updated = if rule.count_updates { outcome.updated } else { 0 };
    reply.int((outcome.added + updated) as i64);
    Ok(())
}

pub(super) const GEOPOS: Command = Command {
    spec: Spec {
        name: "geopos",
        arity: Arity::at_least(2),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "GEOPOS key [member [member ...]]",
            summary: "Returns the longitudes and latitudes of members.",
            since: "3.2.0",
            complexity: "O(1) for each member",
            group: Group::Geo,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(geopos),
    subcommands: &[],
};

fn geopos(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let zset = zset_at(cx.read(args.get(1)))?;
    let members = args.from(2);
    reply.array(members.len());
    for member in members.iter() {
        match zset.and_then(|zset| zset.score(member)) {
            Some(score) => write_place(reply, &Place::of_score(score)),
            None => reply.null_array(),
        }
    }
    Ok(())
}

pub(super) const GEODIST: Command = Command {
    spec: Spec {
        name: "geodist",
        arity: Arity::at_least(4),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "GEODIST key member1 member2 [M | KM | FT | MI]",
            summary: "Returns the distance between two members, in meters unless told otherwise.",
            since: "3.2.0",
            complexity: "O(1)",
            group: Group::Geo,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(geodist),
    subcommands: &[],
};

fn geodist(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let unit = match args.len() {
        4 => 1.0,
        5 => parse_unit(args.get(4))?,
        _ => return Err(CommandError::Syntax),
    };
    let zset = zset_at(cx.read(args.get(1)))?;
    let place = |index| Some(Place::of_score(zset?.score(args.get(index))?));
    match (place(2), place(3)) {
        (Some(one), Some(other)) => write_distance(reply, one.distance(&other) / unit),
        _ => reply.null(),
    }
    Ok(())
}

pub(super) const GEOHASH: Command = Command {
    spec: Spec {
        name: "geohash",
        arity: Arity::at_least(2),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "GEOHASH key [member [member ...]]",
            summary: "Returns the places of members as geohashes in letters and digits.",
            since: "3.2.0",
            complexity: "O(1) for each member",
            group: Group::Geo,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(geohash),
    subcommands: &[],
};

fn geohash(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let zset = zset_at(cx.read(args.get(1)))?;
    let members = args.from(2);
    reply.array(members.len());
    for member in members.iter() {
        match zset.and_then(|zset| zset.score(member)) {
            Some(score) => reply.bulk(&Place::of_score(score).geohash()),
            None => reply.null(),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    const SYNTAX: &str = "-ERR syntax error";

    #[test]
    fn members_get_places() {
        let mut bench = Bench::new();
        bench.check_changes("GEOADD g 13.361389 38.115556 p 15.087269 37.502669 c", ":2", 2, &["z zadd g"]);
        bench.check_changes("GEOADD g 13.361389 38.115556 p", ":0", 0, &[]);
        bench.check("GEOADD g NX 1 1 p 2 2 n", ":1");
        bench.check("GEOADD g XX CH 1 1 n 2 2 m", ":1");
        bench.check_both("ZSCORE g p", "$16\n3479099956230698", ",3479099956230698");
        bench.check("GEOHASH g p missing c", "*3\n$11\nsqc8b49rny0\n$-1\n$11\nsqdtr74hyu0");
        bench.check("GEOHASH g", "*0");
        bench.check("GEOHASH nokey p", "*1\n$-1");
        bench.check_both(
            "GEOPOS g p missing",
            "*2\n*2\n$20\n13.36138933897018433\n$20\n38.11555639549629859\n*-1",
            "*2\n*2\n,13.36138933897018433\n,38.11555639549629859\n_",
        );
        for (line, expected) in [
            ("GEOADD g 200 1 x", "-ERR invalid longitude,latitude pair 200.000000,1.000000"),
            ("GEOADD g 1 1 x 1 -86 y", "-ERR invalid longitude,latitude pair 1.000000,-86.000000"),
            ("GEOADD g a 1 x", "-ERR value is not a valid float"),
            ("GEOADD g 1 1 x 1", SYNTAX),
            ("GEOADD g NX XX 1 1 x", SYNTAX),
            ("GEOADD g NX CH XX", SYNTAX),
        ] {
            bench.check_changes(line, expected, 0, &[]);
        }
    }

    #[test]
    fn distances() {
        let mut bench = Bench::new();
        bench.run("GEOADD g 13.361389 38.115556 p 15.087269 37.502669 c");
        for (rest, expected) in [
            ("p c", "$11\n166274.1516"),
            ("p c M", "$11\n166274.1516"),
            ("p c km", "$8\n166.2742"),
            ("p c mi", "$8\n103.3182"),
            ("p c Ft", "$11\n545518.8700"),
            ("p p", "$6\n0.0000"),
            ("p missing", "$-1"),
            ("p c foo", "-ERR unsupported unit provided. please use M, KM, FT, MI"),
            ("p c m m", SYNTAX),
        ] {
            bench.check(&format!("GEODIST g {rest}"), expected);
        }
        bench.check("GEODIST nokey p c", "$-1");
        bench.run("SET k v");
        for line in ["GEOADD k 1 1 a", "GEODIST k a b", "GEOPOS k a", "GEOHASH k a"] {
            bench.check(line, WRONG_TYPE);
        }
    }
}
