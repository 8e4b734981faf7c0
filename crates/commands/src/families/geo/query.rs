//! What a search asks for: where, in which shape, and how the members found are shown or stored. Reads requests; never
//! searches.

use torc_datatypes::ZSet;
use torc_datatypes::geo::{Place, Shape};
use torc_resp::{Args, CommandError};

use super::{parse_place, parse_unit};

/// The fewest corners of a polygon.
const CORNERS_MIN: usize = 3;

/// A search.
#[derive(Debug)]
pub(super) struct Query<'a> {
    /// `None` if there is no sorted set in which its center could be found.
    pub(super) shape: Option<Shape>,
    /// Meters of the unit in which distances are told.
    pub(super) unit: f64,
    pub(super) order: Order,
    /// Members at most.
    pub(super) count: Option<usize>,
    /// Any members will do, not only the nearest ones.
    pub(super) any: bool,
    pub(super) with: With,
    pub(super) store: Option<Store<'a>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    #[default]
    None,
    Ascending,
    Descending,
}

/// What is told of a member besides its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct With {
    pub(super) distance: bool,
    pub(super) hash: bool,
    pub(super) place: bool,
}

/// Where members are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Store<'a> {
    pub(super) key: &'a [u8],
    /// Their scores are distances.
    pub(super) distances: bool,
}

/// Options that all searches have in common, and those of GEORADIUS.
#[derive(Debug, Default)]
struct Options<'a> {
    order: Order,
    count: Option<usize>,
    any: bool,
    with: With,
    store: Option<Store<'a>>,
}

impl<'a> Options<'a> {
    /// Reads the option at `index`; returns how many arguments it takes, 0 if it is none of these.
    fn read(&mut self, args: Args<'a>, index: usize) -> Result<usize, CommandError> {
        let word = |word: &str| args.is(index, word.as_bytes());
        if word("WITHDIST") {
            self.with.distance = true;
        } else if word("WITHHASH") {
            self.with.hash = true;
        } else if word("WITHCOORD") {
            self.with.place = true;
        } else if word("ANY") {
            self.any = true;
        } else if word("ASC") {
            self.order = Order::Ascending;
        } else if word("DESC") {
            self.order = Order::Descending;
        } else if word("COUNT") && index + 1 < args.len() {
            let count = usize::try_from(args.int(index + 1)?).ok().filter(|count| *count > 0);
            self.count = Some(count.ok_or(CommandError::Text("ERR COUNT must be > 0"))?);
            return Ok(2);
        } else {
            return Ok(0);
        }
        Ok(1)
    }

    /// What is left to check when all options are read. `stores` names what cannot show anything.
    fn check_shown(&self, stores: &'static str) -> Result<(), CommandError> {
        if self.store.is_some() && self.with != With::default() {
            return Err(CommandError::Text(stores));
        }
        Ok(())
    }

    fn into_query(mut self, shape: Option<Shape>, unit: f64) -> Result<Query<'a>, CommandError> {
        let Options { count, any, with, store, .. } = self;
        if any && count.is_none() {
            return Err(CommandError::Text("ERR the ANY argument requires COUNT argument"));
        }
        // The nearest ones are meant.
        if count.is_some() && !any && self.order == Order::None {
            self.order = Order::Ascending;
        }
        Ok(Query { shape, unit, order: self.order, count, any, with, store })
    }
}

/// The place of a member from which a search starts.
fn place_of(zset: &ZSet, member: &[u8]) -> Result<Place, CommandError> {
    let score = zset.score(member);
    score.map(Place::of_score).ok_or(CommandError::Text("ERR could not decode requested zset member"))
}

/// A length, and the meters of the unit behind it.
fn parse_radius(args: Args<'_>, index: usize) -> Result<(f64, f64), CommandError> {
    let radius = args.float(index).map_err(|_| CommandError::Text("ERR need numeric radius"))?;
    if radius < 0.0 {
        return Err(CommandError::Text("ERR radius cannot be negative"));
    }
    Ok((radius, parse_unit(args.get(index + 1))?))
}

/// Where the old forms of a search find their center.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    Place,
    Member,
}

impl From {
    /// The index of the first option.
    pub(super) const fn first_option(self) -> usize {
        match self {
            From::Place => 6,
            From::Member => 5,
        }
    }
}

