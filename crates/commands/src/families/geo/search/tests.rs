//! Goal: searches find what lies inside and nothing else, in the right order. Method: known places, and random ones
//! against plain distances.

use torc_datatypes::geo::Place;
use torc_keyspace::Rng;

use crate::testing::Bench;

const SYNTAX: &str = "-ERR syntax error";
const SICILY: &str = "GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania 12.758489 38.788135 edge1 \
                      17.241510 38.788135 edge2";

/// A reply of these members.
fn list(members: &str) -> String {
    let members: Vec<&str> = members.split_whitespace().collect();
    let bulks: String = members.iter().map(|member| format!("\n${}\n{member}", member.len())).collect();
    format!("*{}{bulks}", members.len())
}

#[test]
fn shapes_and_orders() {
    for entries in [0, 128] {
        let mut bench = Bench::new();
        bench.settings.encodings.zset_max_listpack_entries = entries;
        bench.run(SICILY);
        for (line, expected) in [
            ("GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 200 km ASC", "Catania Palermo"),
            ("GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 200 KM DESC", "Palermo Catania"),
            ("GEOSEARCH g FROMLONLAT 15 37 BYBOX 400 400 km ASC", "Catania Palermo edge2 edge1"),
            ("GEOSEARCH g FROMLONLAT 15 37 BYBOX 400 400 km COUNT 1", "Catania"),
            ("GEOSEARCH g FROMLONLAT 15 37 BYBOX 400 400 km COUNT 2 DESC", "edge1 edge2"),
            ("GEOSEARCH g FROMMEMBER Palermo BYRADIUS 0 m", "Palermo"),
            ("GEOSEARCH g FROMMEMBER Palermo BYRADIUS 170 km ASC", "Palermo edge1 Catania"),
            ("GEOSEARCH g BYPOLYGON 4 13 37 16 37 16 38 13 38.5 ASC", "Catania Palermo"),
            ("GEORADIUS g 15 37 200 km ASC", "Catania Palermo"),
            ("GEORADIUS_RO g 15 37 200 km COUNT 1 DESC", "Palermo"),
            ("GEORADIUSBYMEMBER g Palermo 100 km asc", "Palermo edge1"),
            ("GEORADIUSBYMEMBER_RO g Catania 10 mi", "Catania"),
            ("GEORADIUS g 0 0 1 m", ""),
            ("GEORADIUS nokey 0 0 1 m", ""),
            ("GEORADIUSBYMEMBER nokey x y z", ""),
        ] {
            bench.check(line, &list(expected));
        }
        let [reply, _] = bench.run("GEOSEARCH g FROMLONLAT 15 37 BYBOX 400 400 km COUNT 3 ANY");
        assert!(reply.starts_with("*3\n"), "{reply}");
        bench.check_both(
            "GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 100 km WITHCOORD WITHDIST WITHHASH",
            "*1\n*4\n$7\nCatania\n$7\n56.4413\n:3479447370796909\n*2\n$20\n15.08726745843887329\n$20\n37.50266842333162032",
            "*1\n*4\n$7\nCatania\n$7\n56.4413\n:3479447370796909\n*2\n,15.08726745843887329\n,37.50266842333162032",
        );
    }
}

#[test]
fn results_are_stored() {
    let mut bench = Bench::new();
    bench.run(SICILY);
    bench.check_changes("GEORADIUS g 15 37 200 km STORE d", ":2", 2, &["z georadiusstore d"]);
    bench.check_both("ZSCORE d Palermo", "$16\n3479099956230698", ",3479099956230698");
    bench.check_changes(
        "GEOSEARCHSTORE d g FROMLONLAT 15 37 BYRADIUS 200 km STOREDIST COUNT 1",
        ":1",
        1,
        &["z geosearchstore d"],
    );
    let [distance, _] = bench.run("ZSCORE d Catania");
    assert!(distance.contains("\n56.44125"), "{distance}");
    bench.check("OBJECT ENCODING d", "$8\nlistpack");
    bench.check_changes(
        "GEORADIUSBYMEMBER g Palermo 1 m STORE e STOREDIST d",
        ":1",
        1,
        &["z georadiusstore d"],
    );
    bench.check("EXISTS e", ":0");
    bench.check_changes("GEORADIUS g 0 0 1 m STORE d", ":0", 1, &["g del d"]);
    bench.check_changes("GEORADIUSBYMEMBER nokey m 1 m STORE d", ":0", 0, &[]);
    bench.run("SET d v");
    bench.check_changes("GEOSEARCHSTORE d nokey FROMMEMBER m BYRADIUS 1 m", ":0", 1, &["g del d"]);
}

