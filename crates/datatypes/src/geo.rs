//! Places on the globe as scores of a sorted set: 52-bit geohashes, distances, and the areas that searches cover.
//!
//! The numbers are those of Redis 7.2, bit for bit: the same latitudes (those of the Mercator projection), the same
//! radius of the globe, the same order of operations. Never knows sorted sets or units.

use std::f64::consts::PI;

/// Longitudes that can be encoded.
pub const LONGITUDE_MAX: f64 = 180.0;
/// Latitudes that can be encoded.
pub const LATITUDE_MAX: f64 = 85.05112878;
/// Bits per coordinate of a whole geohash.
const STEPS_MAX: u32 = 26;
const GLOBE_RADIUS_M: f64 = 6_372_797.560856;
/// Half of what the Mercator projection is wide.
const MERCATOR_MAX_M: f64 = 20_037_726.37;
const RADIANS_PER_DEGREE: f64 = PI / 180.0;
/// Bits of latitudes in a geohash; the others are those of longitudes.
const LATITUDE_BITS: u64 = 0x5555_5555_5555_5555;
const LONGITUDE_BITS: u64 = !LATITUDE_BITS;
const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";

/// A place, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    pub longitude: f64,
    pub latitude: f64,
}

impl Place {
    /// Whether the place can be encoded. No number never can.
    pub fn is_valid(&self) -> bool {
        self.longitude.abs() <= LONGITUDE_MAX && self.latitude.abs() <= LATITUDE_MAX
    }

    /// The geohash of 52 bits, which is an exact score.
    pub fn score(&self) -> f64 {
        Cell::at(self, STEPS_MAX, LATITUDE_MAX).bits as f64
    }

    /// The middle of what a geohash covers.
    pub fn of_score(score: f64) -> Place {
        let area = Cell { bits: bits_of(score), steps: STEPS_MAX }.area();
        let middle = |low: f64, high: f64, max: f64| ((low + high) / 2.0).clamp(-max, max);
        Place {
            longitude: middle(area.west, area.east, LONGITUDE_MAX),
            latitude: middle(area.south, area.north, LATITUDE_MAX),
        }
    }

    /// The usual geohash in letters and digits, which has another range of latitudes. The last of eleven characters would
    /// need more than 52 bits and is always zero.
    pub fn geohash(&self) -> [u8; 11] {
        const LATITUDE_MAX_OF_TEXT: f64 = 90.0;
        let bits = Cell::at(self, STEPS_MAX, LATITUDE_MAX_OF_TEXT).bits;
        let mut text = [ALPHABET[0]; 11];
        for (index, letter) in text[..10].iter_mut().enumerate() {
            *letter = ALPHABET[(bits >> (52 - (index + 1) * 5)) as usize & 0x1f];
        }
        text
    }

    /// Meters along the great circle.
    pub fn distance(&self, other: &Place) -> f64 {
        let (longitude, other_longitude) = (radians(self.longitude), radians(other.longitude));
        let v = ((other_longitude - longitude) / 2.0).sin();
        if v == 0.0 {
            return self.distance_along_meridian(other);
        }
        let (latitude, other_latitude) = (radians(self.latitude), radians(other.latitude));
        let u = ((other_latitude - latitude) / 2.0).sin();
        let a = u * u + latitude.cos() * other_latitude.cos() * v * v;
        2.0 * GLOBE_RADIUS_M * a.sqrt().asin()
    }

    fn distance_along_meridian(&self, other: &Place) -> f64 {
        GLOBE_RADIUS_M * (radians(other.latitude) - radians(self.latitude)).abs()
    }
}

/// A score as the bits that it was made of. Others than geohashes have no meaning, but a result.
fn bits_of(score: f64) -> u64 {
    if score < i64::MAX as f64 { score as i64 as u64 } else { score as u64 }
}

fn radians(degrees: f64) -> f64 {
    degrees * RADIANS_PER_DEGREE
}

fn degrees(radians: f64) -> f64 {
    radians / RADIANS_PER_DEGREE
}

/// A piece of the map: all geohashes that begin with these bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    bits: u64,
    /// Bits per coordinate.
    steps: u32,
}

/// Borders, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Area {
    west: f64,
    south: f64,
    east: f64,
    north: f64,
}

impl Cell {
    fn at(place: &Place, steps: u32, latitude_max: f64) -> Cell {
        let cells = (1u64 << steps) as f64;
        let index = |degrees: f64, max: f64| ((degrees + max) / (max + max) * cells) as u32;
        let (latitude, longitude) =
            (index(place.latitude, latitude_max), index(place.longitude, LONGITUDE_MAX));
        Cell { bits: spread(latitude) | spread(longitude) << 1, steps }
    }

