//! Members in an area: GEOSEARCH, GEOSEARCHSTORE and the older forms GEORADIUS, GEORADIUSBYMEMBER and what only reads
//! of both.

use torc_datatypes::ZSet;
use torc_datatypes::geo::Place;
use torc_datatypes::zset::{ScoreBound, ScoreRange, ZSetBuilder};
use torc_resp::{Args, CommandError, Reply};

use super::query::{From, Order, Query, Store, store_index};
use super::{write_distance, write_place};
use crate::families::zset::{limits, store, zset_at};
use crate::{Access, Arity, Begin, Command, Context, Docs, Find, Flags, Group, KeySpec, Run, Spec, Status};

const COMPLEXITY: &str = "O(N+log(M)) where N is the number of members in a box around the area and M the number of \
                          members in the sorted set";
const HISTORY_OF_RADIUS: &[(&str, &str)] =
    &[("6.2.0", "`ANY` behind `COUNT`."), ("7.0.0", "Names of units in upper case.")];
/// Members that are looked at before it is asked whether there are enough.
const CHUNK: usize = 64;

pub(super) const GEOSEARCH: Command = Command {
    spec: Spec {
        name: "geosearch",
        arity: Arity::at_least(7),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "GEOSEARCH key ((FROMMEMBER member | FROMLONLAT longitude:double latitude:double) (BYRADIUS \
                     radius:double (M | KM | FT | MI) | BYBOX width:double height:double (M | KM | FT | MI)) | \
                     BYPOLYGON num-vertices:int longitude1:double latitude1:double longitude2:double latitude2:double \
                     longitude:double latitude:double [longitude:double latitude:double ...]) [ASC | DESC] [COUNT \
                     count:int [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]",
            summary: "Returns the members in a circle or a box around a place or a member, or in a polygon.",
            since: "6.2.0",
            complexity: COMPLEXITY,
            group: Group::Geo,
            history: &[("7.0.0", "Names of units in upper case."), ("9.0.0", "`BYPOLYGON`.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(geosearch),
    subcommands: &[],
};

fn geosearch(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let zset = zset_at(cx.read(args.get(1)))?;
    let query = Query::parse_search(args, None, zset)?;
    show(&query, &find(zset, &query), reply);
    Ok(())
}

pub(super) const GEOSEARCHSTORE: Command = Command {
    spec: Spec {
        name: "geosearchstore",
        arity: Arity::at_least(8),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::at(1, Access::OW_UPDATE), KeySpec::at(2, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "GEOSEARCHSTORE destination:key source:key ((FROMMEMBER member | FROMLONLAT longitude:double \
                     latitude:double) (BYRADIUS radius:double (M | KM | FT | MI) | BYBOX width:double height:double (M | \
                     KM | FT | MI)) | BYPOLYGON num-vertices:int longitude1:double latitude1:double longitude2:double \
                     latitude2:double longitude:double latitude:double [longitude:double latitude:double ...]) [ASC | \
                     DESC] [COUNT count:int [ANY]] [STOREDIST]",
            summary: "Stores the members in a circle or a box around a place or a member, or in a polygon, and replies \
                      how many there are.",
            since: "6.2.0",
            complexity: COMPLEXITY,
            group: Group::Geo,
            history: &[("7.0.0", "Names of units in upper case."), ("9.0.0", "`BYPOLYGON`.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(geosearchstore),
    subcommands: &[],
};

fn geosearchstore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let zset = zset_at(cx.read(args.get(2)))?;
    let query = Query::parse_search(args, Some(args.get(1)), zset)?;
    let found = find(zset, &query);
    let target = query.store.expect("the destination was given");
    store_found(cx, &query, target, found, "geosearchstore", reply);
    Ok(())
}

/// A key that an option names, if it is there.
const fn stored_at(word: &'static str, from: From, find: fn(Args<'_>) -> Option<usize>) -> KeySpec {
    KeySpec {
        begin: Begin::Keyword { word, from: from.first_option() as i32 },
        find: Find::Argument(find),
        access: Access::OW_UPDATE,
        notes: "",
        by_options: None,
    }
}

pub(super) const GEORADIUS: Command = Command {
    spec: Spec {
        name: "georadius",
        arity: Arity::at_least(6),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[
            KeySpec::at(1, Access::RO_ACCESS),
            stored_at("STORE", From::Place, |args| store_index(args, From::Place, false)),
            stored_at("STOREDIST", From::Place, |args| store_index(args, From::Place, true)),
        ],
        docs: &Docs {
            syntax: "GEORADIUS key longitude:double latitude:double radius:double (M | KM | FT | MI) [WITHCOORD] \
                     [WITHDIST] [WITHHASH] [COUNT count:int [ANY]] [ASC | DESC] [STORE key | STOREDIST key]",
            summary: "Returns or stores the members in a circle around a place.",
            since: "3.2.0",
            complexity: COMPLEXITY,
            group: Group::Geo,
            status: Status::Deprecated {
                since: "6.2.0",
                replaced_by: "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument",
            },
            history: HISTORY_OF_RADIUS,
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(georadius),
    subcommands: &[],
};

fn georadius(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    radius(cx, args, From::Place, true, reply)
}

pub(super) const GEORADIUS_RO: Command = Command {
    spec: Spec {
        name: "georadius_ro",
        arity: Arity::at_least(6),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "GEORADIUS_RO key longitude:double latitude:double radius:double (M | KM | FT | MI) [WITHCOORD] \
                     [WITHDIST] [WITHHASH] [COUNT count:int [ANY]] [ASC | DESC]",
            summary: "Returns the members in a circle around a place.",
            since: "3.2.10",
            complexity: COMPLEXITY,
            group: Group::Geo,
            status: Status::Deprecated {
                since: "6.2.0",
                replaced_by: "`GEOSEARCH` with the `BYRADIUS` argument",
            },
            history: HISTORY_OF_RADIUS,
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(georadius_ro),
    subcommands: &[],
};

fn georadius_ro(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    radius(cx, args, From::Place, false, reply)
}

pub(super) const GEORADIUSBYMEMBER: Command = Command {
    spec: Spec {
        name: "georadiusbymember",
        arity: Arity::at_least(5),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[
            KeySpec::at(1, Access::RO_ACCESS),
            stored_at("STORE", From::Member, |args| store_index(args, From::Member, false)),
            stored_at("STOREDIST", From::Member, |args| store_index(args, From::Member, true)),
        ],
        docs: &Docs {
            syntax: "GEORADIUSBYMEMBER key member radius:double (M | KM | FT | MI) [WITHCOORD] [WITHDIST] [WITHHASH] \
                     [COUNT count:int [ANY]] [ASC | DESC] [STORE key | STOREDIST key]",
            summary: "Returns or stores the members in a circle around a member.",
            since: "3.2.0",
            complexity: COMPLEXITY,
            group: Group::Geo,
            status: Status::Deprecated {
                since: "6.2.0",
                replaced_by: "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments",
            },
            history: HISTORY_OF_RADIUS,
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(georadiusbymember),
    subcommands: &[],
};

fn georadiusbymember(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    radius(cx, args, From::Member, true, reply)
}

pub(super) const GEORADIUSBYMEMBER_RO: Command = Command {
    spec: Spec {
        name: "georadiusbymember_ro",
        arity: Arity::at_least(5),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "GEORADIUSBYMEMBER_RO key member radius:double (M | KM | FT | MI) [WITHCOORD] [WITHDIST] [WITHHASH] \
                     [COUNT count:int [ANY]] [ASC | DESC]",
            summary: "Returns the members in a circle around a member.",
            since: "3.2.10",
            complexity: COMPLEXITY,
            group: Group::Geo,
            status: Status::Deprecated {
                since: "6.2.0",
                replaced_by: "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments",
            },
            history: HISTORY_OF_RADIUS,
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(georadiusbymember_ro),
    subcommands: &[],
};

fn georadiusbymember_ro(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    radius(cx, args, From::Member, false, reply)
}

fn radius(
    cx: &mut Context<'_>,
    args: Args<'_>,
    from: From,
    may_store: bool,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let zset = zset_at(cx.read(args.get(1)))?;
    let query = Query::parse_radius(args, from, zset, may_store)?;
    let found = find(zset, &query);
    match query.store {
        Some(target) => store_found(cx, &query, target, found, "georadiusstore", reply),
        None => show(&query, &found, reply),
    }
    Ok(())
}

/// A member in the area.
struct Found {
    member: Vec<u8>,
    place: Place,
    score: f64,
    /// In meters, from the center.
    distance: f64,
}

/// The members that a search wants, in its order.
fn find(zset: Option<&ZSet>, query: &Query<'_>) -> Vec<Found> {
    let (Some(zset), Some(shape)) = (zset, &query.shape) else { return Vec::new() };
    let enough = if query.any { query.count.unwrap_or(usize::MAX) } else { usize::MAX };
    let mut found: Vec<Found> = Vec::new();
    for (low, high) in shape.score_ranges() {
        let min = ScoreBound { score: low, open: false };
        let max = ScoreBound { score: high, open: true };
        let ranks = zset.ranks_by_score(&ScoreRange { min, max });
        for start in ranks.clone().step_by(CHUNK) {
            if found.len() >= enough {
                break;
            }
            zset.visit(start..ranks.end.min(start + CHUNK), false, |member, score| {
                let place = Place::of_score(score);
                if found.len() < enough
                    && let Some(distance) = shape.distance_inside(&place)
                {
                    found.push(Found { member: member.to_vec(), place, score, distance });
                }
            });
        }
    }
    match query.order {
        Order::None => {}
        Order::Ascending => found.sort_by(|one, other| one.distance.total_cmp(&other.distance)),
        Order::Descending => found.sort_by(|one, other| other.distance.total_cmp(&one.distance)),
    }
    found.truncate(query.count.unwrap_or(usize::MAX));
    found
}

fn show(query: &Query<'_>, found: &[Found], reply: &mut Reply<'_>) {
    let with = query.with;
    let details = usize::from(with.distance) + usize::from(with.hash) + usize::from(with.place);
    reply.array(found.len());
    for Found { member, place, score, distance } in found {
        if details > 0 {
            reply.array(1 + details);
        }
        reply.bulk(member);
        if with.distance {
            write_distance(reply, distance / query.unit);
        }
        if with.hash {
            reply.int(*score as i64);
        }
        if with.place {
            write_place(reply, place);
        }
    }
}

/// Stores the members with their geohashes or distances. Each of them counts as a change (Redis 7.2).
fn store_found(
    cx: &mut Context<'_>,
    query: &Query<'_>,
    target: Store<'_>,
    found: Vec<Found>,
    event: &'static str,
    reply: &mut Reply<'_>,
) {
    let mut result = ZSetBuilder::default();
    for Found { member, score, distance, .. } in &found {
        result.add(member, |_| if target.distances { distance / query.unit } else { *score });
    }
    let result = result.finish(&limits(cx));
    store(cx, target.key, result, event, reply);
    cx.changes.dirty += (found.len() as u64).saturating_sub(1);
}

#[cfg(test)]
mod tests;