#[test]
fn errors() {
    let mut bench = Bench::new();
    bench.run(SICILY);
    bench.run("SET k v");
    for (line, expected) in [
        ("GEORADIUS k 1 1 1 m", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("GEORADIUS g 1 1 x m", "-ERR need numeric radius"),
        ("GEORADIUS g 1 1 -1 m", "-ERR radius cannot be negative"),
        ("GEORADIUS g 1 1 1 x", "-ERR unsupported unit provided. please use M, KM, FT, MI"),
        ("GEORADIUS g 200 1 1 m", "-ERR invalid longitude,latitude pair 200.000000,1.000000"),
        ("GEORADIUS g 1 1 1 m COUNT 0", "-ERR COUNT must be > 0"),
        ("GEORADIUS g 1 1 1 m COUNT", SYNTAX),
        ("GEORADIUS g 1 1 1 m ANY", "-ERR the ANY argument requires COUNT argument"),
        ("GEORADIUS g 1 1 1 m STORE", SYNTAX),
        ("GEORADIUS_RO g 1 1 1 m STORE d", SYNTAX),
        (
            "GEORADIUS g 1 1 1 m WITHDIST STORE d",
            "-ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
        ),
        ("GEORADIUSBYMEMBER g x 1 m", "-ERR could not decode requested zset member"),
        (
            "GEOSEARCH g BYRADIUS 1 m ASC DESC",
            "-ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for GEOSEARCH",
        ),
        (
            "geosearch g FROMLONLAT 1 1 ASC ASC",
            "-ERR exactly one of BYRADIUS and BYBOX can be specified for geosearch",
        ),
        ("GEOSEARCH g FROMLONLAT 1 1 FROMMEMBER Palermo BYRADIUS 1 m", SYNTAX),
        ("GEOSEARCH g FROMLONLAT 1 1 BYRADIUS 1 m BYBOX 1 1 m", SYNTAX),
        ("GEOSEARCH g FROMLONLAT 1 1 BYBOX 1 1 m BYRADIUS 1 m", SYNTAX),
        ("GEOSEARCH g FROMLONLAT 1 1 BYBOX x 1 m", "-ERR need numeric width"),
        ("GEOSEARCH g FROMLONLAT 1 1 BYBOX 1 x m", "-ERR need numeric height"),
        ("GEOSEARCH g FROMLONLAT 1 1 BYBOX 1 -1 m", "-ERR height or width cannot be negative"),
        ("GEOSEARCH g FROMLONLAT 1 1 BYRADIUS 1 m STOREDIST", SYNTAX),
        ("GEOSEARCH g FROMLONLAT 1 1 BYRADIUS 1 m STORE d", SYNTAX),
        ("GEOSEARCH g BYPOLYGON x 1 1 2 2 3 3", "-ERR invalid number of vertices"),
        ("GEOSEARCH g BYPOLYGON 2 1 1 2 2", "-ERR GEOSEARCH BYPOLYGON must have at least 3 vertices"),
        ("GEOSEARCH g BYPOLYGON 3 1 1 2 2 3", "-ERR GEOSEARCH BYPOLYGON must have at least 3 vertices"),
        ("GEOSEARCH g BYPOLYGON 3 1 1 2 2 3 90", "-ERR invalid longitude,latitude pair 3.000000,90.000000"),
        (
            "GEOSEARCHSTORE d g FROMLONLAT 1 1 BYRADIUS 1 m WITHDIST",
            "-ERR GEOSEARCHSTORE is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
        ),
    ] {
        bench.check_changes(line, expected, 0, &[]);
    }
}

/// Circles and boxes of all sizes, anywhere: what is found is exactly what is near enough.
#[test]
fn random_places_agree_with_plain_distances() {
    let mut random = Rng::new(5);
    let mut degrees = |max: f64| (random.index(2_000_001) as f64 / 1_000_000.0 - 1.0) * max;
    let mut bench = Bench::new();
    let mut places = Vec::new();
    for id in 0..400 {
        let (longitude, latitude) = (degrees(180.0), degrees(85.0));
        bench.run(&format!("GEOADD g {longitude} {latitude} m{id}"));
        places.push((format!("m{id}"), Place::of_score(Place { longitude, latitude }.score())));
    }
    for round in 0..60 {
        let center = Place { longitude: degrees(120.0), latitude: degrees(60.0) };
        let radius = [100_000.0, 500_000.0, 2_000_000.0][round % 3];
        let (x, y) = (center.longitude, center.latitude);
        let [reply, _] = bench.run(&format!("GEOSEARCH g FROMLONLAT {x} {y} BYRADIUS {radius} m ASC"));
        let found: Vec<&str> = reply.lines().skip(2).step_by(2).collect();
        let mut expected: Vec<(f64, &str)> = places
            .iter()
            .map(|(name, place)| (center.distance(place), name.as_str()))
            .filter(|(distance, _)| *distance <= radius)
            .collect();
        expected.sort_by(|one, other| one.0.total_cmp(&other.0));
        assert_eq!(found, expected.iter().map(|(_, name)| *name).collect::<Vec<_>>(), "{center:?} {radius}");
    }
}