    fn area(&self) -> Area {
        let cells = (1u64 << self.steps) as f64;
        let border = |index: u32, max: f64| -max + f64::from(index) / cells * (max + max);
        let (latitude, longitude) = (gather(self.bits), gather(self.bits >> 1));
        Area {
            west: border(longitude, LONGITUDE_MAX),
            south: border(latitude, LATITUDE_MAX),
            east: border(longitude.wrapping_add(1), LONGITUDE_MAX),
            north: border(latitude.wrapping_add(1), LATITUDE_MAX),
        }
    }

    /// The cell so many places to the east and to the north; the map has no ends.
    fn neighbor(&self, east: i32, north: i32) -> Cell {
        let moved = |by: i32, own: u64, other: u64| {
            let own_bits = self.bits & own;
            // With the bits in between set, a carry passes over them.
            let filling = other >> (64 - 2 * self.steps);
            let sum = match by {
                0 => return own_bits,
                1 => own_bits.wrapping_add(filling + 1),
                _ => (own_bits | filling).wrapping_sub(filling + 1),
            };
            sum & own >> (64 - 2 * self.steps)
        };
        let bits = moved(east, LONGITUDE_BITS, LATITUDE_BITS) | moved(north, LATITUDE_BITS, LONGITUDE_BITS);
        Cell { bits, steps: self.steps }
    }

    /// Scores inside: from the first on, and below the second.
    fn scores(&self) -> (f64, f64) {
        let shift = 2 * (STEPS_MAX - self.steps);
        ((self.bits << shift) as f64, (self.bits.wrapping_add(1) << shift) as f64)
    }
}

/// Puts the bits of a number into the even places.
fn spread(number: u32) -> u64 {
    let mut bits = u64::from(number);
    for (shift, mask) in [
        (16, 0x0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333),
        (1, LATITUDE_BITS),
    ] {
        bits = (bits | bits << shift) & mask;
    }
    bits
}

/// Takes the bits from the even places.
fn gather(bits: u64) -> u32 {
    let mut number = bits & LATITUDE_BITS;
    for (shift, mask) in [
        (1, 0x3333_3333_3333_3333),
        (2, 0x0f0f_0f0f_0f0f_0f0f),
        (4, 0x00ff_00ff_00ff_00ff),
        (8, 0x0000_ffff_0000_ffff),
        (16, 0x0000_0000_ffff_ffff),
    ] {
        number = (number | number >> shift) & mask;
    }
    number as u32
}

/// What a search covers. Lengths are in meters.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    Circle {
        center: Place,
        radius: f64,
    },
    /// Along the parallels and the meridians.
    Rectangle {
        center: Place,
        width: f64,
        height: f64,
    },
    /// At least three corners; its sides are straight on the map.
    Polygon {
        center: Place,
        corners: Vec<Place>,
    },
}

impl Shape {
    /// The center of a polygon is the middle of its corners, seen from inside the globe.
    pub fn polygon(corners: Vec<Place>) -> Shape {
        let (mut x, mut y, mut z) = (0.0, 0.0, 0.0);
        for corner in &corners {
            let (longitude, latitude) = (radians(corner.longitude), radians(corner.latitude));
            x += latitude.cos() * longitude.cos();
            y += latitude.cos() * longitude.sin();
            z += latitude.sin();
        }
        let latitude = degrees(f64::atan2(z, x.hypot(y)));
        let center = Place {
            longitude: degrees(f64::atan2(y, x)).clamp(-LONGITUDE_MAX, LONGITUDE_MAX),
            latitude: latitude.clamp(-LATITUDE_MAX, LATITUDE_MAX),
        };
        Shape::Polygon { center, corners }
    }

    fn center(&self) -> &Place {
        match self {
            Shape::Circle { center, .. }
            | Shape::Rectangle { center, .. }
            | Shape::Polygon { center, .. } => center,
        }
    }

    /// The distance of a place from the center, if it lies inside.
    pub fn distance_inside(&self, place: &Place) -> Option<f64> {
        let distance = || self.center().distance(place);
        match self {
            Shape::Circle { radius, .. } => Some(distance()).filter(|distance| distance <= radius),
            Shape::Rectangle { center, width, height } => {
                let same_latitude = Place { longitude: center.longitude, latitude: place.latitude };
                let is_inside = place.distance_along_meridian(center) <= height / 2.0
                    && place.distance(&same_latitude) <= width / 2.0;
                is_inside.then(distance)
            }
            Shape::Polygon { corners, .. } => encloses(corners, place).then(distance),
        }
    }

