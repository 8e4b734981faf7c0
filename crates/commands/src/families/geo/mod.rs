//! GEO: sorted sets whose scores are geohashes. The family's list, and what its files share.
//!
//! Owns how places, units and distances are read and written. Never looks a key up itself.

mod members;
mod query;
mod search;

use torc_datatypes::geo::Place;
use torc_resp::{Args, CommandError, Proto, Reply};

use crate::Command;

pub(super) const COMMANDS: &[Command] = &[
    members::GEOADD,
    members::GEOPOS,
    members::GEODIST,
    members::GEOHASH,
    search::GEOSEARCH,
    search::GEOSEARCHSTORE,
    search::GEORADIUS,
    search::GEORADIUS_RO,
    search::GEORADIUSBYMEMBER,
    search::GEORADIUSBYMEMBER_RO,
];

/// A longitude and the latitude behind it.
fn parse_place(args: Args<'_>, index: usize) -> Result<Place, CommandError> {
    let place = Place { longitude: args.float(index)?, latitude: args.float(index + 1)? };
    if place.is_valid() {
        return Ok(place);
    }
    let Place { longitude, latitude } = place;
    let text = format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}");
    Err(CommandError::Owned(text.into()))
}

/// The meters of a unit.
fn parse_unit(unit: &[u8]) -> Result<f64, CommandError> {
    match unit {
        _ if unit.eq_ignore_ascii_case(b"M") => Ok(1.0),
        _ if unit.eq_ignore_ascii_case(b"KM") => Ok(1000.0),
        _ if unit.eq_ignore_ascii_case(b"FT") => Ok(0.3048),
        _ if unit.eq_ignore_ascii_case(b"MI") => Ok(1609.34),
        _ => Err(CommandError::Text("ERR unsupported unit provided. please use M, KM, FT, MI")),
    }
}

/// A distance as a bulk with four digits behind the point.
fn write_distance(reply: &mut Reply<'_>, distance: f64) {
    let scaled = (distance * 10_000.0).round_ties_even() as u64;
    reply.bulk(format!("{}.{:04}", scaled / 10_000, scaled % 10_000).as_bytes());
}

fn write_place(reply: &mut Reply<'_>, place: &Place) {
    reply.array(2);
    write_degrees(reply, place.longitude);
    write_degrees(reply, place.latitude);
}

/// Degrees with all the digits that they have, up to 17 behind the point: more than other doubles show (Redis 7.2).
fn write_degrees(reply: &mut Reply<'_>, degrees: f64) {
    let text = format!("{degrees:.17}");
    let text = match text.trim_end_matches('0').trim_end_matches('.') {
        "-0" => "0",
        text => text,
    };
    match reply.proto() {
        Proto::Resp2 => reply.bulk(text.as_bytes()),
        Proto::Resp3 => reply.raw(format!(",{text}\r\n").as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use torc_resp::ReplyBuf;

    use super::*;

    fn written(proto: Proto, write: impl Fn(&mut Reply<'_>)) -> String {
        let mut buf = ReplyBuf::new();
        write(&mut Reply::new(&mut buf, proto));
        String::from_utf8(buf.to_vec()).expect("text")
    }

    #[test]
    fn distances_have_four_digits() {
        for (distance, text) in [
            (0.0, "0.0000"),
            (0.00004, "0.0000"),
            (0.775, "0.7750"),
            (166274.15156, "166274.1516"),
            (12.0, "12.0000"),
        ] {
            let expected = format!("${}\r\n{text}\r\n", text.len());
            assert_eq!(written(Proto::Resp3, |reply| write_distance(reply, distance)), expected);
        }
    }

    #[test]
    fn degrees_have_all_their_digits() {
        for (degrees, text) in [
            (13.361389338970184, "13.36138933897018433"),
            (-0.5, "-0.5"),
            (0.0, "0"),
            (-0.0, "0"),
            (100.0, "100"),
        ] {
            let expected = format!(",{text}\r\n");
            assert_eq!(written(Proto::Resp3, |reply| write_degrees(reply, degrees)), expected);
        }
        assert_eq!(written(Proto::Resp2, |reply| write_degrees(reply, 1.5)), "$3\r\n1.5\r\n");
    }
}
