//! Members of a set drawn at random, to look at or to take out. Every member, and every choice of several, has the same
//! chance; `random` gives numbers below its argument, each with the same chance.

use super::{Form, Set, SetLimits};
use crate::intset::IntSet;
use crate::listpack::Item;
use crate::member::Member;
use crate::sample::{Chooser, choose_few, distinct};
use crate::saving::Parts;

/// When less than this share (one in so many) of a big set stays, what stays is moved and not what goes (Redis 7.2).
const STAY_SHARE: usize = 5;
/// Integers that are taken out of an intset one by one at most.
const INTS_ONE_BY_ONE_MAX: usize = 16;

impl Set {
    /// A member; `None` if there is none.
    #[inline]
    pub fn random(&self, mut random: impl FnMut(usize) -> usize) -> Option<Item<'_>> {
        if self.is_empty() {
            return None;
        }
        match &self.form {
            Form::IntSet(ints) => Some(Item::Int(ints.get(random(ints.len())))),
            Form::Listpack(listpack) => {
                let pos = listpack.seek(random(listpack.len()) as i64)?;
                Some(listpack.get(pos))
            }
            Form::Table(table) => table.random(random).map(Member::item),
        }
    }

    /// Visits members drawn one by one, any of them any number of times. The set must not be empty.
    pub fn draw(
        &self,
        draws: usize,
        mut random: impl FnMut(usize) -> usize,
        mut visit: impl FnMut(Item<'_>),
    ) {
        match &self.form {
            Form::Listpack(listpack) if draws > 1 => {
                let members: Vec<Item<'_>> = listpack.iter().collect();
                (0..draws).for_each(|_| visit(members[random(members.len())]));
            }
            _ => {
                for _ in 0..draws {
                    visit(self.random(&mut random).expect("the set is not empty"));
                }
            }
        }
    }

    /// Visits `count` different members, in no particular order; at most as many as there are.
    pub fn sample(
        &self,
        count: usize,
        mut random: impl FnMut(usize) -> usize,
        mut visit: impl FnMut(Item<'_>),
    ) {
        let few = choose_few(count, self.len());
        match &self.form {
            Form::IntSet(ints) if few => {
                distinct(count, || random(ints.len()), |index| visit(Item::Int(ints.get(index))));
            }
            Form::Table(table) if few => distinct(
                count,
                || table.draw(&mut random).expect("a set that has more than a few members"),
                |place| visit(table.at(place).expect("drawn from the same table").item()),
            ),
            _ => {
                let mut chooser = Chooser::new(count, self.len());
                self.iter().filter(|_| chooser.chooses(&mut random)).for_each(visit);
            }
        }
    }

    /// Takes a member out; `None` if there is none.
    pub fn take_random(&mut self, mut random: impl FnMut(usize) -> usize) -> Option<Member> {
        if self.is_empty() {
            return None;
        }
        match &mut self.form {
            Form::IntSet(ints) => {
                let index = random(ints.len());
                let member = Member::of(Item::Int(ints.get(index)));
                ints.remove_at(index);
                Some(member)
            }
            Form::Listpack(listpack) => {
                let pos = listpack.seek(random(listpack.len()) as i64)?;
                let member = Member::of(listpack.get(pos));
                listpack.remove(pos);
                Some(member)
            }
            Form::Table(table) => table.remove_random(random),
        }
    }

    /// Takes `count` members out and visits them; fewer than there are. What little stays of a big set becomes compact if
    /// it can, and the rest of its memory is returned: it is for the caller to free.
    pub fn take_sample(
        &mut self,
        count: usize,
        limits: &SetLimits,
        mut random: impl FnMut(usize) -> usize,
        mut visit: impl FnMut(Item<'_>),
    ) -> Option<Set> {
        let stay = self.len() - count;
        let mut chooser = Chooser::new(count, self.len());
        match &mut self.form {
            Form::IntSet(ints) if count > INTS_ONE_BY_ONE_MAX => {
                let mut left = IntSet::new();
                for int in ints.iter() {
                    if chooser.chooses(&mut random) {
                        visit(Item::Int(int));
                    } else {
                        left.insert(int);
                    }
                }
                *ints = left;
            }
            Form::Listpack(listpack) => {
                let mut next = listpack.first();
                while let Some(pos) = next {
                    next = if chooser.chooses(&mut random) {
                        visit(listpack.get(pos));
                        listpack.remove(pos)
                    } else {
                        listpack.next(pos)
                    };
                }
            }
            // A table that is being saved has to stay.
            Form::Table(table) if stay <= count / STAY_SHARE && table.save_id().is_none() => {
                let mut left = Set::new_listpack();
                for _ in 0..stay {
                    let member = self.take_random(&mut random).expect("as many as stay are there");
                    left.add_item(member.item(), limits);
                }
                self.iter().for_each(visit);
                return Some(std::mem::replace(self, left));
            }
            _ => {
                for _ in 0..count {
                    visit(self.take_random(&mut random).expect("fewer go than there are").item());
                }
            }
        }
        None
    }
}