    /// Borders around everything inside.
    fn bounds(&self) -> Area {
        let (center, width, height) = match self {
            Shape::Circle { center, radius } => (center, *radius, *radius),
            Shape::Rectangle { center, width, height } => (center, width / 2.0, height / 2.0),
            Shape::Polygon { corners, .. } => return bounds_of(corners),
        };
        let latitude_delta = degrees(height / GLOBE_RADIUS_M);
        // A degree of longitude is shorter towards the pole.
        let polewards = if center.latitude < 0.0 { -latitude_delta } else { latitude_delta };
        let longitude_delta = degrees(width / GLOBE_RADIUS_M / radians(center.latitude + polewards).cos());
        Area {
            west: center.longitude - longitude_delta,
            south: center.latitude - latitude_delta,
            east: center.longitude + longitude_delta,
            north: center.latitude + latitude_delta,
        }
    }

    /// Meters from the center beyond which nothing lies inside.
    fn reach(&self, bounds: &Area) -> f64 {
        match self {
            Shape::Circle { radius, .. } => *radius,
            Shape::Rectangle { width, height, .. } => {
                ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt()
            }
            Shape::Polygon { center, .. } => {
                let corners = [(bounds.west, bounds.north), (bounds.east, bounds.north)]
                    .into_iter()
                    .chain([(bounds.west, bounds.south), (bounds.east, bounds.south)]);
                corners
                    .map(|(longitude, latitude)| center.distance(&Place { longitude, latitude }))
                    .fold(0.0, f64::max)
            }
        }
    }

    /// Ranges of scores (from the first on, below the second) that hold everything inside, and more, in the order in which
    /// Redis looks through them: the cell of the center, then its neighbors.
    pub fn score_ranges(&self) -> Vec<(f64, f64)> {
        const NEIGHBORS: [(i32, i32); 9] =
            [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];
        let (center, bounds) = (self.center(), self.bounds());
        let steps = steps_for(self.reach(&bounds), center.latitude);
        let mut cell = Cell::at(center, steps, LATITUDE_MAX);
        if steps > 1 && !reaches(&cell, &bounds) {
            cell = Cell::at(center, steps - 1, LATITUDE_MAX);
        }
        let area = cell.area();
        let is_needed = |(east, north): (i32, i32)| {
            cell.steps < 2
                || !(north < 0 && area.south < bounds.south
                    || north > 0 && area.north > bounds.north
                    || east < 0 && area.west < bounds.west
                    || east > 0 && area.east > bounds.east)
        };
        let mut cells: Vec<Cell> = Vec::with_capacity(NEIGHBORS.len());
        for place in NEIGHBORS.into_iter().filter(|place| is_needed(*place)) {
            let next = cell.neighbor(place.0, place.1);
            // Around a huge area, neighbors on both sides are the same one.
            if cells.len() < 2 || cells.last() != Some(&next) {
                cells.push(next);
            }
        }
        cells.iter().map(Cell::scores).collect()
    }
}

/// How fine cells may be so that one and its neighbors cover a radius.
fn steps_for(mut radius: f64, latitude: f64) -> u32 {
    if radius == 0.0 {
        return STEPS_MAX;
    }
    let mut steps = 1i32;
    while radius < MERCATOR_MAX_M {
        radius *= 2.0;
        steps += 1;
    }
    steps -= 2;
    // Cells are narrower towards the poles.
    if latitude.abs() > 66.0 {
        steps -= 1;
        if latitude.abs() > 80.0 {
            steps -= 1;
        }
    }
    steps.clamp(1, STEPS_MAX as i32) as u32
}

/// Whether a cell and its neighbors cover these bounds.
fn reaches(cell: &Cell, bounds: &Area) -> bool {
    cell.neighbor(0, 1).area().north >= bounds.north
        && cell.neighbor(0, -1).area().south <= bounds.south
        && cell.neighbor(1, 0).area().east >= bounds.east
        && cell.neighbor(-1, 0).area().west <= bounds.west
}

fn bounds_of(corners: &[Place]) -> Area {
    let none = Area { west: LONGITUDE_MAX, south: LATITUDE_MAX, east: -LONGITUDE_MAX, north: -LATITUDE_MAX };
    corners.iter().fold(none, |area, corner| Area {
        west: area.west.min(corner.longitude),
        south: area.south.min(corner.latitude),
        east: area.east.max(corner.longitude),
        north: area.north.max(corner.latitude),
    })
}

/// Whether a line from a place to the east crosses the sides an odd number of times.
fn encloses(corners: &[Place], place: &Place) -> bool {
    let mut inside = false;
    let mut from = corners.last().expect("a polygon has corners");
    for to in corners {
        let crosses = (from.latitude > place.latitude) != (to.latitude > place.latitude);
        if crosses {
            let share = (place.latitude - to.latitude) / (from.latitude - to.latitude);
            inside ^= place.longitude < to.longitude + share * (from.longitude - to.longitude);
        }
        from = to;
    }
    inside
}