impl<'a> Query<'a> {
    /// Reads the arguments of GEORADIUS and GEORADIUSBYMEMBER. Contract (Redis 7.2): without a sorted set, a member and
    /// the radius around it are not looked at.
    pub(super) fn parse_radius(
        args: Args<'a>,
        from: From,
        zset: Option<&ZSet>,
        may_store: bool,
    ) -> Result<Query<'a>, CommandError> {
        let first = from.first_option();
        let center = match (from, zset) {
            (From::Place, _) => Some(parse_place(args, 2)?),
            (From::Member, Some(zset)) => Some(place_of(zset, args.get(2))?),
            (From::Member, None) => None,
        };
        let (mut shape, mut unit) = (None, 1.0);
        if let Some(center) = center {
            let radius;
            (radius, unit) = parse_radius(args, first - 2)?;
            shape = Some(Shape::Circle { center, radius: radius * unit });
        }
        let mut options = Options::default();
        let mut index = first;
        while index < args.len() {
            let mut taken = options.read(args, index)?;
            if taken == 0 && may_store && index + 1 < args.len() {
                let distances = args.is(index, b"STOREDIST");
                if distances || args.is(index, b"STORE") {
                    options.store = Some(Store { key: args.get(index + 1), distances });
                    taken = 2;
                }
            }
            if taken == 0 {
                return Err(CommandError::Syntax);
            }
            index += taken;
        }
        options.check_shown(
            "ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
        )?;
        options.into_query(shape, unit)
    }

    /// Reads the arguments of GEOSEARCH, and of GEOSEARCHSTORE with its destination. The checks come in Redis's order.
    pub(super) fn parse_search(
        args: Args<'a>,
        destination: Option<&'a [u8]>,
        zset: Option<&ZSet>,
    ) -> Result<Query<'a>, CommandError> {
        let mut options = Options::default();
        let mut stores_distances = false;
        let (mut member, mut place) = (None, None);
        let mut form = None;
        let mut index = if destination.is_some() { 3 } else { 2 };
        while index < args.len() {
            let taken = options.read(args, index)?;
            if taken > 0 {
                index += taken;
                continue;
            }
            let (behind, word) = (args.len() - index - 1, |word: &str| args.is(index, word.as_bytes()));
            if destination.is_some() && word("STOREDIST") {
                stores_distances = true;
                index += 1;
            } else if word("FROMMEMBER") && behind >= 1 && place.is_none() {
                member = Some(zset.map(|zset| place_of(zset, args.get(index + 1))).transpose()?);
                index += 2;
            } else if word("FROMLONLAT") && behind >= 2 && member.is_none() {
                place = Some(parse_place(args, index + 1)?);
                index += 3;
            } else {
                let (parsed, taken) = Form::parse(args, index, form.take())?;
                form = Some(parsed);
                index += taken;
            }
        }
        options.store = destination.map(|key| Store { key, distances: stores_distances });
        options.check_shown(
            "ERR GEOSEARCHSTORE is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
        )?;
        let one_of = |choice: &str| {
            let name = String::from_utf8_lossy(args.get(0));
            CommandError::Owned(format!("ERR exactly one of {choice} can be specified for {name}").into())
        };
        let center = member.or(place.map(Some));
        if center.is_none() && !matches!(form, Some(Form::Polygon(_))) {
            return Err(one_of("FROMMEMBER or FROMLONLAT"));
        }
        let form = form.ok_or_else(|| one_of("BYRADIUS and BYBOX"))?;
        let unit = form.unit();
        let shape = match form {
            Form::Polygon(corners) => Some(Shape::polygon(corners)),
            Form::Circle { radius, .. } => {
                center.flatten().map(|center| Shape::Circle { center, radius: radius * unit })
            }
            Form::Box { width, height, .. } => center.flatten().map(|center| Shape::Rectangle {
                center,
                width: width * unit,
                height: height * unit,
            }),
        };
        options.into_query(shape, unit)
    }
}

/// A shape without its center; lengths are in a unit of so many meters.
#[derive(Debug, PartialEq)]
enum Form {
    Circle { radius: f64, unit: f64 },
    Box { width: f64, height: f64, unit: f64 },
    Polygon(Vec<Place>),
}

impl Form {
    /// Reads the shape at `index`, behind another one perhaps, which must be of the same kind; returns how many arguments
    /// it takes.
    fn parse(args: Args<'_>, index: usize, before: Option<Form>) -> Result<(Form, usize), CommandError> {
        let (behind, word) = (args.len() - index - 1, |word: &str| args.is(index, word.as_bytes()));
        if word("BYRADIUS") && behind >= 2 && matches!(before, None | Some(Form::Circle { .. })) {
            let (radius, unit) = parse_radius(args, index + 1)?;
            return Ok((Form::Circle { radius, unit }, 3));
        }
        if word("BYBOX") && behind >= 3 && matches!(before, None | Some(Form::Box { .. })) {
            let length = |index, text| args.float(index).map_err(|_| CommandError::Text(text));
            let width = length(index + 1, "ERR need numeric width")?;
            let height = length(index + 2, "ERR need numeric height")?;
            if height < 0.0 || width < 0.0 {
                return Err(CommandError::Text("ERR height or width cannot be negative"));
            }
            return Ok((Form::Box { width, height, unit: parse_unit(args.get(index + 3))? }, 4));
        }
        if word("BYPOLYGON") && behind >= 2 && matches!(before, None | Some(Form::Polygon(_))) {
            let corners =
                args.int(index + 1).map_err(|_| CommandError::Text("ERR invalid number of vertices"))?;
            let corners = usize::try_from(corners).unwrap_or(0);
            if corners < CORNERS_MIN || corners > (behind - 1) / 2 {
                return Err(CommandError::Text("ERR GEOSEARCH BYPOLYGON must have at least 3 vertices"));
            }
            let places = (0..corners).map(|corner| parse_place(args, index + 2 + 2 * corner));
            return Ok((Form::Polygon(places.collect::<Result<_, _>>()?), 2 + 2 * corners));
        }
        Err(CommandError::Syntax)
    }

    fn unit(&self) -> f64 {
        match self {
            Form::Circle { unit, .. } | Form::Box { unit, .. } => *unit,
            Form::Polygon(_) => 1.0,
        }
    }
}

/// The index of the key behind the last STORE, or STOREDIST, of GEORADIUS and GEORADIUSBYMEMBER: the one that counts.
pub(super) fn store_index(args: Args<'_>, from: From, distances: bool) -> Option<usize> {
    let mut found = None;
    let mut index = from.first_option();
    while index + 1 < args.len() {
        let is_distances = args.is(index, b"STOREDIST");
        let takes_a_key = is_distances || args.is(index, b"STORE");
        if takes_a_key && is_distances == distances {
            found = Some(index + 1);
        }
        index += if takes_a_key || args.is(index, b"COUNT") { 2 } else { 1 };
    }
    found
}