#[cfg(test)]
mod tests {
    use super::*;

    const PALERMO: Place = Place { longitude: 13.361389, latitude: 38.115556 };
    const CATANIA: Place = Place { longitude: 15.087269, latitude: 37.502669 };

    /// Scores and texts that a real server gives to these places.
    #[test]
    fn geohashes_are_those_of_redis() {
        for (place, score, text) in
            [(PALERMO, 3479099956230698.0, "sqc8b49rny0"), (CATANIA, 3479447370796909.0, "sqdtr74hyu0")]
        {
            assert_eq!(place.score(), score);
            let decoded = Place::of_score(score);
            assert!((decoded.longitude - place.longitude).abs() < 1e-5);
            assert!((decoded.latitude - place.latitude).abs() < 1e-5);
            assert_eq!(decoded.geohash(), text.as_bytes());
        }
        assert_eq!(Place::of_score(3479099956230698.0).longitude, 13.361389338970184);
        assert_eq!(Place::of_score(3479099956230698.0).latitude, 38.1155563954963);
    }

    #[test]
    fn distances_are_those_of_redis() {
        let (palermo, catania) = (Place::of_score(PALERMO.score()), Place::of_score(CATANIA.score()));
        assert_eq!(format!("{:.4}", palermo.distance(&catania)), "166274.1516");
        assert_eq!(palermo.distance(&palermo), 0.0);
    }

    #[test]
    fn bits_are_interleaved_and_back() {
        for number in [0, 1, 2, 0x155_5555, 0x2aa_aaaa, 0x3ff_ffff, u32::MAX] {
            assert_eq!(gather(spread(number)), number);
            assert_eq!(spread(number) & LONGITUDE_BITS, 0);
        }
    }

    #[test]
    fn neighbors_wrap_around() {
        let cell = Cell::at(&PALERMO, 5, LATITUDE_MAX);
        for (east, north) in [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, -1)] {
            let there = cell.neighbor(east, north);
            assert_ne!(there, cell);
            assert_eq!(there.neighbor(-east, -north), cell);
        }
        let mut walker = cell;
        (0..32).for_each(|_| walker = walker.neighbor(1, 0));
        assert_eq!(walker, cell);
    }

    /// Whatever lies inside a shape has a score in one of its ranges.
    #[test]
    fn ranges_hold_what_lies_inside() {
        let mut state = 7u64;
        let mut random = move |max: f64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % 2_000_001) as f64 / 1_000_000.0 * max - max
        };
        let mut inside = 0;
        for round in 0..3_000 {
            let center = Place { longitude: random(170.0), latitude: random(70.0) };
            let size = [50.0, 5_000.0, 200_000.0][round % 3];
            let spread = size / 100_000.0;
            let mut near = |share: f64| Place {
                longitude: (center.longitude + random(spread * share)).clamp(-180.0, 180.0),
                latitude: center.latitude + random(spread * share),
            };
            let shape = match round / 3 % 3 {
                0 => Shape::Circle { center, radius: size },
                1 => Shape::Rectangle { center, width: size * 2.0, height: size },
                _ => Shape::polygon(vec![near(1.0), near(1.0), near(1.0), near(1.0)]),
            };
            let ranges = shape.score_ranges();
            assert!(!ranges.is_empty() && ranges.len() <= 9);
            for _ in 0..20 {
                let place = Place::of_score(near(0.7).score());
                if shape.distance_inside(&place).is_some() {
                    let score = place.score();
                    inside += 1;
                    assert!(
                        ranges.iter().any(|(low, high)| (*low..*high).contains(&score)),
                        "{shape:?} {place:?}"
                    );
                }
            }
        }
        assert!(inside > 5_000, "{inside}");
    }

    #[test]
    fn a_polygon_may_have_bays() {
        let corner = |longitude, latitude| Place { longitude, latitude };
        // The letter U.
        let corners = [(0, 0), (3, 0), (3, 3), (2, 3), (2, 1), (1, 1), (1, 3), (0, 3)];
        let corners: Vec<Place> =
            corners.into_iter().map(|(x, y)| corner(f64::from(x), f64::from(y))).collect();
        let shape = Shape::polygon(corners);
        for (x, y, is_inside) in
            [(0.5, 2.0, true), (1.5, 2.0, false), (2.5, 2.0, true), (1.5, 0.5, true), (4.0, 1.0, false)]
        {
            assert_eq!(shape.distance_inside(&corner(x, y)).is_some(), is_inside, "{x} {y}");
        }
    }
}
